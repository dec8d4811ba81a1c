//! A pair of servers under load that moves there and back for as long as it can, whatever goes wrong on the way.

use ::flytt::{
    canary::Canary,
    spec::Engine,
    stage::{MIGRATION, SOURCE},
};

use super::{FAST, Holder, Scene, UNLIMITED, flytt::Ended, left::Trace, pause};

/// Where a migration stands, once nothing of it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Following,
    Moved,
    /// As moved, but that the old source can follow no more.
    Stranded,
    MovedBack,
}

/// The pair, its application, and where it stands.
pub(crate) struct Pair {
    pub(crate) scene: Scene,
    pub(crate) canary: Canary,
    pub(crate) at: Place,
}

impl Pair {
    /// The target follows.
    pub(crate) async fn fresh(engine: Engine) -> Self {
        let settings = if engine == Engine::Postgres { FAST } else { UNLIMITED };
        let mut scene = Scene::apart(engine, 2, settings).await;
        scene.on_disks().await;
        let canary = scene.canary().await;
        scene.following().await;
        Self { scene, canary, at: Place::Following }
    }

    /// What moves it from where it stands.
    pub(crate) fn verb(&self) -> &'static str {
        if self.at == Place::Following { "cutover" } else { "rollback" }
    }

    async fn place(&self) -> Option<Place> {
        let status = self.scene.must(&["status", MIGRATION]).await;
        match status.answer()["milestone"].as_str()? {
            "following" => Some(Place::Following),
            "moved" if status.answer()["hosts"]["way_back"]["ready"] == true => Some(Place::Moved),
            "moved_back" => Some(Place::MovedBack),
            _ => None,
        }
    }

    /// Brings it there as an operator would, whose command came to this.
    pub(crate) async fn comes_to_rest(&mut self, ended: &Ended) {
        let mut said = vec![ended.to_string()];
        for round in 0..8 {
            // One that did not end well is resumed, whatever else may be true.
            if (ended.code == Some(0) || round > 0)
                && let Some(place) = self.place().await
            {
                self.at = place;
                return;
            }
            let resume = self.scene.flytt(&["resume", MIGRATION]).end().await;
            said.push(resume.to_string());
            pause(500).await;
        }
        let status = self.scene.must(&["status", MIGRATION]).await;
        let given_up = status.answer()["hosts"][SOURCE]["baton"] == "burned";
        if self.scene.stage.engine != Engine::Postgres && given_up && self.scene.holder().await == Holder::Target {
            self.at = Place::Stranded;
            return;
        }
        said.push(status.to_string());
        panic!("comes to no rest: {}\n{}", said.join("\n"), self.scene.logs());
    }

    /// Where it can move no further, another pair goes on in its place.
    pub(crate) async fn goes_on(self) -> Self {
        match self.at {
            Place::Following | Place::Moved => self,
            Place::MovedBack | Place::Stranded => {
                let engine = self.scene.stage.engine;
                self.ends().await;
                Self::fresh(engine).await
            }
        }
    }

    /// It is over: what is left is taken away, and every write is there.
    pub(crate) async fn ends(self) {
        let Self { scene, canary, at } = self;
        match at {
            Place::Following => return scene.ends(canary, Holder::Source).await,
            Place::Moved => return scene.ends(canary, Holder::Target).await,
            Place::MovedBack | Place::Stranded => {}
        }
        scene.must(&["finish", MIGRATION]).await;
        scene.recovered(&canary).await;
        let holder = if at == Place::MovedBack { Holder::Source } else { Holder::Target };
        scene.assert_holder(holder).await;
        if at == Place::MovedBack {
            Trace::of(&scene.stage).await.assert_moved_back_from(&scene.before);
        }
        scene.assert_nothing_lost(canary, holder).await;
        scene.stage.tear_down().await;
    }
}
