//! Bad input to the real `flytt` against real agents: each a clear error, and afterwards every host is as it was.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flytt_agent::{config::Config, join::join_on};
use flytt_proto::{code::Code, durable};

use super::{
    FAST, Holder, Scene,
    flytt::{Ended, Flytt},
    other_version, pause,
    shell::as_owner,
};

/// A refusal: this exit code, this error's code, and nothing has changed.
async fn refused(scene: &Scene, what: &str, ended: &Ended, exit: i32, code: &str) {
    assert_eq!((ended.code, ended.failures().first()), (Some(exit), Some(&code)), "{what}: {ended}");
    for failure in ended.answer()["failures"].as_array().unwrap() {
        let text = |key: &str| failure[key].as_str().is_some_and(|text| text.len() > 10);
        assert!(text("sentence") && text("remedy"), "{what}: {failure}");
    }
    scene.assert_nothing_left(Holder::Source).await;
    assert!(!scene.stage.home.join("migrations").join("demo").exists(), "{what}: no migration was begun");
}

/// `start` with another migration.toml.
async fn start_with(scene: &Scene, edit: impl FnOnce(&str) -> String) -> Ended {
    let file = scene.stage.home.join("bad.toml");
    let text = fs::read_to_string(&scene.file).unwrap();
    let edited = edit(&text);
    assert_ne!(text, edited);
    durable::write(&file, edited.as_bytes(), 0o600).unwrap();
    scene.flytt(&["start", file.to_str().unwrap()]).end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_do_not_exist_and_a_file_full_of_mistakes() {
    let scene = Scene::set(2, FAST).await;
    for (wrong, code) in [
        (("\"database_back\"", "\"no_such_backend\""), "BACKEND_UNKNOWN"),
        (("\"db_old\"", "\"no_such_server\""), "SERVER_UNKNOWN"),
        (("\"db_new\"", "\"no_such_server\""), "SERVER_UNKNOWN"),
    ] {
        let ended = start_with(&scene, |text| text.replace(wrong.0, wrong.1)).await;
        refused(&scene, wrong.1, &ended, 4, code).await;
    }
    let ended = start_with(&scene, |text| text.replace("\"db-new\"", "\"db-none\"")).await;
    refused(&scene, "a host that is not known", &ended, 5, "HOST_UNKNOWN").await;
    let ended = start_with(&scene, |text| text.replace("\"db-new\"", "\"db-old\"")).await;
    assert_eq!(ended.code, Some(3), "source and target by the same name: {ended}");

    let ten = "name = \"Shop!\"\nengine = \"oracle\"\ntransprot = \"tunnel\"\n[source]\nhost = 5\n[target]\nhots = \"db-new\"\n\
               [seed]\nmax_rate = 200\ncheckpoint = \"slow\"\n[cutover]\nmax_outage = \"5\"\nlease = \"1h\"\n\
               [[router]]\nkind = \"nginx\"\nhost = \"lb-1\"\nbackend = \"\"\n";
    let ended = start_with(&scene, |_| ten.to_owned()).await;
    assert_eq!(ended.code, Some(3), "{ended}");
    let mistakes = ended.answer()["mistakes"].as_array().unwrap();
    assert!(mistakes.len() >= 10, "{ended}");
    assert!(mistakes.iter().all(|mistake| mistake["line"].as_u64() > Some(0)), "{ended}");
    scene.assert_nothing_left(Holder::Source).await;
}

/// Gives the target's agent another configuration and lets it come up again.
async fn reconfigure(scene: &Scene, text: &str) {
    let agent = &scene.agents().target;
    agent.process.keep_down();
    // In place: the file stays its owner's.
    let file = fs::OpenOptions::new().write(true).truncate(true).open(&agent.config).unwrap();
    std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
    agent.process.bring_back();
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(agent.address).await.is_ok() {
            return;
        }
        pause(20).await;
    }
    panic!("the agent does not come back\n{}", scene.logs());
}

