//! Two snapshots make a sample: the arithmetic of `iostat -mx` (sysstat's iostat.c, `write_ext_stat`), free of clocks and files.

use flytt_proto::v1::{
    Sample,
    sample::{Cpu, Disk, Net, Pressure},
};
use procfs::DiskStat;

use super::{
    counter::{grown, most},
    snapshot::{self, Snapshot, Traffic},
};

/// 512-byte sectors, whatever the disk's own are (Documentation/admin-guide/iostats.rst), in a MiB.
const SECTORS_A_MIB: f64 = 2048.0;

/// What happened between two snapshots; `data` are the names of the data directory's devices. `None` where no time passed.
///
/// A device that is missing on one side, or that began anew, is left out: how long it was there nobody knows.
pub(super) fn between(before: &Snapshot, after: &Snapshot, data: &[String]) -> Option<Sample> {
    let seconds = after.at.checked_sub(before.at)?.as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    let disks = after.disks.iter().filter_map(|now| {
        let same = |then: &&DiskStat| (then.major, then.minor, &then.name) == (now.major, now.minor, &now.name);
        let rates = disk(before.disks.iter().find(same)?, now, seconds)?;
        Some(Disk { data: data.contains(&now.name), ..rates })
    });
    let nets = after.nets.iter().filter_map(|now| net(before.nets.iter().find(|then| then.name == now.name)?, now, seconds));
    Some(Sample {
        at_ms: after.wall_ms,
        seconds,
        cpu: before.cpu.zip(after.cpu).and_then(|(then, now)| cpu(then, now)),
        memory: after.memory,
        pressure: Some(pressure(&before.stalled, &after.stalled, seconds)),
        disks: disks.collect(),
        nets: nets.collect(),
        ..Sample::default()
    })
}

/// `None`: the device was taken out and put in again.
fn disk(then: &DiskStat, now: &DiskStat, seconds: f64) -> Option<Disk> {
    let most = most(seconds);
    let count = |then: u64, now: u64| grown(then, now, most).map(|grown| grown as f64);
    let counted = |then: Option<u64>, now: Option<u64>| count(then.unwrap_or(0), now.unwrap_or(0));
    // A time that steps back by itself is a rounding of the kernel's, not a new device.
    let ms = |then: u64, now: u64| grown(then, now, most).unwrap_or(0) as f64;
    let waited = |then: Option<u64>, now: Option<u64>| ms(then.unwrap_or(0), now.unwrap_or(0));
    let each = |waited: f64, operations: f64| if operations > 0.0 { waited / operations } else { 0.0 };

    let reads = count(then.reads, now.reads)?;
    let writes = count(then.writes, now.writes)?;
    let discards = counted(then.discards, now.discards)?;
    let flushes = counted(then.flushes, now.flushes)?;
    Some(Disk {
        name: now.name.clone(),
        r_s: reads / seconds,
        w_s: writes / seconds,
        r_mb_s: count(then.sectors_read, now.sectors_read)? / SECTORS_A_MIB / seconds,
        w_mb_s: count(then.sectors_written, now.sectors_written)? / SECTORS_A_MIB / seconds,
        rrqm_s: count(then.merged, now.merged)? / seconds,
        wrqm_s: count(then.writes_merged, now.writes_merged)? / seconds,
        r_await: each(ms(then.time_reading, now.time_reading), reads),
        w_await: each(ms(then.time_writing, now.time_writing), writes),
        aqu_sz: ms(then.weighted_time_in_progress, now.weighted_time_in_progress) / 1000.0 / seconds,
        util: ms(then.time_in_progress, now.time_in_progress) / 10.0 / seconds,
        f_s: flushes / seconds,
        f_await: each(waited(then.time_flushing, now.time_flushing), flushes),
        d_s: discards / seconds,
        d_mb_s: counted(then.sectors_discarded, now.sectors_discarded)? / SECTORS_A_MIB / seconds,
        drqm_s: counted(then.discards_merged, now.discards_merged)? / seconds,
        d_await: each(waited(then.time_discarding, now.time_discarding), discards),
        data: false,
    })
}

/// Percent of all processors. `None` where not a tick passed.
fn cpu(then: snapshot::Cpu, now: snapshot::Cpu) -> Option<Cpu> {
    // Idle and iowait may step back (proc(5)): nothing is what that comes to.
    let parts = [
        now.user.saturating_sub(then.user),
        now.nice.saturating_sub(then.nice),
        now.system.saturating_sub(then.system),
        now.iowait.saturating_sub(then.iowait),
        now.steal.saturating_sub(then.steal),
        now.idle.saturating_sub(then.idle),
    ];
    let total: u64 = parts.iter().sum();
    let [user, nice, system, iowait, steal, idle] = parts.map(|part| part as f64 * 100.0 / total as f64);
    (total > 0).then_some(Cpu { user, system, iowait, steal, idle, nice })
}

fn pressure(then: &[Option<u64>; 5], now: &[Option<u64>; 5], seconds: f64) -> Pressure {
    let percent = |at: usize| match (then[at], now[at]) {
        (Some(then), Some(now)) => now.saturating_sub(then) as f64 / 10_000.0 / seconds,
        _ => -1.0,
    };
    Pressure { cpu_some: percent(0), io_some: percent(1), io_full: percent(2), memory_some: percent(3), memory_full: percent(4) }
}

/// `None`: the interface was taken away and made anew.
fn net(then: &Traffic, now: &Traffic, seconds: f64) -> Option<Net> {
    // Both directions of one interface do not wrap within the same second; a busy one may wrap every four.
    if now.received < then.received && now.sent < then.sent {
        return None;
    }
    let rate = |then: u64, now: u64| Some(grown(then, now, u64::from(u32::MAX))? as f64 / seconds);
    Some(Net {
        name: now.name.clone(),
        rx_bytes_s: rate(then.received, now.received)?,
        tx_bytes_s: rate(then.sent, now.sent)?,
        drops_s: rate(then.dropped, now.dropped)?,
    })
}

#[cfg(test)]
mod tests;
