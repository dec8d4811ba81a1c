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
