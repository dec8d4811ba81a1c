//! Golden snapshots: what the kernel printed, and what it comes to.

use std::time::Duration;

use super::*;
use crate::samples::snapshot;

/// A snapshot of these lines of /proc/diskstats, so many milliseconds after the first moment.
fn disks(ms: u64, lines: &str) -> Snapshot {
    let disks = snapshot::used(lines.as_bytes());
    Snapshot { at: Duration::from_millis(ms), wall_ms: 1_700_000_000_000, disks, ..Snapshot::default() }
}

fn one(before: &str, after: &str, ms: u64) -> Option<Disk> {
    let sample = between(&disks(0, before), &disks(ms, after), &[]).unwrap();
    assert!(sample.disks.len() < 2);
    sample.disks.into_iter().next()
}

#[test]
fn the_columns_of_iostat() {
    let before = "254 0 vda 1000 10 80000 500 2000 20 160000 4000 3 7000 9000 50 5 4000 60 100 300";
    let after = "254 0 vda 1200 16 88192 900 2400 30 168192 5000 1 8000 11000 60 7 8096 90 150 475";
    let disk = one(before, after, 2_000).unwrap();
    let expected = Disk {
        name: "vda".into(),
        r_s: 100.0,
        w_s: 200.0,
        r_mb_s: 2.0,
        w_mb_s: 2.0,
        rrqm_s: 3.0,
        wrqm_s: 5.0,
        r_await: 2.0,
        w_await: 2.5,
        aqu_sz: 1.0,
        util: 50.0,
        f_s: 25.0,
        f_await: 3.5,
        d_s: 5.0,
        d_mb_s: 1.0,
        drqm_s: 1.0,
        d_await: 3.0,
        data: false,
    };
    assert_eq!(disk, expected);
    let marked = between(&disks(0, before), &disks(1_000, after), &["vda".into()]).unwrap();
    assert!(marked.disks[0].data);
}

/// Kernels before 4.18 print 11 numbers, before 5.5 15.
#[test]
fn an_older_kernel_counts_less() {
    let disk = one("8 0 sda 10 0 80 5 10 0 80 5 0 10 10", "8 0 sda 20 0 160 15 10 0 80 5 0 20 20", 1_000).unwrap();
    assert_eq!((disk.r_s, disk.r_await, disk.f_s, disk.d_s), (10.0, 1.0, 0.0, 0.0));
}

/// Times have 32 bits in every kernel; counts where the machine has.
#[test]
fn counters_wrap() {
    let before = "8 0 sda 4294967290 0 4294967288 4294967200 500 0 4000 4294967295 0 4294967000 4294966000 0 0 0 0 0 0";
    let after = "8 0 sda 4 0 72 104 600 0 4800 199 0 704 1000 0 0 0 0 0 0";
    let disk = one(before, after, 1_000).unwrap();
    assert_eq!((disk.r_s, disk.r_mb_s, disk.r_await), (10.0, 80.0 / 2048.0, 20.0));
    assert_eq!((disk.w_s, disk.w_await), (100.0, 2.0));
    assert_eq!((disk.util, disk.aqu_sz), (100.0, 1.996 + 0.3));
}

#[test]
fn a_device_that_was_taken_out_and_put_in_again_is_left_out_once() {
    let before = "8 16 sdb 3000000000 0 80000 500 2000 0 160000 4000 0 7000 9000";
    let after = "8 16 sdb 40 0 320 10 2 0 16 4 0 10 14";
    assert_eq!(one(before, after, 1_000), None);
    let later = "8 16 sdb 60 0 480 20 2 0 16 4 0 20 24";
    assert_eq!(one(after, later, 1_000).unwrap().r_s, 20.0, "from then on it counts");
    // Another device under the same name, which did more than the first ever did.
    assert_eq!(one("8 16 sdb 10 0 80 5 0 0 0 0 0 5 5", "8 32 sdb 900 0 8000 50 0 0 0 0 0 50 50", 1_000), None);
}

#[test]
fn a_time_that_steps_back_is_no_time() {
    let disk = one("8 0 sda 10 0 80 50 0 0 0 0 0 100 300", "8 0 sda 11 0 88 49 0 0 0 0 0 110 280", 1_000).unwrap();
    assert_eq!((disk.r_s, disk.r_await, disk.aqu_sz, disk.util), (1.0, 0.0, 0.0, 1.0));
}

#[test]
fn devices_come_and_go() {
    let (vda, vdb) = ("254 0 vda 10 0 80 5 0 0 0 0 0 5 5", "254 16 vdb 10 0 80 5 0 0 0 0 0 5 5");
    let both = format!("{vda}\n{vdb}\n");
    let names = |before: &str, after: &str| {
        let sample = between(&disks(0, before), &disks(1_000, after), &[]).unwrap();
        sample.disks.into_iter().map(|disk| disk.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&both, vda), ["vda"]);
    assert_eq!(names(vda, &both), ["vda"], "how long vdb was there nobody knows");
    assert_eq!(names(&both, &both), ["vda", "vdb"]);
    assert_eq!(snapshot::used(b"7 0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n").len(), 0, "never used");
}

