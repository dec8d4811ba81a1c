//! No secret leaves the place where it is kept. A whole move with everything logged; then all files of its hosts, all that its
//! commands said, and every process's arguments and environment while it lasted are searched for each secret there was.

#![allow(clippy::disallowed_methods, reason = "a throw-away host's files need not last")]

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use flytt::{
    spec::Engine,
    stage::{MIGRATION, Server},
};

use super::{FAST, Scene, UNLIMITED, flytt::Ended};

/// A secret in every form in which it could be written, and the one file that may hold it.
struct Secret {
    what: String,
    forms: Vec<String>,
    kept_in: Option<PathBuf>,
}

/// Arguments and environment of all processes of this machine, looked at again and again.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<HashSet<String>>>,
}

impl Sampler {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut seen = HashSet::new();
            while !stopped.load(Ordering::Relaxed) {
                sample(&mut seen);
                thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> HashSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn sample(seen: &mut HashSet<String>) {
    for process in fs::read_dir("/proc").unwrap().flatten() {
        if process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            for part in ["cmdline", "environ"] {
                // It may be gone by now.
                let bytes = fs::read(process.path().join(part)).unwrap_or_default();
                seen.insert(format!("{part}: {}", String::from_utf8_lossy(&bytes).replace('\0', " ")));
            }
        }
    }
}

/// All regular files below, read as texts.
fn files(below: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), into),
            // A server that is at work removes some while we look.
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                into.push((entry.path(), String::from_utf8_lossy(&bytes).into_owned()));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn password(kept_in: PathBuf, what: &str, cut: impl Fn(&str) -> Option<String>) -> Secret {
    let text = fs::read_to_string(&kept_in).unwrap();
    let secret = cut(&text).unwrap_or_else(|| panic!("no {what} in {}", kept_in.display()));
    assert!(secret.len() >= 32, "{what}");
    Secret { what: what.into(), forms: vec![secret], kept_in: Some(kept_in) }
}

fn private_key(kept_in: PathBuf, pem: &str) -> Secret {
    let base64: Vec<String> = pem.lines().filter(|line| line.len() > 40).map(str::to_owned).collect();
    let der = rcgen::KeyPair::from_pem(pem).unwrap().serialize_der();
    // PKCS#8 of an Ed25519 key (RFC 8410, 7): sixteen bytes of header, then the key's thirty-two.
    let key = &der[16..48];
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = key.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let forms = [base64, vec![hex.to_uppercase(), hex, list.replace(", ", ","), list]].concat();
    Secret { what: "a private key".into(), forms, kept_in: Some(kept_in) }
}

/// Every secret of this move, while all of them are there.
fn secrets(scene: &Scene) -> Vec<Secret> {
    let mut there = Vec::new();
    files(scene.stage.place.path(), &mut there);
    let keys = there.into_iter().filter(|(path, _)| path.ends_with("key.pem"));
    let mut all: Vec<Secret> = keys.map(|(path, pem)| private_key(path, &pem)).collect();
    assert!(all.len() >= 5, "three agents, the authority and the operator have a key each: {}", all.len());
    let kept = |host: &str, name: &str| {
        let passfile = scene.stage.place.path().join(format!("{host}/agent/state/secret/{name}.pgpass"));
        password(passfile, name, |text| text.lines().last()?.rsplit(':').next().map(str::to_owned))
    };
    all.push(kept("db-new", MIGRATION));
    if scene.stage.engine != Engine::Postgres {
        all.extend(["db-old", "db-new"].map(|host| kept(host, "_agent")));
        all.push(kept("db-old", &format!("{MIGRATION}.back")));
    }
    all.push(password(scene.stage.conninfo.clone(), "the canary's password", |text| {
        let text = text.replace(" = ", "=");
        text.split_whitespace().find_map(|word| word.strip_prefix("password=")).map(str::to_owned)
    }));
    assert_eq!(scene.codes.len(), 3);
    let codes = scene.codes.iter().map(|code| Secret {
        what: "a one-time code".into(),
        forms: vec![code.clone(), code.replace('-', "")],
        kept_in: None,
    });
    all.extend(codes);
    all
}

