//! What the settings should be on this host, computed from its memory and the path. Pure; the sources of the figures stand
//! beside them.

use std::time::Duration;

use flytt_proto::v1;

use super::path::Route;
use crate::change::sysctl::{Setting, table};

const MIB: u64 = 1 << 20;
/// The floor of every host's socket buffers.
pub(super) const BUFFER_FLOOR: u64 = 16 * MIB;
const BUFFER_CEILING: u64 = 256 * MIB;
/// Of an interface that does not tell, as most of a virtual machine: what a host of today may well have.
const ASSUMED_BITS: u64 = 10_000_000_000;
/// From here on a path is long: loss-based congestion controls take minutes to fill it again after one lost packet.
pub(super) const LONG: Duration = Duration::from_millis(10);
/// What may wait to be written: a flush has to wait for it, and a checkpoint ends in flushes.
const BACKGROUND_CEILING: u64 = 1 << 30;
const DIRTY_CEILING: u64 = 4 << 30;

/// What the values are computed from.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    /// Bytes.
    pub(super) memory: u64,
    pub(super) route: Option<Route>,
    pub(super) role: v1::Role,
}

/// What is asked of one setting.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Goal {
    /// Each number of it.
    AtLeast(&'static str, Vec<u64>),
    AtMost(&'static str, u64),
    Word(&'static str, &'static str),
    /// At most this many bytes wait to be written, by the first setting (percent) or by the second (bytes).
    Dirty(&'static str, &'static str, u64),
}

impl Basis {
    /// In the order in which they are set. A running source is asked for what the path needs alone.
    pub(super) fn goals(&self) -> Vec<Goal> {
        use Goal::{AtLeast, AtMost, Dirty, Word};
        let buffer = self.buffer();
        let mut goals = vec![
            AtLeast("net.core.rmem_max", vec![buffer]),
            AtLeast("net.core.wmem_max", vec![buffer]),
            AtLeast("net.ipv4.tcp_rmem", vec![4_096, 87_380, buffer]),
            AtLeast("net.ipv4.tcp_wmem", vec![4_096, 65_536, buffer]),
            AtLeast("net.ipv4.tcp_window_scaling", vec![1]),
            AtLeast("net.ipv4.tcp_moderate_rcvbuf", vec![1]),
            AtMost("net.ipv4.tcp_slow_start_after_idle", 0),
        ];
        if self.is_long() {
            goals.push(Word("net.ipv4.tcp_congestion_control", "bbr"));
        }
        if self.role == v1::Role::Target {
            goals.extend([
                // All of an application's connections come at once when a router lets go of them.
                AtLeast("net.core.somaxconn", vec![4_096]),
                AtLeast("net.ipv4.tcp_max_syn_backlog", vec![4_096]),
                AtMost("vm.swappiness", 1),
                Dirty("vm.dirty_background_ratio", "vm.dirty_background_bytes", BACKGROUND_CEILING.min(self.memory.div_ceil(20))),
                Dirty("vm.dirty_ratio", "vm.dirty_bytes", DIRTY_CEILING.min(self.memory.div_ceil(10))),
            ]);
        }
        goals
    }

    pub(super) fn is_long(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.round_trip >= LONG)
    }

    /// Twice what is under way on the path (bandwidth × round-trip time), since the kernel counts half of a buffer as its own
    /// overhead (`tcp_adv_win_scale`, kernel: Documentation/networking/ip-sysctl.rst). Whole MiB; at least 16 MiB, at most
    /// 256 MiB, and above the least no more than a 64th of the memory.
    pub(super) fn buffer(&self) -> u64 {
        let Some(route) = &self.route else { return BUFFER_FLOOR };
        let bytes_a_second = u128::from(self.bits() / 8);
        let under_way = bytes_a_second * route.round_trip.as_micros() / 1_000_000;
        let twice = u64::try_from(under_way * 2).unwrap_or(u64::MAX).min(BUFFER_CEILING).div_ceil(MIB) * MIB;
        let most = BUFFER_CEILING.min(self.memory / 64 / MIB * MIB).max(BUFFER_FLOOR);
        twice.clamp(BUFFER_FLOOR, most)
    }

    pub(super) fn bits(&self) -> u64 {
        self.route.as_ref().and_then(|route| route.bits).unwrap_or(ASSUMED_BITS)
    }
}

