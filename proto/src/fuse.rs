//! The seam by which tests end this process at an exact point: before or after any durable write or effect.
//!
//! Without the `fuse` feature it is empty and costs nothing; release builds are built without it.

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
}

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
            })),
        }
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

impl Fuse {
    #[cfg(not(feature = "fuse"))]
    pub fn point(&self, _at: impl FnOnce() -> String) -> Result<(), Failure> {
        Ok(())
    }

    /// A point at which this process may end.
    #[cfg(feature = "fuse")]
    pub fn point(&self, at: impl FnOnce() -> String) -> Result<(), Failure> {
        let Some(wire) = &self.wire else { return Ok(()) };
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
