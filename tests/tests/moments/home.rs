//! There and back under load: the server that serves in the end has what was written on either side, whoever dies on the way back,
//! and neither host keeps anything of it.

use flytt::stage::MIGRATION;

use super::{
    FAST, Holder, Scene,
    flytt::Moment::{Begins, Does, Ends},
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
async fn there_and_back_everything_is_on_the_old_source_and_it_is_as_it_was() {
    let scene = Scene::set(10, FAST).await;
    // Debian's way to say who is started with the host.
    let start = scene.stage.source.data().parent().unwrap().join("etc/start.conf");
    let was = std::fs::read_to_string(&start).ok();
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
    assert_eq!(std::fs::read_to_string(&start).ok(), was);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_on_the_way_back_one_side_serves_with_everything() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    scene.must(&CUTOVER).await;
    for moment in [Begins("gate"), Does("cut-fence"), Ends("cut-promote")] {
        let mut back = scene.flytt(&ROLLBACK);
        back.comes_to(moment).await;
        back.kill_hard().await;
        // Without a person: the lease ends.
        scene.recovered(&canary).await;
        scene.assert_holder(Holder::Target).await;
        let taken_back = scene.flytt(&RESUME).end().await;
        println!("{moment:?}: {taken_back}");
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
