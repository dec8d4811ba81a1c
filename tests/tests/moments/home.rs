//! There and back under load: the server that serves in the end has what was written on either side, whoever dies on the way back,
//! and neither host keeps anything of it.

use flytt::{spec::Engine, stage::MIGRATION};

use super::{
    FAST, Holder, Scene, UNLIMITED,
    flytt::Moment::{self, Begins, Does, Ends},
    left::Trace,
};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];
const ROLLBACK: [&str; 2] = ["rollback", MIGRATION];
const RESUME: [&str; 2] = ["resume", MIGRATION];

/// It has moved back: `finish` leaves the source as it was before anything began.
async fn ends_at_home(scene: Scene, canary: ::flytt::canary::Canary) {
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    let again = scene.must(&ROLLBACK).await;
    assert_eq!(again.answer()["moved_back"], true, "{again}");
    scene.must(&["finish", MIGRATION]).await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    Trace::of(&scene.stage).await.assert_moved_back_from(&scene.before);
    scene.assert_nothing_lost(canary, Holder::Source).await;
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
async fn there_and_back_a_mysql_has_everything_and_is_as_it_was() {
    there_and_back(Scene::of(Engine::Mysql, 10, UNLIMITED).await).await;
}

async fn there_and_back(scene: Scene) {
    let canary = scene.canary().await;
    scene.following().await;
    scene.must(&CUTOVER).await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    scene.stage.target.sql("app", "CREATE TABLE made_there (n int); INSERT INTO made_there VALUES (7)").await.unwrap();

    let back = scene.must(&ROLLBACK).await;
    assert!(back.answer()["cutover_ms"].is_object(), "{back}");
    scene.assert_holder(Holder::Source).await;
    assert_eq!(scene.stage.source.sql("app", "SELECT n FROM made_there").await.unwrap().trim(), "7");
    let status = scene.must(&["status", MIGRATION]).await;
    assert!(status.to_string().contains("moved_back"), "{status}");
    ends_at_home(scene, canary).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_on_the_way_back_one_side_serves_with_everything() {
    whoever_dies(Scene::set(10, FAST).await, &[Begins("gate"), Does("cut-fence"), Ends("cut-promote")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_that_was_promoted_and_given_up_on_the_way_back_does_not_keep_the_move_from_being_finished() {
    let scene = Scene::of(Engine::Mariadb, 10, UNLIMITED).await;
    let canary = scene.canary().await;
    scene.following().await;
    scene.must(&CUTOVER).await;
    let mut back = scene.flytt(&ROLLBACK);
    back.comes_to(Ends("cut-promote")).await;
    back.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    for _ in 0..2 {
        let resume = scene.flytt(&RESUME).end().await;
        assert_eq!(resume.code, Some(7), "{resume}");
        assert!(resume.to_string().contains("does not follow it again"), "{resume}");
    }
    scene.must(&["finish", MIGRATION]).await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    scene.assert_nothing_lost(canary, Holder::Target).await;
    scene.stage.tear_down().await;
}

async fn whoever_dies(scene: Scene, moments: &[Moment]) {
    let canary = scene.canary().await;
    scene.following().await;
    scene.must(&CUTOVER).await;
    for moment in moments {
        let mut back = scene.flytt(&ROLLBACK);
        back.comes_to(*moment).await;
        back.kill_hard().await;
        // Without a person: the lease ends.
        scene.recovered(&canary).await;
        // On a busy machine it may be dead only after the next step, which is the surrender.
        if matches!(moment, Ends("cut-promote")) && scene.holder().await == Holder::Source {
            scene.must(&RESUME).await;
            return ends_at_home(scene, canary).await;
        }
        scene.assert_holder(Holder::Target).await;
        let taken_back = scene.must(&RESUME).await;
        assert_eq!(taken_back.answer()["taken_back"], true, "{moment:?}: {taken_back}");
        scene.recovered(&canary).await;
        scene.assert_holder(Holder::Target).await;
    }
    let mut back = scene.flytt(&ROLLBACK);
    back.comes_to(Ends("cut-surrender")).await;
    back.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.must(&RESUME).await;
    ends_at_home(scene, canary).await;
}
