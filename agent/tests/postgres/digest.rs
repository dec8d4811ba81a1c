//! Digests of tables: two databases with the same rows have the same ones, and no fault that is put into one of them stays unseen.

mod faults;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use flytt_agent::{
    engine::Engine as _,
    verify::{
        Digest, Range, Table,
        postgres::{Scheme, digest, next_key, pages, prepare, self_test, tables, trial},
    },
};
use flytt_proto::v1;
use tokio_postgres::{Client, NoTls};

use self::faults::FAULTS;
use crate::{server::Server, user::as_server_user};

const SCHEMES: [Scheme; 3] = [Scheme::Record, Scheme::Canonical, Scheme::ByColumn];
const SEED: i64 = -6_148_914_691_236_517_205;
/// What an application's role could have set for itself: each changes how some value is written, or what is read.
const ODD: &str = "set timezone = 'Asia/Kolkata'; set datestyle = 'German'; set intervalstyle = 'iso_8601'; \
    set extra_float_digits = -10; set bytea_output = 'escape'; set quote_all_identifiers = on; set search_path = public; \
    set standard_conforming_strings = off";

async fn log_in(server: &Server, database: &str) -> Client {
    let mut settings = tokio_postgres::Config::new();
    settings.host_path(server.root.join("run")).port(server.port).user("postgres").dbname(database);
    let (client, connection) = settings.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A server with the databases a and b, of the same content, with prepared sessions in both.
async fn pair(base: PathBuf) -> (Server, Client, Client) {
    let server = Server::source(&base).await;
    let admin = server.client("postgres").await;
    for database in ["a", "b"] {
        admin.batch_execute(&format!("create database {database}")).await.unwrap();
        let client = log_in(&server, database).await;
        // Two servers never give the same OIDs.
        if database == "b" {
            client.batch_execute("create type first as enum (); create table second (a int); drop table second").await.unwrap();
        }
        client.batch_execute(include_str!("digest/rows.sql")).await.unwrap();
    }
    let (a, b) = (log_in(&server, "a").await, log_in(&server, "b").await);
    b.batch_execute(ODD).await.unwrap();
    prepare(&a).await.unwrap();
    prepare(&b).await.unwrap();
    (server, a, b)
}

async fn state(client: &Client, tables: &[Table], scheme: Scheme) -> BTreeMap<String, Digest> {
    let mut state = BTreeMap::new();
    for table in tables {
        let found = digest(client, table, &Range::Whole, scheme, SEED).await.unwrap();
        state.insert(format!("{}.{}", table.schema, table.name), found);
    }
    state
}

#[test]
fn whatever_differs_is_seen_by_each_scheme() {
    as_server_user("digest::whatever_differs_is_seen_by_each_scheme", |base| async move {
        let (_server, a, b) = pair(base).await;
        let all = tables(&a).await.unwrap().compared;
        let mut right = Vec::new();
        for scheme in SCHEMES {
            right.push(state(&a, &all, scheme).await);
            assert_eq!(right.last().unwrap(), &state(&b, &all, scheme).await, "{scheme:?}");
        }
        let mut wrong = Vec::new();
        for (name, sql) in FAULTS {
            let begin = format!("begin read write; set local search_path = public; {sql}; set local search_path = pg_catalog");
            b.batch_execute(&begin).await.unwrap();
            for (scheme, right) in SCHEMES.into_iter().zip(&right) {
                let found = state(&b, &all, scheme).await;
                let differ = right.iter().zip(&found).filter(|(right, found)| right != found).count();
                if differ != 1 {
                    wrong.push(format!("{scheme:?}: {name}: {differ} tables differ"));
                }
            }
            b.batch_execute("rollback").await.unwrap();
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        for (scheme, right) in SCHEMES.into_iter().zip(&right) {
            assert_eq!(right, &state(&b, &all, scheme).await, "{scheme:?}, after all faults");
        }
    });
}

#[test]
fn all_tables_are_compared_or_named_with_a_reason() {
    as_server_user("digest::all_tables_are_compared_or_named_with_a_reason", |base| async move {
        let (server, a, b) = pair(base).await;
        let listed = tables(&a).await.unwrap();
        let keys: BTreeMap<&str, &[String]> = listed.compared.iter().map(|table| (&*table.name, &*table.key)).collect();
        let without: [&str; 8] = ["t\\", "bag", "child", "folded", "leaf", "mat", "nothing", "parent"];
        for table in without {
            assert_eq!(keys.get(table).copied(), Some(&[][..]), "{table}");
        }
        let with: [(&str, &[&str]); 4] =
            [("many", &["a", "b"]), ("named", &["name"]), ("wide", &["id"]), ("pg_largeobject", &["loid", "pageno"])];
        for (table, key) in with {
            assert_eq!(keys.get(table).map(|key| key.iter().map(String::as_str).collect()), Some(key.to_vec()), "{table}");
        }
        assert_eq!(keys.len(), with.len() + without.len(), "{keys:?}");
        let many = listed.compared.iter().find(|table| table.name == "many").unwrap();
        assert!(many.rows == 2000 && many.bytes > 65_536, "{many:?}");
        let left_out: Vec<&str> = listed.left_out.iter().map(|left| left.name.as_str()).collect();
        assert_eq!(left_out, ["far", "lost", "unread"]);
        assert!(listed.left_out.iter().all(|left| left.reason.starts_with("is ")), "{:?}", listed.left_out);

        // A parent's digest is of its own rows, a large object's content counts.
        let find = |name: &str| listed.compared.iter().find(|table| table.name == name).unwrap();
        for (name, sql) in [("child", "delete from public.child"), ("pg_largeobject", "select lo_put(4242, 1, '\\xfe')")] {
            b.batch_execute(&format!("begin read write; {sql}")).await.unwrap();
            let (parent, table) = (find("parent"), find(name));
            for (table, same) in [(parent, true), (table, false)] {
                let of_a = digest(&a, table, &Range::Whole, Scheme::Record, SEED).await.unwrap();
                let of_b = digest(&b, table, &Range::Whole, Scheme::Record, SEED).await.unwrap();
                assert_eq!(of_a == of_b, same, "{sql}: {}", table.name);
            }
            b.batch_execute("rollback").await.unwrap();
        }
        let lock = log_in(&server, "a").await;
        lock.batch_execute("begin; lock table bag").await.unwrap();
        let refused = digest(&a, find("bag"), &Range::Whole, Scheme::Record, SEED).await.unwrap_err();
        assert_eq!(refused.code, "IN_USE", "{refused}");
    });
}

/// By ranges of keys: their ends, and what they hold.
async fn by_keys(client: &Client, ends: &[Vec<String>], table: &Table, scheme: Scheme) -> Vec<Digest> {
    let mut found = Vec::new();
    for number in 0..=ends.len() {
        let after = number.checked_sub(1).map(|before| ends[before].clone());
        let range = Range::Keys { after, up_to: ends.get(number).cloned() };
        found.push(digest(client, table, &range, scheme, SEED).await.unwrap());
    }
    found
}

fn sum(parts: &[Digest]) -> Digest {
    let of = |which: usize| parts.iter().map(|part| part.sums[which].parse::<i128>().unwrap()).sum::<i128>().to_string();
    Digest { rows: parts.iter().map(|part| part.rows).sum(), sums: [of(0), of(1)] }
}

#[test]
fn ranges_add_up_to_the_whole() {
    as_server_user("digest::ranges_add_up_to_the_whole", |base| async move {
        let (_server, a, b) = pair(base).await;
        let all = tables(&a).await.unwrap().compared;
        let many = all.iter().find(|table| table.name == "many").unwrap();
        let mut ends: Vec<Vec<String>> = Vec::new();
        while let Some(end) = next_key(&a, many, &Range::Whole.after(ends.last()).unwrap(), 300).await.unwrap() {
            ends.push(end);
        }
        assert_eq!((ends.len(), &ends[0][..]), (6, &["29".to_owned(), "k'\\9".to_owned()][..]));
        for scheme in SCHEMES {
            let whole = digest(&a, many, &Range::Whole, scheme, SEED).await.unwrap();
            let parts = by_keys(&a, &ends, many, scheme).await;
            let rows: Vec<u64> = parts.iter().map(|part| part.rows).collect();
            assert_eq!(rows, [300, 300, 300, 300, 300, 300, 200], "{scheme:?}");
            assert_eq!((sum(&parts), parts), (whole.clone(), by_keys(&b, &ends, many, scheme).await), "{scheme:?}");

            let count = pages(&a, many).await.unwrap();
            assert!(count > 6, "{count}");
            let mut parts = Vec::new();
            for from in (0..count).step_by(3) {
                let range = Range::Pages { from, before: Some(from + 3).filter(|before| *before < count) };
                parts.push(digest(&a, many, &range, scheme, SEED).await.unwrap());
            }
            assert!(parts.iter().all(|part| part.rows > 0), "{parts:?}");
            assert_eq!(sum(&parts), whole, "{scheme:?}, by pages");
        }

        // The last row of the first range and the first one of the second.
        for (row, range) in [(299, 0), (300, 1)] {
            let right = by_keys(&a, &ends, many, Scheme::Record).await;
            b.batch_execute(&format!("begin read write; delete from public.many where n = {row}")).await.unwrap();
            let found = by_keys(&b, &ends, many, Scheme::Record).await;
            let differ: Vec<usize> = (0..right.len()).filter(|at| right[*at] != found[*at]).collect();
            assert_eq!(differ, [range], "row {row}");
            b.batch_execute("rollback").await.unwrap();
        }
    });
}

/// Hashes that somebody could think of, and some of what they do not see.
const BLIND: [(&str, &[&str]); 4] = [
    (
        "hash_record_extended(t, 1)",
        &[
            "a trailing blank of char",
            "a number of the same 32 bits when folded",
            "a time of the same 32 bits when folded",
            "1.00 for 1.0",
            "-0 for 0",
            "24 hours for a day",
            "other bounds of an array",
        ],
    ),
    ("hashtextextended(concat_ws(',', t.\"left\", t.\"right\"), 1)", &["NULL for an empty text", "one bit", "another netmask"]),
    ("hashtextextended(concat(t.\"left\", t.\"right\"), 1)", &["a letter moved to the next column", "an empty text for NULL"]),
    ("hashtextextended(t.\"left\", 1)", &["a value exchanged between two rows", "a microsecond"]),
];

#[test]
fn a_digest_that_is_blind_is_refused_by_its_server() {
    as_server_user("digest::a_digest_that_is_blind_is_refused_by_its_server", |base| async move {
        let (_server, a, b) = pair(base).await;
        for scheme in SCHEMES {
            let own = self_test(&a, scheme, SEED).await.unwrap();
            assert_eq!((own.rows, &own), (3, &self_test(&b, scheme, SEED).await.unwrap()));
            assert_ne!(own, self_test(&a, scheme, SEED + 1).await.unwrap());
        }
        for (hash, unseen) in BLIND {
            let refusal = trial(&a, hash).await.unwrap_err();
            assert_eq!(refusal.code, "DIGEST_BLIND", "{hash}");
            for case in unseen {
                assert!(refusal.sentence.contains(case), "{hash}: {case} is not in: {refusal}");
            }
        }
        // One that is not the same for the same rows.
        let refusal = trial(&a, "(random() * 1e15)::bigint + t.id").await.unwrap_err();
        assert!(refusal.sentence.contains("another order"), "{refusal}");
    });
}

/// Whoever asked has gone: the server is not at work for him any more, well before a lock that it waits for is given up.
#[test]
fn nothing_goes_on_in_the_server_for_a_caller_that_has_gone() {
    as_server_user("digest::nothing_goes_on_in_the_server_for_a_caller_that_has_gone", |base| async move {
        let (server, a, _b) = pair(base).await;
        let reader = server.engine.reader("a", None).await.unwrap();
        let table = reader.tables().await.unwrap().compared.into_iter().find(|table| table.name == "many").unwrap();
        let holder = log_in(&server, "a").await;
        holder.batch_execute("begin; lock table public.many in access exclusive mode").await.unwrap();
        let waiting = "select count(*) from pg_locks where relation = 'public.many'::regclass and not granted";
        let count = async || crate::server::value(&a, waiting).await;
        let form = v1::Form { scheme: v1::form::Scheme::Canonical.into(), seed: 1 };
        let asked = tokio::time::timeout(Duration::from_millis(300), reader.digest(&table, &Range::Whole, form)).await;
        assert!(asked.is_err() && count().await == "1");
        drop(reader);
        let begun = Instant::now();
        while count().await != "0" {
            assert!(begun.elapsed() < Duration::from_millis(1_200), "it waits on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}
