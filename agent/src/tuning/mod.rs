//! Looks at this host's kernel settings and says which changes a move wants, and what it can only tell an operator. What is
//! as good already stays; what this agent may not write is reported, never a failure.

mod advice;
mod findings;
mod path;

use std::{fs, path::Path};

use flytt_proto::{name::HostName, v1};
use nix::unistd::AccessFlags;
use procfs::Current as _;

use self::advice::{Basis, Goal};
use crate::{
    change::{
        Change,
        sysctl::{DropIn, Kernel, Setting, Standing, Sysctl, table},
    },
    config::Tuning,
};

/// What is found, and what would be changed.
#[derive(Debug, Default)]
pub(crate) struct Advice {
    pub(crate) findings: Vec<v1::Finding>,
    pub(crate) changes: Vec<Change>,
}

/// Settings by what can be done about them.
#[derive(Debug, Default)]
struct Sorted {
    good: Vec<&'static str>,
    kept: Vec<&'static str>,
    absent: Vec<&'static str>,
    /// This agent's user may not write them.
    not_ours: Vec<Setting>,
    /// Not even root may, in this namespace or on this mount.
    read_only: Vec<Setting>,
    unreadable: Vec<(&'static str, String)>,
    changes: Vec<Sysctl>,
}

/// What is missing on this host for a move whose other end is `peer` at that address.
pub(crate) async fn look(kernel: &Kernel, config: &Tuning, role: v1::Role, peer: &(HostName, String)) -> Advice {
    let meminfo = procfs::Meminfo::current().ok();
    let memory = meminfo.as_ref().map_or(1 << 30, |it| it.mem_total);
    let basis = Basis { memory, route: path::measure(&peer.1).await, role };
    let mut advice = Advice { findings: vec![findings::path(&basis, &peer.0)], ..Advice::default() };
    let is_root = nix::unistd::geteuid().is_root();
    let mut sorted = sort(kernel, config, &basis, is_root);
    let drop_in = if sorted.changes.is_empty() { None } else { place(&config.drop_in, &mut sorted, &mut advice.findings) };
    advice.findings.extend(findings::of(&sorted, drop_in.as_deref()));
    if role == v1::Role::Target {
        advice.findings.extend(meminfo.as_ref().and_then(findings::huge_pages));
        let thp = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        advice.findings.extend(findings::transparent_huge_pages(&thp));
    }
    advice.changes = sorted.changes.into_iter().map(Change::Sysctl).collect();
    advice
}

fn sort(kernel: &Kernel, config: &Tuning, basis: &Basis, is_root: bool) -> Sorted {
    let mut sorted = Sorted::default();
    for goal in basis.goals() {
        let key = goal.key();
        let row = table::find(key).expect("every goal's key stands in the table, which a test reads");
        if config.keep.iter().any(|kept| kept.0 == key) {
            sorted.kept.push(key);
            continue;
        }
        let now = match kernel.in_force(row) {
            Ok(now) => now,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                sorted.absent.push(key);
                continue;
            }
            Err(error) => {
                sorted.unreadable.push((key, error.to_string()));
                continue;
            }
        };
        let Some(want) = goal.over(&now, basis.memory) else {
            sorted.good.push(key);
            continue;
        };
        if let Goal::Word(_, word) = goal
            && !kernel.congestion_controls().iter().any(|known| known == word)
        {
            // Writing it would load a module, which nothing takes back.
            sorted.absent.push(key);
            continue;
        }
        match table::find(&want.key).map(|row| kernel.may_write(row)) {
            Ok(Ok(())) => sorted.changes.push(Sysctl { want, had: now, drop_in: None, had_line: None }),
            Ok(Err(nix::errno::Errno::ENOENT)) | Err(_) => sorted.absent.push(key),
            Ok(Err(_)) if is_root => sorted.read_only.push(want),
            Ok(Err(_)) => sorted.not_ours.push(want),
        }
    }
    sorted
}

/// Where the changes are kept, if they can be.
fn place(path: &Path, sorted: &mut Sorted, found: &mut Vec<v1::Finding>) -> Option<std::path::PathBuf> {
    let file = match DropIn::read(path) {
        Ok(file) => file,
        Err(failure) => {
            found.push(findings::drop_in_refused(&failure));
            return None;
        }
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    if nix::unistd::eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        found.push(findings::not_kept(path));
        return None;
    }
    for change in &mut sorted.changes {
        change.drop_in = Some(path.to_owned());
        change.had_line = file.line(&change.want.key).cloned();
    }
    let keys: Vec<&str> = sorted.changes.iter().map(|change| change.want.key.as_str()).collect();
    found.extend(later(path, &keys).into_iter().map(|(file, keys)| findings::overridden(&file, &keys)));
    Some(path.to_owned())
}

/// Files of the same directory that are read after ours and set one of these keys again (sysctl.d(5): by name, the last wins).
fn later(ours: &Path, keys: &[&str]) -> Vec<(std::path::PathBuf, Vec<String>)> {
    let Some(entries) = ours.parent().and_then(|directory| fs::read_dir(directory).ok()) else { return Vec::new() };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.file_name() > ours.file_name() && path.extension().is_some_and(|end| end == "conf"));
    files.sort();
    let set = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let names = text.lines().filter_map(|line| {
            let name = line.trim().trim_start_matches('-').split('=').next()?.trim().replace('/', ".");
            keys.contains(&name.as_str()).then_some(name)
        });
        names.collect::<Vec<_>>()
    };
    files.into_iter().map(|path| (path.clone(), set(&path))).filter(|(_, names)| !names.is_empty()).collect()
}

/// What the kernel came to have, of what was set: a finding for each value that it did not take, or that somebody else has
/// changed meanwhile.
pub(crate) fn judge(kernel: &Kernel, changes: &[Change]) -> Vec<v1::Finding> {
    let sysctls = changes.iter().filter_map(|change| if let Change::Sysctl(it) = change { Some(it) } else { None });
    let judged = sysctls.filter_map(|change| match change.standing(kernel) {
        Ok(Standing::Wanted) => None,
        Ok(Standing::AsBefore) => Some(findings::not_taken(change)),
        Ok(Standing::Other(now)) => Some(findings::somebody_elses(change, &now)),
        Err(failure) => Some(findings::unreadable(&change.want.key, &failure.sentence)),
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_stands_in_the_table() {
        let route = path::Route { round_trip: advice::LONG, interface: String::new(), bits: None };
        for goal in (Basis { memory: 1 << 30, route: Some(route), role: v1::Role::Target }).goals() {
            table::find(goal.key()).expect("in the table");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "scratch files")]
    fn a_file_that_is_read_later_and_sets_the_same_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        put("10-before.conf", "vm.swappiness = 10\n");
        put("70-other.conf", "# vm.swappiness = 10\nkernel.panic = 1\n");
        put("99-sysctl.conf", "vm.dirty_ratio=40\n-vm/swappiness =\t60\n");
        put("99-readme.txt", "vm.swappiness = 60\n");
        let found = later(&dir.path().join("60-flytt.conf"), &["vm.swappiness"]);
        assert_eq!(found, [(dir.path().join("99-sysctl.conf"), vec!["vm.swappiness".to_owned()])]);
    }
}
