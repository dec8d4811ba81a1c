//! Bounds, restarts, and files that are not what they should be.

#![allow(clippy::disallowed_methods, reason = "a test breaks files and mounts a small disk")]

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    process::Command,
};

use flytt_proto::v1::sample::Disk;

use super::*;

const DATA: &str = "/srv/data";

fn second(at: i64, w_s: f64) -> Arc<Sample> {
    let disk = Disk { name: "dm-1".into(), w_s, r_s: 1.0, f_s: 2.0, f_await: w_s / 100.0, data: true, ..Disk::default() };
    Arc::new(Sample { at_ms: at * 1000, seconds: 1.0, disks: vec![disk], ..Sample::default() })
}

fn batch(samples: Vec<Arc<Sample>>) -> Batch {
    Batch { samples, data: Some((DATA.into(), "dm-1".into())) }
}

fn everything(path: &Path, minutes: bool) -> Vec<Sample> {
    let mut span = Span { minutes, after: 0, until: i64::MAX, from_ms: 0, to_ms: i64::MAX };
    let mut all = Vec::new();
    loop {
        let page = Store::page(path, &span).unwrap();
        all.extend(page.samples);
        match page.next {
            Some(after) => span.after = after,
            None => return all,
        }
    }
}

fn times(samples: &[Sample]) -> Vec<i64> {
    samples.iter().map(|sample| sample.at_ms / 1000).collect()
}

/// Does what is ordered, and waits until it is done.
fn through(path: &Path, batches: Vec<Batch>) -> Option<(u64, Peak)> {
    let (history, thread) = History::start(path, Some(DATA.into())).unwrap();
    for (batch, number) in batches.into_iter().zip(1..) {
        history.keep(batch, number);
    }
    let peaks = history.peaks.clone();
    drop(history);
    thread.join().unwrap();
    peaks.lock().unwrap().take()
}

#[test]
fn what_was_seen_survives_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("samples.db");
    let first = batch(vec![second(1, 70.0), second(2, 812.0), second(3, 90.0)]);
    let (number, peak) = through(&path, vec![first, batch(vec![second(4, 811.0), second(5, 10.0)])]).unwrap();
    assert_eq!((number, peak.write_iops, peak.at_ms), (2, 812.0, 2_000));
    let (number, again) = through(&path, Vec::new()).unwrap();
    assert_eq!((number, &again), (0, &peak), "read back at the start");
    assert_eq!((again.device.as_str(), again.observed_s, again.since_ms), ("dm-1", 5.0, 1_000));
    // Medians of the minutes' medians: of (0.9, 0.1), the lower middle.
    assert_eq!(again.commit_await_ms, 0.1);
    assert_eq!(times(&everything(&path, false)), [1, 2, 3, 4, 5]);
    let minutes = everything(&path, true);
    assert_eq!((times(&minutes), minutes[0].disks[0].w_s, minutes[0].seconds), (vec![3, 5], 812.0, 3.0));
    assert_eq!(minutes[0].p50.as_ref().unwrap().disks[0].w_s, 90.0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn only_what_was_seen_of_this_data_directory_counts() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("samples.db");
    let elsewhere = Batch { data: Some(("/other".into(), "dm-1".into())), ..batch(vec![second(1, 9_999.0)]) };
    let nowhere = Batch { data: None, ..batch(vec![second(2, 9_999.0)]) };
    let (_, peak) = through(&path, vec![elsewhere, nowhere, batch(vec![second(3, 5.0)])]).unwrap();
    assert_eq!((peak.write_iops, peak.observed_s), (5.0, 1.0));
}

