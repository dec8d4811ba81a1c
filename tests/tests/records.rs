//! What is stored is read for ever: a journal and ledgers of the first version, line by line.
//!
//! The fixtures were written by a move in the Lab; `REGENERATE=1 cargo test --workspace --test records` writes those of the
//! present version. An older one is never rewritten.

#[allow(dead_code, reason = "each test uses a part of the Lab")]
mod lab;

use std::path::Path;

use flytt::journal::{Event, Status};
use flytt_agent::ledger::{Book, Entry};
use flytt_proto::{fuse::Fuse, gate::Gate, record::Record, v1::finding::Level};
use lab::Lab;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(golden(name)).expect("a fixture");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_journal_of_the_first_version_still_reads() {
    let events = lines("journal-v1.jsonl");
    assert!(events.len() > 30);
    let status = events.iter().fold(Status::default(), |status, line| {
        let event: Event = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        status.after(&event).unwrap_or_else(|error| panic!("{line}: {error}"))
    });
    assert_eq!(status.milestone, Some(flytt::journal::Milestone::Finished));
    assert!(status.is_done(&"cut-surrender".parse().unwrap()));
}

#[test]
fn what_the_gates_found_and_what_was_accepted_still_reads() {
    let status = lines("journal-v1-gates.jsonl").iter().fold(Status::default(), |status, line| {
        let event: Event = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        status.after(&event).unwrap_or_else(|error| panic!("{line}: {error}"))
    });
    assert_eq!(status.accepted, [Gate::Iops, Gate::Steal].into());
    let found: Vec<_> = status.found.iter().map(|finding| (finding.code.as_str(), finding.level())).collect();
    assert_eq!(found, [("PEAK_SHORT", Level::Warn), ("GATE_IOPS", Level::Accepted), ("GATE_STEAL", Level::Accepted)]);
    assert!(status.is_done(&"gates".parse().unwrap()));
}

#[test]
fn ledgers_of_the_first_version_still_read() {
    for (name, least) in [("ledger-source-v1.jsonl", 15), ("ledger-target-v1.jsonl", 20), ("ledger-router-v1.jsonl", 5)] {
        let entries = lines(name);
        assert!(entries.len() > least, "{name}");
        // The target's permit is bound to the ledger that recorded it: the fold is of the same identity.
        let journal = entries[0].trim_matches('"').to_owned();
        let mut book = Book::of(&journal);
        for line in &entries[1..] {
            let entry: Entry = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
            book = book.after(&entry).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
        }
        assert!(book.operations.is_empty(), "{name}: it ends with the move finished");
    }
}

/// Line by line through a whole move: after which of them an agent must not be stopped, and after which a copy would begin anew.
#[test]
fn the_window_of_a_move_stands_in_the_ledger_of_each_host() {
    use std::time::Duration;
    for (name, from, to, copy) in [
        (
            "ledger-source-v1.jsonl",
            "began shop/ready-source",
            "done shop/cut-retire",
            Some(("began shop/admit", "began shop/ready-source")),
        ),
        ("ledger-target-v1.jsonl", "began shop/ready-target", "done shop/cut-open", Some(("began shop/seed", "done shop/seed"))),
        ("ledger-router-v1.jsonl", "began shop/cut-hold-1", "done shop/cut-release-1", None),
    ] {
        let entries = lines(name);
        let mut book = Book::of(entries[0].trim_matches('"'));
        let (mut in_window, mut copying) = (false, false);
        for line in &entries[1..] {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let word = format!("{} {}", value["entry"].as_str().unwrap_or_default(), value["id"].as_str().unwrap_or_default());
            book = book.after(&serde_json::from_str(line).expect("an entry")).expect("in order");
            in_window = (in_window || word == from) && word != to;
            if let Some((begins, ends)) = copy {
                copying = (copying || word == begins) && word != ends;
            }
            assert_eq!(
                book.window(Duration::ZERO).is_some(),
                in_window,
                "{name}: after {word}: {:?}",
                book.window(Duration::ZERO)
            );
            assert_eq!(book.copying().is_some(), copying, "{name}: after {word}");
            if word == "done shop/ready-source" {
                assert_eq!(book.window(Duration::from_hours(1)), None, "a fence that never came is waited for no longer");
            }
        }
        assert!(!in_window && !copying, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixtures_are_of_what_is_written_now() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.cutover(&Fuse::default()).await.expect("it moves");
    lab.finish(&Fuse::default()).await.expect("it finishes");
    let journal = lab.home.join("migrations/shop/journal.db");
    let (_, rows) = Record::<Event>::look(&journal, "journal", 1).expect("the version is still 1, or a new fixture is due");
    let write = |name: &str, lines: Vec<String>| {
        if std::env::var_os("REGENERATE").is_some() {
            flytt_proto::durable::write(&golden(name), (lines.join("\n") + "\n").as_bytes(), 0o644).expect("written");
        }
    };
    write("journal-v1.jsonl", rows.iter().map(|row| serde_json::to_string(&row.event).expect("JSON")).collect());
    for (host, part) in [("db-old", "source"), ("db-new", "target"), ("lb-1", "router")] {
        let ledger = lab.home.parent().expect("in the lab").join(format!("{host}-agent/ledger.db"));
        let (identity, rows) =
            Record::<Entry>::look(&ledger, "ledger", 1).expect("the version is still 1, or a new fixture is due");
        let mut lines = vec![serde_json::to_string(&identity).expect("JSON")];
        lines.extend(rows.iter().map(|row| serde_json::to_string(&row.event).expect("JSON")));
        write(&format!("ledger-{part}-v1.jsonl"), lines);
    }
}
