-- The same content in each database that this is run in, whatever OIDs its types get.
create extension citext; create extension hstore;
create type pair as (a int, b numeric);
create type enm as enum ('x', 'y');
create type moment as (at timestamptz, span interval, ratio float8);
create domain pos as numeric check (value > 0); create domain pos2 as pos; create domain enmd as enm;
create domain dbp as char(5); create domain dbit as bit(3); create domain ints as int[];
create type frange as range (subtype = float8);
-- Whoever owns a type can say what it is cast to. It is nothing that a digest may take, and no code that it may run.
create function lie(pair) returns text language sql as 'select ''always the same''';
create cast (pair as text) with function lie(pair);

create table wide (id int primary key,
  i2 int2, i8 int8, n numeric, f4 float4, f8 float8, b bool, c "char", nm name, t text, bp bpchar, vc varchar(10), by bytea,
  ts timestamp, tz timestamptz, d date, ti time, ttz timetz, iv interval, u uuid, j json, jb jsonb, x xml, pt point, bx box, ci circle,
  ln line, ls lseg, pa path, po polygon, m money, bi bit(3), vb varbit, ia int[], na numeric[], ta text[], pr pair, nr numrange,
  nmr nummultirange, tsr tstzrange, e enm, ea enm[], dm pos2, ed enmd, tv tsvector, tq tsquery, hs hstore, ct citext, inn inet,
  cid cidr, mac macaddr, l pg_lsn, acl aclitem, acla aclitem[], rc regclass, jp jsonpath, x8 xid8, o oid, fr frange,
  gen int generated always as (id * 2) stored, dropme int, "Odd ""name" text, cta citext[], pra pair[], dbp dbp, dbit dbit, di ints,
  mo moment, big text);
alter table wide drop column dropme;
insert into wide values (1, -1, 1, 1.00, '-0', '-0', true, 'q', 'nm', 'text', 'bp  ', 'v', '\x00ff',
  '2024-01-01 00:00:00.5', '2024-01-01 00:00+02', '0044-03-15 BC', '24:00', '12:00+05:30', '1 mon 24:00:00',
  '00000000-0000-0000-0000-000000000001', '{"a": 1 }', '{"a": 1.00, "b": [null]}', '<a/>', '(1,2)', '(1,1),(0,0)', '<(0,0),1>', '{1,2,3}',
  '[(0,0),(1,1)]', '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))', '12.34', '101', '1011', '{1,NULL}', '{1.0,1.00,NaN}', '{"",NULL,"NULL"}',
  '(1,1.10)', '[1.0,2)', '{[1.0,2)}', '[2024-01-01,)', 'y', '{x,y}', 1.10, 'x', 'a:1A b:2', 'a & b:*', 'a=>1, b=>NULL', 'CiText',
  '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '16/B374D848', 'postgres=r/postgres', '{postgres=r/postgres}', 'pg_class',
  '$.a[*] ? (@ > 1)', '42', 1259, '[-0.0,NaN)', default, 'odd', '{Ab,aB}', '{"(1,1.0)",NULL}', 'abc', '101', '{1,2}',
  '("2024-01-01 00:00+02","1 day",0.1)', (select string_agg(md5(g::text), '') from generate_series(1, 10000) g));
insert into wide (id, n, f8, t, i8, ta) values (2, 'NaN', 'NaN', '', 4294967297, '{}');
insert into wide (id) values (3);

create table bag (a int, b text);
insert into bag values (1, 'x'), (1, 'x'), (2, 'y'), (3, null);
create table many (a int, b text collate "C", v text, n int, primary key (a, b));
insert into many select g / 10, 'k''\' || g % 10, 'v' || g, g from generate_series(0, 1999) g;
-- Keys in the database's own order of texts, and in one that a digest cannot count on.
create table named (name text primary key); insert into named values ('b'), ('a'), ('B');
create table folded (name citext primary key); insert into folded values ('b'), ('a');
create table nothing (); insert into nothing default values; insert into nothing default values;
create schema "o'dd ""schema"; create table "o'dd ""schema"."t\" (t text, h int, "T" int);
insert into "o'dd ""schema"."t\" values ('t', 1, 2);
create table parent (a int); create table child (b int) inherits (parent);
insert into parent values (1); insert into child values (2, 3);
create table parted (a int) partition by list (a); create table leaf partition of parted for values in (1); insert into parted values (1);
create materialized view mat as select a from bag; create materialized view unread as select 1 one with no data;
create unlogged table lost (a int); create view seen as select * from bag;
create foreign data wrapper none; create server elsewhere foreign data wrapper none; create foreign table far (a int) server elsewhere;
select lo_from_bytea(4242, '\x00ff');
analyze
