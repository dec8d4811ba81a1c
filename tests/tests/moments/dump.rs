//! A whole move of a MariaDB or MySQL server by a dump, into a server that runs: chosen by the facts, taken back without a trace, made anew
//! after a copy that was given up, and carried to its end under load.

use flytt::{
    spec::Engine,
    stage::{MIGRATION, Way},
};

use super::{Holder, Scene, UNLIMITED, flytt::Moment::Ends};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];
const ROWS: &str = "select count(*), sum(id), sum(crc32(body)) from orders";

/// What an import may set, and what a replica is given.
fn settings(engine: Engine) -> String {
    let own = match engine {
        Engine::Mysql => {
            "@@innodb_redo_log_capacity, @@replica_net_timeout, @@replica_parallel_workers, @@super_read_only, @@event_scheduler, \
             @@gtid_executed, @@gtid_purged"
        }
        Engine::Mariadb | Engine::Postgres => {
            "@@innodb_log_file_size, @@slave_net_timeout, @@slave_parallel_threads, @@gtid_slave_pos, @@gtid_binlog_pos"
        }
    };
    format!(
        "select concat_ws(' ', @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@local_infile, @@innodb_buffer_pool_size, \
         @@read_only, {own})"
    )
}

async fn scene(engine: Engine) -> Scene {
    Scene::by(Way::Dump, engine, 10, UNLIMITED).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_server_moves_by_a_dump_under_load_and_nothing_is_lost_or_left() {
    moves(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "there is no MySQL server: packaging/mysql.sh")]
async fn a_mysql_server_moves_by_a_dump_under_load_and_nothing_is_lost_or_left() {
    moves(Engine::Mysql).await;
}

async fn moves(engine: Engine) {
    let scene = scene(engine).await;
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
    is_taken_back(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "there is no MySQL server: packaging/mysql.sh")]
async fn a_dump_of_mysql_is_taken_back_and_its_server_is_what_it_was() {
    is_taken_back(Engine::Mysql).await;
}

async fn is_taken_back(engine: Engine) {
    let scene = scene(engine).await;
    let settings = settings(engine);
    let before = scene.stage.target.sql("", &settings).await.unwrap();
    let canary = scene.canary().await;
    scene.following().await;
    assert_ne!(scene.stage.target.sql("", &settings).await.unwrap(), before, "it follows");
    scene.must(&["rollback", MIGRATION]).await;
    assert_eq!(scene.stage.target.sql("", &settings).await.unwrap(), before);
    let databases = "select count(*) from information_schema.SCHEMATA where SCHEMA_NAME in ('app', 'flytt_canary')";
    assert_eq!(scene.stage.target.sql("", databases).await.unwrap().trim(), "0");
    // The same once more, from the same beginning.
    scene.following().await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_was_promoted_and_given_up_is_made_anew() {
    is_made_anew(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "there is no MySQL server: packaging/mysql.sh")]
async fn a_dump_of_mysql_that_was_promoted_and_given_up_is_made_anew() {
    is_made_anew(Engine::Mysql).await;
}

async fn is_made_anew(engine: Engine) {
    let scene = scene(engine).await;
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
