//! An agent with its ledger, its leases and its start, over a real server; the seed of its moves is a plain load of rows between
//! the two ends of an import. All else the real engine does.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flytt_agent::{
    change::{Backup, Change, Hands, Import, Verb, sysctl::Kernel},
    config::{Config, Tuning},
    engine::{Admission, Engine, Facts, Inlet, Intent, Progress, Replication, Serving},
    host::Host,
    service::operate::Operate,
};
use flytt_proto::{
    durable,
    failure::Failure,
    fuse::Fuse,
    identity::{self, Authority, Credentials},
    name::{Migration, Position},
    v1::{self, action::Kind, operate_server::Operate as _},
};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tonic::Request;

use crate::server::user;

/// How the seed of this agent loads.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) import: Import,
    /// Statements of a hundred rows each, and the pause after each.
    pub(crate) statements: u64,
    pub(crate) pause: Duration,
    /// Says nothing of how far it is from this statement on.
    pub(crate) silent_from: u64,
}

pub(crate) const ROWS: u64 = 100;

/// The real engine, whose seed is this load.
#[derive(Debug)]
struct Loading {
    real: Arc<dyn Engine>,
    socket: PathBuf,
    load: Load,
}

#[tonic::async_trait]
impl Engine for Loading {
    fn name(&self) -> &'static str {
        self.real.name()
    }
    async fn facts(&self) -> Result<Facts, Failure> {
        self.real.facts().await
    }
    fn findings(&self, _: &Facts, _: &Facts, _: &v1::Check) -> Vec<v1::Finding> {
        Vec::new()
    }
    async fn obstacles(&self, _: &Migration, _: &v1::Ready) -> Result<Vec<v1::Finding>, Failure> {
        Ok(Vec::new())
    }
    async fn serving(&self) -> Result<Serving, Failure> {
        self.real.serving().await
    }
    async fn position(&self) -> Result<Position, Failure> {
        self.real.position().await
    }
    async fn replication(&self, migration: &Migration) -> Result<Replication, Failure> {
        self.real.replication(migration).await
    }
    async fn recipe(&self, _: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure> {
        let Intent::Seed(_) = intent else { return Ok(Vec::new()) };
        let import = self.load.import.clone();
        let load: Backup = serde_json::from_value(serde_json::json!({
            "into": "/nonexistent", "host": "", "port": 0, "role": "", "slot": "", "passfile": "", "tls": true, "max_rate": 0,
            "fast_checkpoint": false, "system": "", "expected_bytes": 0
        }))
        .unwrap();
        Ok(vec![Change::ImportSettings(import.clone()), Change::Backup(load), Change::ImportOver(import)])
    }
    async fn final_position(&self, migration: &Migration) -> Result<Position, Failure> {
        self.real.final_position(migration).await
    }
    async fn caught_up(&self, position: &Position) -> Result<Position, Failure> {
        self.real.caught_up(position).await
    }
    async fn is_closed(&self, migration: &Migration) -> Result<bool, Failure> {
        self.real.is_closed(migration).await
    }
    async fn proven_primary(&self, migration: &Migration, fork: &Position) -> Result<Position, Failure> {
        self.real.proven_primary(migration, fork).await
    }
    async fn reached_through(&self, migration: &Migration, entrance: &str) -> Result<(), Failure> {
        self.real.reached_through(migration, entrance).await
    }
    async fn credential(&self, migration: &Migration) -> Result<String, Failure> {
        self.real.credential(migration).await
    }
    fn admits(&self, migration: &Migration, first_packet: &[u8]) -> Admission {
        self.real.admits(migration, first_packet)
    }
    fn inlet(&self) -> Inlet {
        self.real.inlet()
    }
    async fn left_of_import(&self, import: &Import) -> Result<Vec<v1::Finding>, Failure> {
        self.real.left_of_import(import).await
    }
    async fn execute(&self, sql: &[String]) -> Result<(), Failure> {
        self.real.execute(sql).await
    }
    async fn reload(&self) -> Result<(), Failure> {
        Ok(())
    }
    async fn tell(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        self.real.tell(migration, verb).await
    }
    async fn set_for_import(&self, import: &Import) -> Result<Vec<String>, Failure> {
        self.real.set_for_import(import).await
    }
    async fn set_back(&self, import: &Import) -> Result<Vec<String>, Failure> {
        self.real.set_back(import).await
    }

    async fn end_pouring(&self, migration: &Migration) {
        self.real.end_pouring(migration).await;
    }
    async fn end_all_pouring(&self) {
        self.real.end_all_pouring().await;
    }

    /// The load, as the server's own user.
    async fn back_up(&self, _: &Backup, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let gone = |error: mysql_async::Error| Failure::unknown("SERVER_GONE", error.to_string(), "look at the server");
        let socket = self.socket.display().to_string();
        let mut conn =
            Conn::new(OptsBuilder::default().socket(Some(socket)).user(Some(user())).db_name(Some("app"))).await.map_err(gone)?;
        conn.query_drop("set session sql_log_bin = 0").await.map_err(gone)?;
        let total = self.load.statements;
        for done in 1..=total {
            let rows: Vec<_> = (0..ROWS).map(|row| format!("(repeat(hex({row}), 99))")).collect();
            let rows = format!("insert into app.load (t) values {}", rows.join(", "));
            conn.query_drop(rows).await.map_err(gone)?;
            if done < self.load.silent_from {
                let _ = progress.try_send(Progress { done, total, rows: 0 });
            }
            tokio::time::sleep(self.load.pause).await;
        }
        Ok(())
    }
    async fn end_backup(&self, _: &Backup) -> Result<(), Failure> {
        Ok(())
    }
}

