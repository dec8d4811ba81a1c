//! The four hosts of `tests/hosts/lab` and their application, as a test has them: a fault at an exact point, and what must hold
//! after it. Which faults, and where, is the tests' own.

pub(crate) mod regulars;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use flytt::spec::Engine;

pub(crate) const OLD: &str = "db-old";
pub(crate) const NEW: &str = "db-new";
/// Until a command comes to its point: what has just booted may have to catch up first.
const COMES: Duration = Duration::from_secs(30);
/// Until the application is served, as promised: while the fault lasts, or once the host is up again.
pub(crate) const LONGEST: Duration = Duration::from_secs(15);

/// The hosts' names and addresses are the same in each lab.
static ALONE: Mutex<()> = Mutex::new(());

/// Four hosts and an application. Nothing is left of them when this value goes.
pub(crate) struct Lab {
    engine: Engine,
    place: PathBuf,
    shop: Option<Child>,
    _alone: MutexGuard<'static, ()>,
}

impl Lab {
    /// The application writes; nothing is moved yet.
    pub(crate) fn of(engine: Engine) -> Self {
        Self::with(engine, "exec shop >said")
    }

    /// It writes through the PgBouncer of its host, which goes to the router.
    pub(crate) fn pooled() -> Self {
        Self::with(Engine::Postgres, "PGHOST=127.0.0.1 PGPORT=6432 exec shop >said")
    }

