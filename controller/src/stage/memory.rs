//! Shared memory that a PostgreSQL server left when it was ended hard. The kernel keeps such a segment until somebody removes
//! it; the server itself would at its next start, which on a stage never comes.

use std::path::Path;

use super::spawn::{Account, Program};

/// A segment as `postmaster.pid` names it: its key and id, and who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    maker: u64,
    key: u64,
    id: u64,
}

/// Removes what dead servers of this stage left.
pub(super) fn give_back(stage: &Path, account: &Account) {
    let hosts = std::fs::read_dir(stage).into_iter().flatten().flatten();
    let segments: Vec<_> = hosts
        .filter_map(|host| std::fs::read_to_string(host.path().join("data/postmaster.pid")).ok())
        .filter_map(|text| segment(&text))
        .collect();
    let known = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    for segment in segments.iter().filter(|segment| is_orphan(segment, &known)) {
        let program = Program {
            path: "/usr/bin/ipcrm".into(),
            arguments: vec!["-m".into(), segment.id.to_string().into()],
            account: account.clone(),
            stage: stage.to_owned(),
        };
        let removed = program.start(Path::new("/dev/null")).and_then(|mut child| child.wait());
        if !removed.is_ok_and(|status| status.success()) {
            tracing::warn!("the shared memory segment {} is left behind", segment.id);
        }
    }
}

/// Lines 1 and 7 of `postmaster.pid` (PostgreSQL, `src/include/utils/pidfile.h`).
fn segment(text: &str) -> Option<Segment> {
    let maker = text.lines().next()?.trim().parse().ok()?;
    let mut last = text.lines().nth(6)?.split_whitespace().map(str::parse);
    Some(Segment { maker, key: last.next()?.ok()?, id: last.next()?.ok()? })
}

/// Ids are used again: only a segment with this key, made by that very process, and that nobody is attached to, is meant.
fn is_orphan(segment: &Segment, known: &str) -> bool {
    known.lines().any(|line| {
        // proc(5), /proc/sysvipc: key shmid perms size cpid lpid nattch …; the key is a signed number
        let fields: Vec<i64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let [key, id, _, _, maker, _, attached, ..] = fields[..] else { return false };
        let same = |number: i64, wanted: u64| number as u64 & 0xffff_ffff == wanted & 0xffff_ffff;
        same(key, segment.key) && same(id, segment.id) && same(maker, segment.maker) && attached == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID_FILE: &str = "4711\n/data\n1763677000\n5432\n/run\n127.0.0.1\n  2147483700         6\nready   \n";
    const HEADER: &str = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid\n";

    #[test]
    fn only_the_very_segment_of_the_dead_server_is_an_orphan() {
        let segment = segment(PID_FILE).expect("a segment");
        assert_eq!(segment, Segment { maker: 4711, key: 2_147_483_700, id: 6 });
        let line = |key: i64, id: i64, maker: i64, attached: i64| {
            format!("{HEADER}{key:>10} {id:>10}   600 56 {maker} 4711 {attached} 101 104\n")
        };
        let key = i64::from(2_147_483_700_u32 as i32);
        assert!(is_orphan(&segment, &line(key, 6, 4711, 0)));
        for other in
            [line(key + 1, 6, 4711, 0), line(key, 7, 4711, 0), line(key, 6, 4712, 0), line(key, 6, 4711, 3), HEADER.into()]
        {
            assert!(!is_orphan(&segment, &other), "{other}");
        }
    }
}
