//! A schema in which every kind of object that MySQL has is there, at its limits, and named so that careless text would break.

use mysql_async::{Conn, prelude::Queryable as _};

/// Sixty-four characters in back-ticks, with quotes, a newline, a percent sign, a backslash and a comma.
pub(crate) const NAME: &str = "`we\"ird``'; --\n\\%,(☃ 3456789 123456789 123456789 123456789 1234567`";

pub(crate) fn schema() -> Vec<String> {
    SCHEMA.iter().map(|sql| sql.replace("{n}", NAME)).collect()
}

const SCHEMA: &[&str] = &[
    "set session sql_mode = ''",
    "set global partial_revokes = 1",
    "create database k character set utf8mb4 collate utf8mb4_0900_ai_ci",
    "create table k.numbers (i bigint unsigned auto_increment, t tinyint unsigned zerofill, m mediumint, d decimal(65,30), \
     f float(7,3), g double, b bit(64) default b'1', o boolean, y year, s int as (t + 1) stored, v int as (t + 2) virtual invisible, \
     n int default (1 + 2), c int check (c > 0 and c <> 7), primary key (t), unique (d), key (s), unique (i), key (v), \
     key down (m desc, g) comment 'a, b', key off (f) invisible, unique odd ((c + m), y), \
     constraint `limit` check (m < 100 or 'a)' = ',') not enforced) auto_increment = 77",
    "create table k.times (d date default '0000-00-00', t time(6), dt datetime(6) default current_timestamp(6) on update \
     current_timestamp(6), z timestamp not null default '0000-00-00 00:00:00', n timestamp null, e timestamp(3) not null)",
    "create table k.texts (e enum('a,b', 'c''d', '', '\\\\', 'é\n') default 'a,b', s set('x', 'y;', ')') default 'x,y;', \
     j json default (json_object('a', 'é')), c char(3) character set latin1 collate latin1_bin default 'é', v varchar(9000) collate utf8mb4_bin, \
     x varbinary(9) default 0x00ff1a275c, l longtext default ('it''s \\\\ \n'), bl longblob, u binary(16) default (uuid_to_bin(uuid())), \
     unique word (v(20)), fulltext one (v), fulltext two (l) with parser ngram, key (c), key low ((lower(c))), \
     key many ((cast(j->'$.a' as unsigned array)))) comment = 'AUTO_INCREMENT=7 '') crème 😀' row_format = dynamic stats_persistent = 1",
    "create table k.places (id int, p point not null srid 4326, g geometry srid 0, po polygon, spatial key (p), unique (id), w vector(3))",
    "create table k.unique_key (a int not null, b int not null, c int, unique z (b, a), unique y (c), key x (c), unique w (a))",
    "create table k.old (id int auto_increment, grp int, t text, primary key (grp, id), fulltext (t)) engine = MyISAM",
    "create table k.memory (t varchar(9), key (t) using hash) engine = Memory",
    "create table k.small (id int primary key, t text) row_format = compressed key_block_size = 4",
    "create table k.parts (id int, at date, t text, primary key (id, at), key (at)) partition by range (year(at)) \
     subpartition by hash (id) subpartitions 2 (partition a values less than (2020) comment = 'it''s', partition b values less than maxvalue)",
    "create table k.lists (c varchar(9), key (c)) partition by list columns (c) (partition p values in ('a,', 'b'')'))",
    "set session sql_generate_invisible_primary_key = 1",
    "create table k.keyless (t varchar(9), key (t))",
    "set session sql_generate_invisible_primary_key = 0",
    "create table k.child (id int primary key, parent int, other int, \
     constraint `k 1` foreign key (parent) references k.places (id) on delete set null on update cascade)",
    "create table k.parent (id int primary key, child int, foreign key (child) references k.child (id))",
    "alter table k.child add constraint circle foreign key (other) references k.parent (id)",
    "set session restrict_fk_on_non_standard_key = 0",
    "create table k.loose (id int primary key, a mediumint, key (a), constraint loose foreign key (a) references k.numbers (m))",
    "set session sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    "create function k.\"f\"\"`\"(x int) returns varchar(10) character set latin1 deterministic comment 'it''s \\n' return 'a\\' || \"x\"",
    "create view k.ansi as select 'a\\' || \"t\" as \"q`\" from k.numbers",
    "create event k.sleepy on schedule every 1 hour starts '2020-01-01' on completion preserve comment ' \\' do begin select '\\ENABLE'; end",
    "use k",
    "create trigger second before insert on k.old for each row set new.t = new.t || '\\'",
    "create trigger first before insert on old for each row precedes second set new.t = new.t || 'é'",
    "create trigger third before insert on k.old for each row follows first set @\"x\" = 1",
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
    "create database {n} character set latin1 collate latin1_german2_ci",
    "create table {n}.{n} ({n} bigint unsigned auto_increment, `b,` varchar(40) default ') , KEY `x` (', key {n} ({n}, `b,`), \
     key `k(` (`b,`), constraint {n} foreign key ({n}) references k.numbers (i))",
    "create view {n}.`v``w` as select {n} as `%` from {n}.{n}",
    "create view {n}.above as select * from {n}.`v``w`",
    "create procedure {n}.{n}() comment 'it''s \\\\' select 1",
    "create trigger {n}.{n} before insert on {n}.{n} for each row set new.`b,` = concat(new.`b,`, '')",
    "create event {n}.{n} on schedule every 1 year disable comment 'ENABLE DO' do select 'ENABLE'",
    "create role reader, `chief of`, unused",
    "grant select on k.* to reader",
    "grant reader to `chief of` with admin option",
    "grant execute on function k.three to `chief of`",
    "create user app@'%' identified by 'secret' require ssl with max_user_connections 3 password expire interval 30 day \
     failed_login_attempts 3 password_lock_time 2 account lock attribute '{\"a\": \"it''s\"}'",
    "create user open@'%' identified with sha256_password by 'two'",
    "create user expired@'%' identified by 'x' default role reader password expire password history 5",
    "create user 'o''dd\"`\\\\☃'@'10.%' identified by 'p''w'",
    "grant select (`b,`), insert on {n}.{n} to 'o''dd\"`\\\\☃'@'10.%' with grant option",
    "grant execute on procedure {n}.{n} to 'o''dd\"`\\\\☃'@'10.%'",
    "grant `chief of` to app@'%'",
    "set default role `chief of` to app@'%'",
    "grant all privileges on `k`.* to app@'%' with grant option",
    "grant select (i), update (t), references on k.numbers to open@'%'",
    "grant select on *.* to open@'%'",
    "revoke select on k.* from open@'%'",
    "grant backup_admin on *.* to open@'%' with grant option",
    "grant proxy on app@'%' to open@'%'",
];