#[test]
fn a_probe_of_our_own_is_kept_and_is_no_peak() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("samples.db");
    let probed = |at| Arc::new(Sample { own: true, ..Sample::clone(&second(at, 50_000.0)) });
    let only_probed = batch(vec![probed(4), probed(5)]);
    let (_, peak) = through(&path, vec![batch(vec![second(1, 5.0), probed(2), probed(3)]), only_probed]).unwrap();
    assert_eq!((peak.write_iops, peak.observed_s, peak.commit_await_ms), (5.0, 1.0, 0.05));
    let own: Vec<bool> = everything(&path, false).iter().map(|sample| sample.own).collect();
    assert_eq!(own, [false, true, true, true, true], "it can be looked back at");
    assert!(everything(&path, true).iter().all(|minute| minute.own), "of a minute, too");
}

#[test]
fn pages_go_by_row_and_by_label() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("samples.db");
    let mut store = Store::open(&path).unwrap();
    for minute in 0..40 {
        store.keep(&batch((0..3).map(|at| second(minute * 3 + at, 1.0)).collect())).unwrap();
    }
    assert_eq!(times(&everything(&path, false)), (0..120).collect::<Vec<_>>());
    let span = Span { minutes: false, after: 0, until: i64::MAX, from_ms: 10_000, to_ms: 13_000 };
    assert_eq!(times(&Store::page(&path, &span).unwrap().samples), [10, 11, 12, 13]);
    let span = Span { until: 4, ..span };
    assert_eq!(times(&Store::page(&path, &span).unwrap().samples), [10, 11], "what came later is not asked for");
}

/// A day of seconds: by what was observed, however the clock was set in between.
#[test]
fn older_than_a_day_goes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("samples.db");
    let mut store = Store::open(&path).unwrap();
    for hour in 0..30 {
        let mut sample = Sample::clone(&second(if hour == 7 { 4_102_444_800 } else { hour }, 1.0));
        sample.seconds = 3_600.0;
        store.keep(&batch(vec![Arc::new(sample)])).unwrap();
    }
    let kept = times(&everything(&path, false));
    assert_eq!(kept.len(), 24);
    assert_eq!((kept[0], kept[1], kept[23]), (6, 4_102_444_800, 29));
    assert_eq!(everything(&path, true).len(), 30, "a month of minutes stays");
    drop(store);
    let mut store = Store::open(&path).unwrap();
    store.keep(&batch(vec![second(30, 1.0)])).unwrap();
    assert_eq!(everything(&path, false).len(), 24, "the count goes on after a restart");
}

/// A host with two hundred busy devices: the file stays within its bound, and the newest is what it holds.
#[test]
fn a_full_history_lets_the_oldest_go() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("samples.db");
    let mut store = Store::open(&path).unwrap();
    let disks = |at: i64| {
        let busy = |number: i64| {
            let number = number as f64;
            let rate = 10_000.0 + number * 7.77 + at as f64;
            let mut disk = Disk { name: format!("nvme{number}n1"), ..Disk::default() };
            for column in crate::samples::columns::disk(&mut disk) {
                *column = rate;
            }
            disk
        };
        (0..200).map(busy).collect::<Vec<_>>()
    };
    let mut rows = 0;
    let mut minutes = 0;
    while minutes == rows && rows < 400 {
        let sample = |at| Arc::new(Sample { at_ms: at * 1000, seconds: 1.0, disks: disks(at), ..Sample::default() });
        store.keep(&batch((rows * 60..rows * 60 + 20).map(sample).collect())).unwrap();
        rows += 1;
        minutes = count(&path, "seconds");
    }
    assert!(rows < 400, "the bound is never reached");
    for extra in 0..5 {
        store.keep(&batch(vec![second(1_000_000 + extra, 1.0)])).unwrap();
    }
    let length = fs::metadata(&path).unwrap().len() as i64;
    assert!(length <= store::BOUND, "{length}");
    assert!(length > store::BOUND / 2, "{length}: it was not filled");
    assert_eq!(times(&everything(&path, false)).last(), Some(&1_000_004));
    assert!(count(&path, "seconds") < rows + 5, "nothing went");
    let log = fs::metadata(home.path().join("samples.db-wal")).unwrap().len();
    assert!(log <= 8 << 20, "the log has {log} bytes");
}