    /// A session of the application's through that PgBouncer.
    pub(crate) fn pooled_session(&self) -> impl Fn() -> Command + Clone + Send + 'static {
        let place = self.place.clone();
        let psql = "exec psql -XqAt -h 127.0.0.1 -p 6432 -U shop shop 2>&1";
        move || script(&place, &["on", "client", "sh", "-c", psql])
    }

    fn with(engine: Engine, shop: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = PathBuf::from("/var/tmp/flytt-lab-of-tests");
        let mut lab = Self { engine, place, shop: None, _alone: alone };
        // One that was killed could not do it itself.
        lab.run(&["down"]);
        let up = lab.run(&["up", engine.name()]);
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        let mut shop = lab.script(&["on", "client", "sh", "-c", shop]);
        lab.shop = Some(shop.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        lab.served_within(LONGEST, "at first");
        lab
    }

    /// The target follows.
    pub(crate) fn following(engine: Engine) -> Self {
        let lab = Self::of(engine);
        lab.must(&["on", "client", "flytt", "start", "shop.toml"]);
        lab
    }

    /// Stops whoever comes to this point, until the file is gone; `-reached` behind its name says that somebody has.
    pub(crate) fn fuse(&self, host: &str, point: &str) -> PathBuf {
        let fuse = self.place.join(host).join("disk/flytt").join(user(self.engine)).join("fuse");
        std::fs::write(&fuse, point).unwrap();
        fuse
    }

    /// It goes on beside us.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        self.script(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn script(&self, arguments: &[&str]) -> Command {
        script(&self.place, arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.script(arguments).output().unwrap()
    }

    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success(), "lab {arguments:?}: {said}\n{}", self.journals());
        String::from_utf8(ended.stdout).unwrap()
    }

    /// PostgreSQL's is asked by its superuser on the spot. A superuser of the others writes where `read_only` is: they are asked by the
    /// application, at the host's own port.
    fn asked(&self, host: &str, sql: &str) -> Vec<String> {
        let command: &[&str] = match self.engine {
            Engine::Postgres => &["on", host, "runuser", "-u", "postgres", "--", "psql", "-XqAt", "-d", "shop", "-c", sql],
            Engine::Mariadb => &["on", "client", "mariadb", "-h", host, "-BN", "shop", "-e", sql],
            Engine::Mysql => &["on", "client", "mysql", "-h", host, "-BN", "shop", "-e", sql],
        };
        command.iter().map(|&word| word.to_owned()).collect()
    }

    pub(crate) fn answer(&self, host: &str, sql: &str) -> String {
        let ask = self.asked(host, sql);
        self.must(&ask.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What was acknowledged to the application.
    fn sold(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(self.place.join("client/root/root/sold")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    pub(crate) fn served_within(&self, limit: Duration, what: &str) -> Duration {
        let (begun, before) = (Instant::now(), self.sold().len());
        while self.sold().len() < before + 5 {
            assert!(begun.elapsed() < limit, "{what}: not served within {limit:?}\n{}", self.journals());
            sleep(Duration::from_millis(50));
        }
        begun.elapsed()
    }

    pub(crate) fn milestone(&self) -> (String, bool) {
        let text = self.must(&["on", "client", "flytt", "--json", "status", "shop"]);
        let answer: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let ready = answer["hosts"]["way_back"]["ready"] == true;
        (answer["milestone"].as_str().unwrap_or_default().to_owned(), ready)
    }

    /// The longest time without a write so far, as the application has noticed it.
    pub(crate) fn longest_silence(&self) -> Duration {
        let text = std::fs::read_to_string(self.place.join("client/root/root/said")).unwrap_or_default();
        let silences = text.lines().filter_map(|line| line.split_whitespace().rev().nth(1)?.parse().ok());
        Duration::from_millis(silences.max().unwrap_or_default())
    }

    /// One of the kernel's for the host's network (`/proc/net/snmp`).
    pub(crate) fn counter(&self, host: &str, of: &str, name: &str) -> u64 {
        let text = self.must(&["on", host, "cat", "/proc/net/snmp"]);
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(of)?.strip_prefix(": "));
        let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
        let at = names.split(' ').position(|other| other == name).unwrap();
        numbers.split(' ').nth(at).unwrap().parse().unwrap()
    }

    fn accepts_writes(&self, host: &str) -> bool {
        let row = if self.engine == Engine::Postgres { "DEFAULT VALUES" } else { "() VALUES ()" };
        let ask = self.asked(host, &format!("INSERT INTO sold {row}"));
        self.run(&ask.iter().map(String::as_str).collect::<Vec<_>>()).status.success()
    }

    /// Whatever serves, it is one.
    pub(crate) fn one_accepts_writes(&self, what: &str) {
        let both = [OLD, NEW].map(|host| self.accepts_writes(host));
        assert!(both[0] != both[1], "{what}: who accepts writes: {both:?}\n{}", self.journals());
    }

    pub(crate) fn journals(&self) -> String {
        let of = |host: &&str, unit: &str| {
            let said = self.run(&["on", host, "journalctl", "-qb", "-n", "40", "-u", unit]);
            format!("--- {host}, {unit}\n{}", String::from_utf8_lossy(&said.stdout))
        };
        let units = ["postgresql@*", "mariadb", "mysql", "flytt-agent@*", "pgbouncer"];
        [OLD, NEW, "lb-1", "client"].iter().flat_map(|host| units.map(|unit| of(host, unit))).collect()
    }
}

fn script(place: &Path, arguments: &[&str]) -> Command {
    let programs = flytt::stage::agent_beside_us().expect("built with the whole workspace");
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts/lab"));
    script.args(arguments).env("FLYTT_LAB", place).env("FLYTT_PROGRAMS", programs.parent().unwrap());
    script.stdin(Stdio::null());
    script
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down"]);
        if let Some(shop) = &mut self.shop {
            let _ = shop.kill();
            let _ = shop.wait();
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The power of the source's or the target's host.
    Power(Role),
    /// Its cable.
    Cable(Role),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Target,
}

/// Who stops at which point, what happens then, and whether the application is served before that is mended.
pub(crate) type Cell = (Role, &'static str, Fault, bool);

use Fault::{Cable, Power};
use Role::Source;

impl Lab {
    pub(crate) fn play(&self, (who, point, fault, is_served): Cell) {
        let (verb, source, target) =
            if self.milestone().0 == "following" { ("cutover", OLD, NEW) } else { ("rollback", NEW, OLD) };
        let host = |role| if role == Source { source } else { target };
        let what = format!("{verb}: {point}, {fault:?}");
        let fuse = self.fuse(host(who), point);
        let start = || self.begin(&["on", "client", "flytt", verb, "shop"]);
        let (mut command, begun) = (start(), Instant::now());
        while !fuse.with_file_name("fuse-reached").exists() {
            assert!(begun.elapsed() < COMES, "{what}: does not come to it\n{}", self.journals());
            if command.try_wait().unwrap().is_some() {
                // What has just come back may not have caught up.
                let ended = command.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                println!("{what}: again, after {}", said.lines().last().unwrap_or_default());
                assert_eq!(ended.status.code(), Some(6), "{what}: {said}");
                sleep(Duration::from_secs(1));
                command = start();
            }
            sleep(Duration::from_millis(5));
        }
        let (Power(role) | Cable(role)) = fault;
        self.must(&[if matches!(fault, Power(_)) { "cut" } else { "unplug" }, host(role)]);
        if matches!(fault, Cable(_)) || role != who {
            let _ = std::fs::remove_file(fuse);
        }
        let served = is_served.then(|| self.served_within(LONGEST, &what));
        if !is_served {
            sleep(Duration::from_secs(2));
        }
        self.must(&[if matches!(fault, Power(_)) { "boot" } else { "plug" }, host(role)]);
        let again = self.served_within(LONGEST, &what);
        let ended = command.wait_with_output().unwrap();
        println!("{what}: exit {:?}, served after {served:?}, and {again:?} after it was mended", ended.status.code());
        self.comes_to_rest(&what);
        self.one_accepts_writes(&what);
    }

    /// As an operator would see to it.
    pub(crate) fn comes_to_rest(&self, what: &str) {
        let mut said = Vec::new();
        for _ in 0..8 {
            let resume = self.run(&["on", "client", "flytt", "resume", "shop"]);
            said.push(format!("{}{}", String::from_utf8_lossy(&resume.stdout), String::from_utf8_lossy(&resume.stderr)));
            match self.milestone() {
                (following, _) if following == "following" => return,
                (moved, true) if moved == "moved" => return,
                (back, _) if back == "moved_back" => return,
                _ => sleep(Duration::from_secs(1)),
            }
        }
        panic!("{what}: comes to no rest: {}\n{}", said.join("\n"), self.journals());
    }

    /// Every acknowledged row is on who serves, once.
    pub(crate) fn nothing_is_lost(&self) -> usize {
        let holder = if self.accepts_writes(OLD) { OLD } else { NEW };
        let sold = self.sold();
        let rows = self.answer(holder, "SELECT id FROM sold");
        let there: BTreeSet<u64> = rows.lines().map(|row| row.parse().unwrap()).collect();
        let lost: Vec<u64> = sold.iter().copied().filter(|id| !there.contains(id)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let twice = sold.iter().collect::<BTreeSet<_>>().len() != sold.len();
        assert!(!twice, "a number was given twice");
        sold.len()
    }
}

/// As whom server and agent run.
fn user(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "postgres",
        Engine::Mariadb | Engine::Mysql => "mysql",
    }
}