impl Goal {
    pub(super) fn key(&self) -> &'static str {
        match self {
            Goal::AtLeast(key, _) | Goal::AtMost(key, _) | Goal::Word(key, _) | Goal::Dirty(key, _, _) => key,
        }
    }

    /// The setting to be written over `now`; `None` when it is as good already.
    ///
    /// The kernel takes a dirty ratio of what is free or can be freed, not of all memory
    /// (Documentation/admin-guide/sysctl/vm.rst), so a share of all memory is an upper bound of it. A whole percent is used
    /// as long as it keeps below the limit; on a host so large that even 1 % is more, bytes are.
    pub(super) fn over(&self, now: &Setting, memory: u64) -> Option<Setting> {
        let row = table::find(self.key()).ok()?;
        let setting = |key: &str, value: String| Some(Setting { key: key.into(), value });
        match self {
            Goal::AtLeast(key, least) => {
                let now = row.numbers(&now.value)?;
                let better: Vec<u64> = now.iter().zip(least).map(|(now, least)| *now.max(least)).collect();
                if better == now {
                    return None;
                }
                setting(key, better.iter().map(u64::to_string).collect::<Vec<_>>().join(" "))
            }
            Goal::AtMost(key, most) => {
                if now.value.parse::<u64>().ok()? <= *most {
                    return None;
                }
                setting(key, most.to_string())
            }
            Goal::Word(key, word) => {
                if now.value == *word {
                    None
                } else {
                    setting(key, (*word).to_owned())
                }
            }
            Goal::Dirty(ratio, bytes, limit) => {
                let value = now.value.parse::<u64>().ok()?;
                let percent = limit * 100 / memory.max(1);
                let is_below = if now.key == *bytes { value <= *limit } else { value <= percent };
                match percent {
                    _ if is_below => None,
                    0 => setting(bytes, (limit / MIB * MIB).to_string()),
                    percent => setting(ratio, percent.to_string()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn basis(memory: u64, round_trip_ms: u64, bits: Option<u64>) -> Basis {
        let route = Route { round_trip: Duration::from_millis(round_trip_ms), interface: "eth0".into(), bits };
        Basis { memory, route: Some(route), role: v1::Role::Target }
    }

    fn over(basis: &Basis, key: &str, now: (&str, &str)) -> Option<String> {
        let goals = basis.goals();
        let goal = goals.iter().find(|goal| goal.key() == key).expect("a goal");
        goal.over(&Setting { key: now.0.into(), value: now.1.into() }, basis.memory).map(|setting| setting.to_string())
    }

    #[test]
    fn buffers_hold_twice_what_is_under_way_within_their_bounds() {
        let gigabit = Some(1_000_000_000);
        assert_eq!(basis(512 * GIB, 1, gigabit).buffer(), BUFFER_FLOOR, "250 kB are under way");
        // 10 Gbit/s × 50 ms = 62.5 MB; twice that is 119.2 MiB.
        assert_eq!(basis(512 * GIB, 50, None).buffer(), 120 * MIB);
        assert_eq!(basis(512 * GIB, 300, Some(100_000_000_000)).buffer(), BUFFER_CEILING);
        assert_eq!(basis(4 * GIB, 50, None).buffer(), 64 * MIB, "a 64th of the memory");
        assert_eq!(basis(GIB / 2, 50, None).buffer(), BUFFER_FLOOR, "and yet no less than any host gets");
        assert_eq!(Basis { route: None, ..basis(512 * GIB, 1, None) }.buffer(), BUFFER_FLOOR);
        assert_eq!(basis(512 * GIB, u64::MAX / 1_000_000, Some(u64::MAX)).buffer(), BUFFER_CEILING, "no overflow");
    }

    #[test]
    fn what_is_better_already_stays_number_by_number() {
        let host = basis(24 * GIB, 1, None);
        let rmem = |now| over(&host, "net.ipv4.tcp_rmem", ("net.ipv4.tcp_rmem", now));
        assert_eq!(rmem("4096 131072 33554432"), None);
        assert_eq!(rmem("4096 131072 6291456").as_deref(), Some("net.ipv4.tcp_rmem = 4096 131072 16777216"));
        assert_eq!(rmem("1024 1024 33554432").as_deref(), Some("net.ipv4.tcp_rmem = 4096 87380 33554432"));
        let swappiness = |now| over(&host, "vm.swappiness", ("vm.swappiness", now));
        assert_eq!((swappiness("0"), swappiness("1")), (None, None));
        assert_eq!(swappiness("60").as_deref(), Some("vm.swappiness = 1"));
    }

    #[test]
    fn dirty_limits_are_a_percentage_until_even_one_percent_is_too_much() {
        let dirty = |memory: u64, now| over(&basis(memory, 1, None), "vm.dirty_ratio", now);
        let background = |memory: u64, now| over(&basis(memory, 1, None), "vm.dirty_background_ratio", now);
        let default = ("vm.dirty_ratio", "20");
        assert_eq!(dirty(2 * GIB, default).as_deref(), Some("vm.dirty_ratio = 10"));
        assert_eq!(background(2 * GIB, ("vm.dirty_background_ratio", "10")).as_deref(), Some("vm.dirty_background_ratio = 5"));
        // 4 GiB of 64 GiB are 6.25 %.
        assert_eq!(dirty(64 * GIB, default).as_deref(), Some("vm.dirty_ratio = 6"));
        // 10 % of 512 GiB would be 51 GiB, 1 % still 5 GiB.
        assert_eq!(dirty(512 * GIB, default).as_deref(), Some("vm.dirty_bytes = 4294967296"));
        assert_eq!(
            background(512 * GIB, ("vm.dirty_background_ratio", "1")).as_deref(),
            Some("vm.dirty_background_bytes = 1073741824")
        );
        assert_eq!(dirty(512 * GIB, ("vm.dirty_bytes", "1073741824")), None, "bytes that are below the limit stay");
        assert_eq!(dirty(24 * GIB, ("vm.dirty_bytes", "1073741824")), None);
        assert_eq!(dirty(24 * GIB, ("vm.dirty_bytes", "8589934592")).as_deref(), Some("vm.dirty_ratio = 10"));
        assert_eq!(dirty(24 * GIB, ("vm.dirty_ratio", "8")), None);
    }

    #[test]
    fn whatever_the_host_every_value_is_allowed_and_within_the_bounds_of_the_product() {
        for memory in [256 * MIB, GIB, 24 * GIB, 99 * GIB, 100 * GIB, 101 * GIB, 400 * GIB, 4096 * GIB] {
            for round_trip in [0, 1, 9, 10, 300, 5_000] {
                for bits in [None, Some(1_000_000_000), Some(400_000_000_000)] {
                    let basis = basis(memory, round_trip, bits);
                    for goal in basis.goals() {
                        let bad = match goal.key() {
                            "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => "1 1 1",
                            "net.ipv4.tcp_congestion_control" => "cubic",
                            "net.ipv4.tcp_slow_start_after_idle" => "1",
                            key if key.starts_with("net.") => "0",
                            _ => "100",
                        };
                        let want = goal.over(&Setting { key: goal.key().into(), value: bad.into() }, memory).expect("a change");
                        table::find(&want.key).expect("in the table").allows(&want.value).unwrap_or_else(|e| panic!("{e}"));
                        assert_eq!(goal.over(&want, memory), None, "what was set is as good as it gets: {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_running_source_is_asked_for_what_the_path_needs_alone() {
        let source = Basis { role: v1::Role::Source, ..basis(24 * GIB, 50, None) };
        assert!(source.goals().iter().all(|goal| goal.key().starts_with("net.")), "{:?}", source.goals());
        assert!(source.is_long() && source.goals().contains(&Goal::Word("net.ipv4.tcp_congestion_control", "bbr")));
        let near = basis(24 * GIB, 1, None);
        assert!(!near.goals().iter().any(|goal| goal.key().contains("congestion")));
    }
}
