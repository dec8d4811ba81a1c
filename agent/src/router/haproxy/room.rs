//! The waiting room: a listener of ours that stands in HAProxy as a server with a single slot.
//!
//! The slot is taken by a connection of ours that came in through the entrance, so that everybody else waits in HAProxy's
//! queue. Whoever slips into the slot instead is not refused: he is led back in through the entrance and queues like the rest.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// Loopback, but not where everybody's outgoing connections take their ports: after a restart the same port is still free.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 102, 108);
/// Our connection says something this often, so that HAProxy's `timeout client` and `timeout server` do not end it.
const PULSE: Duration = Duration::from_millis(500);
/// While a server is in use beside the room, HAProxy alternates: attempts are made at once, then one by one, until one has
/// come round. The quicker, the fewer clients get the slot first.
const BURST: usize = 8;
const MOST: usize = 64;
const NEXT_KNOCK: Duration = Duration::from_millis(1);
/// Longest line of the PROXY protocol, version 1 (its specification, section 2.1).
const LONGEST_HEADER: usize = 107;

#[derive(Debug)]
pub(super) struct Room {
    _running: AbortOnDropHandle<()>,
    port: u16,
    shared: Arc<Shared>,
    /// How many attempts at the slot may be open at a time; 0 = it is given up.
    attempts: watch::Sender<usize>,
}

#[derive(Debug)]
struct Shared {
    entrance: String,
    /// Local addresses of our own attempts to get the slot.
    knocks: Mutex<HashSet<SocketAddr>>,
    /// The attempt that has it.
    occupant: watch::Sender<Option<SocketAddr>>,
    guests: watch::Sender<usize>,
}

impl Room {
    /// Listens on `port` of [`ADDRESS`] (0 = any).
    pub(super) async fn open(port: u16, entrance: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((ADDRESS, port)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            entrance: entrance.to_owned(),
            knocks: Mutex::default(),
            occupant: watch::Sender::new(None),
            guests: watch::Sender::new(0),
        });
        let attempts = watch::Sender::new(0);
        let running = tokio::spawn(run(listener, Arc::clone(&shared), attempts.subscribe()));
        Ok(Self { _running: AbortOnDropHandle::new(running), port, shared, attempts })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Takes the slot while clients are served beside it.
    pub(super) fn occupy(&self) {
        self.attempts.send_replace(MOST);
    }

    /// Takes the slot when it is this attempt's turn in the queue: nobody is served.
    pub(super) fn occupy_in_turn(&self) {
        self.attempts.send_if_modified(|attempts| *attempts == 0 && std::mem::replace(attempts, 1) == 0);
    }

    /// Gives the slot up.
    pub(super) fn leave(&self) {
        self.attempts.send_replace(0);
    }

    pub(super) fn is_occupied(&self) -> bool {
        self.shared.occupant.borrow().is_some()
    }

    /// Waits until the occupant or the number of guests changes, `limit` at most.
    pub(super) async fn news(&self, limit: Duration) {
        let (mut occupant, mut guests) = (self.shared.occupant.subscribe(), self.shared.guests.subscribe());
        if self.is_occupied() {
            return;
        }
        tokio::select! {
            _ = occupant.changed() => {}
            _ = guests.changed() => {}
            () = sleep(limit) => {}
        }
    }

    /// How many clients are being led to their server through this process.
    pub(super) fn guests(&self) -> usize {
        *self.shared.guests.borrow()
    }

    /// Returns when no guest is left.
    pub(super) async fn emptied(&self) {
        // The sender lives in `shared`, which `self` holds.
        let _ = self.shared.guests.subscribe().wait_for(|guests| *guests == 0).await;
    }
}

/// When this ends, the door closes before the slot falls free: HAProxy then finds a closed port and tries again, rather than
/// an open one behind which nobody is left.
async fn run(listener: TcpListener, shared: Arc<Shared>, attempts: watch::Receiver<usize>) {
    tokio::select! {
        () = admit(listener, &shared) => {}
        () = keep(&shared, attempts) => {}
    }
}

/// Every task it starts ends with it.
async fn admit(listener: TcpListener, shared: &Arc<Shared>) {
    let mut inside = JoinSet::new();
    // Dropped before `inside`.
    let listener = listener;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let shared = Arc::clone(shared);
                    inside.spawn(async move {
                        if let Err(error) = receive(stream, &shared).await {
                            tracing::debug!(%error, "a connection to the waiting room ends");
                        }
                    });
                }
                // Out of descriptors, most likely: some come back when others close.
                Err(error) => {
                    tracing::warn!(%error, "the waiting room cannot accept");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = inside.join_next() => {}
        }
    }
}

async fn receive(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let came_from = timeout(Duration::from_secs(5), read_header(&mut stream)).await??;
    // Attempts are entered under this lock together with their connect, so ours is known by the time it arrives here.
    let ours = match came_from {
        Some(address) => shared.knocks.lock().await.remove(&address),
        None => false,
    };
    match came_from {
        Some(address) if ours => {
            let first = shared.occupant.send_if_modified(|occupant| {
                let free = occupant.is_none();
                if free {
                    *occupant = Some(address);
                }
                free
            });
            if first {
                let _seat = Seat(shared);
                echo(stream).await?;
            }
            Ok(())
        }
        Some(_) | None => {
            shared.guests.send_modify(|guests| *guests += 1);
            let _guest = Guest(shared);
            let inner = TcpStream::connect(&shared.entrance).await?;
            splice(stream, inner).await
        }
    }
}

