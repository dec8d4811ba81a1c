//! What stands in a fence's way on a busy server: each is named beforehand, ended as designed, or ends in a refusal. Never a hang.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use flytt_agent::engine::{Engine as _, Intent, Serving};
use flytt_proto::v1;
use mysql_async::prelude::Queryable as _;

use crate::{
    apply::{admitted, apply, one, shop, undo},
    server::{Server, user, value},
    user::as_server_user,
};

/// Far above every wait of ours, far below what a hang would be.
const BOUND: Duration = Duration::from_secs(25);

#[test]
fn a_transaction_that_stays_open_is_named_beforehand_and_cut_off_at_the_fence() {
    as_server_user("obstacles::a_transaction_that_stays_open_is_named_beforehand_and_cut_off_at_the_fence", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let mut app = source.by_tcp("app", "app").await.unwrap();
        app.query_drop("begin").await.unwrap();
        app.query_drop("insert into app.writes select 1, seq from app.seq_1_to_100000").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let ready = |long| v1::Ready { lag_bytes: 0, long_transaction_ms: long, role: 0, lag_ms: 0 };
        let codes = async |long| {
            let found = source.engine.obstacles(&shop(), &ready(long)).await.unwrap();
            found.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(1_000).await, ["LONG_TRANSACTION", "NOT_STREAMING"]);
        assert_eq!(codes(600_000).await, ["NOT_STREAMING"]);

        let begun = Instant::now();
        let changes = apply(&source, &Intent::Fence { drain_ms: 300 }).await;
        assert!(begun.elapsed() < BOUND);
        let end = source.engine.final_position(&shop()).await.unwrap();
        assert!(app.query_drop("commit").await.is_err(), "it commits behind the fence");
        assert_eq!(source.engine.position().await.unwrap(), end);
        undo(&source, &changes).await;
        let mut root = source.root_session().await;
        assert_eq!(value(&mut root, "select count(*) from app.writes").await, "0", "half of it is there");
    });
}

#[test]
fn whatever_locks_the_accounts_ends_in_a_refusal() {
    as_server_user("obstacles::whatever_locks_the_accounts_ends_in_a_refusal", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let locks = [
            ("lock tables mysql.global_priv read", "unlock tables"),
            ("flush tables with read lock", "unlock tables"),
            ("backup stage start; backup stage block_commit", "backup stage end"),
        ];
        for (lock, unlock) in locks {
            let mut other = source.root_session().await;
            for sql in lock.split("; ") {
                other.query_drop(sql).await.unwrap();
            }
            let changes = source.engine.recipe(&shop(), &Intent::Fence { drain_ms: 0 }).await.unwrap();
            let begun = Instant::now();
            let failure = one(&source, &changes[0]).await.expect_err(lock);
            assert_eq!(failure.code, "IN_USE", "{lock}: {failure:?}");
            assert!(begun.elapsed() < BOUND, "{lock}");
            other.query_drop(unlock).await.unwrap();
            undo(&source, &changes).await;
            assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable);
            let mut app = source.by_tcp("app", "app").await.unwrap();
            app.query_drop("replace into app.writes values (1, 1)").await.unwrap();
        }
    });
}

/// As a job of the server's own user does: through the socket, with all privileges, again and again.
#[test]
fn a_privileged_writer_that_passes_by_the_router_is_kept_out() {
    as_server_user("obstacles::a_privileged_writer_that_passes_by_the_router_is_kept_out", |base| async move {
        let source = Server::source(&base).await;
        admitted(&source).await;
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(0)));
        let job = {
            let (stop, written, socket) = (stop.clone(), written.clone(), source.socket());
            tokio::spawn(async move {
                let settings =
                    || mysql_async::OptsBuilder::default().socket(Some(socket.display().to_string())).user(Some(user()));
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut conn) = mysql_async::Conn::new(settings()).await else {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    };
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        if conn.query_drop(format!("insert into app.writes values (7, {number})")).await.is_err() {
                            break;
                        }
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        };
        for round in 0..5 {
            let before = written.load(Ordering::SeqCst);
            while written.load(Ordering::SeqCst) < before + 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let begun = Instant::now();
            let changes = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
            assert!(begun.elapsed() < BOUND);
            let end = source.engine.final_position(&shop()).await.unwrap();
            let acknowledged = written.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(written.load(Ordering::SeqCst), acknowledged, "round {round}: a write behind the fence is acknowledged");
            assert_eq!(source.engine.position().await.unwrap(), end, "round {round}");
            undo(&source, &changes).await;
        }
        stop.store(true, Ordering::Relaxed);
        job.await.unwrap();
        let mut root = source.root_session().await;
        let there: i32 = value(&mut root, "select count(*) from app.writes where writer = 7").await.parse().unwrap();
        assert!(there >= written.load(Ordering::SeqCst), "an acknowledged write is gone");
    });
}
