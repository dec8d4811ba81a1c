//! Where it is measured: an unnamed file on the data directory's file system, of a size that the host can spare, written once
//! from end to end. Without a name, nothing is left of it whatever becomes of the agent.

use std::{
    fs::{File, OpenOptions},
    io,
    mem::MaybeUninit,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use bytesize::ByteSize;
use flytt_proto::failure::Failure;
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    libc,
    sys::statvfs::statvfs,
};

use super::data::Buffers;

const MIB: u64 = 1 << 20;
/// What a probe takes where nobody says otherwise, and of the free space at most one part in so many.
const USUAL_BYTES: u64 = 1 << 30;
const USUAL_PART: u64 = 20;
/// Less tells nothing: caches of disks are larger.
const LEAST_BYTES: u64 = 16 * MIB;

/// What may be taken of a file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Asked for; 0 = as usual.
    pub(super) wanted: u64,
    /// The usual, where it is less than [`USUAL_BYTES`].
    pub(super) at_most: u64,
    /// So much of the file system stays free (percent); `None` on a host that serves nobody: half of what is free stays.
    pub(super) keep_free: Option<u8>,
}

/// Bytes of a file or device that may be written over.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) file: File,
    pub(super) base: u64,
    pub(super) bytes: u64,
    /// Block sizes and places must be multiples of it.
    pub(super) align: u32,
}

impl Ground {
    /// An unnamed file below `directory`, which exists.
    pub(super) fn unnamed(directory: &Path, has_device: bool, limits: Limits) -> Result<Self, Failure> {
        let file = open_unnamed(directory)?;
        let align = alignment(&file).or(has_device.then_some(4096)).ok_or_else(|| no_direct_io(directory))?;
        let ground = Self { bytes: size(directory, limits)?, base: 0, file, align };
        // Space that is promised only would be taken, or missing, while it is measured.
        let whole = i64::try_from(ground.bytes).unwrap_or(i64::MAX);
        match fallocate(&ground.file, FallocateFlags::empty(), 0, whole) {
            // Where a file system cannot, writing it once takes the space.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
            Err(error) => return Err(refused(&error.into(), directory)),
        }
        // Some file systems say no only when it comes to it.
        let mut block = Buffers::new(1, align as usize);
        ground.file.write_all_at(block.block(0), 0).map_err(|error| refused(&error, directory))?;
        Ok(ground)
    }
}

fn open_unnamed(directory: &Path) -> Result<File, Failure> {
    // With O_EXCL it can never be given a name, open(2).
    let flags = libc::O_TMPFILE | libc::O_EXCL | libc::O_DIRECT;
    let opened = OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(directory);
    opened.map_err(|error| refused(&error, directory))
}

/// A small unnamed file of `bytes`, written once.
pub(super) fn small(directory: &Path, bytes: u64) -> Result<File, Failure> {
    let file = open_unnamed(directory)?;
    let mut buffers = Buffers::new(1, bytes as usize);
    file.write_all_at(buffers.block(0), 0).and_then(|()| file.sync_all()).map_err(|error| refused(&error, directory))?;
    Ok(file)
}

/// How many bytes it may be.
fn size(directory: &Path, limits: Limits) -> Result<u64, Failure> {
    let space = statvfs(directory).map_err(|error| refused(&error.into(), directory))?;
    let unit = space.fragment_size();
    sized(space.blocks() * unit, space.blocks_available() * unit, limits).map_err(|why| {
        let sentence = format!("a probe {why} on the file system of {}", directory.display());
        Failure::refused("PROBE_NO_SPACE", sentence, "make room there, or ask for a smaller file (--size)")
    })
}

/// Of a file system of `whole` bytes with `free` ones left. In words why not.
fn sized(whole: u64, free: u64, limits: Limits) -> Result<u64, String> {
    let shown = |bytes: u64| ByteSize(bytes).to_string();
    let kept = limits.keep_free.map_or(free / 2, |percent| whole / 100 * u64::from(percent));
    let spare = free.saturating_sub(kept);
    let reason = match limits.keep_free {
        Some(percent) => format!("{percent} % of {} must stay free", shown(whole)),
        None => "half of that must stay free".to_owned(),
    };
    let usual = USUAL_BYTES.min(limits.at_most).min(free / USUAL_PART);
    let bytes = if limits.wanted == 0 { usual.min(spare) } else { limits.wanted } / MIB * MIB;
    if bytes > spare {
        return Err(format!("of {} would take too much: {} are free, and {reason}", shown(bytes), shown(free)));
    }
    if bytes < LEAST_BYTES {
        let least = shown(LEAST_BYTES);
        return Err(format!(
            "of less than {least} would tell nothing, and more is not to be had: {} are free, and {reason}",
            shown(free)
        ));
    }
    Ok(bytes)
}

