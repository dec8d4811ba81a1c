//! The fence alone: nobody slips through it, and it goes again without a trace.

use std::time::Duration;

use flytt_agent::{
    change::{Change, Verb},
    engine::{Engine as _, Intent},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    apply::{apply, one, shop, undo},
    server::{Server, value},
    user::as_server_user,
};

async fn admitted(source: &Server) -> Vec<Change> {
    let verifier = source.engine.credential(&shop()).await.unwrap();
    apply(source, &Intent::Admit { verifier, peer_address: None }).await
}

fn message(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::from_iter(kind);
    message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend(body);
    message
}

/// A login that has been asked for its password and has not answered yet.
async fn stalled(source: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", source.port)).await.unwrap();
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    body.extend(b"user\0slow\0database\0postgres\0\0");
    stream.write_all(&message(None, &body)).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R');
    let mut request = [0; 8];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request[7], 3, "asked for the password in clear");
    stream
}

/// Whether it gets in when it answers at last.
async fn finish(mut stream: TcpStream) -> bool {
    let sent = async {
        stream.write_all(&message(Some(b'p'), b"slow\0")).await?;
        stream.read_u8().await
    };
    matches!(tokio::time::timeout(Duration::from_secs(5), sent).await, Ok(Ok(b'R')))
}

#[test]
fn a_login_under_way_when_the_fence_comes_cannot_finish() {
    as_server_user("fence::a_login_under_way_when_the_fence_comes_cannot_finish", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        assert!(finish(stalled(&source).await).await, "without a fence it gets in");
        let logins = [stalled(&source).await, stalled(&source).await];
        apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        source.engine.final_position(&shop()).await.unwrap();
        for login in logins {
            assert!(!finish(login).await, "a login from before the fence gets in behind it");
        }
    });
}

#[test]
fn a_transaction_may_finish_within_the_drain_and_no_longer() {
    as_server_user("fence::a_transaction_may_finish_within_the_drain_and_no_longer", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let (short, long, idle) = (source.client("app").await, source.client("app").await, source.client("app").await);
        let short_work = short.batch_execute("begin; insert into writes values (1, 1); select pg_sleep(0.3); commit");
        let long_work = long.batch_execute("begin; insert into writes values (2, 2); select pg_sleep(30); commit");
        let fence = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let begun = std::time::Instant::now();
            let changes = apply(&source, &Intent::Fence { drain_ms: 1500 }).await;
            (changes, begun.elapsed())
        };
        let (short_came, long_came, (changes, took)) = tokio::join!(short_work, long_work, fence);
        assert!(short_came.is_ok(), "it had time: {short_came:?}");
        assert!(long_came.is_err() && idle.batch_execute("select 1").await.is_err());
        assert!(took >= Duration::from_millis(1500), "the drain was cut short");
        undo(&source, &changes).await;
        let client = retry(&source).await;
        assert_eq!(value(&client, "select string_agg(writer::text, ',') from writes").await, "1");
    });
}

#[test]
fn a_busy_session_does_not_use_up_the_drain() {
    as_server_user("fence::a_busy_session_does_not_use_up_the_drain", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let busy = source.client("app").await;
        // One transaction after another, and never a moment without one.
        busy.batch_execute("begin").await.unwrap();
        let work = async {
            for number in 0.. {
                let sql = format!("insert into writes values (1, {number}); select pg_sleep(0.05); commit and chain");
                if busy.batch_execute(&sql).await.is_err() {
                    return number;
                }
            }
            0
        };
        let fence = async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            let begun = std::time::Instant::now();
            apply(&source, &Intent::Fence { drain_ms: 60_000 }).await;
            begun.elapsed()
        };
        let (count, took) = tokio::join!(work, fence);
        assert!(count > 1, "it never got to work");
        assert!(took < Duration::from_secs(50), "the drain is used up");
    });
}

/// The server reads its rules a moment after it is told.
async fn retry(source: &Server) -> tokio_postgres::Client {
    for _ in 0..200 {
        if let Ok(client) = source.login_by_tcp().await {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the fence stays")
}

#[test]
fn an_undone_fence_and_admission_leave_nothing() {
    as_server_user("fence::an_undone_fence_and_admission_leave_nothing", |base| async move {
        let source = Server::source(&base).await;
        let before = (source.read("etc/pg_hba.conf"), source.read("etc/pg_ident.conf"));
        let admission = admitted(&source).await;
        let fence = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        assert!(source.engine.is_closed(&shop()).await.unwrap());
        undo(&source, &fence).await;
        let client = retry(&source).await;
        assert!(!source.engine.is_closed(&shop()).await.unwrap());
        client.batch_execute("insert into writes values (7, 7)").await.unwrap();
        undo(&source, &admission).await;
        assert_eq!((source.read("etc/pg_hba.conf"), source.read("etc/pg_ident.conf")), before);
        let client = source.client("postgres").await;
        assert_eq!(value(&client, "select count(*) from pg_roles where rolname like 'flytt%'").await, "0");
        assert_eq!(value(&client, "select count(*) from pg_replication_slots").await, "0");
    });
}

#[test]
fn rules_that_somebody_else_has_read_again_are_proven_again() {
    as_server_user("fence::rules_that_somebody_else_has_read_again_are_proven_again", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        assert!(source.engine.is_closed(&shop()).await.unwrap());
        let open = "local all all trust\nhost all all 127.0.0.1/32 trust\n";
        std::fs::write(source.root.join("etc/pg_hba.conf"), open).unwrap();
        assert!(source.engine.is_closed(&shop()).await.unwrap(), "what is only in the file does not count yet");
        let postmaster = source.read("data/postmaster.pid").lines().next().unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(postmaster), nix::sys::signal::Signal::SIGHUP).unwrap();
        retry(&source).await;
        assert!(!source.engine.is_closed(&shop()).await.unwrap());
    });
}

#[test]
fn a_file_that_the_server_does_not_take_is_no_fence() {
    as_server_user("fence::a_file_that_the_server_does_not_take_is_no_fence", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let hba = source.root.join("etc/pg_hba.conf");
        let broken = format!("{}this is no rule\n", std::fs::read_to_string(&hba).unwrap());
        std::fs::write(&hba, broken).unwrap();
        let changes = source.engine.recipe(&shop(), &Intent::Fence { drain_ms: 0 }).await.unwrap();
        let (last, blocks) = changes.split_last().unwrap();
        assert_eq!(*last, Change::Server(Verb::EndSessions { drain_ms: 0 }));
        for block in blocks {
            one(&source, block).await.unwrap();
        }
        assert_eq!(one(&source, last).await.unwrap_err().code, "NOT_CLOSED");
        assert!(!source.engine.is_closed(&shop()).await.unwrap());
    });
}
