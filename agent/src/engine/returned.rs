//! A server of a copy that is to go, started again by whoever looks after services while nobody expected it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use futures::future::BoxFuture;
use nix::unistd::Pid;
use tokio::time::sleep;

use super::Serving;

/// Below what an undo may take in all.
const COMES_UP: Duration = Duration::from_secs(60);

/// Ends the `process` of the server in `data` by `end`: read-only, a copy serves nobody. One that is just coming up does not say yet
/// what it is, and is asked again: no server tells when it is up.
///
/// # Errors
/// `STILL_RUNNING` where it accepts writes.
pub(super) async fn end<'a>(
    data: &Path,
    process: impl Fn(&Path) -> Option<Pid>,
    serving: impl Fn() -> BoxFuture<'a, Result<Serving, Failure>>,
    end: impl Fn() -> BoxFuture<'a, Result<(), Failure>>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    while let Some(server) = process(data) {
        match serving().await {
            Ok(Serving::Standby) => return end().await,
            Ok(Serving::Writable) => {
                let sentence = format!("a server (process {server}) runs in {}", data.display());
                let remedy = "look at the target's data directory; nothing of it was touched";
                return Err(Failure::refused("STILL_RUNNING", sentence, remedy));
            }
            Err(failure) if failure.code != "SERVER_DOWN" || begun.elapsed() > COMES_UP => return Err(failure),
            Ok(Serving::Down) | Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    /// What it comes to where the server says these, one after the other, and how often it was ended. After the last it is gone.
    async fn comes_to(says: &[Result<Serving, &'static str>]) -> (Result<(), String>, u32) {
        let (asked, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        let at = || asked.load(Relaxed) as usize;
        let result = end(
            Path::new("/data"),
            |_| (at() < says.len()).then(|| Pid::from_raw(7)),
            || {
                let said = says[at()].map_err(|code| Failure::refused(code, "", ""));
                asked.fetch_add(1, Relaxed);
                Box::pin(async move { said })
            },
            || {
                ended.fetch_add(1, Relaxed);
                Box::pin(async { Ok(()) })
            },
        );
        (result.await.map_err(|failure| failure.code), ended.load(Relaxed))
    }

    #[tokio::test]
    async fn one_that_comes_up_is_waited_for_and_only_one_that_serves_nobody_is_ended() {
        use Serving::{Down, Standby, Writable};
        let refused = |code: &str| (Err(code.to_owned()), 0);
        assert_eq!(comes_to(&[]).await, (Ok(()), 0));
        assert_eq!(comes_to(&[Ok(Standby)]).await, (Ok(()), 1));
        assert_eq!(comes_to(&[Err("SERVER_DOWN"), Ok(Down), Ok(Standby)]).await, (Ok(()), 1));
        assert_eq!(comes_to(&[Err("SERVER_DOWN"), Ok(Writable)]).await, refused("STILL_RUNNING"));
        assert_eq!(comes_to(&[Err("LOGIN_REFUSED"), Ok(Standby)]).await, refused("LOGIN_REFUSED"));
        assert_eq!(comes_to(&[Err("SERVER_DOWN")]).await, (Ok(()), 0), "it ended by itself");
    }
}
