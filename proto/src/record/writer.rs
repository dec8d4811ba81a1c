//! The one thread that writes a record. SQLite blocks, so async callers speak to it through a channel.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    chain::{self, Head},
    lock::Lock,
    room, unwritten,
};
use crate::failure::{Effect, Failure};

/// A row that is on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) version: u32,
}

enum Order {
    Append { body: String, reply: oneshot::Sender<Result<Written, Failure>> },
    Reserve { reply: oneshot::Sender<Result<(), Failure>> },
}

/// Ends its thread when dropped, so that the lock is free once the last handle is gone.
pub(super) struct Owner {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Owner {
    pub(super) fn start(connection: Connection, path: &Path, version: u32, head: Head, lock: Lock) -> Result<Self, Failure> {
        let (orders, inbox) = mpsc::channel();
        let writer = Writer { connection, path: path.to_owned(), version, head, broken: None, _lock: lock };
        let thread = thread::Builder::new().name("record".into()).spawn(move || writer.run(&inbox)).map_err(|error| {
            let remedy = "raise this service's limit of tasks";
            Failure::refused("RECORD_THREAD", format!("no thread can be started for {}: {error}", path.display()), remedy)
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    pub(super) async fn append(&self, body: String) -> Result<Written, Failure> {
        self.ask(|reply| Order::Append { body, reply }).await
    }

    pub(super) async fn reserve(&self) -> Result<(), Failure> {
        self.ask(|reply| Order::Reserve { reply }).await
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Order) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        if let Some(orders) = &self.orders {
            // A thread that is gone drops the order, and with it `reply`: the answer says so.
            let _ = orders.send(order(reply));
        }
        answer.await.unwrap_or_else(|_| {
            Err(Failure::unknown("RECORD_BROKEN", "the thread that writes the record is gone", "start this program again"))
        })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    connection: Connection,
    path: PathBuf,
    version: u32,
    head: Head,
    /// After an error that leaves open what is on the disk, nothing more may be built on it.
    broken: Option<Failure>,
    _lock: Lock,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        for order in inbox {
            // Who asked may have gone; what was ordered is done all the same.
            match order {
                Order::Append { body, reply } => drop(reply.send(self.append(&body))),
                Order::Reserve { reply } => drop(reply.send(self.reserve())),
            }
        }
    }

    fn append(&mut self, body: &str) -> Result<Written, Failure> {
        let at_ms = chain::now();
        let version = self.version;
        self.guarded(|writer| {
            let head = chain::append(&writer.connection, &writer.head, at_ms, version, body)
                .map_err(|error| unwritten(&writer.path, &error))?;
            writer.head = head;
            Ok(Written { seq: head.seq, at_ms, version })
        })
    }

    fn reserve(&mut self) -> Result<(), Failure> {
        self.guarded(|writer| room::reserve(&writer.connection, &writer.path))
    }

    fn guarded<T>(&mut self, write: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        if let Some(failure) = &self.broken {
            return Err(failure.clone().with_effect(Effect::None));
        }
        let outcome = write(self);
        if let Err(failure) = &outcome
            && failure.effect == Effect::Unknown
        {
            self.broken = Some(failure.clone());
        }
        outcome
    }
}
