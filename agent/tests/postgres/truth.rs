//! Whether anybody can write: each kind of account × each kind of write, by sessions that have begun before, and by new ones. What
//! can be written without a fence is what the same questions must find refused behind it.

use std::{pin::pin, time::Duration};

use flytt_agent::{
    change::{Change, Verb},
    engine::{Engine as _, Intent},
};
use futures::SinkExt as _;
use tokio_postgres::{Client, CopyInSink};

use crate::{
    apply::{apply, one, shop, undo},
    server::Server,
    user::as_server_user,
};

/// The cluster's own superuser; who may write all tables; the application, by the socket and by TCP.
const KINDS: [&str; 4] = ["postgres", "loader", "app", "app by TCP"];

/// Each in a session that was idle. `#` stands for a number that is new each time, `|` parts what is sent one after the other.
const ACTS: [(&str, &str); 9] = [
    ("insert", "insert into writes values (7, #)"),
    ("update", "update writes set number = # where writer = 8"),
    ("read write", "begin transaction read write; insert into writes values (9, #); commit"),
    ("function", "do $$ begin insert into writes values (10, #); end $$"),
    ("DDL", "create table made_# ()"),
    ("sequence", "select nextval('counter')"),
    ("large object", "select lo_from_bytea(0, 'x')"),
    ("two-phase", "begin; insert into writes values (11, #); prepare transaction 'truth' | commit prepared 'truth'"),
    ("statement", "prepare it as insert into writes values (12, #); execute it; deallocate it"),
];
const OPEN: [&str; 2] = ["open transaction", "open COPY"];

async fn prepare(source: &Server) {
    let hba = source.root.join("etc/pg_hba.conf");
    let mut rules = std::fs::read_to_string(&hba).unwrap();
    rules.push_str("local all loader trust\n");
    std::fs::write(&hba, rules).unwrap();
    let admin = source.client("postgres").await;
    let sql = "create role loader login; grant pg_write_all_data, pg_read_all_data to loader; create sequence counter; \
               grant all on sequence counter to app; grant create on schema public to app, loader; \
               insert into writes values (8, 0); select pg_reload_conf()";
    admin.batch_execute(sql).await.unwrap();
}

async fn log_in(source: &Server, kind: &str) -> Result<Client, tokio_postgres::Error> {
    match kind {
        "app by TCP" => source.login_by_tcp().await,
        kind => source.login(kind).await,
    }
}

/// Of one kind: idle, in a transaction that has written, and in the middle of a COPY.
struct Sessions {
    kind: &'static str,
    idle: Client,
    begun: Client,
    _copying: Client,
    rows: CopyInSink<bytes::Bytes>,
}

impl Sessions {
    async fn begin(source: &Server, kind: &'static str, number: u32) -> Self {
        let idle = log_in(source, kind).await.unwrap();
        let (begun, copying) = (log_in(source, kind).await.unwrap(), log_in(source, kind).await.unwrap());
        begun.batch_execute(&format!("begin; insert into writes values (13, {number})")).await.unwrap();
        let rows = copying.copy_in("copy writes from stdin").await.unwrap();
        Self { kind, idle, begun, _copying: copying, rows }
    }

    /// What was accepted of them, as `<kind>: <act>`.
    async fn accepted(self, number: u32) -> Vec<String> {
        let mut accepted = acts(&self.idle, number).await;
        if answered(self.begun.batch_execute("commit")).await {
            accepted.push(OPEN[0]);
        }
        let mut rows = pin!(self.rows);
        let copied = async {
            rows.send(bytes::Bytes::from(format!("14\t{number}\n"))).await?;
            rows.finish().await
        };
        if answered(copied).await {
            accepted.push(OPEN[1]);
        }
        accepted.into_iter().map(|act| format!("{}: {act}", self.kind)).collect()
    }
}

async fn answered<T, E>(answer: impl Future<Output = Result<T, E>>) -> bool {
    tokio::time::timeout(Duration::from_secs(10), answer).await.is_ok_and(|answer| answer.is_ok())
}

async fn acts(session: &Client, number: u32) -> Vec<&'static str> {
    let mut accepted = Vec::new();
    for (act, sql) in ACTS {
        let sql = sql.replace('#', &number.to_string());
        let whole = async {
            for sql in sql.split('|') {
                session.batch_execute(sql).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        };
        if answered(whole).await {
            accepted.push(act);
        } else {
            let _ = session.batch_execute("rollback").await;
        }
    }
    accepted
}

async fn begin(source: &Server, number: &mut u32) -> Vec<Sessions> {
    let mut all = Vec::new();
    for kind in KINDS {
        *number += 1;
        all.push(Sessions::begin(source, kind, *number).await);
    }
    all
}

/// What is accepted: of sessions that are there, and of new ones.
async fn truth(source: &Server, sessions: Vec<Sessions>, number: &mut u32) -> (Vec<String>, Vec<String>) {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for sessions in sessions {
        *number += 1;
        old.extend(sessions.accepted(*number).await);
    }
    for kind in KINDS {
        *number += 1;
        if let Ok(session) = log_in(source, kind).await {
            new.extend(acts(&session, *number).await.into_iter().map(|act| format!("{kind}: {act}")));
        }
    }
    (old, new)
}

fn every(acts: &[&str]) -> Vec<String> {
    KINDS.iter().flat_map(|kind| acts.iter().map(move |act| format!("{kind}: {act}"))).collect()
}

#[test]
fn nobody_can_write_in_any_way_and_each_way_is_one_without_it() {
    as_server_user("truth::nobody_can_write_in_any_way_and_each_way_is_one_without_it", |base| async move {
        let source = Server::source(&base).await;
        prepare(&source).await;
        let (idle, mut number) = (ACTS.map(|(act, _)| act), 0);
        let whole: Vec<&str> = idle.iter().copied().chain(OPEN).collect();
        let verifier = source.engine.credential(&shop()).await.unwrap();
        apply(&source, &Intent::Admit { verifier, peer_address: None }).await;

        let sessions = begin(&source, &mut number).await;
        assert_eq!(truth(&source, sessions, &mut number).await, (every(&whole), every(&idle)), "without a fence");

        // Half a fence: no new session, and those that are there go on.
        let sessions = begin(&source, &mut number).await;
        let changes = source.engine.recipe(&shop(), &Intent::Fence { drain_ms: 0 }).await.unwrap();
        let (ends, rules) = changes.split_last().unwrap();
        assert_eq!(*ends, Change::Server(Verb::EndSessions { drain_ms: 0 }));
        for rule in rules {
            one(&source, rule).await.unwrap();
        }
        assert_eq!(truth(&source, sessions, &mut number).await, (every(&whole), Vec::new()), "half a fence");
        undo(&source, rules).await;

        // The server reads its rules a moment after it is told.
        for _ in 0..100 {
            if log_in(&source, "app").await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sessions = begin(&source, &mut number).await;
        apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        source.engine.final_position(&shop()).await.unwrap();
        assert_eq!(truth(&source, sessions, &mut number).await, (Vec::new(), Vec::new()), "behind the fence");
        assert!(source.engine.is_closed(&shop()).await.unwrap());
    });
}
