//! An import whose agent is killed, whose server is killed, and both, at ten points of it: whatever comes next finds the server's
//! own settings. Asked of the server, all of them.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use flytt_agent::{
    change::{Import, When},
    engine::Engine,
};
use mysql_async::{Conn, prelude::Queryable as _};

use crate::{
    agent::{Agent, Load, ROWS},
    import::{REDO_SIZE, differences, plan, settings},
    server::{Server, value},
    user::as_server_user,
};

/// Where the agent of the process is to work, and whether it is to load or only to start.
const STATE: &str = "FLYTT_TEST_AGENT_STATE";
const BASE: &str = "FLYTT_TEST_AGENT_BASE";
const LOADS: &str = "FLYTT_TEST_AGENT_LOADS";

const LONG: Duration = Duration::from_secs(150);
const STATEMENTS: u64 = 40;

pub(crate) fn by(server: &Server) -> (Arc<dyn Engine>, PathBuf) {
    (server.engine.clone(), server.socket())
}

/// One setting goes through the trial, the others stand for sure.
pub(crate) fn certain(mut import: Import) -> Import {
    let tried = REDO_SIZE;
    import.settings.iter_mut().filter(|setting| setting.name != tried).for_each(|setting| setting.when = When::Needed);
    assert!(import.settings.iter().any(|setting| setting.name == tried));
    import
}

pub(crate) fn load(import: Import) -> Load {
    Load { import, statements: STATEMENTS, pause: Duration::from_millis(10), silent_from: STATEMENTS }
}

/// The process that is killed: not a test by itself.
#[test]
#[allow(clippy::print_stdout, reason = "the process that kills it listens")]
fn the_agent_of_another_test() {
    let (Some(state), Some(base)) = (std::env::var_os(STATE), std::env::var_os(BASE)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::attach(Path::new(&base), "source", 0);
        let engine = by(&server);
        // The server is the other process's to end.
        std::mem::forget(server);
        let import = std::fs::read_to_string(Path::new(&base).join("import.json")).unwrap();
        let agent = Agent::start(Path::new(&state), engine, load(serde_json::from_str(&import).unwrap())).await;
        println!("up");
        if std::env::var_os(LOADS).is_some() {
            match agent.seed(|text| println!("says {text}")).await {
                Ok(()) => println!("done"),
                Err(code) => println!("failed {code}"),
            }
        }
        std::future::pending::<()>().await;
    });
}

