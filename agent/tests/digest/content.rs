//! The rows of both databases, and what is planted in the second.

/// What, in which table, and how. Each is taken back by the end of its transaction.
pub(crate) const PLANTS: &[(&str, &str, &[&str])] = &[
    ("one bit of a BLOB", "every", &["update every set bl = 'y' where id = 4"]),
    ("a byte amid a large BLOB", "every", &["update every set bl = insert(bl, 30000, 1, 'p') where id = 5"]),
    ("a BLOB without its end", "every", &["update every set bl = left(bl, 59999) where id = 5"]),
    ("the first row missing", "every", &["delete from every where id = 1"]),
    ("the last row missing", "every", &["delete from every where id = 5"]),
    ("one more row of NULLs", "every", &["insert into every (id) values (6)"]),
    ("another key", "every", &["update every set id = 6 where id = 5"]),
    ("NULL for ''", "every", &["update every set vc = null where id = 3"]),
    ("'' for NULL", "every", &["update every set vc = '' where id = 1"]),
    ("'-' for NULL", "every", &["update every set vc = '-' where id = 1"]),
    ("NULL for no bytes", "every", &["update every set bl = null where id = 3"]),
    ("no text for NULL", "every", &["update every set tx = '' where id = 1"]),
    ("zero for NULL", "every", &["update every set de = 0 where id = 1"]),
    ("NULL for zero", "every", &["update every set ti = null where id = 3"]),
    ("the last digit of a DECIMAL", "every", &["update every set de = de + 0.0000000001 where id = 2"]),
    ("the last bit of a DOUBLE", "every", &["update every set dbl = 0.10000000000000002e0 where id = 2"]),
    ("the seventh digit of a FLOAT", "every", &["update every set fl = 16777218 where id = 4"]),
    ("one of a BIGINT UNSIGNED", "every", &["update every set biu = biu - 1 where id = 2"]),
    ("a microsecond of a DATETIME", "every", &["update every set dt6 = '2024-02-29 23:59:59.999998' where id = 2"]),
    ("a microsecond of a TIMESTAMP", "every", &["update every set ts6 = '2024-02-29 23:59:59.000002' where id = 2"]),
    ("a microsecond of a TIME", "every", &["update every set tm6 = '-00:00:00.000002' where id = 2"]),
    ("a second of a TIMESTAMP", "every", &["update every set ts = '2024-02-29 23:59:58' where id = 2"]),
    ("a day of a DATE", "every", &["update every set da = '2024-02-28' where id = 2"]),
    ("a YEAR", "every", &["update every set yr = 2154 where id = 2"]),
    ("a blank at the end of a VARCHAR", "every", &["update every set vc = concat(vc, ' ') where id = 2"]),
    ("a zero byte at the end", "every", &["update every set vb = concat(vb, x'00') where id = 2"]),
    ("a byte of a BINARY", "every", &["update every set bi = 'abc' where id = 2"]),
    ("the case of a character", "every", &["update every set ch = 'aB' where id = 2"]),
    ("an accent that compares as equal", "every", &["update every set ch = 'áb' where id = 2"]),
    ("a character of a TEXT", "every", &["update every set tx = 'ä€𝄟 ' where id = 2"]),
    ("a character of UTF-16", "every", &["update every set u16 = 'Ä' where id = 2"]),
    ("a character of latin1", "every", &["update every set vc = 'è#\\\\' where id = 2"]),
    ("another member of an ENUM", "every", &["update every set en = 'b' where id = 2"]),
    ("the error value for a member ''", "every", &["update every set en = 0 where id = 4"]),
    ("a member of a SET less", "every", &["update every set se = 'x' where id = 2"]),
    ("the highest of 64 bits", "every", &["update every set b64 = 0x7fffffffffffffff where id = 2"]),
    ("the only BIT", "every", &["update every set b1 = b'0' where id = 2"]),
    ("a value of a JSON", "every", &["update every set js = '{\"b\":1, \"a\":[1.0,1e0,\"y\"]}' where id = 2"]),
    ("a coordinate", "every", &["update every set g = st_geomfromtext('POINT(1 3)') where id = 2"]),
    ("a reference system", "every", &["update every set g = st_geomfromtext('POINT(1 2)', 4326) where id = 2"]),
    ("a character on the other side", "pairs", &["update pairs set x = 'x', y = '0y' where id = 1"]),
    ("a separator on the other side", "pairs", &["update pairs set x = 'x', y = '#y' where id = 2"]),
    ("columns exchanged", "pairs", &["update pairs set x = 'y', y = 'x0' where id = 1"]),
    (
        "values exchanged between rows",
        "pairs",
        &["update pairs set x = 'bobby' where id = 3", "update pairs set x = 'alice' where id = 4"],
    ),
    ("a row twice", "keyless", &["insert into keyless values (3, 'single')"]),
    ("a row three times", "keyless", &["insert into keyless values (3, 'single'), (3, 'single')"]),
    ("two rows that cancel under XOR", "keyless", &["insert into keyless values (7, 'new'), (7, 'new')"]),
    (
        "a pair of rows for another pair",
        "keyless",
        &["delete from keyless where a = 1", "insert into keyless values (2, 'two'), (2, 'two')"],
    ),
    ("a row amid a range missing", "compound", &["delete from compound where a = 5 and k = 'é5' and d = -23.75"]),
];