/// The alignment that direct I/O needs here; `None` where there is none. Opening with O_DIRECT proves nothing: tmpfs takes it
/// and ignores it. statx(2), STATX_DIOALIGN, since Linux 6.1; before, whether there is a device decides (`None` is returned).
fn alignment(file: &File) -> Option<u32> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    #[allow(unsafe_code, reason = "no safe wrapper of statx tells the alignment of direct I/O")]
    // SAFETY: an open descriptor, an empty path (AT_EMPTY_PATH), and room for the answer, which is plain numbers, zero before.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            answer.as_mut_ptr(),
        );
        answer.assume_init()
    };
    let is_told = answer.stx_mask & libc::STATX_DIOALIGN != 0 && answer.stx_dio_offset_align > 0;
    is_told.then_some(answer.stx_dio_offset_align)
}

/// What the file system says before anything is measured, as an operator needs it.
fn refused(error: &io::Error, directory: &Path) -> Failure {
    let place = directory.display();
    let no = |code, sentence, remedy| Failure::refused(code, sentence, remedy);
    match error.raw_os_error() {
        Some(libc::EINVAL) => no_direct_io(directory),
        Some(libc::EOPNOTSUPP | libc::EISDIR) => no(
            "NO_UNNAMED_FILE",
            format!("the file system of {place} knows no unnamed files (O_TMPFILE), so a probe might leave one behind"),
            "probe with fio by hand, or put the data directory on ext4, xfs or btrfs",
        ),
        Some(libc::EROFS) => no(
            "PROBE_READ_ONLY",
            format!("the file system of {place} is read-only"),
            "see why (`dmesg`: a disk error makes a file system read-only), then mount it writable",
        ),
        Some(libc::ENOSPC) => no("PROBE_NO_SPACE", format!("the file system of {place} is full"), "make room there"),
        Some(libc::EDQUOT) => no(
            "PROBE_QUOTA",
            format!("the agent's user has used up its quota on the file system of {place}"),
            "raise the quota, or ask for a smaller file (--size)",
        ),
        Some(libc::EACCES | libc::EPERM) => {
            no("PROBE_DENIED", format!("the agent's user may not write in {place}"), "run the agent as the database's own user")
        }
        _ => no(
            "PROBE_FAILED",
            format!("a probe cannot begin in {place}: {error}"),
            "look at the disk and at `dmesg` on that host",
        ),
    }
}

fn no_direct_io(directory: &Path) -> Failure {
    Failure::refused(
        "NO_DIRECT_IO",
        format!("the file system of {} has no direct I/O, so memory would be measured and not a disk", directory.display()),
        "put the data directory on a disk with ext4, xfs or btrfs",
    )
}

/// The nearest directory that exists: a data directory is often still to be made.
pub(super) fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn limits(wanted: u64, keep_free: Option<u8>) -> Limits {
        Limits { wanted, at_most: u64::MAX, keep_free }
    }

    #[test]
    fn a_probe_takes_little_of_what_is_free() {
        assert_eq!(sized(100 * GIB, 90 * GIB, limits(0, None)), Ok(GIB));
        assert_eq!(sized(100 * GIB, 10 * GIB, limits(0, None)), Ok(512 * MIB));
        assert_eq!(sized(100 * GIB, 90 * GIB, Limits { at_most: 64 * MIB, ..limits(0, None) }), Ok(64 * MIB));
        assert_eq!(sized(100 * GIB, 90 * GIB, limits(2 * GIB + 5, None)), Ok(2 * GIB));
    }

    #[test]
    fn a_host_that_serves_keeps_what_its_guard_needs() {
        // Beyond it the WAL guard would give up the move.
        assert_eq!(sized(100 * GIB, 10 * GIB + 100 * MIB, limits(0, Some(10))), Ok(100 * MIB));
        let why = sized(100 * GIB, 11 * GIB, limits(2 * GIB, Some(10))).unwrap_err();
        assert!(why.contains("2.0 GiB") && why.contains("11.0 GiB") && why.contains("10 % of 100.0 GiB"), "{why}");
        assert!(sized(100 * GIB, 9 * GIB, limits(0, Some(10))).is_err());
    }

    #[test]
    fn what_does_not_fit_or_tells_nothing_is_refused() {
        assert!(sized(GIB, 200 * MIB, limits(0, None)).unwrap_err().contains("tell nothing"));
        assert!(sized(GIB, GIB, limits(600 * MIB, None)).unwrap_err().contains("half"));
        assert_eq!(sized(GIB, 200 * MIB, limits(100 * MIB, None)), Ok(100 * MIB));
        assert!(sized(u64::MAX, 0, limits(u64::MAX, Some(100))).is_err());
    }
}
