//! One side is lost for good between surrender and opening: its agent and its server never come back, and a person says that the other
//! may serve.

use flytt::{
    spec::Engine,
    stage::{MIGRATION, Server, Supervised},
};

use super::{FAST, Holder, Scene, UNLIMITED, flytt::Moment::Does, left::Trace, pause};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];

type Side = fn(&Scene) -> (&Supervised, &Server);

const SOURCE: Side = |scene| (&scene.agents().source.process, &scene.stage.source);
const TARGET: Side = |scene| (&scene.agents().target.process, &scene.stage.target);

impl Scene {
    async fn baton(&self, host: &str) -> String {
        let status = self.must(&["status", MIGRATION]).await;
        status.answer()["hosts"][host]["baton"].as_str().unwrap_or_default().to_owned()
    }

    async fn comes_to_be(&self, host: &str, phase: &str) {
        for _ in 0..100 {
            if self.baton(host).await == phase {
                return;
            }
            pause(20).await;
        }
        panic!("{host} does not come to be {phase}\n{}", self.logs());
    }

    /// A side is lost once the target is promoted behind its gate, and the controller asks for the surrender all the same.
    async fn loses(&self, side: Side) {
        let mut cutover = self.flytt(&CUTOVER);
        cutover.comes_to(Does("cut-promote")).await;
        cutover.freeze();
        self.comes_to_be("db-new", "closed").await;
        let (agent, server) = side(self);
        agent.keep_down();
        server.kill_hard();
        cutover.thaw();
        pause(300).await;
        cutover.kill_if_there();
        drop(cutover.end().await);
    }

    async fn assert_nothing_left_on(&self, host: &str) {
        let now = Trace::of(&self.stage).await.of_host(host);
        assert_eq!(now, self.before.of_host(host), "left behind\n{}", self.logs());
    }

    /// What a person does: looks, reads, types.
    async fn recovers(&self, keep: &str) {
        let shown = self.flytt(&["recover", MIGRATION, "--keep", keep]).end().await;
        assert_eq!((shown.code, shown.failures()), (Some(4), vec!["RECOVER_UNCONFIRMED"]), "{shown}");
        let state = shown.answer()["state"].as_str().expect("a state").to_owned();
        let fingerprint = state.rsplit(' ').next().expect("it ends with it");
        let says = ["recover", MIGRATION, "--keep", keep, "--reason", "its rack burned down", "--fingerprint"];
        let wrong = self.flytt(&[&says[..], &["0000-0000"]].concat()).end().await;
        assert_eq!(wrong.failures(), ["FINGERPRINT"], "{wrong}");
        self.must(&[&says[..], &[fingerprint]].concat()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_lost_after_the_surrender() {
    target_lost(Scene::set(10, FAST).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_mariadb_that_is_lost_after_the_surrender() {
    target_lost(Scene::of(Engine::Mariadb, 10, UNLIMITED).await).await;
}

async fn target_lost(scene: Scene) {
    let canary = scene.canary().await;
    scene.following().await;
    scene.loses(TARGET).await;
    assert_eq!(scene.baton("db-old").await, "surrendered", "{}", scene.logs());
    assert!(!scene.accepts_writes(&scene.stage.source).await);
    let resume = scene.flytt(&["rollback", MIGRATION]).end().await;
    assert_eq!(resume.failures(), ["POINT_OF_NO_RETURN"], "{resume}");
    scene.recovers("db-old").await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.must(&["rollback", MIGRATION]).await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.assert_nothing_left_on("db-old").await;
    scene.assert_nothing_lost(canary, Holder::Source).await;
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_lost_before_it_could_surrender() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    scene.loses(SOURCE).await;
    assert_eq!(scene.baton("db-new").await, "closed", "{}", scene.logs());
    assert!(!scene.accepts_writes(&scene.stage.target).await);
    scene.recovers("db-new").await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    let back = scene.flytt(&["rollback", MIGRATION]).end().await;
    assert_eq!(back.failures(), ["LOST"], "{back}");
    scene.must(&["finish", MIGRATION]).await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    scene.assert_nothing_left_on("db-new").await;
    scene.assert_nothing_lost(canary, Holder::Target).await;
    scene.stage.tear_down().await;
}
