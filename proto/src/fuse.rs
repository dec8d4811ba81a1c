//! The seam by which tests end this process, or stop it for a while, at an exact point: before or after any durable write or effect.
//!
//! Without the `fuse` feature it is empty and costs nothing; release builds are built without it.

use std::path::Path;

use crate::failure::Failure;

/// Once blown, nothing durable and no effect happens any more: as if the process were gone.
#[derive(Clone, Debug, Default)]
pub struct Fuse {
    #[cfg(feature = "fuse")]
    wire: Option<std::sync::Arc<Wire>>,
}

#[cfg(feature = "fuse")]
#[derive(Debug)]
struct Wire {
    left: std::sync::atomic::AtomicI64,
    blown: tokio_util::sync::CancellationToken,
    seen: std::sync::Mutex<Vec<String>>,
    /// Names the point at which a process of its own waits, for as long as it is there.
    file: Option<std::path::PathBuf>,
}

/// Where a process writes what it reached, beside the file that named it.
#[cfg(feature = "fuse")]
pub const REACHED: &str = "fuse-reached";
/// The file in a process's own directory that names a point.
#[cfg(feature = "fuse")]
pub const FILE: &str = "fuse";

#[cfg(feature = "fuse")]
impl Fuse {
    /// Blows at the `n`-th point (counted from 1); never for 0.
    pub fn at(n: u32) -> Self {
        let left = if n == 0 { i64::MAX } else { i64::from(n) };
        Self {
            wire: Some(std::sync::Arc::new(Wire {
                left: left.into(),
                blown: tokio_util::sync::CancellationToken::new(),
                seen: std::sync::Mutex::default(),
                file: None,
            })),
        }
    }

    /// For a process of its own, whose files are in this directory: it waits at the point that a file there names, until that file
    /// is gone. So whatever goes wrong can go wrong exactly then, in this process or in any other.
    pub fn beside(directory: &Path) -> Self {
        let mut fuse = Self::at(0);
        if let Some(wire) = fuse.wire.as_mut().and_then(std::sync::Arc::get_mut) {
            wire.file = Some(directory.join(FILE));
        }
        fuse
    }

    /// Blows now.
    pub fn blow(&self) {
        if let Some(wire) = &self.wire {
            wire.blown.cancel();
        }
    }

    pub fn is_blown(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.blown.is_cancelled())
    }

    /// Returns when blown.
    pub async fn blown(&self) {
        match &self.wire {
            Some(wire) => wire.blown.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// The points passed so far.
    pub fn seen(&self) -> Vec<String> {
        self.wire.as_ref().map(|wire| wire.seen.lock().expect("no panic while held").clone()).unwrap_or_default()
    }
}

#[cfg(feature = "fuse")]
impl Wire {
    fn wait_here(&self, file: &Path, point: &str) {
        let named = || std::fs::read_to_string(file).is_ok_and(|text| text == point);
        if named() && std::fs::File::create(file.with_file_name(REACHED)).is_ok() {
            while named() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
}

impl Fuse {
    #[cfg(not(feature = "fuse"))]
    pub fn beside(_directory: &Path) -> Self {
        Self::default()
    }

    #[cfg(not(feature = "fuse"))]
    pub fn point(&self, _at: impl FnOnce() -> String) -> Result<(), Failure> {
        Ok(())
    }

    /// A point at which this process may end.
    #[cfg(feature = "fuse")]
    pub fn point(&self, at: impl FnOnce() -> String) -> Result<(), Failure> {
        let Some(wire) = &self.wire else { return Ok(()) };
        if let Some(file) = &wire.file {
            wire.wait_here(file, &at());
            return Ok(());
        }
        if !wire.blown.is_cancelled() {
            wire.seen.lock().expect("no panic while held").push(at());
            if wire.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) > 1 {
                return Ok(());
            }
            wire.blown.cancel();
        }
        Err(Failure::unknown("DEAD", "this process has died", "start it again"))
    }
}
