//! A HAProxy that still counts a connection of the holding server when the route is where it belongs: an admin socket of our own says so,
//! as a busy one does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixListener,
};

use super::super::{Haproxy, hold::Holds};
use crate::config;

#[tokio::test]
async fn a_holding_server_goes_when_its_last_connection_ends() {
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    let (in_use, deleted, shut) =
        (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::default()), Arc::new(AtomicU32::default()));
    let (used, gone, ended) = (in_use.clone(), deleted.clone(), shut.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a command");
            let answer = match line.trim() {
                "del server b/flytt-hold" if used.load(Ordering::SeqCst) => {
                    "Server still has connections attached to it, cannot remove it."
                }
                "del server b/flytt-hold" => {
                    gone.store(true, Ordering::SeqCst);
                    "Server deleted."
                }
                _ => {
                    ended.fetch_add(1, Ordering::SeqCst);
                    ""
                }
            };
            stream.write_all(answer.as_bytes()).await.expect("answered");
        }
    });
    let settings =
        config::Haproxy { socket, entrance: "127.0.0.1:1".into(), frontend: "f".into(), binary: "/usr/sbin/haproxy".into() };
    let haproxy = Haproxy::new(settings, place.path().to_owned());
    haproxy.dismiss(&mut Holds::default(), "b").await.expect("the route is what it should be");
    assert!(!deleted.load(Ordering::SeqCst) && shut.load(Ordering::SeqCst) > 0);
    // From now on whoever is there may be of another hold.
    let before = shut.load(Ordering::SeqCst);
    in_use.store(false, Ordering::SeqCst);
    let goes = async {
        while !deleted.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), goes).await.expect("it is deleted");
    assert_eq!(shut.load(Ordering::SeqCst), before, "sessions were ended behind the caller's back");
}
