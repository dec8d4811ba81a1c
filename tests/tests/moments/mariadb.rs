//! A whole move of a MariaDB server under load, by the same commands as PostgreSQL's, and its way back from every step.

use flytt::{spec::Engine, stage::MIGRATION};

use super::{
    Holder, Scene, UNLIMITED,
    flytt::Moment::{Begins, Does, Ends},
};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_server_moves_under_load_and_nothing_is_lost_or_left() {
    let scene = Scene::of(Engine::Mariadb, 10, UNLIMITED).await;
    let rows = "select count(*), sum(id), md5(group_concat(left(body, 4) order by id)) from orders";
    let before = scene.stage.source.sql("app", rows).await.unwrap();
    let canary = scene.canary().await;
    let checked = scene.flytt(&["check", scene.file.to_str().unwrap()]).end().await;
    // 10: it warns of what was not measured yet.
    assert!(matches!(checked.code, Some(0 | 10)), "{checked}");
    scene.following().await;
    scene.assert_holder(Holder::Source).await;
    let health = scene.watch_health();
    scene.must(&CUTOVER).await;
    health.tells_a_whole_cutover().await;
    assert_eq!(scene.stage.target.sql("app", rows).await.unwrap(), before, "what was there before the move");
    scene.has_a_way_back().await;
    scene.ends(canary, Holder::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_source_serves_again_when_its_controller_dies_before_the_surrender() {
    let scene = Scene::of(Engine::Mariadb, 10, UNLIMITED).await;
    let canary = scene.canary().await;
    scene.following().await;
    for moment in [Does("cut-hold-1"), Does("cut-fence"), Ends("cut-fence"), Does("cut-promote"), Ends("cut-promote")] {
        let mut cutover = scene.flytt(&CUTOVER);
        cutover.comes_to(moment).await;
        cutover.kill_hard().await;
        scene.recovered(&canary).await;
        scene.assert_holder(Holder::Source).await;
        if moment == Does("cut-hold-1") {
            let (old, new) = scene.health().await;
            assert!(old.primary == "ok" && new.replica == "fenced", "the gate stands until it is taken back: {old:?} {new:?}");
        }
        scene.carry_on().await;
    }
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_target_serves_when_its_controller_dies_after_the_surrender() {
    let scene = Scene::of(Engine::Mariadb, 10, UNLIMITED).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Begins("cut-release-1")).await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    scene.must(&["resume", MIGRATION]).await;
    scene.ends(canary, Holder::Target).await;
}
