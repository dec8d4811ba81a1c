//! What is planted in one of two servers that hold the same, and what a comparison must say of it.

use flytt::spec::Engine;

/// What is to be seen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// A row of the plant's table: its key, and how it differs.
    Row(&'static str, &'static str),
    /// The plant's table itself.
    Table(&'static str),
    /// Any line.
    Other(&'static str),
}

use Seen::{Other, Row, Table};

/// `{t}` is the plant's own table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plant {
    pub(super) what: &'static str,
    /// On both sides.
    pub(super) before: &'static [&'static str],
    /// On one.
    pub(super) sql: &'static str,
    pub(super) seen: &'static [Seen],
}

const fn plant(what: &'static str, sql: &'static str, seen: &'static [Seen]) -> Plant {
    Plant { what, before: &[], sql, seen }
}

const fn with(what: &'static str, before: &'static [&'static str], sql: &'static str, seen: &'static [Seen]) -> Plant {
    Plant { what, before, sql, seen }
}

/// Of each plant's table, with the keys 1 to 60.
pub(super) fn before(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Postgres => &[
            "create table {t} (id int primary key, t text, n numeric, at timestamptz, f float8, b bytea, j jsonb, c char(8))",
            "insert into {t} select g, case when g % 7 = 0 then null when g % 7 = 1 then '' else 'text ' || g end, 1.0 * g, \
             '2024-01-01 00:00Z'::timestamptz + g * interval '1 day', g % 3, decode(md5(g::text), 'hex'), '{\"n\": 1.0}', 'c' || g \
             from generate_series(1, 60) g",
        ],
        Engine::Mariadb | Engine::Mysql => &[
            "create table {t} (id int primary key, t varchar(80), n decimal(20, 4), at datetime(6), f double, b blob, c char(8))",
            "insert into {t} with recursive s as (select 1 g union all select g + 1 from s where g < 60) \
             select g, case when g % 7 = 0 then null when g % 7 = 1 then '' else concat('text ', g) end, 1.5 * g, \
             '2024-01-01' + interval g day, g % 3, unhex(left(sha2(g, 256), 32)), concat('c', g) from s",
        ],
    }
}

/// What keeps a plant on its side.
pub(super) fn unseen(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "",
        Engine::Mariadb => "set session sql_log_bin = 0; ",
        Engine::Mysql => "set session sql_log_bin = 0; set global super_read_only = off; ",
    }
}

pub(super) fn of(engine: Engine) -> &'static [Plant] {
    match engine {
        Engine::Postgres => POSTGRES,
        Engine::Mariadb => MARIADB,
        Engine::Mysql => MYSQL,
    }
}

