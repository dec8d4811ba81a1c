//! The laws of a change, for settings of a pretend kernel (plain files): twice, never, and over what somebody else did; and
//! every bad input and every bad drop-in, after which nothing is changed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    kernel: Kernel,
}

#[allow(clippy::disallowed_methods, reason = "scratch files")]
impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let scene = Self { kernel: Kernel::at(dir.path().join("sys")), dir };
        for directory in ["sys/vm", "sys/net/ipv4", "sys/kernel", "sysctl.d"] {
            fs::create_dir_all(scene.dir.path().join(directory)).expect("made");
        }
        scene.set("sys/vm/swappiness", "60\n");
        scene.set("sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n");
        scene.set("sys/kernel/core_pattern", "core\n");
        scene
    }

    fn set(&self, path: &str, text: &str) {
        fs::write(self.dir.path().join(path), text).expect("written");
    }

    fn drop_in(&self) -> PathBuf {
        self.dir.path().join("sysctl.d/60-flytt.conf")
    }

    /// Every file below, with its content.
    fn tree(&self) -> Vec<(PathBuf, String)> {
        let mut tree = Vec::new();
        let mut directories = vec![self.dir.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("read").flatten() {
                if entry.file_type().expect("a type").is_dir() {
                    directories.push(entry.path());
                } else {
                    tree.push((entry.path(), fs::read_to_string(entry.path()).unwrap_or_default()));
                }
            }
        }
        tree.sort();
        tree
    }

    fn change(&self, key: &str, had: &str, want: &str) -> Sysctl {
        let setting = |value: &str| Setting { key: key.into(), value: value.into() };
        let had_line = DropIn::read(&self.drop_in()).expect("ours").line(key).cloned();
        Sysctl { want: setting(want), had: setting(had), drop_in: Some(self.drop_in()), had_line }
    }

    fn swappiness(&self) -> Sysctl {
        self.change("vm.swappiness", "60", "1")
    }

    fn both(&self) -> [Sysctl; 2] {
        [self.swappiness(), self.change("net.ipv4.tcp_rmem", "4096 131072 6291456", "4096 131072 16777216")]
    }

    fn apply(&self, change: &Sysctl) -> Result<(), Failure> {
        apply(&self.kernel, change, &Fuse::default())
    }

    fn undo(&self, change: &Sysctl) -> Option<String> {
        undo(&self.kernel, change).expect("undone")
    }
}