/// A sleep shows in the label alone; a pause of the agent makes one long interval.
#[test]
fn an_interval_is_as_long_as_the_monotonic_clock_says() {
    let (before, after) = ("8 0 sda 0 0 0 0 100 0 800 5 0 5 5", "8 0 sda 0 0 0 0 200 0 1600 5 0 5 5");
    let mut woken = disks(1_000, after);
    woken.wall_ms -= 8 * 3_600_000;
    let sample = between(&disks(0, before), &woken, &[]).unwrap();
    assert_eq!((sample.seconds, sample.disks[0].w_s, sample.at_ms), (1.0, 100.0, woken.wall_ms));
    let sample = between(&disks(0, before), &disks(50_000, after), &[]).unwrap();
    assert_eq!((sample.seconds, sample.disks[0].w_s), (50.0, 2.0));
    assert_eq!(between(&disks(5, before), &disks(5, after), &[]), None, "no time, no rates");
    assert_eq!(between(&disks(5, before), &disks(4, after), &[]), None);
}

#[test]
fn processors_and_pressure() {
    let stat = |user: u64, iowait: u64, steal: u64| {
        let text =
            format!("cpu  {user} 10 20 1000 {iowait} 3 7 {steal} 5 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nctxt 5\nbtime 1\nprocesses 3\n");
        snapshot::cpu(text.as_bytes()).unwrap()
    };
    let cpu = cpu(stat(100, 50, 5), stat(160, 40, 45)).unwrap();
    assert_eq!((cpu.user, cpu.steal, cpu.iowait), (60.0, 40.0, 0.0), "iowait may step back");
    assert_eq!(super::cpu(stat(1, 1, 1), stat(1, 1, 1)), None);

    let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=400\n";
    assert_eq!(snapshot::stalled(text.as_bytes()), [Some(1000), Some(400)]);
    assert_eq!(snapshot::stalled(text.lines().next().unwrap().as_bytes()), [Some(1000), None], "before 5.13");
    assert_eq!(snapshot::stalled(b""), [None, None]);
    let stalled = [Some(0), Some(0), None, Some(500_000), Some(0)];
    let pressure = pressure(&stalled, &[Some(250_000), Some(2_000_000), None, Some(500_000), None], 2.0);
    assert_eq!((pressure.cpu_some, pressure.io_some, pressure.io_full), (12.5, 100.0, -1.0));
    assert_eq!((pressure.memory_some, pressure.memory_full), (0.0, -1.0));
}

#[test]
fn memory_is_in_bytes_and_older_kernels_do_not_say_what_is_available() {
    let text = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 1 kB\nCached: 50 kB\nSwapCached: 0 kB\nActive: 0 kB\nInactive: 0 kB\n\
                SwapTotal: 30 kB\nSwapFree: 10 kB\nDirty: 7 kB\nWriteback: 2 kB\nMapped: 0 kB\nSlab: 0 kB\nCommitted_AS: 0 kB\n\
                VmallocTotal: 0 kB\nVmallocUsed: 0 kB\nVmallocChunk: 0 kB\n";
    let memory = snapshot::memory(text.as_bytes()).unwrap();
    assert_eq!((memory.total, memory.available, memory.dirty), (1000 << 10, 150 << 10, 7 << 10));
    assert_eq!((memory.writeback, memory.swap_used), (2 << 10, 20 << 10));
}

#[test]
fn interfaces_wrap_and_are_made_anew() {
    let nets = |received: u64, sent: u64| {
        let head = "Inter-| Receive | Transmit\n face |bytes packets\n";
        let text =
            format!("{head}  eth0: {received} 1 0 2 0 0 0 0 {sent} 1 0 1 0 0 0 0\n    lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
        Snapshot { nets: snapshot::nets(text.as_bytes()), ..Snapshot::default() }
    };
    let rates = |before: Snapshot, after: Snapshot| {
        let after = Snapshot { at: Duration::from_secs(2), ..after };
        between(&before, &after, &[])
            .unwrap()
            .nets
            .into_iter()
            .map(|net| (net.name, net.rx_bytes_s, net.tx_bytes_s))
            .collect::<Vec<_>>()
    };
    assert_eq!(rates(nets(100, 10), nets(2_100, 30)), [("eth0".to_owned(), 1000.0, 10.0)], "lo was never used");
    assert_eq!(rates(nets(4_294_967_295, 10), nets(1_999, 10)), [("eth0".to_owned(), 1000.0, 0.0)], "32 bits");
    assert_eq!(rates(nets(5_000_000, 9_000), nets(10, 20)), [], "an interface made anew");
}
