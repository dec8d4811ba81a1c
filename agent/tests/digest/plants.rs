//! Two databases with the same rows of every type, and faults planted in the second: each is seen, and nothing else is.

#[path = "content.rs"]
mod content;

use std::{path::Path, time::Duration};

use content::{EVERY, KEYS, PLANTS};
use flytt_agent::{
    engine::mysql_family::{
        dump::schema::{Ours, Vendor},
        session::{Login, Session},
    },
    verify::{
        Digest, Range,
        mysql_family::{Catalog, Layout, digest, distinguishes, next_key, prepare, self_test, tables},
    },
};

const LIMIT: Duration = Duration::from_secs(60);

/// A session with what a client or an option file may have set, prepared.
async fn session(vendor: Vendor, socket: &Path, account: &str, setup: &[&str]) -> Session {
    let session = Login { socket, account, password: None, setup }.open().await.unwrap();
    prepare(&session, vendor, LIMIT).await.unwrap();
    session
}

async fn run(session: &Session, sql: &str) {
    session.run(sql).await.unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
}

async fn fill(session: &Session, keys: &[(&str, &str)], more: &[&str]) {
    run(session, "set session sql_mode = 'ALLOW_INVALID_DATES'").await;
    for database in ["a", "b"] {
        run(session, &format!("create database {database} character set utf8mb4")).await;
        run(session, &format!("use {database}")).await;
        run(session, "create table counted (n int primary key)").await;
        let counted = "with recursive s as (select 1 n union all select n + 1 from s where n < 200) select n from s";
        run(session, &format!("insert into counted {counted}")).await;
        for sql in EVERY.iter().chain(more) {
            run(session, sql).await;
        }
        for (number, (kind, value)) in keys.iter().enumerate() {
            run(session, &format!("create table key{number} (v int, k {kind} primary key)")).await;
            run(session, &format!("insert into key{number} select n, {value} from counted")).await;
        }
    }
    run(session, "create table b.fleeting (id int) engine = memory").await;
    run(session, "set session sql_mode = ''").await;
}

/// The server may count anew at any time.
fn without_estimates(mut catalog: Catalog) -> Catalog {
    for layout in &mut catalog.tables {
        (layout.table.rows, layout.table.bytes) = (0, 0);
    }
    catalog
}

fn of<'a>(catalog: &'a Catalog, schema: &str, name: &str) -> &'a Layout {
    let is_it = |layout: &&Layout| layout.table.schema == schema && layout.table.name == name;
    catalog.tables.iter().find(is_it).unwrap_or_else(|| panic!("no {schema}.{name}"))
}

async fn whole(session: &Session, vendor: Vendor, layout: &Layout) -> Digest {
    digest(session, vendor, layout, &Range::Whole).await.unwrap_or_else(|failure| panic!("{layout:?}: {failure:?}"))
}

/// Ranges of at most so many rows.
async fn ranges(session: &Session, layout: &Layout, rows: u64) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut after: Option<Vec<String>> = None;
    loop {
        let up_to = next_key(session, layout, &Range::Whole.after(after.as_ref()).unwrap(), rows).await.unwrap();
        ranges.push(Range::Keys { after, up_to: up_to.clone() });
        if up_to.is_none() {
            return ranges;
        }
        after = up_to;
    }
}

/// Everything, on an empty server. `keys` are types of the vendor's own, `more` makes tables that only it has.
pub(crate) async fn all(vendor: Vendor, socket: &Path, account: &str, keys: &[(&str, &str)], more: &[&str]) {
    let one = session(vendor, socket, account, &[]).await;
    let setup = [
        "set names latin1",
        "set session time_zone = '+05:30', sql_mode = 'ANSI,PAD_CHAR_TO_FULL_LENGTH', character_set_connection = utf16",
        "set session sql_select_limit = 3, sql_auto_is_null = 1, div_precision_increment = 9",
    ];
    let other = session(vendor, socket, account, &setup).await;
    let all_keys = [KEYS, keys].concat();
    fill(&one, &all_keys, more).await;
    let catalog = tables(&one, vendor, &Ours::default()).await.unwrap();
    let again = tables(&other, vendor, &Ours::default()).await.unwrap();
    assert_eq!(without_estimates(catalog.clone()), without_estimates(again));
    let ours = Ours { databases: vec!["b".to_owned()], ..Ours::default() };
    let left = tables(&one, vendor, &ours).await.unwrap();
    assert!(left.left_out.is_empty() && left.tables.iter().all(|layout| layout.table.schema != "b"));
    assert_eq!(catalog.tables.len(), 2 * left.tables.len());
    assert!(matches!(catalog.left_out.as_slice(), [out] if out.name == "fleeting" && out.reason.contains("MEMORY")));

    nothing_else(&one, &other, vendor, &catalog).await;
    for (number, _) in all_keys.iter().enumerate() {
        assert_eq!(of(&catalog, "a", &format!("key{number}")).table.key, ["k"]);
    }
    assert_eq!(of(&catalog, "a", "compound").table.key, ["a", "k", "d"]);
    for unordered in ["keyless", "member"] {
        let layout = of(&catalog, "a", unordered);
        assert!(layout.table.key.is_empty());
        let refused = next_key(&one, layout, &Range::Whole, 7).await.unwrap_err();
        assert_eq!(refused.code, "NO_SUCH_RANGE");
    }
    if let Vendor::Mariadb = vendor {
        assert_eq!(whole(&one, vendor, of(&catalog, "a", "history")).await.rows, 2, "what a row was is part of the table");
    }
    planted(&one, vendor, &catalog).await;
    tests_itself(vendor, socket, account).await;
}

