//! A schema in which every kind of object is there, at its limits, and named so that careless text would break.

use mysql_async::{Conn, prelude::Queryable as _};

use crate::server::value;

/// Sixty-four characters in back-ticks, with quotes, a newline, a percent sign, a backslash and a comma.
pub(crate) const NAME: &str = "`we\"ird``'; --\n\\%,(☃ 3456789 123456789 123456789 123456789 1234567`";

/// What makes it, and then what fills it; the latter can be given to a copy, too.
pub(crate) fn schema() -> Vec<String> {
    let mut all: Vec<String> = SCHEMA.iter().map(|sql| (*sql).to_owned()).collect();
    all.extend(
        [
            "create database {n} character set latin1 collate latin1_german2_ci comment 'it''s \\\\ a \"comment\"'",
            "create table {n}.{n} ({n} bigint unsigned auto_increment, `b,` varchar(40) default ') , KEY `x` (', key {n} ({n}, `b,`), \
             key `k(` (`b,`), constraint {n} foreign key ({n}) references k.numbers (i))",
            "create view {n}.`v``w` as select {n} as `%` from {n}.{n}",
            "create view {n}.above as select * from {n}.`v``w`",
            "create procedure {n}.{n}() comment 'it''s \\\\' select 1",
            "create trigger {n}.{n} before insert on {n}.{n} for each row set new.`b,` = concat(new.`b,`, '')",
            "create event {n}.{n} on schedule every 1 year disable comment 'ENABLE DO' do select 'ENABLE'",
            "create user 'o''dd\"`\\\\☃'@'10.%' identified by 'p''w'",
            "grant select (`b,`), insert on {n}.{n} to 'o''dd\"`\\\\☃'@'10.%' with grant option",
            "grant execute on procedure {n}.{n} to 'o''dd\"`\\\\☃'@'10.%'",
        ]
        .iter()
        .map(|sql| sql.replace("{n}", NAME)),
    );
    all
}