struct Seat<'a>(&'a Shared);
impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.occupant.send_replace(None);
    }
}

struct Guest<'a>(&'a Shared);
impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.guests.send_modify(|guests| *guests -= 1);
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

/// Until either side ends: database protocols do not half-close. What the server said last still reaches the client.
async fn splice(guest: TcpStream, inner: TcpStream) -> io::Result<()> {
    for stream in [&guest, &inner] {
        stream.set_nodelay(true)?;
    }
    let (mut from_guest, mut to_guest) = guest.into_split();
    let (mut from_inner, mut to_inner) = inner.into_split();
    tokio::select! {
        done = tokio::io::copy(&mut from_guest, &mut to_inner) => return done.map(drop),
        done = tokio::io::copy(&mut from_inner, &mut to_guest) => done?,
    };
    to_guest.shutdown().await?;
    let _ = timeout(Duration::from_secs(1), tokio::io::copy(&mut from_guest, &mut tokio::io::sink())).await;
    Ok(())
}

/// Holds the slot as long as it is wanted. It never ends by itself: only `run` decides what closes first.
async fn keep(shared: &Shared, mut wanted: watch::Receiver<usize>) {
    loop {
        let most = *wanted.borrow_and_update();
        let slot = async {
            if most > 0 {
                occupy(shared, most).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            Ok(()) = wanted.changed() => {}
            () = slot => {}
        }
    }
}

/// Knocks at the entrance until an attempt has come round to the slot, then keeps that one alive. When it is lost all the
/// same, one attempt at a time queues for the slot again.
async fn occupy(shared: &Shared, mut most: usize) {
    let mut occupant = shared.occupant.subscribe();
    loop {
        let mut attempts: Vec<(SocketAddr, TcpStream)> = Vec::new();
        let holder = loop {
            if let Some(address) = *occupant.borrow_and_update() {
                break address;
            }
            attempts.retain(|(_, stream)| is_open(stream));
            let mut refused = false;
            if attempts.len() < most {
                match knock(shared).await {
                    Ok(attempt) => attempts.push(attempt),
                    Err(_) => refused = true,
                }
            }
            if refused || attempts.len() >= BURST.min(most) {
                let _ = timeout(NEXT_KNOCK, occupant.changed()).await;
            }
        };
        attempts.retain(|(address, _)| *address == holder);
        let Some((_, mut stream)) = attempts.pop() else {
            // An attempt of the last round whose connection is gone: its end is about to be seen.
            let _ = timeout(PULSE, occupant.changed()).await;
            continue;
        };
        shared.knocks.lock().await.clear();
        while occupant.borrow_and_update().is_some() && stream.write_all(b".").await.is_ok() {
            is_open(&stream);
            let _ = timeout(PULSE, occupant.changed()).await;
        }
        most = 1;
    }
}

/// Reads away what the other end said.
fn is_open(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 64]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// A silent connection through the entrance: one that reaches a database instead says nothing there.
async fn knock(shared: &Shared) -> io::Result<(SocketAddr, TcpStream)> {
    let mut knocks = shared.knocks.lock().await;
    let stream = timeout(Duration::from_secs(1), TcpStream::connect(&shared.entrance)).await??;
    let address = plain(stream.local_addr()?);
    knocks.insert(address);
    Ok((address, stream))
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads `PROXY TCP4 <from> <to> <port> <port>` and not a byte more. `None` = HAProxy does not say who it is.
async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut line = Vec::with_capacity(LONGEST_HEADER);
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_HEADER {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.push(stream.read_u8().await?);
    }
    sender(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Outer `None` = not a header.
fn sender(line: &[u8]) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = text.strip_prefix("PROXY ")?.split(' ');
    match words.next()? {
        "UNKNOWN" => Some(None),
        "TCP4" | "TCP6" => {
            let (from, _, port) = (words.next()?, words.next()?, words.next()?);
            Some(Some(plain(SocketAddr::new(from.parse().ok()?, port.parse().ok()?))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_client() {
        let at = |text: &str| Some(Some(text.parse::<SocketAddr>().expect("an address")));
        assert_eq!(sender(b"PROXY TCP4 10.1.2.3 127.0.0.1 38492 5432\r\n"), at("10.1.2.3:38492"));
        assert_eq!(sender(b"PROXY TCP6 ::ffff:10.1.2.3 ::1 38492 5432\r\n"), at("10.1.2.3:38492"));
        assert_eq!(sender(b"PROXY UNKNOWN\r\n"), Some(None));
        for bad in [&b"PROXY TCP4 10.1.2.3\r\n"[..], b"GET / HTTP/1.1\r\n", b"PROXY TCP4 x y 1 2\r\n", b"\xff\r\n", b""] {
            assert_eq!(sender(bad), None);
        }
    }
}