/// Rows of both servers.
pub(crate) const ROWS: &[&str] = &[
    "set session sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0",
    "insert into k.numbers (i, t, m, d, g, n, c) values (0, 0, 3, 1.5, 1e308, 1, 1), (18446744073709551614, 255, -8388608, \
     -99999999999999999999999999999999999.999999999999999999999999999999, -1e-300, 2, null)",
    "insert into k.texts (v, l, u, j) values ('one', 'word', 'x', '{\"a\": [1, 2]}'), ('two', '😀', 'y', '{}')",
    "insert into k.places (id, p) values (1, st_srid(point(1, 2), 4326)), (null, st_srid(point(3, 4), 4326))",
    "insert into k.unique_key values (1, 2, null), (2, 1, null)",
    "insert into k.parts values (1, '2019-01-01', 'x'), (2, '2026-11-21', 'y')",
    "insert into k.child values (1, 1, 2), (2, null, null)",
    "insert into k.parent values (2, 1)",
];

/// Once there are rows to count.
pub(crate) const HISTOGRAMS: &[&str] = &[
    "analyze table k.numbers update histogram on m, g with 7 buckets",
    "analyze table k.unique_key update histogram on c with 9 buckets auto update",
];

pub(crate) async fn run<S: AsRef<str>>(conn: &mut Conn, statements: &[S]) {
    for sql in statements.iter().map(AsRef::as_ref) {
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
