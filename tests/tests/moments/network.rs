//! The network between the hosts of a stage: every connection to an agent passes here, so that any two ends can be parted, either way,
//! and put together again. Database servers and their clients are not on it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use ::flytt::stage::{ROUTER, SOURCE, TARGET};
use procfs::process::FDTarget;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Who is at an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Controller,
    Source,
    Target,
    Router,
}

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parted {
    /// It is not delivered until the two are together again.
    Silent,
    /// The connection ends, and no other comes about.
    Refused,
}

/// What stands between senders and receivers.
#[derive(Debug, Default)]
struct Ways {
    parted: BTreeMap<(End, End), Parted>,
    /// How often the connections from one to the other were ended.
    resets: BTreeMap<(End, End), u32>,
}

impl Ways {
    fn resets(&self, way: (End, End)) -> u32 {
        self.resets.get(&way).copied().unwrap_or_default()
    }
}

/// Ends with everything that passes through it.
#[derive(Debug)]
pub(crate) struct Network {
    ways: watch::Sender<Ways>,
    doors: Vec<JoinHandle<()>>,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self { ways: watch::Sender::default(), doors: Vec::new() }
    }

    /// The address at which everybody finds the agent of this host from now on.
    pub(crate) async fn door(&mut self, host: &str, agent: SocketAddr) -> SocketAddr {
        let to = End::named(host).expect("a host of the stage");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let ways = self.ways.clone();
        self.doors.push(tokio::spawn(async move {
            while let Ok((client, caller)) = listener.accept().await {
                let ways = ways.subscribe();
                tokio::spawn(async move { connect(client, End::at(caller), to, agent, ways).await });
            }
        }));
        address
    }

    /// Nothing passes between these two from now on.
    pub(crate) fn part(&self, one: End, other: End, how: Parted) {
        self.ways.send_modify(|ways| ways.parted.extend([((one, other), how), ((other, one), how)]));
    }

    /// Nothing gets from the one to the other, but the way back is open.
    pub(crate) fn part_one_way(&self, from: End, to: End) {
        self.ways.send_modify(|ways| _ = ways.parted.insert((from, to), Parted::Silent));
    }

    /// Every connection between these two ends; others may come about.
    pub(crate) fn reset(&self, one: End, other: End) {
        self.ways.send_modify(|ways| {
            for way in [(one, other), (other, one)] {
                *ways.resets.entry(way).or_default() += 1;
            }
        });
    }

    /// All are together again.
    pub(crate) fn heal(&self) {
        self.ways.send_modify(|ways| ways.parted.clear());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.doors.iter().for_each(JoinHandle::abort);
    }
}

impl End {
    fn named(host: &str) -> Option<Self> {
        [(SOURCE, Self::Source), (TARGET, Self::Target), (ROUTER, Self::Router)]
            .into_iter()
            .find_map(|(name, end)| (name == host).then_some(end))
    }

    /// Whoever has the socket of this address: an agent, by the host in its configuration's path, or else the controller.
    fn at(caller: SocketAddr) -> Self {
        // The kernel's table is read piece by piece while it changes: one that is there may be missed.
        let look = || procfs::net::tcp().unwrap_or_default().into_iter().find(|socket| socket.local_address == caller);
        let Some(socket) = (0..20).find_map(|_| look()) else { return Self::Controller };
        let agents = procfs::process::all_processes().into_iter().flatten().flatten().filter_map(|process| {
            let line = process.cmdline().ok()?;
            let config = line.iter().find(|word| word.ends_with("/agent/agent.toml"))?;
            let host = std::path::Path::new(config).ancestors().nth(2)?.file_name()?.to_str()?.to_owned();
            Some((process, host))
        });
        let has_it = |process: &procfs::process::Process| {
            let files = process.fd().into_iter().flatten().flatten();
            files.into_iter().any(|file| file.target == FDTarget::Socket(socket.inode))
        };
        agents.filter(|(process, _)| has_it(process)).find_map(|(_, host)| Self::named(&host)).unwrap_or(Self::Controller)
    }
}

async fn connect(client: TcpStream, from: End, to: End, agent: SocketAddr, ways: watch::Receiver<Ways>) {
    let Ok(server) = TcpStream::connect(agent).await else { return };
    let ((of_client, to_client), (of_server, to_server)) = (client.into_split(), server.into_split());
    // One end is enough: when a direction is over, so is the connection, as gRPC knows no half of one.
    tokio::select! {
        () = carry(of_client, to_server, (from, to), ways.clone()) => {}
        () = carry(of_server, to_client, (to, from), ways) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: (End, End), mut ways: watch::Receiver<Ways>) {
    let resets = ways.borrow().resets(way);
    let is_over = |ways: &Ways| ways.parted.get(&way) == Some(&Parted::Refused) || ways.resets(way) != resets;
    let mut packet = vec![0; 1 << 16];
    loop {
        let length = tokio::select! {
            biased;
            _ = ways.wait_for(is_over) => return,
            length = from.read(&mut packet) => length.unwrap_or(0),
        };
        // What is on its way is held up, and arrives in the end.
        let passes = ways.wait_for(|ways| ways.parted.get(&way) != Some(&Parted::Silent)).await.is_ok_and(|ways| !is_over(&ways));
        if length == 0 || !passes || to.write_all(&packet[..length]).await.is_err() {
            return;
        }
    }
}
