//! A whole move of a MariaDB server by a dump, into a server that runs: chosen by the facts, taken back without a trace, made anew
//! after a copy that was given up, and carried to its end under load.

use flytt::{
    spec::Engine,
    stage::{MIGRATION, Way},
};

use super::{Holder, Scene, UNLIMITED, flytt::Moment::Ends};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];
const ROWS: &str = "select count(*), sum(id), md5(group_concat(left(body, 4) order by id)) from orders";
/// What an import may set, and what a replica is given.
const SETTINGS: &str = "select concat_ws(' ', @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@local_infile, \
     @@innodb_buffer_pool_size, @@innodb_log_file_size, @@slave_net_timeout, @@slave_parallel_threads, @@read_only, \
     @@gtid_slave_pos, @@gtid_binlog_pos)";

async fn scene() -> Scene {
    Scene::by(Way::Dump, Engine::Mariadb, 10, UNLIMITED).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_server_moves_by_a_dump_under_load_and_nothing_is_lost_or_left() {
    let scene = scene().await;
    let before = scene.stage.source.sql("app", ROWS).await.unwrap();
    let canary = scene.canary().await;
    let checked = scene.flytt(&["check", scene.file.to_str().unwrap()]).end().await;
    // 10: it warns of what was not measured yet.
    assert!(matches!(checked.code, Some(0 | 10)), "{checked}");
    let chosen = "the copy is a dump: schema and rows, into the server that runs on the target (the target's server runs)";
    assert!(checked.to_string().contains(chosen), "{checked}");
    scene.following().await;
    scene.assert_holder(Holder::Source).await;
    scene.must(&CUTOVER).await;
    assert_eq!(scene.stage.target.sql("app", ROWS).await.unwrap(), before, "what was there before the move");
    scene.ends(canary, Holder::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_taken_back_and_its_server_is_what_it_was() {
    let scene = scene().await;
    let before = scene.stage.target.sql("", SETTINGS).await.unwrap();
    let canary = scene.canary().await;
    scene.following().await;
    assert_ne!(scene.stage.target.sql("", SETTINGS).await.unwrap(), before, "it follows");
    scene.must(&["rollback", MIGRATION]).await;
    assert_eq!(scene.stage.target.sql("", SETTINGS).await.unwrap(), before);
    let databases = "select count(*) from information_schema.SCHEMATA where SCHEMA_NAME in ('app', 'flytt_canary')";
    assert_eq!(scene.stage.target.sql("", databases).await.unwrap().trim(), "0");
    // The same once more, from the same beginning.
    scene.following().await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_was_promoted_and_given_up_is_made_anew() {
    let scene = scene().await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Ends("cut-promote")).await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.carry_on().await;
    scene.must(&CUTOVER).await;
    scene.ends(canary, Holder::Target).await;
}
