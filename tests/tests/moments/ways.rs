//! Other ways through a move: with a canary of flytt's own, by the server's own port instead of the tunnel, and given up by
//! the guard of the source's disk.

#![allow(clippy::disallowed_methods, reason = "a throw-away host's files need not last")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};

use flytt::stage::MIGRATION;

use super::{FAST, Holder, Scene, left::Trace, pause, shell::Disk};

fn rewrite(scene: &Scene, change: impl FnOnce(String) -> String) {
    let text = change(std::fs::read_to_string(&scene.file).unwrap());
    flytt_proto::durable::write(&scene.file, text.as_bytes(), 0o600).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_with_a_canary_of_its_own_says_what_the_application_saw() {
    let scene = Scene::set(10, FAST).await;
    let conninfo = scene.stage.conninfo.display().to_string();
    rewrite(&scene, |text| format!("{text}\n[canary]\nconnection = \"{conninfo}\"\nclients = 4\n"));
    scene.following().await;
    let ended = scene.must(&["cutover", MIGRATION]).await;
    let answer = ended.answer();
    let canary = &answer["canary"];
    assert!(canary["report"]["acknowledged"].as_u64() > Some(50), "{canary}");
    assert_eq!(canary["verification"]["lost"].as_array().map(Vec::len), Some(0), "{canary}");
    assert_eq!(canary["report"]["server_changes"], 1, "{canary}");
    let schemas = "select count(*) from pg_namespace where nspname = 'flytt_canary'";
    assert_eq!(scene.stage.target.sql("app", schemas).await.unwrap().trim(), "0");
    scene.must(&["finish", MIGRATION]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_by_direct_transport_uses_the_servers_tls() {
    let mut scene = Scene::set(10, FAST).await;
    tls(&scene).await;
    scene.before = Trace::of(&scene.stage).await;
    rewrite(&scene, |text| format!("transport = \"direct\"\n{text}"));
    let canary = scene.canary().await;
    scene.following().await;
    let encrypted = "select count(*) from pg_stat_ssl s join pg_stat_replication r using (pid) where s.ssl";
    assert_eq!(scene.stage.source.sql("postgres", encrypted).await.unwrap().trim(), "1", "the stream is encrypted");
    scene.must(&["cutover", MIGRATION]).await;
    scene.ends(canary, Holder::Target).await;
}

/// Certificates of the servers' own, as many have: no authority knows them.
async fn tls(scene: &Scene) {
    for server in [&scene.stage.source, &scene.stage.target] {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![server.name().into()]).unwrap().self_signed(&key).unwrap();
        let config = server.config_file();
        let place = config.parent().unwrap();
        let owner = std::fs::metadata(server.data()).unwrap().uid();
        for (name, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
            let path = place.join(name);
            std::fs::write(&path, text).unwrap();
            chown(&path, Some(owner), None).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        }
        let settings = std::fs::read_to_string(&config).unwrap();
        let at = |name: &str| place.join(name).display().to_string();
        let tls = format!("ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n", at("server.crt"), at("server.key"));
        std::fs::write(&config, format!("{settings}\n{tls}")).unwrap();
    }
    scene.stage.source.sql("postgres", "select pg_reload_conf()").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_gives_up_the_move_before_the_sources_disk_is_full() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    // A host whose disk has never enough free space.
    let agent = &scene.agents().source;
    let config = std::fs::read_to_string(&agent.config).unwrap();
    std::fs::write(&agent.config, format!("guard_free_percent = 100\n{config}")).unwrap();
    agent.process.kill_hard();
    // Nobody takes the WAL: the slot keeps it.
    scene.stage.target.stop_immediate().await.unwrap();
    let filling = "create table filling as select repeat(md5(g::text), 30) as t from generate_series(1, 120000) g";
    scene.stage.source.sql("app", filling).await.unwrap();
    let mut slots = String::new();
    for _ in 0..150 {
        slots = scene.stage.source.sql("postgres", "select count(*) from pg_replication_slots").await.unwrap();
        if slots.trim() == "0" {
            break;
        }
        pause(100).await;
    }
    assert_eq!(slots.trim(), "0", "the slot is kept\n{}", scene.logs());
    let refused = scene.flytt(&["cutover", MIGRATION]).end().await;
    assert_eq!(refused.code, Some(6), "{refused}");
    assert!(refused.to_string().contains("GUARDED"), "{refused}");
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_can_write_no_log_go_on_with_their_work() {
    let scene = Scene::set(5, FAST).await;
    let (place, agents) = (scene.base.path().join("logs"), scene.agents());
    std::fs::create_dir(&place).unwrap();
    let disk = Disk::over(&place, 1);
    let logs = [&agents.source, &agents.target, &agents.router].map(|agent| {
        let (log, full) = (agent.process.log(), place.join(&agent.name));
        agent.process.keep_down();
        std::fs::remove_file(log).unwrap();
        std::fs::write(&full, "").unwrap();
        std::os::unix::fs::symlink(&full, log).unwrap();
        full
    });
    disk.fill();
    [&agents.source, &agents.target, &agents.router].iter().for_each(|agent| agent.process.bring_back());
    let canary = scene.canary().await;
    scene.following().await;
    // Given up in the window: what un-fences by itself would have something to say, too.
    let mut cutover = scene.flytt(&["cutover", MIGRATION]);
    cutover.comes_to(super::flytt::Moment::Ends("cut-fence")).await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.must(&["resume", MIGRATION]).await;
    scene.carry_on().await;
    scene.must(&["cutover", MIGRATION]).await;
    assert!(logs.iter().all(|log| std::fs::read_to_string(log).unwrap().is_empty()), "there was room");
    scene.ends(canary, Holder::Target).await;
}