const SCHEMA: &[&str] = &[
    "set session sql_mode = ''",
    "create database k character set utf8mb4 collate utf8mb4_unicode_ci",
    "create sequence k.steps start with 5 increment by 3 maxvalue 100 cache 4 cycle",
    "create sequence k.ends start with 9 maxvalue 9 nocache",
    "select nextval(k.steps), nextval(k.ends)",
    "create table k.numbers (i bigint unsigned auto_increment, t tinyint unsigned zerofill, m mediumint, d decimal(65,30), \
     f float(7,3), g double, b bit(64) default b'1', o boolean, y year, s int as (t + 1) stored, v int as (t + 2) virtual invisible, \
     n int default nextval(k.steps), c int check (c > 0 and c <> 7), primary key (t), unique (d), key (s), unique (i), key (v), \
     key down (m desc, g) comment 'a, b', key off (f) ignored, constraint `limit` check (m < 100 or 'a)' = ',')) auto_increment = 77",
    "create table k.times (d date default '0000-00-00', t time(6), dt datetime(6) default current_timestamp(6) on update \
     current_timestamp(6), z timestamp not null default '0000-00-00 00:00:00', n timestamp null, e timestamp(3) not null)",
    "create table k.texts (e enum('a,b', 'c''d', '', '\\\\', 'é\n') default 'a,b', s set('x', 'y;', ')') default 'x,y;', \
     j json default '{\"a\": [1]}', c char(3) character set latin1 collate latin1_bin default 'é', v varchar(16000) collate utf8mb4_bin, \
     x varbinary(9) default 0x001a275c, l longtext default ('it''s \\\\ \n'), bl longblob, u uuid default uuid(), i6 inet6, i4 inet4, \
     unique word (v(20)), fulltext one (v), fulltext two (l), key (c)) comment = 'AUTO_INCREMENT=7 '') crème 😀' \
     row_format = dynamic stats_persistent = 1",
    "create table k.places (id int, p point not null, g geometry ref_system_id = 4326, po polygon, spatial key (p), unique (id))",
    "create table k.unique_key (a int not null, b int not null, c int, unique z (b, a), unique y (c), key x (c), unique w (a))",
    "create table k.old (id int auto_increment, grp int, t text, primary key (grp, id), fulltext (t)) engine = MyISAM",
    "create table k.crashsafe (t varchar(9), key (t)) engine = Aria transactional = 1",
    "create table k.memory (t varchar(9), key (t) using hash) engine = Memory",
    "create table k.small (id int primary key, t text) row_format = compressed key_block_size = 4",
    "create table k.compressed (id int primary key, t text compressed) page_compressed = 1",
    "create table k.parts (id int, at date, t text, primary key (id, at), key (at)) partition by range (year(at)) \
     subpartition by hash (id) subpartitions 2 (partition a values less than (2020) comment = 'it''s', partition b values less than maxvalue)",
    "create table k.lists (c varchar(9), key (c)) partition by list columns (c) (partition p values in ('a,', 'b'')'), partition q default)",
    "create table k.versioned (id int primary key, t text, x int without system versioning, key (x)) with system versioning",
    "create table k.dated (id int, s timestamp(6) generated always as row start invisible, e timestamp(6) generated always as row end, \
     period for system_time (s, e), key (id)) with system versioning partition by system_time limit 100 \
     (partition p0 history, partition pn current)",
    "create table k.booked (room int, a date, b date, period for `of,use` (a, b), unique (room, `of,use` without overlaps))",
    "create table k.child (id int primary key, parent int, other int, \
     constraint `k 1` foreign key (parent) references k.places (id) on delete set null on update cascade)",
    "create table k.parent (id int primary key, child int, foreign key (child) references k.child (id), foreign key (id) references k.parent (id))",
    "alter table k.child add constraint circle foreign key (other) references k.parent (id)",
    "set session sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    "create function k.\"f\"\"`\"(x int) returns varchar(10) character set latin1 deterministic comment 'it''s \\n' return 'a\\' || \"x\"",
    "create view k.ansi as select 'a\\' || \"t\" as \"q`\" from k.numbers",
    "create event k.sleepy on schedule every 1 hour starts '2020-01-01' on completion preserve comment ' \\' do begin select '\\ENABLE'; end",
    "use k",
    "create trigger second before insert on k.old for each row set new.t = new.t || '\\'",
    "create trigger first before insert on old for each row precedes second set new.t = new.t || 'é'",
    "create trigger third before insert on k.old for each row follows first set @\"x\" = 1",
    "set session sql_mode = 'ORACLE'",
    "create package k.pack as function f return int; end",
    "create package body k.pack as function f return int as begin return 1; end; end",
    "set session sql_mode = ''",
    "set names latin1 collate latin1_german1_ci",
    // As bytes of latin1 these are two other characters.
    "create procedure k.latin() begin declare x varchar(9) default 'é'; select 'é', x; end",
    "set names utf8mb4",
    "set session time_zone = '+05:30', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE'",
    "create event k.once on schedule at '2037-01-01 00:00:00' do select 1",
    "create event k.late on schedule at '2037-01-01 00:00:00' on completion preserve disable do select 1",
    "set session time_zone = '+00:00', sql_mode = ''",
    "create function k.three() returns int deterministic return 3",
    "create view k.z_first as select i, g + k.three() as g from k.numbers",
    "create algorithm = merge sql security invoker view k.a_last (x, `y,`) as select z.i, n.t from k.z_first z join k.ansi a \
     join k.numbers n on n.i = z.i where z.i > 1 with cascaded check option",
    "create definer = nobody@nowhere view k.orphan as select 1 as one",
    "alter database k collate utf8mb4_general_ci",
    "create role reader",
    "create role `chief of`",
    "create role unused",
    "grant select on k.* to reader",
    "grant reader to `chief of` with admin option",
    "grant execute on function k.three to `chief of`",
    "create user app@'%' identified by 'secret' require ssl with max_user_connections 3 password expire interval 30 day account lock",
    "create user app@localhost identified via unix_socket or mysql_native_password using password('two')",
    "create user open@'%'",
    "create user expired@'%' identified by 'x' password expire",
    "grant `chief of` to app@'%'",
    "set default role `chief of` for app@'%'",
    "grant all privileges on `k`.* to app@'%' with grant option",
    "grant select (i), update (t), references on k.numbers to open@'%'",
    "grant process, replication client on *.* to app@localhost",
    "grant proxy on app@'%' to open@'%'",
    "grant show databases on *.* to public",
];

/// Rows of both servers.
pub(crate) const ROWS: &[&str] = &[
    "set session sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0",
    "insert into k.numbers (i, t, m, d, g, n, c) values (0, 0, 3, 1.5, 1e308, 1, 1), (18446744073709551614, 255, -8388608, \
     -99999999999999999999999999999999999.999999999999999999999999999999, -1e-300, 2, null)",
    "insert into k.texts (v, l, u) values ('one', 'word', '00000000-0000-0000-0000-000000000001'), \
     ('two', '😀', '00000000-0000-0000-0000-000000000002')",
    "insert into k.places values (1, point(1, 2), st_geomfromtext('polygon((0 0,1 0,1 1,0 0))'), null), (null, point(3, 4), null, null)",
    "insert into k.unique_key values (1, 2, null), (2, 1, null)",
    "insert into k.parts values (1, '2019-01-01', 'x'), (2, '2026-11-21', 'y')",
    "insert into k.booked values (1, '2026-01-01', '2026-02-01'), (1, '2026-02-01', '2026-03-01')",
    "insert into k.child values (1, 1, 2), (2, null, null)",
    "insert into k.parent values (2, 1)",
];

pub(crate) async fn run<S: AsRef<str>>(conn: &mut Conn, statements: &[S]) {
    for sql in statements.iter().map(AsRef::as_ref) {
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// With a type that only newer servers have.
pub(crate) async fn create(conn: &mut Conn) {
    run(conn, &schema()).await;
    if value(conn, "select version() >= '11.7'").await == "1" && !value(conn, "select version()").await.starts_with("10.") {
        run(conn, &["create table k.vectors (id int primary key, v vector(3) not null, vector key (v) m=8 distance=cosine)"])
            .await;
    }
}
