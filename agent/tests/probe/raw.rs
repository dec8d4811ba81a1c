//! A whole disk: every way in which it is not empty for certain is refused, and an empty one is empty again afterwards.

use flytt_agent::probe::{COMMITS, Place};

use super::{
    MIB, ask, measure, refused,
    volume::{Disk, Volume, must},
};

fn raw(device: &str, again: &str) -> Place {
    Place::Raw { device: device.to_owned(), again: again.to_owned() }
}

fn why_not(device: &str) -> String {
    refused(ask(raw(device, device), 1, &[])).code
}

#[test]
fn an_empty_disk_is_measured_and_empty_again() {
    let disk = Disk::new(400);
    for _ in 0..2 {
        let report = measure(ask(raw(&disk.text(), &disk.text()), 1, &["randwrite-4k-qd8", COMMITS])).unwrap();
        assert_eq!((report.results.len(), report.file_bytes), (2, 32 * MIB));
        assert_eq!(report.device.unwrap().transport, "loop");
        assert!(disk.image().iter().all(|byte| *byte == 0), "it is as it was");
    }
}

#[test]
fn it_must_be_named_twice() {
    let disk = Disk::new(400);
    for again in ["", "/dev/loop", "/dev/null"] {
        assert_eq!(refused(ask(raw(&disk.text(), again), 1, &[])).code, "RAW_NAMED_ONCE");
    }
}

#[test]
fn what_is_no_disk_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(why_not(&file.path().display().to_string()), "RAW_NOT_A_DISK");
    assert_eq!(why_not("/dev/null"), "RAW_NOT_A_DISK");
    assert_eq!(why_not("/dev/no-such-disk"), "RAW_NOT_A_DISK");
    let (disk, place) = (Disk::new(400), tempfile::tempdir().unwrap());
    let link = place.path().join("disk");
    std::os::unix::fs::symlink(&disk.path, &link).unwrap();
    assert_eq!(why_not(&link.display().to_string()), "RAW_NOT_A_DISK");
}

#[test]
fn somebodys_disk_is_refused() {
    let volume = Volume::new("ext4", 400);
    let device = volume.disk.text();
    let before = volume.disk.image();
    assert_eq!(why_not(&device), "RAW_IN_USE", "mounted");
    volume.end();
    assert_eq!(why_not(&device), "RAW_NOT_EMPTY", "a file system");
    assert!(before.len() == volume.disk.image().len());
}

#[test]
fn a_disk_with_anything_on_it_is_refused() {
    let disk = Disk::new(400);
    // At the end, as md and GPT have it; where the probe would write; and far from both, where many blocks are in use.
    for (offset, length) in [(400 * MIB - 512, 16), (5 * MIB, 16), (150 * MIB, 100 * MIB)] {
        must(
            "sh",
            &[
                "-c",
                &format!(
                    "head -c {length} /dev/urandom | dd of={} bs=64k seek={offset} oflag=seek_bytes conv=fsync status=none",
                    disk.text()
                ),
            ],
        );
        let before = disk.image();
        let code = why_not(&disk.text());
        assert_eq!(code, "RAW_NOT_EMPTY", "{length} bytes at {offset}");
        assert!(before == disk.image(), "it is not touched");
        must("blkdiscard", &["--zeroout", &disk.text()]);
    }
    measure(ask(raw(&disk.text(), &disk.text()), 1, &[COMMITS])).unwrap();
}

#[test]
fn a_disk_too_small_is_refused() {
    let disk = Disk::new(20);
    assert_eq!(why_not(&disk.text()), "PROBE_NO_SPACE");
}
