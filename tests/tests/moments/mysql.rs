//! A whole move of a MySQL server under load, by the same commands as PostgreSQL's, and its way back.

use flytt::{spec::Engine, stage::MIGRATION};
use mysql_async::prelude::Queryable as _;

use super::{
    Holder, Scene, UNLIMITED,
    flytt::Moment::{Begins, Does},
    pause,
};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "there is no MySQL server: packaging/mysql.sh")]
async fn a_mysql_server_moves_under_load_and_nothing_is_lost_or_left() {
    let scene = Scene::of(Engine::Mysql, 10, UNLIMITED).await;
    let rows = "select count(*), sum(id), sum(crc32(body)) from orders";
    let before = scene.stage.source.sql("app", rows).await.unwrap();
    let canary = scene.canary().await;
    let checked = scene.flytt(&["check", scene.file.to_str().unwrap()]).end().await;
    // 10: it warns of what was not measured yet.
    assert!(matches!(checked.code, Some(0 | 10)), "{checked}");
    scene.following().await;
    scene.assert_holder(Holder::Source).await;
    let health = scene.watch_health();
    let cutover = scene.must(&CUTOVER).await;
    assert!(cutover.to_string().contains("fenced for good, follows the target: at"), "{cutover}");
    health.tells_a_whole_cutover().await;
    assert_eq!(scene.stage.target.sql("app", rows).await.unwrap(), before, "what was there before the move");
    scene.has_a_way_back().await;
    scene.ends(canary, Holder::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "there is no MySQL server: packaging/mysql.sh")]
async fn a_mysql_source_serves_again_when_its_controller_dies_before_the_surrender() {
    let scene = Scene::of(Engine::Mysql, 10, UNLIMITED).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Does("cut-promote")).await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.carry_on().await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "there is no MySQL server: packaging/mysql.sh")]
async fn a_mysql_target_serves_when_its_controller_dies_after_the_surrender_and_the_old_source_follows_it() {
    let scene = Scene::of(Engine::Mysql, 10, UNLIMITED).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Begins("cut-release-1")).await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    scene.must(&["resume", MIGRATION]).await;
    scene.follows_back().await;
    // Killed and started again it goes on, and comes up closed.
    scene.stage.source.kill_hard();
    // It does not start while its lock names a process that has ended and whose parent has not asked for it yet (MY-010259).
    let mut tries = 0;
    while let Err(failure) = scene.stage.source.start().await {
        tries += 1;
        assert!(tries < 10, "{failure}");
        pause(500).await;
    }
    scene.recovered(&canary).await;
    scene.follows_back().await;
    scene.ends(canary, Holder::Target).await;
}

impl Scene {
    /// What the new primary has now is on the old source soon. That one lets nobody in but its agent.
    async fn follows_back(&self) {
        let on_new = self.stage.target.sql("mysql", "SELECT replace(@@global.gtid_executed, '\n', '')").await.unwrap();
        let passfile = self.stage.place.path().join("db-old/agent/state/secret/_agent.pgpass");
        let kept = std::fs::read_to_string(passfile).unwrap();
        let login = mysql_async::OptsBuilder::default()
            .socket(Some(self.stage.source.socket().join("s").display().to_string()))
            .user(Some("flytt_agent"))
            .pass(kept.trim_end().rsplit(':').next());
        let asked = async {
            let mut old = mysql_async::Conn::new(login).await?;
            old.query_first::<i8, _>(format!("SELECT wait_for_executed_gtid_set('{}', 60)", on_new.trim())).await
        };
        let waited = asked.await;
        assert!(matches!(waited, Ok(Some(0))), "the old source does not follow: {waited:?}\n{}", self.logs());
    }
}
