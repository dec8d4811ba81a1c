//! What a record promises, tried: histories edited by hand, writes torn at any byte, processes killed, disks full.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use serde::Deserialize;

use super::*;

const KIND: &str = "ledger";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    number: u32,
    text: String,
}

fn entry(number: u32) -> Entry {
    Entry { number, text: "æ".repeat(number as usize * 7 % 900) }
}

fn open(path: &Path) -> Result<(Record<Entry>, Vec<u32>), Failure> {
    let (record, rows) = Record::<Entry>::open(path, KIND, 3)?;
    for row in &rows {
        assert_eq!(row.event, entry(row.event.number));
    }
    Ok((record, rows.iter().map(|row| row.event.number).collect()))
}

fn code(outcome: Result<(Record<Entry>, Vec<u32>), Failure>) -> String {
    outcome.map(|(_, rows)| rows).expect_err("refused").code
}

async fn filled(path: &Path, rows: u32) {
    let (record, _) = open(path).unwrap();
    for number in 1..=rows {
        record.append(entry(number)).await.unwrap();
    }
}

#[tokio::test]
async fn rows_come_back_in_order_and_the_identity_stays() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state/ledger.db");
    let (record, rows) = open(&path).unwrap();
    assert!(rows.is_empty());
    let identity = record.identity().to_owned();
    assert!(identity.len() == 32 && identity.bytes().all(|b| b.is_ascii_hexdigit()), "{identity}");
    let first = record.append(entry(1)).await.unwrap();
    let second = record.clone().append(entry(2)).await.unwrap();
    assert_eq!((first.seq, second.seq, second.version), (2, 3, 3));
    drop(record);

    let (record, rows) = open(&path).unwrap();
    assert_eq!((rows, record.identity()), (vec![1, 2], &*identity));
    assert_eq!(record.append(entry(3)).await.unwrap().seq, 4);
    for file in ["ledger.db", "ledger.db-wal", "ledger.db.lock"] {
        let mode = fs::metadata(home.path().join("state").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(fs::metadata(home.path().join("state")).unwrap().permissions().mode() & 0o777, 0o700);

    let (other, _) = open(&home.path().join("state/other.db")).unwrap();
    assert_ne!(other.identity(), identity, "a new record has an identity of its own");
}

#[tokio::test]
async fn others_can_look_while_it_is_open_but_not_write() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let (record, _) = open(&path).unwrap();
    record.append(entry(1)).await.unwrap();
    let (identity, rows) = Record::<Entry>::look(&path, KIND, 3).unwrap();
    assert_eq!((&*identity, rows.len()), (record.identity(), 1));

    let hand = Connection::open(&path).unwrap();
    let body: String = hand.query_row("SELECT body FROM record WHERE seq = 2", [], |row| row.get(0)).unwrap();
    assert!(body.contains(r#""number":1"#), "{body}");
    for sql in ["UPDATE record SET body = '{}' WHERE seq = 2", "DELETE FROM record WHERE seq = 2"] {
        assert!(hand.execute(sql, []).unwrap_err().to_string().contains("append-only"), "{sql}");
    }
    assert_eq!(code(open(&path)), "RECORD_IN_USE");
    drop((record, hand));
    open(&path).unwrap();
}

#[tokio::test]
async fn a_history_changed_by_hand_is_refused_and_the_row_named() {
    let edits = [
        ("UPDATE record SET body = replace(body, '2', '3') WHERE seq = 3", 3),
        ("UPDATE record SET at = at + 1 WHERE seq = 4", 4),
        ("UPDATE record SET version = 2 WHERE seq = 4", 4),
        ("UPDATE record SET hash = upper(hash) WHERE seq = 5", 5),
        ("UPDATE record SET body = replace(body, '\"identity\":\"', '\"identity\":\"0') WHERE seq = 1", 1),
        ("DELETE FROM record WHERE seq = 1", 1),
        ("DELETE FROM record WHERE seq = 4", 4),
        ("DELETE FROM record WHERE seq = 6", 6),
        ("DELETE FROM record", 1),
        (
            "UPDATE record SET seq = 99 WHERE seq = 3; UPDATE record SET seq = 3 WHERE seq = 4;
          UPDATE record SET seq = 4 WHERE seq = 99",
            3,
        ),
        ("INSERT INTO record SELECT 7, at, version, body, hash FROM record WHERE seq = 6", 7),
    ];
    for (sql, row) in edits {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger.db");
        filled(&path, 5).await;
        let hand = Connection::open(&path).unwrap();
        hand.execute_batch("DROP TRIGGER no_update; DROP TRIGGER no_delete").unwrap();
        drop(hand);
        open(&path).expect("the triggers are no part of the chain");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let failure = open(&path).expect_err(sql);
        assert_eq!(failure.code, "RECORD_CHANGED", "{sql}");
        assert!(failure.sentence.starts_with(&format!("row {row} ")), "{sql}: {failure}");
        assert!(failure.remedy.contains("safe stop"));
    }
}

#[tokio::test]
async fn an_older_form_is_read_and_a_newer_or_foreign_one_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let (old, _) = Record::<Entry>::open(&path, KIND, 2).unwrap();
    old.append(entry(1)).await.unwrap();
    drop(old);
    let (record, rows) = open(&path).unwrap();
    assert_eq!(rows, [1]);
    record.append(entry(2)).await.unwrap();
    drop(record);

    let older_program = Record::<Entry>::open(&path, KIND, 2).expect_err("row 3 is newer");
    assert_eq!(older_program.code, "RECORD_NEWER");
    assert!(older_program.sentence.contains("row 3"), "{older_program}");
    assert_eq!(Record::<Entry>::open(&path, "journal", 3).expect_err("a ledger").code, "RECORD_UNREADABLE");
    assert_eq!(Record::<u32>::open(&path, KIND, 3).expect_err("not numbers").code, "RECORD_UNREADABLE");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert_eq!(code(open(&path)), "RECORD_NEWER");

    let foreign = home.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE cats (name TEXT)").unwrap();
    assert_eq!(code(open(&foreign)), "RECORD_UNREADABLE");
    let text = home.path().join("text.db");
    fs::File::create(&text).unwrap().write_all(&b"dear diary, ".repeat(400)).unwrap();
    assert_eq!(code(open(&text)), "RECORD_UNREADABLE");

    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(code(open(&home.path().join("shared.db"))), "RECORD_DIRECTORY");
}

/// The files of a record as they were at one moment; `log` is the write-ahead log, in which appended rows land.
struct Snapshot {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Snapshot {
    fn take(path: &Path) -> Self {
        Self { database: fs::read(path).unwrap(), log: fs::read(path.with_extension("db-wal")).unwrap() }
    }

    fn restore(&self, home: &Path, log: &[u8]) -> PathBuf {
        let path = home.join("torn.db");
        let _ = fs::remove_file(path.with_extension("db-shm"));
        fs::File::create(&path).unwrap().write_all(&self.database).unwrap();
        fs::File::create(path.with_extension("db-wal")).unwrap().write_all(log).unwrap();
        path
    }
}

#[tokio::test]
async fn a_write_torn_at_any_byte_leaves_every_row_acknowledged_before_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let (record, _) = open(&path).unwrap();
    let mut before = Snapshot::take(&path);
    let (mut tried, mut torn) = (0, 0);
    for number in 1..=12 {
        record.append(entry(number)).await.unwrap();
        let after = Snapshot::take(&path);
        assert_eq!(before.database, after.database, "no checkpoint in this test");
        let differs = |at: &usize| before.log.get(*at) != after.log.get(*at);
        let begin = (0..after.log.len()).find(differs).expect("something was written");
        let end = (0..after.log.len()).rfind(differs).expect("something was written") + 1;
        let frames = [begin, begin + 24, begin + 24 + 4096, end];
        let near = frames.iter().flat_map(|at| at.saturating_sub(2)..=(at + 2));
        for cut in (begin..end).step_by(613).chain(near).filter(|cut| (begin..=end).contains(cut)) {
            // The disk has the first `cut` bytes; then nothing, or what stood there before, as after a power cut.
            let stale = [&after.log[..cut], &before.log[cut..]].concat();
            for log in [&after.log[..cut], &stale] {
                let torn_path = after.restore(home.path(), log);
                let rows = open(&torn_path).expect("a prefix is readable").1;
                let whole: Vec<u32> = (1..=number).collect();
                if cut >= end {
                    assert_eq!(rows, whole, "acknowledged, and all its bytes are there");
                } else {
                    let last = usize::try_from(number).unwrap() - 1;
                    assert!(rows == whole[..last] || rows == whole, "cut at {cut} of {begin}..{end}: {rows:?}");
                    torn += usize::from(rows.len() == last);
                }
                tried += 1;
            }
        }
        before = after;
    }
    assert!(tried > 500 && torn > 300, "{tried} cuts, {torn} of them lost the row under way");
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_without_effect() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    filled(&path, 40).await;
    let hand = Connection::open(&path).unwrap();
    hand.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(hand);
    let snapshot = Snapshot { database: fs::read(&path).unwrap(), log: Vec::new() };
    let whole: Vec<u32> = (1..=40).collect();
    let mut refused = 0;
    for at in (0..snapshot.database.len()).step_by(211) {
        let mut database = snapshot.database.clone();
        database[at] ^= 1 << (at % 8);
        let path = Snapshot { database, log: Vec::new() }.restore(home.path(), &[]);
        match open(&path) {
            Ok((_, rows)) => assert_eq!(rows, whole, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{refused} flips were noticed");
    let mut cut = snapshot.database.clone();
    cut.truncate(cut.len() / 2);
    let path = Snapshot { database: cut, log: Vec::new() }.restore(home.path(), &[]);
    assert!(["RECORD_UNREADABLE", "RECORD_CHANGED"].contains(&code(open(&path)).as_str()), "half a database is no record");
}

/// This test binary again, as a process of its own that runs one ignored test in `home`; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "a process to kill, and a mount namespace, cannot be had without a process")]
fn again(test: &str, home: &Path, prefix: &[&str]) -> Process {
    let itself = std::env::current_exe().unwrap();
    let mut words = prefix.iter().map(std::ffi::OsStr::new).chain([itself.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", &format!("record::tests::{test}"), "--ignored", "--nocapture"]);
    Process(command.current_dir(home).stdout(Stdio::piped()).spawn().unwrap())
}

/// Whether [`again`] started this process. Otherwise somebody runs all ignored tests, and there is nothing to do.
fn is_again(test: &str) -> bool {
    std::env::args().any(|word| word == format!("record::tests::{test}"))
}

#[tokio::test]
#[ignore = "run by a_killed_process_loses_no_acknowledged_row_and_no_lock_stays, in a process of its own"]
async fn appends_until_killed() {
    if !is_again("appends_until_killed") {
        return;
    }
    let (record, _) = open(Path::new("ledger.db")).unwrap();
    for number in 1..100_000 {
        record.append(entry(number)).await.unwrap();
        writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_row_and_no_lock_stays() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let mut process = again("appends_until_killed", home.path(), &[]);
    let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut numbers = lines.filter_map(|line| line.unwrap().strip_prefix("acknowledged ")?.parse::<usize>().ok());
    assert!(numbers.any(|number| number == 30), "the process appends");
    let refused = open(&path).expect_err("somebody has it");
    assert_eq!(refused.code, "RECORD_IN_USE");
    assert!(refused.sentence.contains(&format!("process {} is in charge", process.0.id())), "{refused}");
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    let acknowledged = numbers.last().unwrap_or(30);
    let (_, rows) = open(&path).expect("the lock went with the process");
    assert!(rows.len() >= acknowledged, "{} rows of {acknowledged} acknowledged", rows.len());
    assert!(rows.iter().zip(1..).all(|(row, number)| *row == number));
}

/// Takes whatever the disk still has, byte by byte at the end.
fn fill(path: &Path) {
    let mut filler = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    for size in [65536, 4096, 512, 1] {
        while filler.write_all(&vec![1; size]).is_ok() {}
    }
}

#[tokio::test]
#[ignore = "run by a_full_disk_does_not_stop_the_last_rows, on a small disk of its own"]
async fn works_on_a_full_disk() {
    if !is_again("works_on_a_full_disk") {
        return;
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let here = std::env::current_dir().unwrap();
    assert!(mounts.contains(&format!("tmpfs {} tmpfs", here.display())), "only on a small disk of its own");
    let path = Path::new("ledger.db");

    let (record, _) = open(path).unwrap();
    record.reserve().await.expect("room while there is some");
    fill(Path::new("filler"));
    for number in 1..=100 {
        record.append(entry(number)).await.expect("reserved");
    }
    drop(record);
    let _ = fs::remove_file("ledger.db-shm");
    fill(Path::new("filler"));
    let (record, rows) = open(path).expect("an agent that comes back on a full disk still reads and speaks");
    assert_eq!(rows.len(), 100);
    let mut number = 100;
    let failure = loop {
        number += 1;
        if let Err(failure) = record.append(entry(number)).await {
            break failure;
        }
        assert!(number < 100_000, "the disk is not full");
    };
    assert_eq!((failure.code.as_str(), failure.effect), ("RECORD_FULL", Effect::None));
    assert_eq!(record.reserve().await.expect_err("nothing left").code, "RECORD_NO_ROOM");
    assert!(number > 500, "only {number} rows fitted: the reserve went with the process");
    fs::remove_file("filler").unwrap();
    record.append(entry(number)).await.expect("room again, and nothing is broken");
    record.reserve().await.expect("room again");
    drop(record);
    assert_eq!(open(path).unwrap().1, (1..=number).collect::<Vec<_>>());
    writeln!(std::io::stdout(), "went through").unwrap();
}

/// Needs user or root mount namespaces (`unshare` of util-linux); the mount ends with the process.
#[test]
fn a_full_disk_does_not_stop_the_last_rows() {
    let home = tempfile::tempdir().unwrap();
    let mount = r#"mount -t tmpfs -o size=6m,mode=700 tmpfs "$PWD" && cd "$PWD" && exec "$0" "$@""#;
    let namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount];
    let mut process = again("works_on_a_full_disk", home.path(), &namespace);
    let said: Vec<String> = BufReader::new(process.0.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(process.0.wait().unwrap().success() && said.iter().any(|line| line == "went through"), "{said:#?}");
}