/// What the plain files of the scene say, in the spelling of the kernel's own.
fn settled(tree: Vec<(PathBuf, String)>) -> Vec<(PathBuf, String)> {
    tree.into_iter().map(|(path, text)| (path, text.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

#[test]
fn it_can_be_applied_twice_undone_twice_and_undone_when_it_was_never_applied() {
    for applied in 0..3 {
        for undone in 1..3 {
            let scene = Scene::new();
            let before = settled(scene.tree());
            let changes = scene.both();
            for _ in 0..applied {
                for change in &changes {
                    scene.apply(change).expect("applied");
                    assert_eq!(change.standing(&scene.kernel), Ok(Standing::Wanted));
                }
            }
            for _ in 0..undone {
                for change in changes.iter().rev() {
                    assert_eq!(scene.undo(change), None);
                }
            }
            assert_eq!(settled(scene.tree()), before, "applied {applied} times, undone {undone} times");
        }
    }
}

#[test]
fn the_drop_in_sets_what_is_live_and_tells_what_was_before() {
    let scene = Scene::new();
    for change in scene.both() {
        scene.apply(&change).expect("applied");
    }
    let text = fs::read_to_string(scene.drop_in()).expect("written");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("# ") || line.starts_with(drop_in_before())).collect();
    assert_eq!(
        lines,
        [
            "# before: net.ipv4.tcp_rmem = 4096 131072 6291456",
            "net.ipv4.tcp_rmem = 4096 131072 16777216",
            "# before: vm.swappiness = 60",
            "vm.swappiness = 1"
        ]
    );
    assert_eq!(fs::metadata(scene.drop_in()).expect("there").permissions().mode() & 0o777, 0o644);
}

fn drop_in_before() -> &'static str {
    "# before:"
}

#[test]
fn undo_restores_only_over_what_we_wrote() {
    let scene = Scene::new();
    let change = scene.swappiness();
    scene.apply(&change).expect("applied");
    scene.set("sys/vm/swappiness", "30\n");
    let text = fs::read_to_string(scene.drop_in()).expect("ours").replace("vm.swappiness = 1", "vm.swappiness = 0");
    scene.set("sysctl.d/60-flytt.conf", &text);
    let before = scene.tree();
    let note = scene.undo(&change).expect("it is told");
    assert!(note.contains("vm.swappiness = 30") && note.contains("vm.swappiness = 0 in "), "{note}");
    assert_eq!(scene.tree(), before);
}

#[test]
fn a_value_that_somebody_set_since_the_survey_is_not_written_over() {
    let scene = Scene::new();
    let change = scene.swappiness();
    scene.set("sys/vm/swappiness", "30\n");
    let before = scene.tree();
    scene.apply(&change).expect("no failure of the move");
    assert_eq!(scene.tree(), before);
    assert!(matches!(change.standing(&scene.kernel), Ok(Standing::Other(_))));
}

#[test]
fn the_line_of_an_earlier_move_comes_back() {
    let scene = Scene::new();
    let first = scene.change("net.ipv4.tcp_rmem", "4096 131072 6291456", "4096 131072 16777216");
    scene.apply(&first).expect("applied");
    // That move is finished, its tuning stays; another one asks for more.
    let kept = settled(scene.tree());
    let second = scene.change("net.ipv4.tcp_rmem", "4096 131072 16777216", "4096 131072 33554432");
    assert!(second.had_line.is_some());
    scene.apply(&second).expect("applied");
    scene.apply(&second).expect("applied again");
    for _ in 0..2 {
        assert_eq!(scene.undo(&second), None);
        assert_eq!(settled(scene.tree()), kept);
    }
}

#[test]
fn what_the_kernel_does_not_take_is_no_failure_and_is_not_kept() {
    let scene = Scene::new();
    let path = scene.dir.path().join("sys/vm/swappiness");
    // Read-only, as a namespace shows it. Root writes it nevertheless, so the law is tried where that holds.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("set");
    let is_read_only = fs::OpenOptions::new().write(true).open(&path).is_err();
    let change = scene.swappiness();
    scene.apply(&change).expect("no failure");
    if is_read_only {
        assert_eq!(change.standing(&scene.kernel), Ok(Standing::AsBefore));
        assert!(!scene.drop_in().exists());
    }
    // A link is not followed: the write fails for root, too.
    let scene = Scene::new();
    let path = scene.dir.path().join("sys/vm/swappiness");
    fs::remove_file(&path).expect("removed");
    scene.set("elsewhere", "60\n");
    symlink(scene.dir.path().join("elsewhere"), &path).expect("linked");
    let before = scene.tree();
    let change = scene.swappiness();
    scene.apply(&change).expect("no failure");
    assert_eq!(change.standing(&scene.kernel), Ok(Standing::AsBefore));
    assert_eq!(scene.tree(), before, "neither the value nor a drop-in");
    assert_eq!(scene.undo(&change), None);
}

#[test]
fn nothing_outside_of_the_table_or_its_ranges_is_ever_written() {
    let scene = Scene::new();
    let before = scene.tree();
    for (key, had, want, code) in [
        ("kernel.core_pattern", "core", "|/bin/sh", "SYSCTL_NOT_ALLOWED"),
        ("vm/swappiness", "60", "1", "SYSCTL_NOT_ALLOWED"),
        ("vm.swappiness/../../kernel/core_pattern", "60", "1", "SYSCTL_NOT_ALLOWED"),
        ("../../kernel/core_pattern", "core", "1", "SYSCTL_NOT_ALLOWED"),
        ("vm.swappiness", "60", "61", "SYSCTL_VALUE"),
        ("vm.swappiness", "60", "1\nkernel.core_pattern = |/bin/sh", "SYSCTL_VALUE"),
        ("vm.swappiness", "60\nkernel.core_pattern = |/bin/sh", "1", "SYSCTL_VALUE"),
        ("net.ipv4.tcp_rmem", "4096 131072 6291456", "16777216", "SYSCTL_VALUE"),
    ] {
        let setting = |value: &str| Setting { key: key.into(), value: value.into() };
        let change = Sysctl { want: setting(want), had: setting(had), drop_in: Some(scene.drop_in()), had_line: None };
        let failure = scene.apply(&change).expect_err(want);
        assert_eq!((failure.code.as_str(), failure.effect), (code, flytt_proto::failure::Effect::None), "{key} = {want:?}");
        assert_eq!(scene.tree(), before, "{key} = {want:?}");
    }
}

#[test]
fn a_drop_in_that_is_not_ours_is_refused_before_anything_is_changed() {
    type Make = fn(&Scene);
    let cases: &[(&str, Make)] = &[
        ("a link to another file", |scene| {
            scene.set("victim", "root\n");
            symlink(scene.dir.path().join("victim"), scene.drop_in()).expect("linked");
        }),
        ("a dangling link", |scene| symlink(scene.dir.path().join("nowhere"), scene.drop_in()).expect("linked")),
        ("a pipe", |scene| nix::unistd::mkfifo(&scene.drop_in(), nix::sys::stat::Mode::S_IRWXU).expect("made")),
        ("a directory", |scene| fs::create_dir(scene.drop_in()).expect("made")),
        ("another's file", |scene| scene.set("sysctl.d/60-flytt.conf", "vm.swappiness = 10\n")),
        ("a line that is not ours", |scene| {
            scene.apply(&scene.change("net.ipv4.tcp_rmem", "4096 131072 6291456", "4096 131072 16777216")).expect("applied");
            let text = fs::read_to_string(scene.drop_in()).expect("ours") + "kernel.core_pattern = |/bin/sh\n";
            scene.set("sysctl.d/60-flytt.conf", &text);
        }),
        ("not text", |scene| {
            let path = scene.drop_in();
            flytt_proto::durable::write(&path, &[0xff, 0xfe, 0], 0o644).expect("written");
        }),
        ("a directory that is a link", |scene| {
            fs::remove_dir(scene.dir.path().join("sysctl.d")).expect("removed");
            fs::create_dir(scene.dir.path().join("other.d")).expect("made");
            symlink(scene.dir.path().join("other.d"), scene.dir.path().join("sysctl.d")).expect("linked");
        }),
    ];
    for (what, make) in cases {
        let scene = Scene::new();
        let mut change = scene.swappiness();
        make(&scene);
        let before = if *what == "a pipe" { Vec::new() } else { scene.tree() };
        let failure = scene.apply(&change).expect_err(what);
        assert_eq!(failure.code, "DROP_IN_REFUSED", "{what}");
        assert_eq!(change.standing(&scene.kernel), Ok(Standing::AsBefore), "{what}");
        if *what != "a pipe" {
            assert_eq!(scene.tree(), before, "{what}");
        }
        // Made so after we had set the value: that is taken back, the file is left and named.
        change.drop_in = None;
        scene.apply(&change).expect("applied live");
        change.drop_in = Some(scene.drop_in());
        let note = scene.undo(&change).expect("it is told");
        assert!(note.contains("is left as it is"), "{what}: {note}");
        assert_eq!(change.standing(&scene.kernel), Ok(Standing::AsBefore), "{what}");
    }
}

#[test]
fn what_was_recorded_reads_back_and_prints_both_values() {
    let scene = Scene::new();
    let change = super::super::Change::Sysctl(scene.swappiness());
    assert_eq!(change.to_string(), "set vm.swappiness: 60 → 1");
    let text = serde_json::to_string(&change).expect("JSON");
    assert_eq!(serde_json::from_str::<super::super::Change>(&text).expect("read"), change);
    // As the first version that had it wrote it.
    let first = r#"{"kind":"sysctl","want":{"key":"vm.dirty_ratio","value":"10"},"had":{"key":"vm.dirty_bytes","value":"1073741824"},"drop_in":"/etc/sysctl.d/60-flytt.conf","had_line":null}"#;
    let read: super::super::Change = serde_json::from_str(first).expect("read");
    assert_eq!(read.to_string(), "set vm.dirty_bytes = 1073741824 → vm.dirty_ratio = 10");
}
