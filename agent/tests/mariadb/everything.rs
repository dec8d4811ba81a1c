//! A schema with every kind of type, object and name that a copy could stumble over.
//!
//! A name has no character beyond the basic plane: the server itself refuses an emoji there (error 1300).

use mysql_async::{Conn, prelude::Queryable as _};

/// With quotes of each kind, a newline, a dot, a slash and a snowman. As it stands between back-ticks.
pub(crate) const HOSTILE: &str = "we\"ird``'; --\n../x ☃";

pub(crate) async fn create(root: &mut Conn) {
    let hostile = format!("`{HOSTILE}`");
    for sql in [
        "set session sql_mode = ''",
        "create database every",
        "use every",
        "create table every.numbers (id bigint unsigned primary key auto_increment, t tinyint, m mediumint, d decimal(65,30), \
         f float, g double, b bit(64), z int zerofill, s int as (t + 1) stored, v int as (t + 2) virtual, h int invisible default 7)",
        "insert into every.numbers (t, m, d, f, g, b, z) values \
         (-128, -8388608, -99999999999999999999999999999999999.999999999999999999999999999999, 1e-38, 1e308, b'1', 5), \
         (127, 8388607, 99999999999999999999999999999999999.999999999999999999999999999999, -1e38, -1e-300, ~0, 0), \
         (null, null, null, null, null, null, null)",
        "create table every.times (id int primary key, d date, t time(6), dt datetime(6), ts timestamp(6) null, y year)",
        "insert into every.times values (1, '0000-00-00', '-838:59:59', '0000-00-00', '0000-00-00', 0), \
         (2, '9999-12-31', '838:59:59.999999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', 2155)",
        "create table every.texts (id int primary key, e enum('a,b', 'c''d', ''), s set('x', 'y;'), j json, c char(3), \
         v varchar(200) collate utf8mb4_bin, bl longblob, u uuid, i inet6, fulltext key (v)) comment 'crème 😀'",
        "insert into every.texts values (1, 'a,b', 'x', '{\"a\": [1, \"😀\"]}', 'é☃😀', 'a\\0b\\\\''\"\\n\\r😀', 0x00FF1A27, uuid(), '::1')",
        "insert into every.texts (id, bl) values (2, repeat('x', 4000000)), (3, '')",
        "create table every.places (id int primary key, p point not null, g geometry, spatial key (p))",
        "insert into every.places values (1, point(1, 2), st_geomfromtext('polygon((0 0,1 0,1 1,0 0))'))",
        "create table every.old (id int primary key, t text) engine = MyISAM",
        "insert into every.old values (1, 'one'), (2, repeat('two', 1000))",
        "create table every.crashsafe (t text, fulltext key (t)) engine = Aria",
        "insert into every.crashsafe values ('no key here')",
        "create table every.small (id int primary key, t text) row_format = compressed key_block_size = 4",
        "insert into every.small select seq, repeat(seq, 100) from seq_1_to_2000",
        "create table every.parts (id int, at date, primary key (id, at)) partition by range (year(at)) \
         (partition a values less than (2020), partition b values less than maxvalue)",
        "insert into every.parts values (1, '2019-01-01'), (2, '2026-11-21')",
        "create table every.child (id int primary key, parent bigint unsigned, foreign key (parent) references every.numbers (id))",
        "insert into every.child values (1, 1)",
        "create table every.versioned (id int primary key, t text) with system versioning",
        "insert into every.versioned values (1, 'was')",
        "update every.versioned set t = 'is'",
        "create sequence every.counter start with 5",
        "select nextval(every.counter)",
        "create view every.seen as select id, t from every.numbers",
        "create function every.twice(n int) returns int deterministic return n * 2",
        "create procedure every.noop() begin end",
        "create trigger every.looks before insert on every.child for each row set new.id = new.id + 0",
        "create event every.rarely on schedule every 1 year do insert into every.old values (9, 'nine')",
        "create role reader",
        "grant select on every.* to reader",
        &format!("create database {hostile}"),
        &format!("create table {hostile}.{hostile} ({hostile} int primary key, b longtext)"),
        &format!("insert into {hostile}.{hostile} values (1, '😀'), (2, repeat('é', 100000))"),
        &format!("create view {hostile}.`v{HOSTILE}` as select * from {hostile}.{hostile}"),
        "create user 'o''dd\"`☃'@'%' identified by 'p''w'",
    ] {
        root.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Values that a careless copy changes, and what else a dump could stumble over.
const CAREFUL: &[&str] = &[
    "set session sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
    "create database careful character set utf8mb4",
    "create table careful.floats (id int primary key, f float, g double, h float(7,3), i double(20,4))",
    "insert into careful.floats select seq, rand(seq) * pow(10, cast(seq % 70 as signed) - 35), rand(seq) * pow(10, cast(seq % 600 as signed) - 300), rand(seq) * 1000, \
     rand(seq) * 1e9 from seq_0_to_2000",
    "insert into careful.floats values (-1, -0e0, -0e0, -0e0, null), (-2, 3.4028234e38, 1.7976931348623157e308, 9999.999, 0), \
     (-3, 1.4e-45, 5e-324, -9999.999, 0)",
    "create table careful.sets (id int auto_increment primary key, e enum('', '1', '2', 'é'), x enum('2', '1'), s set('', 'a', '1'), \
     b1 bit(1), b9 bit(9), b64 bit(64))",
    "insert into careful.sets values (0, '', '1', 'a,1', b'1', b'100000001', ~0), (7, 'nothing', 'nothing', 0, 0, 9, 10), \
     (8, null, null, null, null, null, null), (9, 2, 2, '', 1, 0x5c, 0x090a5c00)",
    "create table careful.charsets (id int primary key, l varchar(300) character set latin1, u varchar(300) character set ucs2, \
     w varchar(300) character set utf16, x char(9) character set utf32, s varchar(300) character set sjis, g text character set gbk, \
     k varchar(9) character set cp1251, n varbinary(300), c char(5), p binary(5))",
    "insert into careful.charsets values (1, x'8190ff09005c0a', 'é\\t\\\\\\0☃', '😀é', '😀', 'ソ表', '表誠', 'ЙЯ', x'00095c0a0d1a27', ' a ', 'a')",
    "insert into careful.charsets (id, l, n, c, g) values (2, '', '', '', ''), (3, null, null, null, null), (4, '\\\\N', 'NULL', '\\\\', '\\\\')",
    "create table careful.types (id int primary key, u uuid, i4 inet4, i6 inet6, j json, g geometry, d date, dt datetime, y year)",
    "insert into careful.types values (1, '00000000-0000-0000-0000-000000000001', '1.2.3.4', '2001:db8:1:2::3', '[1.0, \"\\\\u00e9\"]', \
     st_geomfromtext('multipoint(0 0, 1 2)', 4326), '2020-00-00', '0000-00-00', 0), (2, null, '0.0.0.0', '::ffff:1.2.3.4', '1', \
     st_geomfromtext('geometrycollection(point(9 10), linestring(92 92, 0 0))'), '2021-02-00', null, 2155), (3, null, null, '2001:db8::aa:bbb', null, null, null, null, null)",
    "create table careful.no_key (a int, b text)",
    "insert into careful.no_key select seq % 3, if(seq % 5, repeat('x', seq), null) from seq_1_to_500",
    "create table careful.hidden (a int invisible default 3, b int as (c * 2) virtual, c int primary key, d int as (c + 1) stored, key (d))",
    "insert into careful.hidden (a, c) values (null, 0), (5, -1)",
    "create table careful.negative (id bigint primary key, pad varchar(400))",
    "insert into careful.negative select -9223372036854775808 + cast(seq * 1000003 as signed), repeat('n', 400) from seq_0_to_3000",
    "insert into careful.negative select 9223372036854775807 - cast(seq as signed), repeat('p', 400) from seq_0_to_1000",
    "create table careful.large (id bigint unsigned primary key, b longblob)",
    "insert into careful.large values (18446744073709551615, repeat(unhex('00095c0a'), 16777216))",
    "create table careful.many (tenant int unsigned, id int, pad varchar(300) not null, key pad (pad), primary key (tenant, id))",
    "insert into careful.many select seq / 100, seq, repeat(char(33 + seq % 90), 300) from seq_1_to_20000",
    "analyze table careful.negative, careful.many, careful.large",
    // A snapshot holds none of these.
    "alter table every.old engine = InnoDB",
    "drop table every.crashsafe",
    "create table every.crashsafe (t text, fulltext key (t)) engine = InnoDB",
];

/// What a dump is made of: all of the above, but for tables that no snapshot holds.
pub(crate) async fn with_rows(root: &mut Conn) {
    create(root).await;
    for sql in CAREFUL {
        root.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// A server takes writes from administrators alone.
pub(crate) const SHUT: &str = "set global read_only = 1";

/// A table in many pieces.
pub(crate) const PIECES: &[&str] = &[
    "create table app.many (id int primary key, pad varchar(500) not null, key (pad))",
    "insert into app.many select seq, repeat(char(33 + seq % 90), 500) from app.seq_1_to_20000",
    "analyze table app.many",
];

/// One in a single piece, of 25 MB.
pub(crate) const WHOLE: &[&str] = &[
    "create table app.whole (t varchar(300))",
    "insert into app.whole select concat(sha2(seq, 512), sha2(-seq, 512)) from app.seq_1_to_100000",
    "analyze table app.whole",
];

/// What a dump brings along. Accounts are made by statements: what they are the schema's own test compares.
pub(crate) async fn copied(root: &mut Conn) -> Vec<String> {
    digests(root).await.into_iter().filter(|one| !one.starts_with("account ")).collect()
}

/// `kind name`, and a digest or the text that makes it, of all that is there but the system's own. Sorted.
pub(crate) async fn digests(root: &mut Conn) -> Vec<String> {
    // The server leaves the current schema out of what it shows.
    root.query_drop("use information_schema").await.unwrap();
    let ours = "TABLE_SCHEMA not in ('mysql', 'sys', 'information_schema', 'performance_schema')";
    let tables: Vec<(String, String, String)> = root
        .query(format!("select TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE from information_schema.TABLES where {ours} order by 1, 2"))
        .await
        .unwrap();
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let mut all = Vec::new();
    for (schema, table, kind) in tables {
        let name = format!("{}.{}", quoted(&schema), quoted(&table));
        if kind != "VIEW" {
            let sum: Option<(String, Option<u64>)> = root.query_first(format!("checksum table {name} extended")).await.unwrap();
            let sum = sum.and_then(|(_, sum)| sum);
            assert!(sum.is_some() || kind == "SEQUENCE", "{name} has no digest");
            all.push(format!("{kind} {name} {sum:?}"));
        }
        let made: Vec<mysql_async::Row> = root.query(format!("show create table {name}")).await.unwrap();
        let made: String = made[0].get(1).unwrap();
        // How far a counter has come is not the table's form.
        let counter = made.split(" AUTO_INCREMENT=").next().unwrap_or_default().len();
        all.push(format!("made {name} {}", &made[..counter]));
    }
    for (kind, sql) in [
        (
            "routine",
            "select concat(ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_DEFINITION, SQL_MODE) from information_schema.ROUTINES where ROUTINE_SCHEMA <> 'sys'",
        ),
        (
            "trigger",
            "select concat(TRIGGER_SCHEMA, TRIGGER_NAME, ACTION_STATEMENT) from information_schema.TRIGGERS where TRIGGER_SCHEMA <> 'sys'",
        ),
        ("event", "select concat(EVENT_SCHEMA, EVENT_NAME, EVENT_DEFINITION) from information_schema.EVENTS"),
        (
            "account",
            "select concat(Host, User, json_remove(Priv, '$.password_last_changed')) from mysql.global_priv where User not like 'flytt%'",
        ),
        ("grant", "select concat_ws('/', Host, Db, User) from mysql.db where User not like 'flytt%'"),
    ] {
        let found: Vec<String> = root.query(format!("{sql} order by 1")).await.unwrap();
        assert!(!found.is_empty(), "no {kind} to compare");
        all.extend(found.into_iter().map(|text| format!("{kind} {text}")));
    }
    all
}
