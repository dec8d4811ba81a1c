//! The block device under a directory, found through partitions, LVM, md, overlay and loop, and what the kernel says of it.
//! Only looks. What the device does at the moment is `samples`', what it can do is `probe`'s.

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use flytt_proto::{failure::Failure, v1};
use nix::{
    fcntl::{OFlag, open},
    sys::{
        stat::{Mode, major, minor},
        statvfs::statvfs,
    },
};
use procfs::process::{MountInfo, Process};

/// How many layers are looked through before something must be going in circles.
const DEPTH: usize = 16;

/// What lies under a directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Under {
    /// The whole disk, as in /proc/diskstats. Where a volume has several disks, the volume itself: `md0`, `dm-1`.
    pub name: String,
    /// The device that the file system's own requests go to, as in /proc/diskstats: `dm-1` where `name` is `nvme0n1`. A
    /// partition counts as its disk. Counters here are of this file system's volume alone, and those of `name` of all on it.
    pub nearest: String,
    /// What lies between directory and disk, topmost first: `overlay`, `loop0`, `dm-1`, `nvme0n1p2`.
    pub through: Vec<String>,
    /// All of it as the wire has it; hardware facts are those of `name`.
    pub facts: v1::Device,
}

/// The device under `path`, or under the nearest directory above it that exists.
///
/// # Errors
/// `NO_DEVICE` where the file system has none (tmpfs, network) or the kernel does not show it (a container without /sys).
pub fn under(path: &Path) -> Result<Under, Failure> {
    let place = existing(path);
    let kernel = Kernel { sys: PathBuf::from("/sys") };
    let mut through = Vec::new();
    let (device, file_system) = below_files(&kernel, &place, &mut through, DEPTH)?;
    let (nearest, name) = kernel.descend(&device, &mut through, DEPTH)?;
    let space = statvfs(&place).map_err(|error| no_device(path, &format!("its file system does not answer: {error}")))?;
    let facts = v1::Device {
        name: name.clone(),
        path: path.to_string_lossy().into_owned(),
        through: through.clone(),
        file_system,
        free_bytes: space.blocks_available() * space.fragment_size(),
        size_bytes: space.blocks() * space.fragment_size(),
        ..kernel.facts(&name)
    };
    Ok(Under { name, nearest, through, facts })
}

/// What the kernel says of a whole disk (`nvme0n1`), without any file system.
pub fn facts(name: &str) -> v1::Device {
    v1::Device { name: name.to_owned(), ..Kernel { sys: PathBuf::from("/sys") }.facts(name) }
}

/// The disk of this number (`254:1`), partitions looked through: as [`Under::name`].
pub fn whole_disk(number: &str) -> Result<String, Failure> {
    let kernel = Kernel { sys: PathBuf::from("/sys") };
    kernel.whole(number, &mut Vec::new()).ok_or_else(|| no_device(Path::new(number), "the kernel shows no such device"))
}

/// A directory that is still to be made lies where its nearest ancestor does.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|place| place.exists());
    found.filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("/")).to_owned()
}

/// The number of the block device that the file system of `place` is on, as `major:minor`, and the file system's name.
fn below_files(kernel: &Kernel, place: &Path, through: &mut Vec<String>, depth: usize) -> Result<(String, String), Failure> {
    let mount = mount_of(place)?;
    let number = fs::metadata(place).map(|meta| number(meta.dev())).unwrap_or_default();
    if kernel.knows(&number) {
        return Ok((number, mount.fs_type));
    }
    if mount.fs_type == "overlay" && depth > 0 {
        // What is written goes to the upper directory's file system, seen from where the overlay was mounted.
        let upper = mount.super_options.get("upperdir").cloned().flatten().map(PathBuf::from);
        let upper = upper
            .filter(|upper| upper.exists())
            .ok_or_else(|| no_device(place, "it lies on an overlay whose upper directory cannot be seen from here"))?;
        through.push("overlay".to_owned());
        return below_files(kernel, &upper, through, depth - 1);
    }
    // btrfs gives each subvolume a number of its own; its mount names a device.
    let source = mount.mount_source.filter(|source| source.starts_with('/')).and_then(|source| fs::metadata(source).ok());
    let source = source.map(|meta| self::number(meta.rdev())).filter(|number| kernel.knows(number));
    match source {
        Some(number) => Ok((number, mount.fs_type)),
        None => Err(no_device(place, &format!("its file system is {}", mount.fs_type))),
    }
}