const POSTGRES: &[Plant] = &[
    plant("a letter", "update {t} set t = 'texT 5' where id = 5", &[Row("5", "differs")]),
    plant("the first row gone", "delete from {t} where id = 1", &[Row("1", "missing")]),
    plant("the last row gone", "delete from {t} where id = 60", &[Row("60", "missing")]),
    plant("a row in the middle gone", "delete from {t} where id = 30", &[Row("30", "missing")]),
    plant("a row behind the last", "insert into {t} (id) values (61)", &[Row("61", "extra")]),
    plant("a row before the first", "insert into {t} (id) values (-1)", &[Row("-1", "extra")]),
    plant("empty for null", "update {t} set t = '' where id = 7", &[Row("7", "differs")]),
    plant("null for empty", "update {t} set t = null where id = 8", &[Row("8", "differs")]),
    plant("1.00 for 1.0", "update {t} set n = 1.00 where id = 1", &[Row("1", "differs")]),
    plant("a microsecond", "update {t} set at = at + interval '1 us' where id = 9", &[Row("9", "differs")]),
    plant("another time zone", "update {t} set at = at + interval '1 hour' where id = 9", &[Row("9", "differs")]),
    plant("a blank at the end", "update {t} set t = t || ' ' where id = 10", &[Row("10", "differs")]),
    plant("-0 for 0", "update {t} set f = '-0' where id = 3", &[Row("3", "differs")]),
    plant("NaN", "update {t} set f = 'NaN' where id = 3", &[Row("3", "differs")]),
    plant("a value cut short", "update {t} set b = substr(b, 1, 15) where id = 4", &[Row("4", "differs")]),
    plant("one bit", "update {t} set b = set_bit(b, 9, 1 - get_bit(b, 9)) where id = 4", &[Row("4", "differs")]),
    plant("1.00 for 1.0 in jsonb", "update {t} set j = '{\"n\": 1.00}' where id = 11", &[Row("11", "differs")]),
    plant(
        "two values exchanged",
        "update {t} set t = case id when 12 then 'text 13' else 'text 12' end where id in (12, 13)",
        &[Row("12", "differs"), Row("13", "differs")],
    ),
    with(
        "a row twice, without a key",
        &["alter table {t} drop constraint {t}_pkey, alter id drop not null"],
        "insert into {t} select * from {t} where id = 60",
        &[Row("(0,61)", "extra")],
    ),
    with(
        "two equal rows twice, which cancel under XOR",
        &["alter table {t} drop constraint {t}_pkey, alter id drop not null", "vacuum full {t}"],
        "insert into {t} select * from {t} where id = 60 union all select * from {t} where id = 60",
        &[Row("(0,61)", "extra"), Row("(0,62)", "extra")],
    ),
    plant("a row of the largest table", "update orders set body = reverse(body) where id = 100", &[Other("orders 100 differs")]),
    with("an index gone", &["create index {t}_i on {t} (t)"], "drop index {t}_i", &[Other("index public.{t}_i")]),
    with(
        "an index that is not valid",
        &["create index {t}_i on {t} (t)"],
        "update pg_index set indisvalid = false where indexrelid = '{t}_i'::regclass",
        &[Other("index public.{t}_i")],
    ),
    with(
        "a trigger gone",
        &[
            "create function {t}_f() returns trigger language plpgsql as 'begin return new; end'",
            "create trigger g before update on {t} for each row execute function {t}_f()",
        ],
        "drop trigger g on {t}",
        &[Other("trigger public.{t} g")],
    ),
    with(
        "a trigger that is off",
        &[
            "create function {t}_f() returns trigger language plpgsql as 'begin return new; end'",
            "create trigger g before update on {t} for each row execute function {t}_f()",
        ],
        "alter table {t} disable trigger g",
        &[Other("trigger public.{t} g")],
    ),
    with(
        "a function that does something else",
        &["create function {t}_f() returns int language sql as 'select 1'"],
        "create or replace function {t}_f() returns int language sql as 'select 2'",
        &[Other("function public.{t}_f()")],
    ),
    plant("a right", "grant select on {t} to public", &[Other("table public.{t}")]),
    plant("an owner", "alter table {t} owner to app", &[Other("table public.{t}")]),
    with(
        "a sequence's value",
        &["create sequence {t}_s", "select nextval('{t}_s')"],
        "select setval('{t}_s', 900)",
        &[Other("sequence value public.{t}_s")],
    ),
    with("a sequence's step", &["create sequence {t}_s"], "alter sequence {t}_s increment 7", &[Other("sequence public.{t}_s")]),
    with(
        "a constraint gone",
        &["alter table {t} add constraint {t}_c check (id > -9)"],
        "alter table {t} drop constraint {t}_c",
        &[Other("constraint public.{t} {t}_c")],
    ),
    with(
        "a constraint that was not validated",
        &["alter table {t} add constraint {t}_c check (id > -9)"],
        "alter table {t} drop constraint {t}_c, add constraint {t}_c check (id > -9) not valid",
        &[Other("constraint public.{t} {t}_c")],
    ),
    plant("a comment", "comment on table {t} is 'another'", &[Other("comment table public.{t}")]),
    with(
        "a view",
        &["create view {t}_v as select id from {t}"],
        "create or replace view {t}_v as select id + 0 as id from {t}",
        &[Other("view public.{t}_v")],
    ),
    plant(
        "a table gone",
        "drop table {t}",
        &[
            Table("missing"),
            Other("table public.{t}"),
            Other("index public.{t}_pkey"),
            Other("constraint public.{t} {t}_pkey"),
            Other("column public.{t}.id"),
            Other("column public.{t}.t"),
            Other("column public.{t}.n"),
            Other("column public.{t}.at"),
            Other("column public.{t}.f"),
            Other("column public.{t}.b"),
            Other("column public.{t}.j"),
            Other("column public.{t}.c"),
        ],
    ),
    plant("a column's type", "alter table {t} alter id type bigint", &[Table("columns"), Other("column public.{t}.id")]),
    plant("a default", "alter table {t} alter t set default 'x'", &[Other("column public.{t}.t")]),
    plant("rights by row", "alter table {t} enable row level security", &[Other("table public.{t}")]),
    with(
        "a member of an enum",
        &["create type {t}_e as enum ('a')"],
        "alter type {t}_e add value 'b'",
        &[Other("type public.{t}_e")],
    ),
    with("a role", &["create role {t}_r"], "alter role {t}_r login", &[Other("role {t}_r")]),
    with("a password", &["create role {t}_r password 'one'"], "alter role {t}_r password 'other'", &[Other("role {t}_r")]),
    with(
        "who is whose member",
        &["create role {t}_r", "create role {t}_q"],
        "grant {t}_r to {t}_q",
        &[Other("membership {t}_r <- {t}_q by postgres")],
    ),
    plant("a schema", "create schema {t}_s", &[Other("schema {t}_s")]),
    plant("statistics", "create statistics {t}_x on id, t from {t}", &[Other("statistics public.{t}_x")]),
    plant("a publication", "create publication {t}_p for table {t}", &[Other("publication {t}_p")]),
    with(
        "a large object",
        &["select lo_from_bytea(4200, 'abc')"],
        "select lo_put(4200, 1, 'x')",
        &[Other("pg_largeobject 4200,0 differs")],
    ),
    plant("a setting of a role", "alter role app set work_mem = '5MB'", &[Other("role setting app")]),
];

