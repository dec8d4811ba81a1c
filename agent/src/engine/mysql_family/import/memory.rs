//! How much memory the server's buffer pool may have during an import: three quarters of what there is, and never more than is
//! free but for a reserve, since others may live on the same host. Looks only.

use std::{fs, path::Path};

use nix::unistd::Pid;
use procfs::Current as _;

/// Of the memory that there is; InnoDB's manual speaks of 50 to 75 percent, and the rest of the server needs the remainder.
const SHARE: (u64, u64) = (3, 4);
/// Left free on a small machine; a tenth on a larger one.
const LEAST_RESERVE: u64 = 256 << 20;

/// Bytes, the narrowest of the host and each control group around the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total: u64,
    /// What could be had without pushing anybody out.
    pub(super) free: u64,
    /// What the server has by now.
    pub(super) resident: u64,
}

/// As the kernel tells it; `None` where it does not.
pub(super) fn of(server: Pid) -> Option<Memory> {
    let host = procfs::Meminfo::current().ok()?;
    let process = procfs::process::Process::new(server.as_raw()).ok()?;
    let resident = process.statm().ok()?.resident.saturating_mul(procfs::page_size());
    let groups = process.cgroups().ok()?;
    let mut memory = Memory { total: host.mem_total, free: host.mem_available?, resident };
    for group in groups {
        let is_v2 = group.hierarchy == 0;
        if !is_v2 && !group.controllers.iter().any(|controller| controller == "memory") {
            continue;
        }
        let (root, limit, used) = if is_v2 {
            ("/sys/fs/cgroup", "memory.max", "memory.current")
        } else {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        };
        // A limit of any ancestor counts as well.
        for path in Path::new(&group.pathname).ancestors() {
            let directory = Path::new(root).join(path.strip_prefix("/").unwrap_or(path));
            let number = |name: &str| fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
            if let (Some(limit), Some(used)) = (number(limit), number(used)) {
                memory = memory.within(limit, used.saturating_sub(reclaimable(&directory)));
            }
        }
    }
    Some(memory)
}

/// Page cache that nobody has used for a while: counted as used, and given back when it is asked for.
fn reclaimable(group: &Path) -> u64 {
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let value = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
    value("total_inactive_file").or_else(|| value("inactive_file")).unwrap_or(0)
}

impl Memory {
    fn within(self, limit: u64, used: u64) -> Self {
        Self { total: self.total.min(limit), free: self.free.min(limit.saturating_sub(used)), ..self }
    }

    /// A larger pool than `now`, in whole `unit`s, or `None` where there is none to be had. Bytes.
    pub(super) fn pool(&self, now: u64, unit: u64) -> Option<u64> {
        let reserve = LEAST_RESERVE.max(self.total / 10);
        // What the pool does not have yet, although it may, is still among what is free.
        let possible = self.resident.min(now) + self.free.saturating_sub(reserve);
        let want = (self.total / SHARE.1 * SHARE.0).min(possible);
        let want = want / unit.max(1) * unit.max(1);
        (want > now).then_some(want)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn a_host_of_its_own_gives_three_quarters() {
        let memory = Memory { total: 16 * GIB, free: 15 * GIB, resident: 100 * MIB };
        assert_eq!(memory.pool(128 * MIB, 128 * MIB), Some(12 * GIB));
    }

    #[test]
    fn on_a_shared_host_it_takes_what_is_free_and_leaves_a_reserve() {
        let memory = Memory { total: 16 * GIB, free: 4 * GIB, resident: GIB };
        // One is resident, and of four that are free a tenth of all stays.
        let want = memory.pool(GIB, 128 * MIB).unwrap();
        assert!(want <= GIB + 4 * GIB - 16 * GIB / 10 && want > 3 * GIB, "{want}");
        let full = Memory { free: GIB, ..memory };
        assert_eq!(full.pool(GIB, 128 * MIB), None);
        // A pool that has not been filled is not counted twice.
        let empty = Memory { resident: 0, ..memory };
        assert_eq!(empty.pool(3 * GIB, 128 * MIB), None);
    }

    #[test]
    fn a_control_group_counts_like_a_smaller_host() {
        let memory = Memory { total: 64 * GIB, free: 60 * GIB, resident: 0 }.within(4 * GIB, GIB);
        assert_eq!((memory.total, memory.free), (4 * GIB, 3 * GIB));
        assert!(memory.pool(128 * MIB, 128 * MIB).unwrap() <= 3 * GIB - 4 * GIB / 10);
        // Used beyond its limit, as a limit that was lowered is.
        assert_eq!(memory.within(GIB, 2 * GIB).free, 0);
    }

    #[test]
    fn this_process_has_memory() {
        let memory = of(nix::unistd::getpid()).unwrap();
        assert!(memory.total > 0 && memory.resident > 0 && memory.free <= memory.total, "{memory:?}");
    }
}
