//! The kernel's counters at one moment, out of /proc. What they come to over an interval is `interval`'s.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use flytt_proto::v1::sample::Memory;
use procfs::{DiskStat, FromBufRead, FromBufReadSI as _, KernelStats, Meminfo, net::InterfaceDeviceStatus};

/// Counters at one moment. What could not be read is empty or absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// By the monotonic clock, which a sleeping host stops; from any fixed moment on.
    pub(super) at: Duration,
    /// Unix time: a label, never reckoned with.
    pub(super) wall_ms: i64,
    pub(super) cpu: Option<Cpu>,
    pub(super) memory: Option<Memory>,
    /// µs that somebody (or everybody) waited: cpu some, io some, io full, memory some, memory full.
    pub(super) stalled: [Option<u64>; 5],
    /// Whole devices that were ever used, as `iostat` lists them.
    pub(super) disks: Vec<DiskStat>,
    pub(super) nets: Vec<Traffic>,
}

/// Ticks of all processors together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) user: u64,
    pub(super) nice: u64,
    /// Interrupts included.
    pub(super) system: u64,
    pub(super) iowait: u64,
    pub(super) steal: u64,
    pub(super) idle: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Traffic {
    pub(super) name: String,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) dropped: u64,
}

/// Takes snapshots, over and over, with the same buffer.
#[derive(Debug)]
pub(super) struct Reader {
    began: Instant,
    text: Vec<u8>,
    /// Whether a name in /proc/diskstats is a device of its own; with the number, because names are given anew.
    whole: HashMap<(i32, i32, String), bool>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), text: Vec::with_capacity(16 << 10), whole: HashMap::new() }
    }

    pub(super) fn take(&mut self) -> Snapshot {
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let at = self.began.elapsed();
        // Right after the clock: of all of them these must fit the interval best.
        let disks = self.disks();
        let cpu = self.read("/proc/stat").and_then(cpu);
        let memory = self.read("/proc/meminfo").and_then(memory);
        let [cpu_some, _] = self.read("/proc/pressure/cpu").map(stalled).unwrap_or_default();
        let [io_some, io_full] = self.read("/proc/pressure/io").map(stalled).unwrap_or_default();
        let [memory_some, memory_full] = self.read("/proc/pressure/memory").map(stalled).unwrap_or_default();
        let nets = self.read("/proc/net/dev").map(nets).unwrap_or_default();
        Snapshot { at, wall_ms, cpu, memory, stalled: [cpu_some, io_some, io_full, memory_some, memory_full], disks, nets }
    }

    fn read(&mut self, path: &str) -> Option<&[u8]> {
        self.text.clear();
        File::open(path).and_then(|mut file| file.read_to_end(&mut self.text)).ok()?;
        Some(&self.text)
    }

    fn disks(&mut self) -> Vec<DiskStat> {
        let mut disks = self.read("/proc/diskstats").map(used).unwrap_or_default();
        // Numbers and names of partitions are in the list, too; only whole devices have a directory here.
        let block = Path::new("/sys/block");
        let known = self.whole.len();
        disks.retain(|disk| {
            let key = (disk.major, disk.minor, disk.name.clone());
            *self.whole.entry(key).or_insert_with(|| !block.exists() || block.join(disk.name.replace('/', "!")).exists())
        });
        // Devices that come and go must not make the list of the known ones grow for ever.
        if known > 4_096 {
            self.whole.clear();
        }
        disks
    }
}

/// Those of /proc/diskstats that were used since they were there.
pub(super) fn used(text: &[u8]) -> Vec<DiskStat> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let disks = lines.filter_map(|line| DiskStat::from_line(line).ok());
    disks.filter(|disk| disk.reads + disk.writes + disk.discards.unwrap_or(0) + disk.flushes.unwrap_or(0) > 0).collect()
}

/// /proc/stat.
pub(super) fn cpu(text: &[u8]) -> Option<Cpu> {
    let total = KernelStats::from_buf_read(text, procfs::current_system_info()).ok()?.total;
    let interrupts = total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
    Some(Cpu {
        user: total.user,
        nice: total.nice,
        system: total.system + interrupts,
        iowait: total.iowait.unwrap_or(0),
        steal: total.steal.unwrap_or(0),
        idle: total.idle,
    })
}

/// /proc/meminfo.
pub(super) fn memory(text: &[u8]) -> Option<Memory> {
    let info = Meminfo::from_buf_read(text).ok()?;
    Some(Memory {
        total: info.mem_total,
        available: info.mem_available.unwrap_or(info.mem_free + info.cached),
        dirty: info.dirty,
        writeback: info.writeback,
        swap_used: info.swap_total.saturating_sub(info.swap_free),
    })
}

/// /proc/pressure/*: some, full. Kernels before 5.13 have no `full` of the processors, so each line stands for itself.
pub(super) fn stalled(text: &[u8]) -> [Option<u64>; 2] {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let of = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        procfs::parse_pressure_record(line).ok().map(|record| record.total)
    };
    [of("some"), of("full")]
}

/// /proc/net/dev, those that were used.
pub(super) fn nets(text: &[u8]) -> Vec<Traffic> {
    let all = InterfaceDeviceStatus::from_buf_read(text).map(|all| all.0).unwrap_or_default();
    let used = all.into_values().filter(|net| net.recv_bytes + net.sent_bytes > 0);
    let mut nets: Vec<Traffic> = used
        .map(|net| Traffic {
            name: net.name,
            received: net.recv_bytes,
            sent: net.sent_bytes,
            dropped: net.recv_drop + net.sent_drop,
        })
        .collect();
    nets.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    nets
}
