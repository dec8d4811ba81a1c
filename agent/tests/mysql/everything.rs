//! Rows that a careless copy changes, beside a schema with every kind of object; and what of it a dump must bring along.

use mysql_async::{Conn, prelude::Queryable as _};

use crate::{
    peculiar::{self, HISTOGRAMS, ROWS},
    schema::{plain, shown},
};

const CAREFUL: &[&str] = &[
    "set session sql_mode = 'NO_AUTO_VALUE_ON_ZERO', cte_max_recursion_depth = 1000000",
    "create database careful character set utf8mb4",
    "create table careful.floats (id int primary key, f float, g double, h float(7,3), i double(20,4))",
    "insert into careful.floats with recursive seq (n) as (select 0 union all select n + 1 from seq where n < 2000) \
     select n, rand(n) * pow(10, cast(n % 70 as signed) - 35), rand(n) * pow(10, cast(n % 600 as signed) - 300), rand(n) * 1000, \
     rand(n) * 1e9 from seq",
    "insert into careful.floats values (-1, -0e0, -0e0, -0e0, null), (-2, 3.4028234e38, 1.7976931348623157e308, 9999.999, 0), \
     (-3, 1.4e-45, 5e-324, -9999.999, 0)",
    "create table careful.sets (id int auto_increment primary key, e enum('', '1', '2', 'é'), x enum('2', '1'), s set('', 'a', '1'), \
     b1 bit(1), b9 bit(9), b64 bit(64), s64 set('01','02','03','04','05','06','07','08','09','10','11','12','13','14','15','16','17', \
     '18','19','20','21','22','23','24','25','26','27','28','29','30','31','32','33','34','35','36','37','38','39','40','41','42', \
     '43','44','45','46','47','48','49','50','51','52','53','54','55','56','57','58','59','60','61','62','63','64'))",
    "insert into careful.sets values (0, '', '1', 'a,1', b'1', b'100000001', ~0, '64,01'), \
     (8, null, null, null, null, null, null, null), (9, 2, 2, '', 1, 0x5c, 0x090a5c00, '')",
    "insert ignore into careful.sets values (7, 'nothing', 'nothing', 0, 0, 9, 10, 0)",
    "create table careful.charsets (id int primary key, l varchar(300) character set latin1, u varchar(300) character set ucs2, \
     w varchar(300) character set utf16, x char(9) character set utf32, s varchar(300) character set sjis, g text character set gbk, \
     k varchar(9) character set cp1251, n varbinary(300), c char(5), p binary(5))",
    "insert into careful.charsets values (1, x'8190ff09005c0a', 'é\\t\\\\\\0☃', '😀é', '😀', 'ソ表', '表誠', 'ЙЯ', x'00095c0a0d1a27', ' a ', 'a')",
    "insert into careful.charsets (id, l, n, c, g) values (2, '', '', '', ''), (3, null, null, null, null), (4, '\\\\N', 'NULL', '\\\\', '\\\\')",
    "create table careful.types (id int primary key, j json, g geometry, q point srid 4326, v vector(3), d date, t time(6), dt datetime(6), \
     ts timestamp(6) null, y year, dc decimal(65,30), many json, key ((cast(many->'$.a' as unsigned array))))",
    "insert into careful.types values (1, '[1.0, \"\\\\u00e9\", 18446744073709551615, -0.5, 1e300, \"\\\\u0000\\\\\"\\\\\\\\\"]', \
     st_geomfromtext('multipoint(0 0, 1 2)', 4326), st_geomfromtext('point(10 20)', 4326), to_vector('[1, -0.5, 1e30]'), '2020-00-00', \
     '-838:59:59', '0000-00-00', '1970-01-01 00:00:01', 1901, 99999999999999999999999999999999999.999999999999999999999999999999, \
     '{\"a\": [1, 2]}')",
    "insert into careful.types (id, j, g, d, t, dt, ts, y, dc) values (2, '{\"a\": {\"b\": [null, true]}}', \
     st_geomfromtext('geometrycollection(point(9 10), linestring(92 92, 0 0))'), '9999-12-31', '838:59:59', \
     '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', 2155, \
     -99999999999999999999999999999999999.999999999999999999999999999999), (3, null, null, null, null, null, null, null, null)",
    "create table careful.no_key (a int, b text)",
    "insert into careful.no_key with recursive seq (n) as (select 1 union all select n + 1 from seq where n < 500) \
     select n % 3, if(n % 5, repeat('x', n), null) from seq",
    "create table careful.hidden (a int default 3 invisible, b int as (c * 2) virtual, c int primary key, d int as (c + 1) stored, key (d))",
    "insert into careful.hidden (a, c) values (null, 0), (5, -1)",
    "set session sql_generate_invisible_primary_key = 1",
    "create table careful.generated_key (a int)",
    "insert into careful.generated_key values (7), (7), (8)",
    "set session sql_generate_invisible_primary_key = 0",
    "create table careful.negative (id bigint primary key, pad varchar(400))",
    "insert into careful.negative with recursive seq (n) as (select 0 union all select n + 1 from seq where n < 3000) \
     select -9223372036854775808 + cast(n * 1000003 as signed), repeat('n', 400) from seq",
    "insert into careful.negative with recursive seq (n) as (select 0 union all select n + 1 from seq where n < 1000) \
     select 9223372036854775807 - cast(n as signed), repeat('p', 400) from seq",
    "create table careful.large (id bigint unsigned primary key, b longblob)",
    "insert into careful.large values (18446744073709551615, repeat(unhex('00095c0a'), 16777216))",
    "create table careful.many (tenant int unsigned, id int, pad varchar(300) not null, key pad (pad), primary key (tenant, id))",
    "insert into careful.many with recursive seq (n) as (select 1 union all select n + 1 from seq where n < 20000) \
     select n / 100, n, repeat(char(33 + n % 90), 300) from seq",
    "create trigger careful.looks before insert on careful.no_key for each row set new.b = concat(new.b, '!')",
    "analyze table careful.negative, careful.many, careful.large",
    // A snapshot holds none of these.
    "drop table k.old, k.memory",
];