/// The agent's process; it ends with its value.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(base: &Path, state: &Path, loads: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "killed::the_agent_of_another_test", "--nocapture", "--test-threads=1"]);
        command.env(STATE, state).env(BASE, base).current_dir("/").stdout(Stdio::piped()).stderr(Stdio::null());
        if loads {
            command.env(LOADS, "1");
        }
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The first line that begins so.
    pub(crate) fn hears(&self, begin: &str) -> String {
        let until = Instant::now() + LONG;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(begin) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("the agent does not say {begin:?}"),
            }
        }
    }

    /// Ends the test, should its load fail.
    async fn fails(&self) {
        loop {
            while let Ok(line) = self.lines.try_recv() {
                assert!(!line.contains("failed "), "{line}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In the order in which an import comes by them; each is asked of the server.
const POINTS: [&str; 9] = [
    "@@global.innodb_flush_log_at_trx_commit = 2",
    "@@global.innodb_buffer_pool_size = 64 << 20",
    "exists (select 1 from information_schema.SCHEMATA where SCHEMA_NAME = 'flytt_shop$trial')",
    // A name that both vendors have is not there: see `REDO_SIZE`.
    "redo size = 64 << 20",
    "(select count(*) from app.load) > 0",
    "(select count(*) from app.load) >= 1000",
    "(select count(*) from app.load) >= 2000",
    "(select count(*) from app.load) >= 3000",
    "(select count(*) from app.load) >= 4000",
];

pub(crate) async fn reaches(conn: &mut Conn, point: &str) {
    let begun = Instant::now();
    let point = point.replace("redo size", &format!("@@global.{REDO_SIZE}"));
    while value(conn, &format!("select {point}")).await != "1" {
        assert!(begun.elapsed() < LONG, "{point} is not reached");
        // Each look counts rows: asked all the time, it would take the processor from the load.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) struct Scene {
    pub(crate) base: PathBuf,
    pub(crate) server: Server,
    before: BTreeMap<String, String>,
    pub(crate) import: Import,
}

impl Scene {
    pub(crate) async fn new(base: PathBuf) -> Self {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        root.query_drop("create table app.load (id int auto_increment primary key, t varchar(300))").await.unwrap();
        let before = settings(&mut root).await;
        let import = certain(plan(&server).await);
        std::fs::write(base.join("import.json"), serde_json::to_string(&import).unwrap()).unwrap();
        assert_eq!(STATEMENTS * ROWS, 4000, "the points are of this many rows");
        Self { base, server, before, import }
    }

    /// An import up to the `n`th point, in a ledger of its own; the tenth is its end.
    pub(crate) async fn up_to(&self, n: usize) -> (Process, PathBuf) {
        let mut root = self.server.root_session().await;
        root.query_drop("truncate table app.load").await.unwrap();
        let state = self.base.join(format!("agent-{n}"));
        let agent = Process::start(&self.base, &state, true);
        match POINTS.get(n) {
            Some(point) => tokio::select! {
                () = reaches(&mut root, point) => {}
                () = agent.fails() => unreachable!("it says why"),
            },
            None => assert_eq!(agent.hears("done"), "done"),
        }
        (agent, state)
    }

    pub(crate) async fn is_as_it_was(&self, what: &str) {
        assert_eq!(differences(&mut self.server.root_session().await, &self.before).await, [""; 0], "{what}");
        let left = self.server.engine.left_of_import(&self.import).await.unwrap();
        assert_eq!(left, [], "{what}");
    }

    /// Of the first eight points it is certain that they are in the middle.
    pub(crate) async fn is_under_way(&self, n: usize) {
        if n < 8 {
            let mut root = self.server.root_session().await;
            let flush = value(&mut root, "select @@global.innodb_flush_log_at_trx_commit").await;
            assert_eq!(flush, "2", "point {n}: there is nothing to set back");
        }
    }
}

#[test]
fn a_server_that_is_killed_comes_back_with_its_own_settings_and_keeps_them() {
    as_server_user("killed::a_server_that_is_killed_comes_back_with_its_own_settings_and_keeps_them", |base| async move {
        let scene = Scene::new(base).await;
        for n in 0..10 {
            let (agent, _) = scene.up_to(n).await;
            scene.server.kill().await;
            scene.server.start().await;
            scene.is_as_it_was(&format!("point {n}")).await;
            // Nor does its agent, which is still there, bring any of it back.
            if n < 8 {
                agent.hears("failed");
            }
            scene.is_as_it_was(&format!("point {n}, after the agent has ended its import")).await;
        }
    });
}

#[test]
fn both_killed_at_once_leave_nothing_whoever_comes_first() {
    as_server_user("killed::both_killed_at_once_leave_nothing_whoever_comes_first", |base| async move {
        let scene = Scene::new(base).await;
        for n in 0..10 {
            let (mut agent, state) = scene.up_to(n).await;
            agent.kill();
            scene.server.kill().await;
            if n % 2 == 0 {
                // A server that is down keeps no agent from starting.
                let next = Process::start(&scene.base, &state, false);
                next.hears("up");
                scene.server.start().await;
                scene.is_as_it_was(&format!("point {n}, the agent first")).await;
            } else {
                scene.server.start().await;
                scene.is_as_it_was(&format!("point {n}")).await;
                let next = Process::start(&scene.base, &state, false);
                next.hears("up");
                scene.is_as_it_was(&format!("point {n}, with its agent")).await;
            }
        }
    });
}
