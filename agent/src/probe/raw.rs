//! A whole disk without a file system, only where it is empty for certain: named twice, nobody's, and zeros wherever one looks.
//! What a probe wrote there is made zeros again at its end.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use flytt_proto::failure::Failure;
use nix::{
    fcntl::{FallocateFlags, fallocate},
    libc,
};

use super::{data::Buffers, ground::Ground};
use crate::device;

const MIB: u64 = 1 << 20;
/// Labels, superblocks and headers stand at one of a disk's ends: GPT, LVM, md, LUKS, ZFS, ext4, xfs, btrfs, swap.
const ENDS: u64 = 4 * MIB;
/// Between them it is looked at in so many places, for what has no label.
const PLACES: u64 = 256;
/// Direct I/O on any disk takes this.
const ALIGN: u32 = 4096;
const USUAL_BYTES: u64 = 1 << 30;

/// A disk that is ours for the time of the probe.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) ground: Ground,
    pub(super) name: String,
}

impl Disk {
    /// Opens the disk `path` to be written over; `again` is the same once more, from the operator.
    pub(super) fn open(path: &str, again: &str, wanted: u64) -> Result<Self, Failure> {
        if path != again {
            return Err(Failure::refused(
                "RAW_NAMED_ONCE",
                format!("a probe of {path} writes over it, so the disk must be named twice, and {again:?} is another name"),
                "give the same path with --device and --again",
            ));
        }
        let path = PathBuf::from(path);
        let name = whole_disk(&path)?;
        nobodys(&path, &name)?;
        // A disk that somebody has (mounted, swap, md, LVM) refuses O_EXCL, open(2).
        let flags = libc::O_EXCL | libc::O_DIRECT | libc::O_NOFOLLOW;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path).map_err(|error| denied(&path, &error))?;
        let sectors = fs::read_to_string(format!("/sys/block/{name}/size")).unwrap_or_default();
        // Always in sectors of 512 bytes, whatever the disk's own: Documentation/ABI/stable/sysfs-block.
        let whole = sectors.trim().parse::<u64>().unwrap_or(0) * 512;
        let usual = USUAL_BYTES.min(whole / 20);
        let bytes = if wanted == 0 { usual } else { wanted } / MIB * MIB;
        if bytes < 16 * MIB || bytes + 2 * ENDS > whole {
            let sentence = format!("a probe of {bytes} bytes does not fit on {name}, which has {whole}");
            return Err(Failure::refused("PROBE_NO_SPACE", sentence, "ask for another size (--size)"));
        }
        let ground = Ground { file, base: ENDS, bytes, align: ALIGN };
        empty(&ground, whole, &name)?;
        Ok(Self { ground, name })
    }
}

impl Drop for Disk {
    /// As empty as it was, so that the next probe finds it so. The kernel discards where that gives zeros, else it writes them.
    fn drop(&mut self) {
        let ground = &self.ground;
        let (base, bytes) = (ground.base as i64, ground.bytes as i64);
        let flags = FallocateFlags::FALLOC_FL_ZERO_RANGE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Err(error) = fallocate(&ground.file, flags, base, bytes) {
            tracing::warn!(disk = self.name, %error, "what a probe wrote is not made zeros again");
        }
    }
}

fn whole_disk(path: &Path) -> Result<String, Failure> {
    let none = |why: &str| {
        let sentence = format!("{} is no disk to be probed: {why}", path.display());
        Failure::refused("RAW_NOT_A_DISK", sentence, "name a whole disk, as in /dev/nvme1n1")
    };
    let meta = fs::symlink_metadata(path).map_err(|error| none(&error.to_string()))?;
    if !meta.file_type().is_block_device() {
        return Err(none("it is no block device (and a link to one is not followed)"));
    }
    let name = device::whole_disk(&format!("{}:{}", libc::major(meta.rdev()), libc::minor(meta.rdev())))?;
    let number = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap_or_default();
    if number.trim() == format!("{}:{}", libc::major(meta.rdev()), libc::minor(meta.rdev())) {
        Ok(name)
    } else {
        Err(none(&format!("it is a part of {name}")))
    }
}

/// Neither partitions nor a volume on it, and not read-only.
fn nobodys(path: &Path, name: &str) -> Result<(), Failure> {
    let place = PathBuf::from("/sys/block").join(name);
    let entries = |of: &Path| fs::read_dir(of).into_iter().flatten().flatten().collect::<Vec<_>>();
    let why = if entries(&place).iter().any(|entry| entry.path().join("partition").exists()) {
        "it has partitions"
    } else if !entries(&place.join("holders")).is_empty() {
        "a volume lies on it"
    } else if fs::read_to_string(place.join("ro")).is_ok_and(|ro| ro.trim() == "1") {
        "it is read-only"
    } else {
        return Ok(());
    };
    Err(in_use(path, why))
}

/// Zeros at both ends, in all that the probe is going to write over, and in many places of the rest.
fn empty(ground: &Ground, whole: u64, name: &str) -> Result<(), Failure> {
    let mut buffer = Buffers::new(1, MIB as usize);
    let ours = (0..(ground.base + ground.bytes) / MIB).map(|at| (at * MIB, MIB));
    let end = (0..ENDS / MIB).map(|at| (whole - ENDS + at * MIB, MIB));
    let align = u64::from(ALIGN);
    let between = (1..PLACES).map(|at| (whole / PLACES * at / align * align, align));
    for (offset, length) in ours.chain(end).chain(between) {
        let block = &mut buffer.block(0)[..length as usize];
        // A disk's end need not stand on our boundary.
        ground.file.read_exact_at(block, offset / 512 * 512).map_err(|error| denied(Path::new(name), &error))?;
        if block.iter().any(|byte| *byte != 0) {
            return Err(Failure::refused(
                "RAW_NOT_EMPTY",
                format!("{name} is not empty: there is something near byte {offset}"),
                "if nobody needs it, empty it with `blkdiscard` or `wipefs` and `dd`; a probe never does that",
            ));
        }
    }
    Ok(())
}

fn denied(path: &Path, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EBUSY) => in_use(path, "it is mounted, or part of a volume, or swap"),
        Some(libc::EACCES | libc::EPERM) => Failure::refused(
            "PROBE_DENIED",
            format!("the agent's user may not open {}", path.display()),
            "let it for the time of the probe: `setfacl -m u:postgres:rw` on the device",
        ),
        _ => Failure::refused(
            "PROBE_FAILED",
            format!("{} does not answer: {error}", path.display()),
            "look at `dmesg` on that host",
        ),
    }
}

fn in_use(path: &Path, why: &str) -> Failure {
    let sentence = format!("{} is in use: {why}", path.display());
    Failure::refused("RAW_IN_USE", sentence, "probe a disk that nobody uses, or the data directory's file system")
}
