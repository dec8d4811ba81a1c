//! What the agents of both database hosts tell health checks while something happens to the move: asked all the time, each answer
//! that differs from the one before it kept in order.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::task::AbortOnDropHandle;

use super::Scene;

/// Of one host at one moment: what `/primary` and `/replica` say; `ok`, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) primary: String,
    pub(crate) replica: String,
}

/// Both hosts, old and new, one after the other: whoever is asked second is asked later.
type Seen = Arc<Mutex<Vec<(Pages, Pages)>>>;

pub(crate) struct Health {
    seen: Seen,
    _asking: AbortOnDropHandle<()>,
}

async fn page(address: SocketAddr, path: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.trim_end().lines().last().map(str::to_owned)
    };
    tokio::time::timeout(Duration::from_secs(5), asked).await.ok().flatten().unwrap_or_else(|| "no answer".into())
}

async fn pages(address: SocketAddr) -> Pages {
    Pages { primary: page(address, "/primary").await, replica: page(address, "/replica").await }
}

/// Where an agent of this configuration answers.
fn status(config: &Path) -> SocketAddr {
    let text = std::fs::read_to_string(config).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("status = ")).expect("it has a status port");
    line.trim_matches('"').parse().unwrap()
}

impl Scene {
    fn statuses(&self) -> (SocketAddr, SocketAddr) {
        (status(&self.agents().source.config), status(&self.agents().target.config))
    }

    /// From now on.
    pub(crate) fn watch_health(&self) -> Health {
        let (source, target) = self.statuses();
        let seen = Seen::default();
        let kept = Arc::clone(&seen);
        let asking = tokio::spawn(async move {
            loop {
                let now = (pages(source).await, pages(target).await);
                {
                    let mut kept = kept.lock().unwrap();
                    if kept.last() != Some(&now) {
                        kept.push(now);
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Health { seen, _asking: AbortOnDropHandle::new(asking) }
    }
}

impl Health {
    /// All that was seen, once `last` is.
    pub(crate) async fn until(self, last: impl Fn(&(Pages, Pages)) -> bool) -> Vec<(Pages, Pages)> {
        for _ in 0..1000 {
            let seen = self.seen.lock().unwrap().clone();
            if seen.last().is_some_and(&last) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.seen.lock().unwrap());
    }

    /// A whole cutover: the old host is the primary, then nobody, then the new one, and nobody is sent back or to a closed door.
    pub(crate) async fn tells_a_whole_cutover(self) {
        let seen = self.until(|(_, new)| new.primary == "ok").await;
        let ok = |page: &str| page == "ok";
        let text = format!("{seen:#?}");
        let (old, new) = (&seen[0].0, &seen[0].1);
        assert!(ok(&old.primary) && old.replica == "primary", "{text}");
        assert!(ok(&new.replica) && new.primary == "standby", "{text}");
        assert!(!seen.iter().any(|(old, new)| ok(&old.primary) && ok(&new.primary)), "two primaries: {text}");
        let fenced = seen.iter().position(|(old, _)| !ok(&old.primary)).expect("the old one is none any more");
        assert!(!seen[fenced..].iter().any(|(old, _)| ok(&old.primary)), "the old one is back: {text}");
        let gated = seen.iter().position(|(_, new)| !ok(&new.replica)).expect("the gate shuts readers out");
        assert!(gated <= fenced, "the gate stands before the fence: {text}");
        assert!(!seen[gated..].iter().any(|(_, new)| ok(&new.replica)), "readers are sent to a closed door: {text}");
        let last = &seen[seen.len() - 1];
        assert!(!ok(&last.0.primary) && !ok(&last.0.replica) && last.1.replica == "primary", "{text}");
    }
}