fn count(path: &Path, table: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// Whatever lies there, a new history is begun, and the old file is kept.
#[test]
fn what_does_not_read_is_set_aside() {
    let garbage = |path: &Path| fs::write(path, vec![0xa5; 20_000]).unwrap();
    let foreign = |path: &Path| rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let newer = |path: &Path| {
        Store::open(path).unwrap();
        rusqlite::Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    };
    let damaged = |path: &Path| {
        let batches = (0..50).map(|minute| batch((0..60).map(|at| second(minute * 60 + at, at as f64)).collect()));
        through(path, batches.collect());
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let pages = file.metadata().unwrap().len() / 4096;
        (2..pages).for_each(|page| file.write_all_at(&[0xff; 64], page * 4096).unwrap());
    };
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    type Make<'a> = &'a dyn Fn(&Path);
    let ways: [(&str, Make<'_>, bool); 5] = [
        ("garbage", &garbage, true),
        ("another program's", &foreign, true),
        ("a newer form", &newer, true),
        ("damaged", &damaged, true),
        ("a directory", &directory, false),
    ];
    for (what, make, is_set_aside) in ways {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("samples.db");
        make(&path);
        through(&path, vec![batch(vec![second(7, 1.0)])]);
        assert_eq!(home.path().join("samples.db.aside").exists(), is_set_aside, "{what}");
        if is_set_aside {
            assert_eq!(times(&everything(&path, false)), [7], "{what}");
            assert_eq!(everything(&path, true).len(), 1, "{what}");
        }
    }
}

/// Breaks while it is in use: the batch that finds out is the first of the new one.
#[test]
fn a_file_that_breaks_in_use_is_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("samples.db");
    let mut store = Store::open(&path).unwrap();
    store.keep(&batch(vec![second(1, 1.0)])).unwrap();
    store.break_tables();
    let mut keeper =
        Keeper { path: path.clone(), place: None, peaks: Peaks::default(), store: Some(store), silent: false, unrefreshed: 0 };
    keeper.keep(&batch(vec![second(2, 1.0)]), 1);
    assert_eq!(times(&everything(&path, false)), [2]);
    assert!(home.path().join("samples.db.aside").exists());
}

/// A file system of one MiB, gone with the test.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "flytt-test"]).arg(place.path()).status();
        assert!(mounted.unwrap().success());
        Self(place)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_costs_history_and_nothing_else() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let small = Small::mount();
    let path = small.0.path().join("samples.db");
    let fill = || {
        let file = fs::File::create(small.0.path().join("fill")).unwrap();
        let mut at = 0;
        while let Ok(()) = file.write_all_at(&[1; 4096], at) {
            at += 4096;
        }
    };
    let (history, thread) = History::start(&path, Some(DATA.into())).unwrap();
    history.keep(batch(vec![second(1, 1.0)]), 1);
    history.settle().blocking_recv().unwrap();
    fill();
    let big = |at: i64| batch((0..2000).map(|more| second(at * 10_000 + more, more as f64)).collect());
    for at in 2..20 {
        history.keep(big(at), at as u64);
    }
    let last = history.settle().blocking_recv().unwrap().expect("it answers");
    assert!(last.seconds < 19, "a megabyte took all of it: {last:?}");
    fs::remove_file(small.0.path().join("fill")).unwrap();
    history.keep(batch(vec![second(900, 1.0)]), 20);
    history.settle().blocking_recv().unwrap();
    let seen = times(&everything(&path, false));
    assert_eq!((seen.first(), seen.last()), (Some(&1), Some(&900)), "what was there stays, what comes later is kept");
    assert!(!small.0.path().join("samples.db.aside").exists(), "full is not broken");
    drop(history);
    thread.join().unwrap();

    // Full from the beginning.
    fs::remove_file(&path).unwrap();
    fill();
    through(&path, vec![batch(vec![second(1, 1.0)])]);
}