/// Of both.
macro_rules! family {
    ($($own:expr),* $(,)?) => {
        &[
            plant("a letter", "update {t} set t = 'texT 5' where id = 5", &[Row("5", "differs")]),
            plant("the first row gone", "delete from {t} where id = 1", &[Row("1", "missing")]),
            plant("the last row gone", "delete from {t} where id = 60", &[Row("60", "missing")]),
            plant("a row in the middle gone", "delete from {t} where id = 30", &[Row("30", "missing")]),
            plant("a row behind the last", "insert into {t} (id) values (61)", &[Row("61", "extra")]),
            plant("a row before the first", "insert into {t} (id) values (-1)", &[Row("-1", "extra")]),
            plant("empty for null", "update {t} set t = '' where id = 7", &[Row("7", "differs")]),
            plant("null for empty", "update {t} set t = null where id = 8", &[Row("8", "differs")]),
            plant("zero for null", "update {t} set n = null where id = 9", &[Row("9", "differs")]),
            plant("a ten-thousandth", "update {t} set n = n + 0.0001 where id = 9", &[Row("9", "differs")]),
            plant("a microsecond", "update {t} set at = at + interval 1 microsecond where id = 9", &[Row("9", "differs")]),
            plant("another time zone", "update {t} set at = at + interval 1 hour where id = 9", &[Row("9", "differs")]),
            plant("a blank at the end", "update {t} set t = concat(t, ' ') where id = 10", &[Row("10", "differs")]),
            plant("the last bit of a double", "update {t} set f = 1.0000000000000002e0 where id = 4", &[Row("4", "differs")]),
            plant("a value cut short", "update {t} set b = left(b, 15) where id = 4", &[Row("4", "differs")]),
            plant("a zero byte at the end", "update {t} set b = concat(b, x'00') where id = 4", &[Row("4", "differs")]),
            plant("one bit", "update {t} set b = insert(b, 1, 1, char(ascii(b) ^ 1)) where id = 4", &[Row("4", "differs")]),
            plant("a letter's case", "update {t} set c = 'C11' where id = 11", &[Row("11", "differs")]),
            plant(
                "two values exchanged",
                "update {t} set t = case id when 12 then 'text 13' else 'text 12' end where id in (12, 13)",
                &[Row("12", "differs"), Row("13", "differs")],
            ),
            with("a row twice, without a key", &["alter table {t} drop primary key"], "insert into {t} select * from {t} where id = 60", &[Table("range 60 61"), ]),
            with(
                "two equal rows twice, which cancel under XOR",
                &["alter table {t} drop primary key"],
                "insert into {t} select * from {t} where id = 60; insert into {t} select * from {t} where id = 60 limit 1",
                &[Table("range 60 62")],
            ),
            plant("a row of the largest table", "update orders set body = reverse(body) where id = 100", &[Other("orders 100 differs")]),
            with("an index gone", &["create index i on {t} (t)"], "drop index i on {t}", &[Other("table app.{t}")]),
            with("a unique index that is none", &["create unique index i on {t} (id, t)"], "drop index i on {t}; create index i on {t} (id, t)", &[Other("table app.{t}")]),
            with("a trigger gone", &["create trigger {t}_g before update on {t} for each row set new.f = 1"], "drop trigger {t}_g", &[Other("trigger app.{t}_g")]),
            with("a function that does something else", &["create function {t}_f() returns int deterministic return 1"], "drop function {t}_f; create function {t}_f() returns int deterministic return 2", &[Other("function app.{t}_f")]),
            with("a procedure gone", &["create procedure {t}_q() select 1"], "drop procedure {t}_q", &[Other("procedure app.{t}_q")]),
            with("an event gone", &["create event {t}_e on schedule every 1 year do set @x = 1"], "drop event {t}_e", &[Other("event app.{t}_e")]),
            with("a view", &["create view {t}_v as select id from {t}"], "create or replace view {t}_v as select id + 0 as id from {t}", &[Other("view app.{t}_v")]),
            plant("a table gone", "drop table {t}", &[Table("missing"), Other("table app.{t}")]),
            plant("a table more", "create table {t}_x (id int primary key)", &[Other("{t}_x extra"), Other("table app.{t}_x")]),
            plant("a column's type", "alter table {t} modify id bigint", &[Table("columns"), Other("table app.{t}")]),
            plant("a default", "alter table {t} alter t set default 'x'", &[Other("table app.{t}")]),
            plant("a comment", "alter table {t} comment 'another'", &[Other("table app.{t}")]),
            plant("a collation", "alter table {t} convert to character set utf8mb4 collate utf8mb4_bin", &[Table("columns"), Other("table app.{t}")]),
            with("a constraint gone", &["alter table {t} add constraint {t}_c check (id > -9)"], "alter table {t} drop constraint {t}_c", &[Other("table app.{t}")]),
            with("a foreign key gone", &["create table {t}_y (id int primary key, o int, constraint {t}_k foreign key (o) references {t} (id))"], "alter table {t}_y drop foreign key {t}_k", &[Other("table app.{t}_y")]),
            plant("an account", "create user {t}_u@localhost", &[Other("account {t}_u@localhost")]),
            with("a right", &["create user {t}_u@localhost"], "grant select on app.* to {t}_u@localhost", &[Other("account {t}_u@localhost")]),
            with("a password", &["create user {t}_u@localhost identified by 'one'"], "alter user {t}_u@localhost identified by 'other'", &[Other("account {t}_u@localhost")]),
            plant("a database", "create database {t}_d", &[Other("database {t}_d")]),
            $($own),*
        ]
    };
}

const MARIADB: &[Plant] = family![with(
    "a sequence's value",
    &["create sequence {t}_s"],
    "select setval({t}_s, 90000)",
    &[Other("{t}_s range 1 1"), Other("sequence value app.{t}_s")]
),];

const MYSQL: &[Plant] = family![with(
    "a constraint that is off",
    &["alter table {t} add constraint {t}_c check (id > -9)"],
    "alter table {t} alter check {t}_c not enforced",
    &[Other("table app.{t}")]
),];
