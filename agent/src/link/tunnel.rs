//! The target's end: a unix socket, named as PostgreSQL's clients look for it; what connects there comes out at the source.

use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use flytt_proto::{failure::Failure, name::Migration, v1};
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{hello, loopback, splice};

/// Connections at a time: a base backup has two, a standby one.
const MOST: usize = 16;

/// How long the other agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listening socket and the links behind it. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    /// Empty on loopback.
    path: PathBuf,
    trouble: Trouble,
    task: JoinHandle<()>,
}

/// Why the newest link that failed did; `None` once another is open.
type Trouble = Arc<Mutex<Option<Failure>>>;

impl Tunnel {
    /// Listens on `<directory>/.s.PGSQL.<port>`; the directory is made 0700, or refused when others can enter it. For each
    /// connection `open` sends these frames to the source's agent and gives back those that come from there
    /// (`LinkClient::open`, without a deadline).
    pub async fn listen<O, F, S>(directory: &Path, port: u16, migration: &Migration, open: O) -> Result<Self, Failure>
    where
        O: Fn(ReceiverStream<v1::Frame>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<S, tonic::Status>> + Send + 'static,
        S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin + Send + 'static,
    {
        private(directory)?;
        let path = directory.join(format!(".s.PGSQL.{port}"));
        let listener = bind(&path).await?;
        Ok(Self::carrying(path, Listener::Socket(listener), migration, open))
    }

    /// Listens on `127.0.0.1:<port>`, for a server that replicates over TCP only. A connection of another user of this host than
    /// ours is closed unread: see `loopback`.
    pub async fn listen_on_loopback<O, F, S>(port: u16, migration: &Migration, open: O) -> Result<Self, Failure>
    where
        O: Fn(ReceiverStream<v1::Frame>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<S, tonic::Status>> + Send + 'static,
        S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin + Send + 'static,
    {
        let listener = loopback::bind(port).await?;
        Ok(Self::carrying(PathBuf::new(), Listener::Loopback(listener), migration, open))
    }

    fn carrying<O, F, S>(path: PathBuf, listener: Listener, migration: &Migration, open: O) -> Self
    where
        O: Fn(ReceiverStream<v1::Frame>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<S, tonic::Status>> + Send + 'static,
        S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin + Send + 'static,
    {
        let trouble = Trouble::default();
        let (migration, reported) = (migration.clone(), trouble.clone());
        let task = tokio::spawn(async move {
            let open = Arc::new(open);
            let mut links = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept(), if links.len() < MOST => match accepted {
                        Ok(Some(halves)) => drop(links.spawn(carry(halves, migration.clone(), open.clone(), reported.clone()))),
                        Ok(None) => {}
                        // Out of file descriptors, most likely: it passes, or every link fails anyway.
                        Err(_) => sleep(Duration::from_millis(100)).await,
                    },
                    Some(_) = links.join_next() => {}
                }
            }
        });
        Self { path, trouble, task }
    }

    /// The socket's directory and name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why there is no stream, as far as the tunnel knows.
    pub fn trouble(&self) -> Option<Failure> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The two directions of a connection.
type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

enum Listener {
    Socket(UnixListener),
    Loopback(TcpListener),
}

impl Listener {
    /// `None`: somebody who may not was turned away.
    async fn accept(&self) -> io::Result<Option<Halves>> {
        match self {
            Listener::Socket(listener) => {
                let (reader, writer) = listener.accept().await?.0.into_split();
                Ok(Some((Box::new(reader), Box::new(writer))))
            }
            Listener::Loopback(listener) => {
                let (socket, peer) = listener.accept().await?;
                if !loopback::is_ours(&socket, peer) {
                    tracing::warn!(%peer, "a connection to the tunnel by another user of this host is closed");
                    return Ok(None);
                }
                socket.set_nodelay(true)?;
                let (reader, writer) = socket.into_split();
                Ok(Some((Box::new(reader), Box::new(writer))))
            }
        }
    }
}

async fn carry<O, F, S>(halves: Halves, migration: Migration, open: Arc<O>, trouble: Trouble)
where
    O: Fn(ReceiverStream<v1::Frame>) -> F,
    F: Future<Output = Result<S, tonic::Status>>,
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    let report = |outcome| std::mem::replace(&mut *trouble.lock().unwrap_or_else(PoisonError::into_inner), outcome);
    let (out, sent) = mpsc::channel(splice::DEPTH);
    let joined = async {
        // The channel is new and has room.
        let _ = out.send(hello(&migration)).await;
        let frames = timeout(PATIENCE, open(ReceiverStream::new(sent))).await.map_err(|_| super::broken("no answer"))??;
        report(None);
        splice::splice(frames, out, std::convert::identity, halves, Bytes::new(), None).await
    };
    if let Err(failure) = joined.await {
        // A server asks again five times a second, for as long as the other host is away: the log has it once.
        if report(Some(failure.clone())).as_ref() != Some(&failure) {
            tracing::warn!(code = failure.code, %migration, "{failure}");
        }
    }
}

fn private(directory: &Path) -> Result<(), Failure> {
    let refused = |why: String| {
        let sentence = format!("the tunnel cannot use {}: {why}", directory.display());
        Failure::refused(
            "TUNNEL_DIRECTORY",
            sentence,
            "let `runtime` in agent.toml name a directory of this user's own, mode 700",
        )
    };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let found = made.and_then(|()| std::fs::symlink_metadata(directory)).map_err(|error| refused(error.to_string()))?;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(refused(format!("it is not this user's alone (mode {:o}, uid {})", found.mode() & 0o7777, found.uid())));
    }
    Ok(())
}

/// A socket that an earlier process left behind is taken away; one that answers is somebody's.
async fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let cannot = |error: io::Error| {
        let sentence = format!("the tunnel cannot listen on {}: {error}", path.display());
        Failure::refused("TUNNEL_SOCKET", sentence, "let `runtime` in agent.toml name a short path that this user can write")
    };
    match UnixStream::connect(path).await {
        Ok(_) => {
            let sentence = format!("another process listens on {}", path.display());
            return Err(Failure::refused("TUNNEL_IN_USE", sentence, "end the other agent of this host"));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(cannot)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(error)),
    }
    UnixListener::bind(path).map_err(cannot)
}