fn number(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

/// The mount that `place` is reached through. By the kernel's own number: of two mounts at one place only one is in use.
fn mount_of(place: &Path) -> Result<MountInfo, Failure> {
    let unknown = |error: String| no_device(place, &format!("its mount cannot be told: {error}"));
    let opened = open(place, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|error| unknown(error.to_string()))?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", opened.as_raw_fd())).map_err(|e| unknown(e.to_string()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<i32>().ok());
    let mounts = Process::myself().and_then(|own| own.mountinfo()).map_err(|error| unknown(error.to_string()))?;
    mounts.into_iter().find(|mount| Some(mount.mnt_id) == id).ok_or_else(|| unknown("it is in no list".into()))
}

/// `/sys`, or a test's picture of one.
#[derive(Debug)]
struct Kernel {
    sys: PathBuf,
}

impl Kernel {
    fn knows(&self, number: &str) -> bool {
        !number.is_empty() && self.sys.join("dev/block").join(number).exists()
    }

    /// The disk that a device is, or is a partition of.
    fn whole(&self, number: &str, through: &mut Vec<String>) -> Option<String> {
        let place = fs::canonicalize(self.sys.join("dev/block").join(number)).ok()?;
        let name = |place: &Path| Some(place.file_name()?.to_string_lossy().into_owned());
        if place.join("partition").exists() {
            through.push(name(&place)?);
            return name(place.parent()?);
        }
        name(&place)
    }

    /// Down to the whole disk, as long as there is exactly one device below. (nearest to the file system, lowest).
    fn descend(&self, number: &str, through: &mut Vec<String>, depth: usize) -> Result<(String, String), Failure> {
        let lost = || no_device(Path::new(number), "the kernel shows no such device");
        let nearest = self.whole(number, through).ok_or_else(lost)?;
        let mut lowest = nearest.clone();
        for _ in 0..depth {
            let Some((next, partitions)) = self.below(&lowest) else { break };
            through.push(std::mem::replace(&mut lowest, next));
            through.extend(partitions);
        }
        Ok((nearest, lowest))
    }

    /// The one disk below a volume, and by which partitions; `None` for a disk of its own and for a volume of several.
    fn below(&self, name: &str) -> Option<(String, BTreeSet<String>)> {
        let place = self.block(name);
        let mut partitions = Vec::new();
        let mut disks = BTreeSet::new();
        if let Ok(backing) = fs::read_to_string(place.join("loop/backing_file")) {
            // A file that is gone, or that another mount namespace sees, leads nowhere: the loop device is the disk then.
            let backing = PathBuf::from(backing.trim_end());
            let (device, _) = below_files(self, &backing.exists().then_some(backing)?, &mut partitions, DEPTH).ok()?;
            disks.insert(self.whole(&device, &mut partitions)?);
        } else {
            for slave in fs::read_dir(place.join("slaves")).ok()?.flatten() {
                let number = fs::read_to_string(slave.path().join("dev")).ok()?;
                disks.insert(self.whole(number.trim(), &mut partitions)?);
            }
        }
        let only = disks.pop_first().filter(|_| disks.is_empty())?;
        Some((only, partitions.into_iter().collect()))
    }

    fn block(&self, name: &str) -> PathBuf {
        self.sys.join("block").join(name)
    }

    /// Of a whole disk. Unknown stays empty. Attributes as in the kernel's Documentation/ABI/stable/sysfs-block.
    fn facts(&self, name: &str) -> v1::Device {
        let place = self.block(name);
        let read = |attribute: &str| fs::read_to_string(place.join(attribute)).unwrap_or_default().trim().to_owned();
        let scheduler = read("queue/scheduler");
        let chosen = scheduler.split('[').nth(1).and_then(|rest| rest.split(']').next());
        let model = [read("device/model"), read("dm/name")].into_iter().find(|text| !text.is_empty());
        v1::Device {
            model: model.unwrap_or_default(),
            rotational: read("queue/rotational") == "1",
            scheduler: chosen.unwrap_or(&scheduler).to_owned(),
            queue_depth: read("queue/nr_requests").parse().unwrap_or_default(),
            write_cache: read("queue/write_cache"),
            transport: transport(name, &fs::canonicalize(&place).unwrap_or_default()),
            ..v1::Device::default()
        }
    }
}

/// How the disk is attached, from its name and its place in the kernel's tree of devices.
fn transport(name: &str, place: &Path) -> String {
    let is_below = |part: &str| place.to_string_lossy().contains(part);
    let found = [
        (name.starts_with("nvme"), "nvme"),
        (name.starts_with("loop"), "loop"),
        (name.starts_with("dm-"), "device mapper"),
        (name.starts_with("md"), "md"),
        (name.starts_with("zram"), "zram"),
        (name.starts_with("xvd"), "xen"),
        (name.starts_with("mmcblk"), "mmc"),
        (is_below("/virtio"), "virtio"),
        (is_below("/usb"), "usb"),
        (is_below("/ata"), "sata"),
        (is_below("/session"), "iscsi"),
        (name.starts_with("sd"), "scsi"),
    ];
    found.iter().find(|(is, _)| *is).map_or("", |(_, transport)| *transport).to_owned()
}

fn no_device(path: &Path, why: &str) -> Failure {
    Failure::refused(
        "NO_DEVICE",
        format!("no block device is found under {}: {why}", path.display()),
        "put the data directory on a local disk; in a container, let the agent see /sys and the host's disk",
    )
}

#[cfg(test)]
mod tests;
