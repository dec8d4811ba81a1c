//! The stage with real PostgreSQL servers and a real HAProxy: it comes up, survives what is done to it, and leaves nothing.
//! The agents are stand-ins; what they do for the proxy's health checks is all that matters here.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use flytt::{
    spec::Engine,
    stage::{self, Options, Place, Programs, Server, Stage},
};
use flytt_agent::config::Config;
use flytt_proto::failure::Failure;

/// Serves once it was enrolled, which here is a file; `/primary` says yes on the host that must not be replaced.
const STAND_IN: &str = r#"#!/usr/bin/perl
use strict; use warnings; use IO::Socket::INET; use IO::Select;
my ($config, $verb) = @ARGV[1, 2];
open(my $file, '<', $config) or die "$config: $!";
my %is; while (<$file>) { chomp; $is{$1} = $2 if /^(\w+) = "?([^"]*)"?$/ }
my $enrolled = "$is{state}/enrolled";
if ($verb eq 'join') {
    $| = 1; print "waiting for enrolment\ncode: for-$is{listen}\n";
    for (1 .. 1000) { exit 0 if -e $enrolled; select undef, undef, undef, 0.02 }
    die "nobody came";
}
die "not enrolled" unless -e $enrolled;
my $serve = IO::Socket::INET->new(LocalAddr => $is{listen}, Listen => 9, ReuseAddr => 1) or die "listen: $!";
my $status = $is{status} && (IO::Socket::INET->new(LocalAddr => $is{status}, Listen => 9, ReuseAddr => 1) or die "status: $!");
my $select = IO::Select->new(grep { $_ } $serve, $status);
while (my @ready = $select->can_read) {
    for my $listener (@ready) {
        my $client = $listener->accept or next;
        if ($status && $listener == $status) {
            sysread $client, my $request, 4096;
            my $answer = ($is{may_replace_data} // '') eq 'false' ? '200 OK' : '503 Service Unavailable';
            print $client "HTTP/1.0 $answer\r\nContent-Length: 0\r\n\r\n";
        }
        close $client;
    }
}
"#;

/// A directory that the servers' account can enter, and a stand-in for the agent in it.
struct Base {
    directory: tempfile::TempDir,
    agent: PathBuf,
}

fn base() -> Base {
    let directory = tempfile::Builder::new().prefix("stage").tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let agent = directory.path().join("stand-in");
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(&agent)
        .and_then(|mut file| std::io::Write::write_all(&mut file, STAND_IN.as_bytes()))
        .expect("a script");
    std::fs::set_permissions(&agent, PermissionsExt::from_mode(0o755)).expect("mode");
    Base { directory, agent }
}

impl Base {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn options(&self) -> Options {
        Options { base: self.path().into(), data_mib: 2, agent: Some(self.agent.clone()), ..Options::default() }
    }

    fn stages(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).expect("readable").flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// What the operator's `host add` would bring about.
    fn enrol(&self, name: &str) {
        let [stage] = &self.stages()[..] else { panic!("one stage") };
        std::fs::File::create(stage.join(name).join("agent/state/enrolled")).expect("enrolled");
    }

    /// Every process that works in here, was started from here, or carries the mark; whatever its name.
    fn processes(&self) -> BTreeSet<String> {
        let wanted = self.path().display().to_string();
        let entries = std::fs::read_dir("/proc").expect("proc").flatten();
        let pids =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter(|pid| *pid != std::process::id());
        pids.filter_map(|pid| {
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?.display().to_string();
            let read = |what: &str| {
                String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default()).into_owned()
            };
            let (line, environment) = (read("cmdline"), read("environ"));
            [&cwd, &line, &environment]
                .iter()
                .any(|text| text.contains(&wanted))
                .then(|| format!("{pid} {}", line.replace('\0', " ")))
        })
        .collect()
    }

    fn assert_empty(&self) {
        assert_eq!(self.processes(), BTreeSet::new());
        assert_eq!(self.stages(), Vec::<PathBuf>::new());
    }
}

/// Id of the server's segment of shared memory, while it runs.
fn segment(server: &Server) -> String {
    let text = std::fs::read_to_string(server.data().join("postmaster.pid")).expect("it runs");
    text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)).expect("a segment").to_owned()
}

fn segment_exists(id: &str) -> bool {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").expect("readable");
    text.lines().any(|line| line.split_whitespace().nth(1) == Some(id))
}

async fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..500 {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_with_agents_serves_the_application_and_leaves_nothing() {
    let base = base();
    let mut asked = Vec::new();
    let add_host = async |_: &std::path::Path, name: &str, address: SocketAddr, code: &str| {
        asked.push((name.to_owned(), code == format!("for-{address}")));
        base.enrol(name);
        Ok(())
    };
    let stage = Stage::build(&base.options(), add_host).await.expect("a stage");
    let agents = stage.agents.as_ref().expect("agents");
    assert_eq!(asked, [("db-old".into(), true), ("db-new".into(), true), ("lb-1".into(), true)]);

    // The application is served, by the source; the target waits for its data.
    stage.connection().expect("a way in").answers().await.expect("served");
    assert_eq!(stage.source.sql("app", "SELECT count(*) FROM orders").await.expect("rows"), "2048");
    assert_eq!(stage.source.sql("app", "SHOW data_checksums").await.expect("a setting"), "on");
    assert!(stage.source.is_running() && !stage.target.is_running());
    assert_eq!(std::fs::read_dir(stage.target.data()).expect("there").count(), 0);

    // Configurations are what an agent reads, secrets are the owner's, and no server is root's.
    for agent in [&agents.source, &agents.target, &agents.router] {
        let config = Config::read(&agent.config).expect("a valid agent.toml");
        assert_eq!((config.listen, config.may_replace_data), (agent.address, agent.name == "db-new"));
        assert_eq!(config.state.metadata().expect("there").mode() & 0o777, 0o700);
    }
    assert_eq!(stage.conninfo.metadata().expect("there").mode() & 0o777, 0o600);
    let uid = std::fs::metadata(stage.source.data()).expect("there").uid();
    assert_ne!(uid, 0);
    for pid in [agents.source.process.pid(), agents.router.process.pid(), stage.proxy.process().pid()] {
        let pid = pid.expect("it runs");
        assert_eq!(std::fs::metadata(format!("/proc/{pid}")).expect("alive").uid(), uid);
    }

    // An agent that dies comes back, and the application does not notice.
    let before = agents.source.process.pid();
    agents.source.process.kill_hard();
    assert!(eventually(|| agents.source.process.pid().is_some_and(|pid| Some(pid) != before)).await);
    stage.connection().expect("a way in").answers().await.expect("served");

    // A server that was ended hard has left shared memory behind, and somebody else's child is running.
    let segment = segment(&stage.source);
    assert!(segment_exists(&segment));
    stage.source.kill_hard();
    assert!(eventually(|| !stage.source.is_running()).await);
    assert!(segment_exists(&segment));
    assert!(!base.processes().is_empty());
    stage.tear_down().await;
    assert!(!segment_exists(&segment));
    base.assert_empty();
}

async fn servers_come_back_after_a_power_cut_and_leave_nothing(engine: Engine) {
    let base = base();
    let options = Options { engine, agent: None, ..base.options() };
    let stage = Stage::build(&options, async |_, _, _, _| Ok(())).await.expect("a stage");
    let rows = "SELECT count(*), sum(length(body)) >= 1900000 FROM orders";
    let found = stage.source.sql("app", rows).await.expect("rows");
    assert!(["2048|t", "2048|1"].contains(&&*found), "{found}");
    assert!(stage.migration.contains(&format!("engine = \"{}\"", engine.name())), "{}", stage.migration);
    stage.source.kill_hard();
    assert!(eventually(|| !stage.source.is_running()).await);
    // A server takes its dead predecessor for alive until init has taken note of the death.
    let mut started = stage.source.start().await;
    for _ in 0..50 {
        if started.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        started = stage.source.start().await;
    }
    started.expect("started again");
    let way_in = stage.connection().expect("a way in").at("127.0.0.1", stage.source.port());
    way_in.answers().await.expect("served");
    stage.tear_down().await;
    base.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_servers_come_back_and_leave_nothing() {
    servers_come_back_after_a_power_cut_and_leave_nothing(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_servers_come_back_and_leave_nothing() {
    servers_come_back_after_a_power_cut_and_leave_nothing(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "this machine has no MySQL server for the tests")]
async fn mysql_servers_come_back_and_leave_nothing() {
    servers_come_back_after_a_power_cut_and_leave_nothing(Engine::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_dropped_leaves_nothing() {
    let base = base();
    let (asking, asked) = tokio::sync::oneshot::channel();
    let mut asking = Some(asking);
    let add_host = async |_: &std::path::Path, _: &str, _: SocketAddr, _: &str| {
        // Ctrl-C comes while the operator is asked.
        asking.take().expect("asked once").send(()).expect("awaited");
        std::future::pending::<Result<(), Failure>>().await
    };
    let options = base.options();
    tokio::select! {
        built = Stage::build(&options, add_host) => panic!("built without enrolment: {built:?}"),
        asked = asked => asked.expect("asked"),
    }
    base.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_enrolment_and_an_agent_that_does_not_serve_are_errors_that_leave_nothing() {
    let base = base();
    let refuse = async |_: &std::path::Path, _: &str, _: SocketAddr, _: &str| {
        Err(Failure::refused("PIN", "the pin does not match", "ask again"))
    };
    assert_eq!(Stage::build(&base.options(), refuse).await.expect_err("refused").code, "PIN");
    base.assert_empty();

    let broken = base.path().join("broken");
    std::os::unix::fs::symlink("/bin/false", &broken).expect("a link");
    let options = Options { agent: Some(broken), ..base.options() };
    let failure = Stage::build(&options, async |_, _, _, _| Ok(())).await.expect_err("no code");
    assert_eq!(failure.code, "STAGE_NOT_UP", "{failure}");
    base.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_demo_left_is_cleared_away_by_the_next() {
    let base = base();
    let place = Place::new(base.path()).expect("a place");
    let server =
        Server::create(&place, &Programs::find(Engine::Postgres).expect("programs"), "db-old", 15_432).await.expect("a server");
    server.start().await.expect("started");
    let owner = place.path().join("owner");
    std::mem::forget((server, place));

    stage::clear_stale(base.path());
    assert_eq!(base.stages().len(), 1, "its owner lives");
    assert!(!base.processes().is_empty());

    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(owner)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"4294967295 1\n"))
        .expect("written");
    stage::clear_stale(base.path());
    base.assert_empty();
}
