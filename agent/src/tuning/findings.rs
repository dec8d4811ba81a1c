//! What an operator is told about a host's kernel settings: one sentence and one remedy each.

use std::path::Path;

use flytt_proto::{
    failure::Failure,
    name::HostName,
    v1::{self, finding::Level},
};

use super::{
    Sorted,
    advice::{Basis, LONG},
};
use crate::change::sysctl::{Setting, Sysctl, assignment};

/// From here on a database's own memory is worth the trouble of setting huge pages aside.
const LARGE_MEMORY: u64 = 32 << 30;

fn finding(level: Level, code: &str, sentence: String, remedy: String) -> v1::Finding {
    v1::Finding { level: level.into(), code: code.into(), host: String::new(), sentence, remedy }
}

fn ok(code: &str, sentence: String) -> v1::Finding {
    finding(Level::Ok, code, sentence, String::new())
}

/// One line to paste into a root shell.
fn command<'a>(settings: impl Iterator<Item = &'a Setting>) -> String {
    let all: Vec<_> = settings.map(assignment).collect();
    format!("sysctl -w {}", all.join(" "))
}

pub(super) fn path(basis: &Basis, peer: &HostName) -> v1::Finding {
    let buffer = basis.buffer() >> 20;
    let Some(route) = &basis.route else {
        return finding(
            Level::Warn,
            "PATH_NOT_MEASURED",
            format!("{peer} does not answer from here, so buffers are {buffer} MiB, which may be small for a long path"),
            "see that the agents reach each other, then plan again".into(),
        );
    };
    let told = if route.bits.is_some() { "" } else { " (assumed: the interface does not tell)" };
    let long = if route.round_trip >= LONG { "; the path is long" } else { "" };
    ok(
        "PATH_MEASURED",
        format!(
            "{peer} is {:.3} ms away by {} at {:.1} Gbit/s{told}: buffers of up to {buffer} MiB{long}",
            route.round_trip.as_secs_f64() * 1e3,
            route.interface,
            basis.bits() as f64 / 1e9,
        ),
    )
}

pub(super) fn of(sorted: &Sorted, drop_in: Option<&Path>) -> Vec<v1::Finding> {
    let mut found = Vec::new();
    if !sorted.good.is_empty() {
        found.push(ok("SYSCTLS_GOOD", format!("as good or better already: {}", sorted.good.join(", "))));
    }
    if !sorted.kept.is_empty() {
        found.push(ok("SYSCTLS_KEPT", format!("left alone, as its agent.toml says: {}", sorted.kept.join(", "))));
    }
    if !sorted.absent.is_empty() {
        found.push(ok("SYSCTLS_ABSENT", format!("not to be had from this kernel or namespace: {}", sorted.absent.join(", "))));
    }
    if !sorted.not_ours.is_empty() {
        let keys = names(&sorted.not_ours);
        found.push(finding(
            Level::Warn,
            "TUNING_NOT_AVAILABLE",
            format!("the agent does not run as root and may not set {keys}"),
            format!("run as root on that host: {}", command(sorted.not_ours.iter())),
        ));
    }
    if !sorted.read_only.is_empty() {
        let keys = names(&sorted.read_only);
        found.push(finding(
            Level::Warn,
            "SYSCTL_READ_ONLY",
            format!("{keys} cannot be set from where the agent runs: a container or namespace, or a read-only mount"),
            format!("run on the machine itself: {}", command(sorted.read_only.iter())),
        ));
    }
    found.extend(sorted.unreadable.iter().map(|(key, why)| unreadable(key, why)));
    if let Some(path) = drop_in {
        found.push(ok("TUNING_KEPT_IN", format!("what is set stays over a restart of the host, by {}", path.display())));
    }
    found
}

fn names(settings: &[Setting]) -> String {
    settings.iter().map(|setting| setting.key.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn unreadable(key: &str, why: &str) -> v1::Finding {
    finding(
        Level::Warn,
        "SYSCTL_UNREADABLE",
        format!("{key} cannot be read: {why}"),
        "see that /proc/sys is mounted where the agent runs".into(),
    )
}

pub(super) fn drop_in_refused(failure: &Failure) -> v1::Finding {
    finding(Level::Block, &failure.code, failure.sentence.clone(), failure.remedy.clone())
}

pub(super) fn not_kept(path: &Path) -> v1::Finding {
    finding(
        Level::Warn,
        "DROP_IN_NOT_WRITABLE",
        format!("{} cannot be written by the agent: what is set lasts until the host's next start", path.display()),
        "let the agent write there, or keep the values by hand in a file of another name".into(),
    )
}

pub(super) fn overridden(file: &Path, keys: &[String]) -> v1::Finding {
    finding(
        Level::Warn,
        "OVERRIDDEN_AT_BOOT",
        format!("{} is read later and sets {} again at the host's next start", file.display(), keys.join(", ")),
        format!("remove these lines from {}", file.display()),
    )
}

pub(super) fn not_taken(change: &Sysctl) -> v1::Finding {
    finding(
        Level::Warn,
        "SYSCTL_REFUSED",
        format!("the kernel does not take {}: it is as it was ({})", change.want, change.had.value),
        format!("try as root on that host: {}", command(std::iter::once(&change.want))),
    )
}

pub(super) fn somebody_elses(change: &Sysctl, now: &Setting) -> v1::Finding {
    finding(
        Level::Warn,
        "SYSCTL_CHANGED",
        format!("{now} was set by somebody else since ({} was planned) and is left as it is", change.want),
        "see who manages this host's settings".into(),
    )
}

pub(super) fn huge_pages(meminfo: &procfs::Meminfo) -> Option<v1::Finding> {
    let none = meminfo.hugepages_total == Some(0) && meminfo.mem_total >= LARGE_MEMORY;
    none.then(|| {
        finding(
            Level::Warn,
            "NO_HUGE_PAGES",
            "no huge pages are set aside; a large buffer pool spends less time and memory on page tables with them".into(),
            "set vm.nr_hugepages to what `postgres -C shared_memory_size_in_huge_pages` prints, before the server is started"
                .into(),
        )
    })
}

/// `enabled` as the kernel prints it: `always [madvise] never`.
pub(super) fn transparent_huge_pages(enabled: &str) -> Option<v1::Finding> {
    enabled.contains("[always]").then(|| {
        finding(
            Level::Warn,
            "TRANSPARENT_HUGE_PAGES",
            "transparent huge pages are always on: the kernel's compaction makes a database's latency jump".into(),
            "run as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, and add transparent_hugepage=madvise to \
             the kernel's command line"
                .into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_available_comes_as_one_line_to_paste() {
        let setting = |key: &str, value: &str| Setting { key: key.into(), value: value.into() };
        let not_ours = vec![setting("net.ipv4.tcp_rmem", "4096 87380 16777216"), setting("vm.swappiness", "1")];
        let found = of(&Sorted { not_ours, ..Sorted::default() }, None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level(), Level::Warn);
        assert_eq!(
            found[0].remedy,
            "run as root on that host: sysctl -w 'net.ipv4.tcp_rmem=4096 87380 16777216' vm.swappiness=1"
        );
    }

    #[test]
    fn transparent_huge_pages_are_told_of_only_when_always_on() {
        assert!(transparent_huge_pages("always [madvise] never\n").is_none());
        assert!(transparent_huge_pages("[always] madvise never\n").is_some());
        assert!(transparent_huge_pages("").is_none());
    }
}
