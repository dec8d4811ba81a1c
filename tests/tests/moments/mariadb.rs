//! A whole move of a MariaDB server under load, by the same commands as PostgreSQL's.

use flytt::{spec::Engine, stage::MIGRATION};

use super::{Holder, Scene, UNLIMITED};

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
