//! A pretend kernel for each database host: a few settings as plain files, and a directory for the drop-in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flytt_agent::config::Tuning;

/// Few, since each is three more points at which an agent can die; one of each kind.
const BEFORE: &[(&str, &str)] = &[
    ("net/core/rmem_max", "212992\n"),
    ("net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    ("vm/swappiness", "60\n"),
    ("vm/dirty_ratio", "20\n"),
];

#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    root: PathBuf,
}

#[allow(clippy::disallowed_methods, reason = "a pretend kernel's files need not last")]
impl Kernel {
    pub(crate) fn new(root: PathBuf) -> Self {
        for (path, value) in BEFORE {
            let path = root.join("sys").join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            fs::write(path, value).expect("written");
        }
        fs::create_dir_all(root.join("sysctl.d")).expect("made");
        Self { root }
    }

    pub(crate) fn tuning(&self) -> Tuning {
        Tuning { drop_in: self.drop_in(), sysctl: self.root.join("sys"), keep: Vec::new() }
    }

    pub(crate) fn drop_in(&self) -> PathBuf {
        self.root.join("sysctl.d/60-flytt.conf")
    }

    /// `vm/swappiness` → `1`
    pub(crate) fn value(&self, path: &str) -> String {
        let text = fs::read_to_string(self.root.join("sys").join(path)).expect("read");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn is_as_it_was(&self, what: &str) {
        for (path, value) in BEFORE {
            let before = value.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(self.value(path), before, "{what}: {path}");
        }
        let left: Vec<_> = entries(&self.root.join("sysctl.d"));
        // A name of the moment is what a write that was cut off leaves; nothing reads it.
        let left: Vec<_> = left.iter().filter(|name| !name.starts_with('.')).collect();
        assert!(left.is_empty(), "{what}: left in sysctl.d: {left:?}");
    }
}

fn entries(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).expect("read").flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