/// Where a secret is that has no business there.
fn leaks(secrets: &[Secret], texts: &[(PathBuf, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for secret in secrets {
        for (place, text) in texts {
            if secret.kept_in.as_ref() != Some(place) && secret.forms.iter().any(|form| text.contains(form)) {
                found.push(format!("{} is in {}", secret.what, place.display()));
            }
        }
    }
    found
}

fn said(name: &str, ended: &Ended) -> (PathBuf, String) {
    // 10: `check` warns of what was not measured yet.
    assert!(matches!(ended.code, Some(0 | 10)), "{ended}");
    let lines = ended.heard.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    (format!("the output of {name}").into(), format!("{lines}\n{}", ended.words))
}

const LOUD_POSTGRES: &str = "log_statement = 'all'\nlog_min_duration_statement = 0\nlog_min_error_statement = 'debug5'\n\
     log_min_messages = 'debug1'\nlog_connections = on\nlog_replication_commands = on\n";

async fn log_everything(scene: &Scene) {
    let general = |server: &Server| server.data().with_file_name("general.log").display().to_string();
    for server in [&scene.stage.source, &scene.stage.target] {
        let text = fs::read_to_string(server.config_file()).unwrap();
        let loud = match scene.stage.engine {
            Engine::Postgres => LOUD_POSTGRES.to_owned(),
            Engine::Mariadb | Engine::Mysql => {
                format!("[mysqld]\ngeneral_log = 1\ngeneral_log_file = {}\nlog_warnings = 9\n", general(server))
            }
        };
        fs::write(server.config_file(), format!("{text}\n{loud}")).unwrap();
    }
    let source = &scene.stage.source;
    let done = match scene.stage.engine {
        Engine::Postgres => source.sql("postgres", "select pg_reload_conf()").await,
        Engine::Mariadb | Engine::Mysql => {
            let now = format!("set global general_log_file = '{}'; set global general_log = 1", general(source));
            source.sql("mysql", &now).await
        }
    };
    done.unwrap();
}

/// What a log must have in it, for it was searched only then; and who must have been seen at work.
fn at_work(engine: Engine) -> ([(&'static str, &'static str); 2], &'static [&'static str]) {
    match engine {
        Engine::Postgres => (
            [("db-old/server.log", "statement: "), ("db-new/server.log", "statement: ")],
            &["pg_basebackup", "flytt-agent --config", "pg_ctl start", "walreceiver"],
        ),
        Engine::Mariadb | Engine::Mysql => (
            [("db-old/general.log", "flytt_demo_repl"), ("db-new/general.log", "flytt_canary")],
            &["mariadb-backup --no-defaults --backup", "mbstream", "flytt-agent --config", "mariadbd --defaults-file"],
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_comes_out_of_a_whole_move() {
    none_comes_out(Engine::Postgres, FAST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_comes_out_of_a_whole_move_of_mariadb() {
    none_comes_out(Engine::Mariadb, UNLIMITED).await;
}

async fn none_comes_out(engine: Engine, settings: &str) {
    let sampler = Sampler::start();
    let scene = Scene::of(engine, 10, settings).await;
    log_everything(&scene).await;
    let text = fs::read_to_string(&scene.file).unwrap();
    let conninfo = scene.stage.conninfo.display().to_string();
    fs::write(&scene.file, format!("{text}\n[canary]\nconnection = \"{conninfo}\"\nclients = 2\n")).unwrap();
    let file = scene.file.to_str().unwrap();

    let mut texts = Vec::new();
    for command in [vec!["check", file], vec!["start", file]] {
        texts.push(said(command[0], &scene.flytt(&command).end().await));
    }
    let secrets = secrets(&scene);
    for command in [["status", MIGRATION], ["cutover", MIGRATION], ["status", MIGRATION]] {
        texts.push(said(command[0], &scene.flytt(&command).end().await));
    }
    files(scene.stage.place.path(), &mut texts);
    // A server keeps what it connects with, and the old source of MariaDB follows the new one until `finish`.
    let of_server =
        |leak: &String| leak.starts_with("demo.back is in ") && leak.ends_with("db-old/data/master-flytt_demo_back.info");
    let found: Vec<String> = leaks(&secrets, &texts).into_iter().filter(|leak| !of_server(leak)).collect();
    assert_eq!(found, [""; 0], "before the end of the move");
    texts.clear();

    texts.push(said("finish", &scene.flytt(&["finish", MIGRATION]).end().await));
    plant_in_a_process(&secrets[0]);
    let processes = sampler.end();
    files(scene.stage.place.path(), &mut texts);
    assert_eq!(leaks(&secrets, &texts), [""; 0], "after it");
    // The newest rows of a database stand in its log beside it.
    let is_there = |end: &str, word: &str| {
        let beside = format!("{end}-wal");
        texts.iter().any(|(path, text)| (path.ends_with(end) || path.ends_with(&beside)) && text.contains(word))
    };
    let (logged, programs) = at_work(engine);
    for (end, word) in logged.into_iter().chain([("journal.db", "cut-fence"), ("db-new/agent/log", "promote")]) {
        assert!(is_there(end, word), "nothing was searched: {end}");
    }
    assert!(
        texts.iter().any(|(path, _)| path.ends_with("ledger.db")) && texts.iter().any(|(path, _)| path.ends_with("haproxy.log"))
    );

    for program in programs {
        assert!(processes.iter().any(|text| text.contains(*program)), "{program} was not seen at work");
    }
    let processes: Vec<_> = processes.into_iter().map(|text| (PathBuf::from("a process"), text)).collect();
    // What was planted is found, and nothing else.
    let found: HashSet<_> = leaks(&secrets, &processes).into_iter().collect();
    assert_eq!(found, [format!("{} is in a process", secrets[0].what)].into());
    assert_eq!(leaks(&secrets, &processes).len(), 2, "an argument and an environment");
    for form in secrets.iter().flat_map(|secret| &secret.forms) {
        let place = scene.base.path().join("planted");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("file"), format!("\0{form}\u{1}")).unwrap();
        let mut planted = Vec::new();
        files(&place, &mut planted);
        assert_eq!(leaks(&secrets, &planted).len(), 1, "{form} is not found");
    }
    scene.stage.tear_down().await;
}

/// In the arguments of one process and the environment of another, for as long as a sample takes.
fn plant_in_a_process(secret: &Secret) {
    let form = secret.forms.last().unwrap();
    let mut environment = Command::new("/bin/sleep");
    environment.arg("0.5").env_clear().env("PLANTED", form);
    let mut argument = Command::new("/bin/sh");
    argument.args(["-c", "sleep 0.5; :", form]).env_clear();
    let children = [environment.spawn().unwrap(), argument.spawn().unwrap()];
    for mut child in children {
        child.wait().unwrap();
    }
}