/// All that a dump copies.
pub(crate) async fn with_rows(root: &mut Conn) {
    // The writers' account is another one.
    let schema: Vec<String> = peculiar::schema().iter().map(|sql| sql.replace("app@'%'", "shop@'%'")).collect();
    peculiar::run(root, &schema).await;
    for part in [ROWS, HISTOGRAMS, CAREFUL] {
        let part: Vec<&&str> = part.iter().filter(|sql| !sql.contains("insert into k.old")).collect();
        peculiar::run(root, &part).await;
    }
}

/// A server takes writes from nobody, and knows what the source's accounts need.
pub(crate) const SHUT: &str = "set global super_read_only = 1, global local_infile = 0, global partial_revokes = 1";

/// A table in many pieces.
pub(crate) const PIECES: &[&str] = &[
    "set session cte_max_recursion_depth = 1000000",
    "create table app.many (id int primary key, pad varchar(500) not null, key (pad))",
    "insert into app.many with recursive seq (n) as (select 1 union all select n + 1 from seq where n < 20000) \
     select n, repeat(char(33 + n % 90), 500) from seq",
    "analyze table app.many",
];

/// One in a single piece, of 25 MB.
pub(crate) const WHOLE: &[&str] = &[
    "create table app.whole (t varchar(300))",
    "insert into app.whole with recursive seq (n) as (select /*+ set_var(cte_max_recursion_depth = 1000000) */ 1 \
     union all select n + 1 from seq where n < 100000) select concat(sha2(n, 512), sha2(-n, 512)) from seq",
    "analyze table app.whole",
];

/// What a dump brings along: each row, and each object in the server's own words. Accounts of the move are each side's own, and a
/// copy has no history of passwords.
pub(crate) async fn copied(root: &mut Conn) -> Vec<String> {
    let ours = "TABLE_SCHEMA not in ('mysql', 'sys', 'information_schema', 'performance_schema') and TABLE_TYPE = 'BASE TABLE'";
    let tables: Vec<(String, String)> = root
        .query(format!("select TABLE_SCHEMA, TABLE_NAME from information_schema.TABLES where {ours} order by 1, 2"))
        .await
        .unwrap();
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let mut all = Vec::new();
    for (schema, table) in tables {
        let name = format!("{}.{}", quoted(&schema), quoted(&table));
        let columns: Vec<(String, String)> = root
            .exec(
                "select COLUMN_NAME, DATA_TYPE from information_schema.COLUMNS where TABLE_SCHEMA = ? and TABLE_NAME = ? \
                 order by ORDINAL_POSITION",
                (&schema, &table),
            )
            .await
            .unwrap();
        // Not by CHECKSUM TABLE: where a table has a multi-valued index, that gives another number each time (tried on 9.7).
        let digests = columns.iter().map(|(column, kind)| match kind.as_str() {
            "float" | "double" => format!("coalesce(crc32(concat({} * 1e0)), '-')", quoted(column)),
            _ => format!("coalesce(crc32({}), '-')", quoted(column)),
        });
        let row = digests.collect::<Vec<_>>().join(", ");
        let sql = format!("select concat(count(*), ' ', coalesce(sum(crc32(concat_ws(',', {row}))), 0)) from {name}");
        let sum: Option<String> = root.query_first(sql).await.unwrap();
        all.push(format!("rows of {name} {sum:?}"));
    }
    // Who gave `root` its privilege is another one on a copy: the installation, and the agent.
    let is_own = |object: &String| object.contains("flytt_") || object.starts_with("proxies_priv [\"'localhost'\", \"'root'\"");
    let objects = shown(root).await.into_iter().filter(|object| !is_own(object));
    all.extend(objects.map(|object| plain(&object)));
    all
}