/// An agent at work. It ends in order by `end`, and by a signal like any process.
pub(crate) struct Agent(pub(crate) Arc<Host>);

impl Agent {
    /// Starts on `state`, where an earlier one may have been.
    pub(crate) async fn start(state: &Path, (real, socket): (Arc<dyn Engine>, PathBuf), load: Load) -> Self {
        let identity = state.join("identity");
        if !identity.exists() {
            enrol(state, &identity);
        }
        let config = Config {
            listen: "127.0.0.1:1".parse().unwrap(),
            state: state.to_owned(),
            runtime: state.join("run"),
            status: None,
            agent_check: None,
            may_replace_data: false,
            guard_free_percent: 0,
            tuning: Tuning::default(),
            postgres: None,
            mariadb: None,
            mysql: None,
            haproxy: None,
        };
        let engine: Arc<dyn Engine> = Arc::new(Loading { real, socket, load });
        let hands = Hands { engine: Some(engine), router: None, kernel: Kernel::default(), fuse: Fuse::default() };
        let credentials = Arc::new(Credentials::load(&identity).unwrap());
        Self(Host::open(config, credentials, hands).await.unwrap())
    }

    /// What it does, line by line; the code of its failure, if it fails.
    pub(crate) async fn run(&self, step: &str, kind: Kind, mut said: impl FnMut(&str)) -> Result<(), String> {
        let action = Some(v1::Action { kind: Some(kind) });
        let request = v1::ApplyRequest { id: format!("shop/{step}"), epoch: 1, action };
        end_of(Operate(self.0.clone()).apply(Request::new(request)).await.unwrap().into_inner(), &mut said).await
    }

    pub(crate) async fn take_back(&self, step: &str) -> Result<(), String> {
        let request = v1::UndoRequest { id: format!("shop/{step}"), epoch: 1 };
        end_of(Operate(self.0.clone()).undo(Request::new(request)).await.unwrap().into_inner(), &mut |_| ()).await
    }

    pub(crate) async fn seed(&self, said: impl FnMut(&str)) -> Result<(), String> {
        self.run("seed", Kind::Seed(v1::Seed::default()), said).await
    }

    pub(crate) async fn end(self) {
        self.0.close().await;
    }
}

fn enrol(state: &Path, identity: &Path) {
    durable::directory(state, 0o700).unwrap();
    let authority = Authority::create(&state.join("ca"), "test".parse().unwrap()).unwrap();
    let key = identity::generate_key().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let certificate = authority.sign_agent(&request, &"db-new".parse().unwrap()).unwrap();
    Credentials::new(key, &certificate, authority.certificate_pem()).unwrap().save(identity).unwrap();
}

async fn end_of(
    mut events: impl tokio_stream::Stream<Item = Result<v1::Event, tonic::Status>> + Unpin,
    said: &mut impl FnMut(&str),
) -> Result<(), String> {
    while let Some(event) = events.next().await {
        match event.unwrap().kind {
            Some(v1::event::Kind::Doing(text)) => said(&text),
            Some(v1::event::Kind::Done(_)) => return Ok(()),
            Some(v1::event::Kind::Failed(error)) => return Err(format!("{}: {}", error.code, error.sentence)),
            _ => {}
        }
    }
    panic!("no end is told");
}
