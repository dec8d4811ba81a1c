//! Kernel settings for real: a whole move of the Lab whose target is this machine's own kernel, or a network namespace of
//! the test's own; and a real agent that is killed in the middle. Needs root; every value is restored, whatever happens.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test starts the agent, kills it, prepares the kernel, and says what it saw"
)]

#[allow(dead_code, reason = "each test uses a part of the Lab")]
mod lab;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use flytt::{fleet::Operator, session::Session, verb};
use flytt_agent::config::{Kept, Tuning};
use flytt_proto::{
    failure::Failure,
    fuse::Fuse,
    name::{Epoch, HostName, OperationId},
    v1,
};
use lab::{AGENTS, Lab, Seen};
use nix::fcntl::{Flock, FlockArg};

const KEYS: &[&str] = &[
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.somaxconn",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_congestion_control",
    "vm.swappiness",
    "vm.dirty_background_ratio",
    "vm.dirty_background_bytes",
    "vm.dirty_ratio",
    "vm.dirty_bytes",
];

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key.replace('.', "/"))
}

fn get(key: &str) -> String {
    fs::read_to_string(path(key)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn set(key: &str, value: &str) {
    fs::write(path(key), value).unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
}

fn all() -> BTreeMap<&'static str, String> {
    KEYS.iter().map(|key| (*key, get(key))).collect()
}

/// This machine's settings, restored when it goes out of scope, also in a panic. One test of the machine at a time.
struct Machine {
    before: BTreeMap<&'static str, String>,
    _turn: Flock<fs::File>,
}

impl Machine {
    fn hold() -> Option<Self> {
        let file = fs::File::create("/tmp/flytt-test-kernel.lock").expect("a lock");
        let turn = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("held");
        if !nix::unistd::geteuid().is_root() || fs::OpenOptions::new().write(true).open(path("vm.swappiness")).is_err() {
            eprintln!("skipped: kernel settings can only be tried as root, where /proc/sys is writable");
            return None;
        }
        Some(Self { before: all(), _turn: turn })
    }

    /// As a host that nobody has tuned, with its dirty limit in bytes.
    fn untuned() -> Option<Self> {
        let machine = Self::hold()?;
        for (key, value) in [
            ("net.core.rmem_max", "4194304"),
            ("net.core.wmem_max", "4194304"),
            ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
            ("net.ipv4.tcp_slow_start_after_idle", "1"),
            ("vm.swappiness", "60"),
            ("vm.dirty_background_ratio", "10"),
            ("vm.dirty_bytes", "17179869184"),
        ] {
            set(key, value);
        }
        Some(machine)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for (key, value) in &self.before {
            // Of a pair the one that was in force is written; the other, 0, follows.
            let of_pair = key.contains("dirty");
            if get(key) != *value && !(of_pair && value == "0") {
                let _ = fs::write(path(key), value);
            }
        }
        if all() != self.before && !std::thread::panicking() {
            panic!("the machine's settings are not as they were: {:?}, now {:?}", self.before, all());
        }
    }
}

fn this_machine(lab: &lab::kernel::Kernel) -> Tuning {
    Tuning { sysctl: "/proc/sys".into(), ..lab.tuning() }
}

fn at_least(key: &str, least: &str) -> bool {
    let numbers = |text: &str| text.split(' ').map(|word| word.parse().expect("a number")).collect::<Vec<u64>>();
    numbers(&get(key)).iter().zip(numbers(least)).all(|(now, least)| *now >= least)
}

fn at_most(key: &str, most: u64) -> bool {
    get(key).parse::<u64>().expect("a number") <= most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_tunes_this_machine_and_rollback_restores_it_exactly() {
    let Some(machine) = Machine::untuned() else { return };
    let before = all();
    assert_eq!(get("vm.dirty_ratio"), "0", "bytes are in force");
    let lab = Lab::tuned(|_| 0, this_machine).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    for (key, least) in [
        ("net.core.rmem_max", "16777216"),
        ("net.core.wmem_max", "16777216"),
        ("net.ipv4.tcp_rmem", "4096 87380 16777216"),
        ("net.ipv4.tcp_wmem", "4096 65536 16777216"),
    ] {
        assert!(at_least(key, least), "{key} = {}", get(key));
    }
    for (key, most) in [("vm.swappiness", 1), ("vm.dirty_background_ratio", 5), ("vm.dirty_ratio", 10)] {
        assert!(at_most(key, most), "{key} = {}", get(key));
    }
    let dirty: u64 = get("vm.dirty_bytes").parse().expect("a number");
    assert!(dirty <= 4 << 30 && (dirty > 0) != (get("vm.dirty_ratio") != "0"), "one of the two is in force");
    // Each host's own part: what the path needs is set by the source, which was first, the rest by the target.
    let file = |kernel: &lab::kernel::Kernel| fs::read_to_string(kernel.drop_in()).expect("a drop-in");
    let (source, target) = (file(&lab.kernels[0]), file(&lab.kernels[1]));
    assert!(source.contains("\nnet.core.rmem_max = ") && !source.contains("\nvm."), "{source}");
    assert!(target.contains("# before: vm.dirty_bytes = 17179869184\nvm.dirty_"), "{target}");

    lab.rollback(&Fuse::default()).await.expect("taken back");
    assert_eq!(all(), before);
    lab.is_as_it_was("rolled back");
    drop(machine);
}

#[tokio::test(flavor = "multi_thread")]
async fn finish_leaves_the_tuning_or_takes_it_back_as_asked() {
    let Some(_machine) = Machine::untuned() else { return };
    let before = all();
    for settings in [verb::Settings::Revert, verb::Settings::Keep] {
        let lab = Lab::tuned(|_| 0, this_machine).await;
        lab.start(&Fuse::default()).await.expect("it follows");
        lab.cutover(&Fuse::default()).await.expect("it moves");
        let tuned = all();
        assert_ne!(tuned, before);
        let mut seen = Seen::default();
        let session = session(&lab);
        let answer = verb::finish(&session, &lab.name, settings, &mut seen).await.expect("it finishes");
        match settings {
            verb::Settings::Revert => {
                assert_eq!(all(), before);
                assert!(!lab.kernels.iter().any(|kernel| kernel.drop_in().exists()));
                assert_eq!(answer.value["tuning_kept"], false);
            }
            verb::Settings::Keep => {
                assert_eq!(all(), tuned);
                assert!(lab.kernels.iter().all(|kernel| kernel.drop_in().exists()));
                assert!(answer.text.contains("kernel settings that the move set stay"), "{}", answer.text);
                let late = verb::finish(&session, &lab.name, verb::Settings::Revert, &mut seen).await;
                let late = late.expect_err("nobody knows them any more");
                assert!(late.to_string().contains("TUNING_STAYS"), "{late}");
            }
        }
    }
}

/// Before, between and after the writing of a value, of its line in the drop-in, and of the ledger's entries.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_while_it_sets_a_value_still_restores_it() {
    let Some(_machine) = Machine::untuned() else { return };
    let before = all();
    let points = {
        let lab = Lab::tuned(|_| 0, this_machine).await;
        lab.start(&Fuse::default()).await.expect("it follows");
        lab.rollback(&Fuse::default()).await.expect("taken back");
        lab.fuses.iter().find(|(name, _)| *name == "db-new").expect("the target").1.seen()
    };
    let of_swappiness = points.iter().enumerate().filter(|(_, point)| point.contains("vm.swappiness"));
    let of_ledger = points.iter().enumerate().filter(|(_, point)| point.starts_with("after ledger began")).take(1);
    let cases: Vec<_> = of_swappiness.chain(of_ledger).map(|(at, point)| (at as u32 + 1, point.clone())).collect();
    assert!(cases.len() >= 6, "{points:?}");
    for (n, point) in cases {
        let lab = Lab::tuned(|name| if name == "db-new" { n } else { 0 }, this_machine).await;
        let _ = lab.start(&Fuse::default()).await;
        assert_eq!(
            lab.fuses.iter().find(|(name, _)| *name == "db-new").expect("the target").1.is_blown(),
            !point.contains("undo")
        );
        let mut ended = lab.rollback(&Fuse::default()).await;
        for _ in 0..3 {
            if ended.is_ok() {
                break;
            }
            ended = lab.resume(&Fuse::default()).await;
        }
        ended.unwrap_or_else(|halt| panic!("{point}: {halt}"));
        assert_eq!(all(), before, "died {point}");
        lab.is_as_it_was(&point);
    }
}

/// A namespace of its own has its own `net.ipv4`, and shows some of the machine's settings without letting anybody set them.
#[test]
fn in_a_network_namespace_what_is_its_own_is_set_and_the_rest_is_told() {
    let Some(_machine) = Machine::hold() else { return };
    let before = all();
    let namespace = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace, which ends with its last thread");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip (iproute2)");
        assert!(up.success());
        set_here("net/ipv4/tcp_wmem", "4096 16384 4194304");
        // The runtime's threads are born in the namespace of this one.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(in_namespace());
    });
    let ended = namespace.join();
    assert_eq!(all(), before, "the machine outside is untouched");
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// As this thread's namespace shows it; `/proc/sys/net` is that of whoever looks.
fn here(path: &str) -> String {
    let text = fs::read_to_string(Path::new("/proc/sys").join(path)).expect("read");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn set_here(path: &str, value: &str) {
    fs::write(Path::new("/proc/sys").join(path), value).expect("written");
}

async fn in_namespace() {
    let read_only = "net/core/rmem_max";
    let shown = here(read_only);
    let keep = KEYS.iter().filter(|key| key.starts_with("vm.")).map(|key| Kept((*key).into())).collect::<Vec<_>>();
    let tuning = |kernel: &lab::kernel::Kernel| Tuning { keep: keep.clone(), ..this_machine(kernel) };
    let lab = Lab::tuned(|_| 0, tuning).await;
    let mut seen = Seen::default();
    verb::start(&session(&lab), &lab.spec, BTreeSet::new(), &mut seen).await.expect("it follows");
    assert_eq!(here("net/ipv4/tcp_wmem"), "4096 65536 16777216");
    assert_eq!(here(read_only), shown);
    if shown.parse::<u64>().expect("a number") < 16 << 20 {
        let told = seen.0.iter().any(|line| line.contains("SYSCTL_READ_ONLY") && line.contains("net.core.rmem_max=16777216"));
        assert!(told, "{}", seen.0.join("\n"));
    }
    lab.rollback(&Fuse::default()).await.expect("taken back");
    assert_eq!(here("net/ipv4/tcp_wmem"), "4096 16384 4194304");
    lab.is_as_it_was("rolled back");
}

fn session(lab: &Lab) -> Session {
    lab.session(Fuse::default())
}

/// A real agent as a process of its own, ended without warning.
struct Agent {
    process: Child,
    config: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Agent {
    fn start(config: &Path) -> Self {
        let near = std::env::current_exe().expect("us").ancestors().nth(2).expect("target/debug").join("flytt-agent");
        let process = Command::new(near)
            .arg("--config")
            .arg(config)
            .arg("run")
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("flytt-agent is built: cargo build --workspace");
        Self { process, config: config.to_owned() }
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn again(&mut self) {
        self.kill();
        *self = Self::start(&self.config.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_agent_killed_at_any_moment_of_a_tuning_still_takes_it_back() {
    let Some(_machine) = Machine::untuned() else { return };
    let before = all();
    let place = tempfile::tempdir().expect("a directory");
    let (home, state, etc) = (place.path().join("home"), place.path().join("agent"), place.path().join("sysctl.d"));
    fs::create_dir(&etc).expect("made");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let (host, address): (HostName, _) = (AGENTS[1].parse().expect("a name"), format!("127.0.0.1:{port}"));
    lab::found(&home, [(AGENTS[1], address.clone(), state.as_path())].into_iter());
    let config = place.path().join("agent.toml");
    let text = format!(
        "listen = \"{address}\"\nstate = \"{}\"\nruntime = \"{}\"\n[tuning]\ndrop_in = \"{}/60-flytt.conf\"\n",
        state.display(),
        place.path().join("run").display(),
        etc.display()
    );
    fs::write(&config, text).expect("written");
    let mut agent = Agent::start(&config);

    let (mut interrupted, mut whole) = (0, 0);
    for round in 0..14_u32 {
        let id: OperationId = OperationId {
            migration: format!("shop-{round}").parse().expect("a name"),
            step: "tune-target".parse().expect("a step"),
        };
        // An own connection for each round: the agent's process is another one.
        let operator = connect(&home).await;
        let peer = Some(v1::PeerHost { host: "db-old".into(), address: address.clone() });
        let kind = v1::action::Kind::Tune(v1::Tune { role: v1::Role::Target.into(), peer });
        let action = v1::Action { kind: Some(kind) };
        let apply = {
            let (operator, host, id) = (operator.clone(), host.clone(), id.clone());
            tokio::spawn(async move {
                operator.apply(&host, &id, Epoch(1), &action, Duration::from_secs(1), &mut |_| {}).await.is_ok()
            })
        };
        // From before the first entry to after the last one.
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while round > 0 && all() == before && std::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(round * round) / 2)).await;
        agent.kill();
        // Nobody asks again: what the next process finds is what this one left.
        apply.abort();
        agent.again();
        if all() == before {
            continue_undo(&home, &host, &id).await.expect("nothing to take back")
        } else {
            let state = answered(&home, &host, &id).await.state();
            if state == v1::operation_state::State::Done {
                whole += 1;
            } else {
                assert_eq!(state, v1::operation_state::State::Interrupted, "round {round}");
                interrupted += 1;
            }
            continue_undo(&home, &host, &id).await.unwrap_or_else(|failure| panic!("round {round}: {failure}"));
        }
        assert_eq!(all(), before, "round {round}");
        assert!(!etc.join("60-flytt.conf").exists(), "round {round}");
    }
    println!("killed in the middle {interrupted} times, after its end {whole} times");
    assert!(interrupted > 0, "no round killed it between a value and the record of its outcome");
}

async fn connect(home: &Path) -> Operator {
    for _ in 0..400 {
        let session = Session::open(home, tokio_util::sync::CancellationToken::new()).expect("opened");
        let host: HostName = AGENTS[1].parse().expect("a name");
        if session.observer.facts(&host).await.is_ok() {
            return Operator { observer: session.observer };
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the agent does not come up");
}

async fn answered(home: &Path, host: &HostName, id: &OperationId) -> v1::OperationState {
    connect(home).await.observer.operation(host, id).await.expect("its ledger's word")
}

async fn continue_undo(home: &Path, host: &HostName, id: &OperationId) -> Result<(), Failure> {
    connect(home).await.undo(host, id, Epoch(2), Duration::from_secs(20), &mut |_| {}).await.map(drop)
}