/// Without a plant all is equal, whole and in ranges, which add up.
async fn nothing_else(one: &Session, other: &Session, vendor: Vendor, catalog: &Catalog) {
    for layout in catalog.tables.iter().filter(|layout| layout.table.schema == "a") {
        let (name, twin) = (&layout.table.name, of(catalog, "b", &layout.table.name));
        let all = whole(one, vendor, layout).await;
        assert_eq!(all, whole(other, vendor, twin).await, "{name}");
        if layout.table.key.is_empty() {
            continue;
        }
        let ranges = ranges(one, layout, 7).await;
        assert!(ranges.len() as u64 > all.rows / 8, "{name} is read as a whole");
        let mut sum = (0, [0_u128; 2]);
        for range in &ranges {
            let part = digest(one, vendor, layout, range).await.unwrap();
            assert_eq!(part, digest(other, vendor, twin, range).await.unwrap(), "{name}: {range:?}");
            assert!(part.rows <= 7, "{name}: {range:?} has {} rows", part.rows);
            sum.0 += part.rows;
            for (sum, part) in sum.1.iter_mut().zip(part.sums) {
                *sum += part.parse::<u128>().unwrap();
            }
        }
        assert_eq!((all.rows, all.sums), (sum.0, sum.1.map(|sum| sum.to_string())), "{name}");
    }
}

async fn planted(one: &Session, vendor: Vendor, catalog: &Catalog) {
    run(one, "use b").await;
    let mut missed = Vec::new();
    for (what, table, plant) in PLANTS {
        let before = whole(one, vendor, of(catalog, "a", table)).await;
        run(one, "begin").await;
        for sql in *plant {
            run(one, sql).await;
        }
        if whole(one, vendor, of(catalog, "b", table)).await == before {
            missed.push(*what);
        }
        run(one, "rollback").await;
        assert_eq!(whole(one, vendor, of(catalog, "b", table)).await, before, "{what} is not taken back");
    }
    assert!(missed.is_empty(), "not seen: {missed:?}");

    // The row that ends a range is missing: its range differs, and no other.
    let (layout, twin) = (of(catalog, "a", "key0"), of(catalog, "b", "key0"));
    let ranges = ranges(one, layout, 7).await;
    let Range::Keys { up_to: Some(last), .. } = &ranges[3] else { panic!("{:?}", ranges[3]) };
    run(one, "begin").await;
    run(one, &format!("delete from key0 where k = {}", last[0])).await;
    for (number, range) in ranges.iter().enumerate() {
        let (here, there) = (digest(one, vendor, layout, range).await.unwrap(), digest(one, vendor, twin, range).await.unwrap());
        assert_eq!(here == there, number != 3, "{range:?}");
    }
    run(one, "rollback").await;

    let before = whole(one, vendor, of(catalog, "a", "pairs")).await;
    run(one, "alter table pairs modify x varchar(20) not null after y").await;
    let altered = tables(one, vendor, &Ours::default()).await.unwrap();
    assert_ne!(whole(one, vendor, of(&altered, "b", "pairs")).await, before, "the order of columns");
}

async fn tests_itself(vendor: Vendor, socket: &Path, account: &str) {
    let ready = session(vendor, socket, account, &[]).await;
    self_test(&ready, vendor).await.unwrap();
    let sum = "count(*), coalesce(sum(crc32(concat_ws(cast('#' as binary)";
    let trailers = "length(s), ifnull(length(t), '-'), isnull(b), isnull(d)";
    for (naive, case) in [
        ("count(*), bit_xor(crc32(concat_ws('#', i, s, t, b, d)))".to_owned(), "empty for NULL"),
        (
            format!("count(*), bit_xor(crc32(concat_ws(cast('#' as binary), i, s, t, sha2(b, 256), d, {trailers})))"),
            "another row three times",
        ),
        (format!("{sum}, i, s, t, b, d))), 0)"), "empty for NULL"),
        (format!("{sum}, i, s, t, sha2(b, 256), d, isnull(t), isnull(b), isnull(d)))), 0)"), "separator"),
        ("count(*), count(*)".to_owned(), "another character"),
    ] {
        let refused = distinguishes(&ready, |from| format!("select {naive} from {from}")).await.unwrap_err();
        assert_eq!(refused.code, "DIGEST_BLIND");
        assert!(refused.sentence.contains(case), "{naive}: {}", refused.sentence);
    }
    let bare = Login { socket, account, password: None, setup: &["set session time_zone = '+01:00'"] }.open().await.unwrap();
    let refused = self_test(&bare, vendor).await.unwrap_err();
    assert!(refused.code == "DIGEST_BLIND" && refused.sentence.contains("not prepared"), "{refused:?}");

    let packet = ready.value("select @@global.max_allowed_packet").await.unwrap();
    run(&ready, "set global max_allowed_packet = 65536").await;
    let small = Login { socket, account, password: None, setup: &[] }.open().await.unwrap();
    assert_eq!(prepare(&small, vendor, LIMIT).await.unwrap_err().code, "ROW_MAY_NOT_FIT");
    run(&ready, &format!("set global max_allowed_packet = {packet}")).await;
}