/// As the research of the types found them awkward; ENUM and SET do not sort as they compare.
pub(crate) const EVERY: &[&str] = &[
    "create table every (id int primary key, ti tinyint, biu bigint unsigned, zf int(8) zerofill, de decimal(30,10), fl float, \
     dbl double, fm float(7,2), da date, dt datetime, dt6 datetime(6), ts timestamp null, ts6 timestamp(6) null, tm time, \
     tm6 time(6), yr year, b1 bit(1), b64 bit(64), ch char(10) character set utf8mb4 collate utf8mb4_general_ci, \
     vc varchar(50) character set latin1, vb varbinary(50), bi binary(6), bl blob, tx text character set utf8mb4 collate utf8mb4_bin, \
     u16 varchar(20) character set utf16, en enum('a', 'b', '', 'ä') character set utf8mb4, se set('x', 'y', 'z'), js json, \
     g geometry, gc int as (ti + 1) virtual, gs int as (ti + 2) stored)",
    "insert into every (id) values (1)",
    "insert into every (id, ti, biu, zf, de, fl, dbl, fm, da, dt, dt6, ts, ts6, tm, tm6, yr, b1, b64, ch, vc, vb, bi, bl, tx, u16, en, \
     se, js, g) values \
     (2, -1, 18446744073709551615, 42, -12345678901234567890.0123456789, 0.1, 0.1, 12345.68, '2024-02-29', '2024-02-29 23:59:59', \
     '2024-02-29 23:59:59.999999', '2024-02-29 23:59:59', '2024-02-29 23:59:59.000001', '-838:59:59', '-00:00:00.000001', 2155, b'1', \
     0xFFFFFFFFFFFFFFFF, 'ab  ', 'é#\\\\', 'a\\0b  ', 'ab', '\\0\\\\''#', 'ä€𝄞 ', 'ä', 'ä', 'x,z', '{\"b\":1, \"a\":[1.0,1e0,\"x\"]}', \
     st_geomfromtext('POINT(1 2)')), \
     (3, 0, 0, 0, 0, 0, 0, 0, '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '00:00:00', '00:00:00', 0, b'0', 0, \
     '', '', '', '', '', '', '', '', '', '{}', st_geomfromtext('POINT(1 2)', 4326)), \
     (4, 1, 1, 1, 0.0000000001, 16777217, 1.7976931348623157e308, 1, '2024-02-31', '1000-01-01', '9999-12-31 23:59:59.999999', \
     '2038-01-19 03:14:07', '1970-01-01 00:00:01', '838:59:59', '838:59:59.000000', 1901, 1, 1, ' x', 'x ', 'x ', 'x', 'x', 'X', 'x', 3, \
     7, '[0.1, 1e40]', null)",
    "insert into every (id, bl) values (5, repeat('q', 60000))",
    "create table pairs (id int primary key, x varchar(20) not null, y varchar(20))",
    "insert into pairs values (1, 'x0', 'y'), (2, 'x#', 'y'), (3, 'alice', 'r'), (4, 'bobby', 'r')",
    "create table keyless (a int, b varchar(20))",
    "insert into keyless values (1, 'one'), (1, 'one'), (2, 'two'), (2, 'two'), (3, 'single'), (null, null)",
    "create table member (e enum('b', 'a') primary key, v int)",
    "insert into member values ('a', 1), ('b', 2)",
    "create table compound (d decimal(6,2), v int, k varchar(20) collate utf8mb4_general_ci, a int, primary key (a, k, d))",
    "insert into compound select (n - 100) * 0.25, n, concat('é', n % 20), n % 10 from counted",
    "create table empty_one (id int primary key)",
];

/// Types of keys, and values of those from a number `n` from 1 to 200.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("bigint unsigned", "18446744073709551615 - n"),
    ("decimal(20,5)", "(n - 100) / 8"),
    ("double", "(n - 100) / 7e0"),
    ("float", "(n - 100) * 1.1e0"),
    ("bit(40)", "n * 1000000"),
    ("date", "'2024-02-01' + interval n day"),
    ("datetime(6)", "'2024-02-01 00:00:00.000001' + interval n * 999983 microsecond"),
    ("timestamp(3)", "'2024-03-31 00:00:00.001' + interval n * 999983 microsecond"),
    ("time(1)", "sec_to_time((n - 100) * 1000)"),
    ("year", "1900 + n"),
    ("varbinary(20)", "unhex(sha2(n, 256))"),
    ("binary(20)", "unhex(sha2(n, 256))"),
    ("char(20) character set latin1", "concat('é', n)"),
    ("varchar(20) character set utf16", "concat('ö', n)"),
    ("varchar(20) character set utf8mb4 collate utf8mb4_bin", "concat(n, '''\\\\')"),
];
