//! The way down through a picture of /sys, layer by layer, and through this machine's own.

#![allow(clippy::disallowed_methods, reason = "a picture need not be durable")]

use std::os::unix::fs::symlink;

use super::*;

/// A picture of /sys with the devices a test names.
struct Picture(tempfile::TempDir);

impl Picture {
    fn new() -> Self {
        let picture = Self(tempfile::tempdir().unwrap());
        for place in ["dev/block", "block"] {
            fs::create_dir_all(picture.0.path().join(place)).unwrap();
        }
        picture
    }

    fn kernel(&self) -> Kernel {
        Kernel { sys: self.0.path().to_owned() }
    }

    /// `place` below /sys/devices; a disk is one whose place ends in `block/NAME`.
    fn device(&self, place: &str, number: &str, attributes: &[(&str, &str)]) -> &Self {
        let whole = self.0.path().join("devices").join(place);
        fs::create_dir_all(whole.join("slaves")).unwrap();
        let name = whole.file_name().unwrap();
        for (attribute, value) in attributes.iter().chain(&[("dev", number)]) {
            let file = whole.join(attribute);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{value}\n")).unwrap();
        }
        symlink(&whole, self.0.path().join("dev/block").join(number)).unwrap();
        if whole.parent().is_some_and(|parent| parent.ends_with("block")) {
            symlink(&whole, self.0.path().join("block").join(name)).unwrap();
        }
        self
    }

    /// `volume` lies on the device with this number.
    fn on(&self, volume: &str, number: &str) -> &Self {
        let lower = fs::canonicalize(self.0.path().join("dev/block").join(number)).unwrap();
        let link = self.0.path().join("block").join(volume).join("slaves").join(lower.file_name().unwrap());
        symlink(lower, link).unwrap();
        self
    }

    fn descend(&self, number: &str) -> (String, String, Vec<String>) {
        let mut through = Vec::new();
        let (nearest, lowest) = self.kernel().descend(number, &mut through, DEPTH).unwrap();
        (nearest, lowest, through)
    }
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn a_partition_is_its_disk() {
    let picture = Picture::new();
    picture.device("pci0/nvme/block/nvme0n1", "259:0", &[]).device(
        "pci0/nvme/block/nvme0n1/nvme0n1p2",
        "259:2",
        &[("partition", "2")],
    );
    assert_eq!(picture.descend("259:2"), ("nvme0n1".into(), "nvme0n1".into(), strings(&["nvme0n1p2"])));
    assert_eq!(picture.descend("259:0"), ("nvme0n1".into(), "nvme0n1".into(), vec![]));
}

#[test]
fn a_logical_volume_leads_to_its_disk_also_over_two_partitions() {
    let picture = Picture::new();
    picture.device("pci0/sda/block/sda", "8:0", &[]);
    picture.device("pci0/sda/block/sda/sda3", "8:3", &[("partition", "3")]);
    picture.device("pci0/sda/block/sda/sda4", "8:4", &[("partition", "4")]);
    picture.device("virtual/block/dm-1", "253:1", &[("dm/name", "vg-data")]).on("dm-1", "8:3").on("dm-1", "8:4");
    let through = strings(&["dm-1", "sda3", "sda4"]);
    assert_eq!(picture.descend("253:1"), ("dm-1".into(), "sda".into(), through));
    assert_eq!(picture.kernel().facts("dm-1").model, "vg-data");
}

#[test]
fn a_volume_of_several_disks_is_the_lowest_that_can_be_named() {
    let picture = Picture::new();
    picture.device("pci0/a/block/sda", "8:0", &[]).device("pci0/b/block/sdb", "8:16", &[]);
    picture.device("virtual/block/md0", "9:0", &[]).on("md0", "8:0").on("md0", "8:16");
    picture.device("virtual/block/dm-0", "253:0", &[]).on("dm-0", "9:0");
    assert_eq!(picture.descend("253:0"), ("dm-0".into(), "md0".into(), strings(&["dm-0"])));
}

#[test]
fn a_loop_device_without_its_file_is_the_disk() {
    let picture = Picture::new();
    picture.device("virtual/block/loop3", "7:3", &[("loop/backing_file", "/gone/volume (deleted)")]);
    assert_eq!(picture.descend("7:3"), ("loop3".into(), "loop3".into(), vec![]));
}

#[test]
fn a_circle_ends() {
    let picture = Picture::new();
    picture.device("virtual/block/dm-0", "253:0", &[]).device("virtual/block/dm-1", "253:1", &[]);
    picture.on("dm-0", "253:1").on("dm-1", "253:0");
    assert_eq!(picture.descend("253:0").2.len(), DEPTH);
}

#[test]
fn what_the_kernel_says_is_read() {
    let picture = Picture::new();
    let attributes = [
        ("device/model", "QEMU NVMe Ctrl   "),
        ("queue/rotational", "0"),
        ("queue/scheduler", "none [mq-deadline] kyber"),
        ("queue/nr_requests", "1023"),
        ("queue/write_cache", "write back"),
    ];
    picture.device("pci0/nvme/block/nvme0n1", "259:0", &attributes);
    picture.device("virtual/block/loop0", "7:0", &[("queue/scheduler", "none")]);
    let facts = picture.kernel().facts("nvme0n1");
    let said = (facts.model.as_str(), facts.scheduler.as_str(), facts.queue_depth, facts.write_cache.as_str());
    assert_eq!(said, ("QEMU NVMe Ctrl", "mq-deadline", 1023, "write back"));
    assert_eq!((facts.rotational, facts.transport.as_str()), (false, "nvme"));
    assert_eq!(picture.kernel().facts("loop0").scheduler, "none");
    assert_eq!(picture.kernel().facts("gone"), v1::Device::default());
}

#[test]
fn disks_are_attached_in_many_ways() {
    let at = |name, place| transport(name, Path::new(place));
    assert_eq!(at("vda", "/sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda"), "virtio");
    assert_eq!(at("sda", "/sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda"), "sata");
    assert_eq!(at("sdb", "/sys/devices/platform/host2/session1/target/block/sdb"), "iscsi");
    assert_eq!(at("sdc", "/sys/devices/pci0/host3/target/block/sdc"), "scsi");
    assert_eq!(at("md127", "/sys/devices/virtual/block/md127"), "md");
}

#[test]
fn a_file_system_in_memory_has_no_device() {
    let failure = under(Path::new("/dev/shm/not/there")).unwrap_err();
    assert_eq!(failure.code, "NO_DEVICE");
    assert!(failure.sentence.contains("tmpfs"), "{failure}");
}

#[test]
fn this_directory_lies_on_a_disk_that_is_counted() {
    let here = under(&std::env::current_dir().unwrap().join("not/made/yet")).unwrap();
    let counted = procfs::diskstats().unwrap();
    for name in [&here.name, &here.nearest] {
        assert!(counted.iter().any(|disk| disk.name == *name), "{here:?}");
    }
    assert!(here.facts.size_bytes > here.facts.free_bytes && here.facts.queue_depth > 0, "{here:?}");
}