/// Everything below, with inode and time of the last write.
fn tree(directory: &Path) -> Vec<(PathBuf, u64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let about = entry.metadata().unwrap();
        found.push((entry.path(), about.ino(), about.mtime_nsec()));
        if about.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_must_not_be_replaced() {
    let scene = Scene::set(2, FAST).await;
    let (source, target) = (&scene.stage.source, &scene.stage.target);
    let owner = fs::metadata(source.data()).unwrap();
    let place = |name: &str| {
        let path = scene.base.path().join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        path
    };
    let (empty, link) = (place("empty"), scene.base.path().join("link"));
    symlink(&empty, &link).unwrap();

    let text = fs::read_to_string(&scene.agents().target.config).unwrap();
    let data = target.data().display().to_string();
    let with =
        |path: &Path| text.replace(&format!("data_directory = \"{data}\""), &format!("data_directory = \"{}\"", path.display()));
    let same_server = {
        let text = with(&source.data());
        let text = text.replace(&target.socket().display().to_string(), &source.socket().display().to_string());
        text.replace(&format!("\nport = {}", target.port()), &format!("\nport = {}", source.port()))
    };
    for (what, config, exit, code) in [
        ("the root directory", with(Path::new("/")), 4, "BAD_DATA_DIRECTORY"),
        ("a symlink", with(&link), 4, "BAD_DATA_DIRECTORY"),
        ("the source's own, with a socket of its own", with(&source.data()), 5, "SERVER_DOWN"),
        ("the same server through another agent", same_server, 5, "SAME_SERVER"),
        ("no consent", text.replace("may_replace_data = true", "may_replace_data = false"), 4, "NO_CONSENT"),
    ] {
        assert_ne!(config, text, "{what}");
        reconfigure(&scene, &config).await;
        let ended = scene.start().end().await;
        refused(&scene, what, &ended, exit, code).await;
        assert_eq!(tree(&empty), [], "{what}");
        assert!(scene.accepts_writes(source).await, "{what}");
    }
    // As it was configured, it goes: once the proxy's checks have seen that the target, which spoke for the source, is down.
    reconfigure(&scene, &text).await;
    let mut tries = 0;
    loop {
        let ended = scene.flytt(&["check", scene.file.to_str().unwrap()]).end().await;
        // It warns: nothing was probed, and the load was not observed for long.
        if ended.code == Some(10) {
            break;
        }
        tries += 1;
        assert!(tries < 10 && ended.to_string().contains("TARGET_SERVES"), "{ended}");
        super::pause(500).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_cluster_on_the_target() {
    let mut scene = Scene::set(2, FAST).await;
    let data = scene.stage.target.data();
    as_owner(&scene.stage.source, "initdb", &["-D", data.to_str().unwrap(), "-N"]);
    scene.look_again().await;
    let before = tree(&data);
    let ended = scene.start().end().await;
    refused(&scene, "a cluster that nobody named", &ended, 4, "DIRECTORY_NOT_EMPTY").await;
    let named = |system: &str| {
        let replace = format!("host = \"db-new\"\nreplace = \"{system}\"");
        move |text: &str| text.replace("host = \"db-new\"", &replace)
    };
    let ended = start_with(&scene, named("7000000000000000001")).await;
    refused(&scene, "another one was named", &ended, 4, "DIRECTORY_NOT_EMPTY").await;
    assert_eq!(tree(&data), before);

    // Named, it is moved aside, and comes back as it was.
    let system = as_owner(&scene.stage.source, "pg_controldata", &[data.to_str().unwrap()]);
    let system = system.lines().find_map(|line| line.strip_prefix("Database system identifier:")).unwrap().trim().to_owned();
    let ended = start_with(&scene, named(&system)).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_ne!(tree(&data), before);
    scene.must(&["rollback", "demo"]).await;
    assert_eq!(tree(&data), before);
    scene.assert_nothing_left(Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_other_versions() {
    let scene = Scene::set(2, FAST).await;
    let hosts = fs::read_to_string(scene.stage.home.join("hosts.toml")).unwrap();
    let start = |home: &Path| Flytt::start(home, &["start", scene.file.to_str().unwrap()]).end();

    // Another authority's operator knows all addresses; no agent knows it.
    let foreign = scene.base.path().join("foreign");
    assert_eq!(Flytt::start(&foreign, &["init", "moments"]).end().await.code, Some(0));
    durable::write(&foreign.join("hosts.toml"), hosts.as_bytes(), 0o600).unwrap();
    refused(&scene, "a foreign authority", &start(&foreign).await, 5, "WRONG_AUTHORITY").await;

    // The target's name leads to the source's agent.
    let alias = scene.copy_of_home();
    let (from, to) = (scene.agents().target.address.to_string(), scene.agents().source.address.to_string());
    durable::write(&alias.join("hosts.toml"), hosts.replace(&from, &to).as_bytes(), 0o600).unwrap();
    refused(&scene, "the same server by another address", &start(&alias).await, 5, "WRONG_HOST").await;

    scene.agents().target.process.keep_down();
    let other = other_version::takes_the_place_of(&scene.agents().target).await;
    refused(&scene, "another protocol version", &start(&scene.stage.home).await, 5, "PROTOCOL").await;
    other.cancel();
    pause(200).await;
    scene.agents().target.process.bring_back();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_wrong_or_too_old() {
    let scene = Scene::set(1, FAST).await;
    let place = scene.base.path().join("joining");
    fs::create_dir(&place).unwrap();
    let text = format!("listen = \"127.0.0.1:0\"\nstate = \"{0}/state\"\nruntime = \"{0}/run\"\n", place.display());
    durable::write(&place.join("agent.toml"), text.as_bytes(), 0o600).unwrap();
    let config = Arc::new(Config::read(&place.join("agent.toml")).unwrap());
    for (lifetime, code) in [(60, "WRONG_CODE"), (1, "UNREACHABLE")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (show, shown) = tokio::sync::oneshot::channel();
        let its = Arc::clone(&config);
        let joining = tokio::spawn(async move {
            join_on(listener, &its, Duration::from_secs(lifetime), false, move |code| drop(show.send(code.clone()))).await
        });
        let right = shown.await.unwrap();
        let typed = if code == "WRONG_CODE" { Code::generate(right.pin()).unwrap() } else { right };
        let joining = if code == "WRONG_CODE" {
            Some(joining)
        } else {
            joining.await.unwrap().expect_err("nobody came in time");
            None
        };
        let ended = Flytt::fed(&scene.stage.home, &["host", "add", "db-more", &address], &typed.reveal()).end().await;
        assert_eq!((ended.code, ended.failures().first()), (Some(5), Some(&code)), "{ended}");
        assert!(!place.join("state/identity").exists(), "{code}");
        if let Some(joining) = joining {
            joining.abort();
            let _ = joining.await;
        }
    }
    let listed = scene.must(&["host", "list"]).await;
    assert!(listed.answer()["hosts"]["db-more"].is_null(), "{listed}");
}
