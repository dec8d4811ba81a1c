//! An import that says nothing any more: what was set for it goes with the lease, and the import goes on.

use std::time::Duration;

use crate::{
    agent::{Agent, Load},
    killed::{Scene, by, reaches},
    server::value,
    user::as_server_user,
};

#[test]
fn a_load_that_goes_silent_loses_what_was_set_for_it_and_goes_on() {
    as_server_user("silent::a_load_that_goes_silent_loses_what_was_set_for_it_and_goes_on", |base| async move {
        let scene = Scene::new(base).await;
        let mut root = scene.server.root_session().await;
        let flush = "select @@global.innodb_flush_log_at_trx_commit";
        let mut import = scene.import.clone();
        // Longer than the trial of the settings takes on a busy machine, which gives no sign of life either.
        import.lease_ms = 15_000;
        // Fifteen seconds with signs of life, then thirty without.
        let load = Load { import, statements: 90, pause: Duration::from_millis(500), silent_from: 30 };
        let agent = Agent::start(&scene.base.join("agent"), by(&scene.server), load).await;
        let mut said = Vec::new();
        let watched = {
            let watch = async {
                reaches(&mut root, "(select count(*) from app.load) >= 2800").await;
                let during = value(&mut root, flush).await;
                reaches(&mut root, "@@global.innodb_flush_log_at_trx_commit = 1").await;
                (during, value(&mut root, "select count(*) < 9000 from app.load").await)
            };
            let mut work = std::pin::pin!(agent.seed(|text| said.push(text.to_owned())));
            let watched = tokio::select! {
                biased;
                ended = &mut work => panic!("it ended before its time: {ended:?}\n{}", scene.server.log()),
                watched = watch => watched,
            };
            work.await.unwrap();
            watched
        };
        assert_eq!(watched, ("2".to_owned(), "1".to_owned()), "renewed while it spoke; over before the load was: {said:#?}");
        assert_eq!(value(&mut root, "select count(*) from app.load").await, "9000");
        scene.is_as_it_was("after the load").await;
        agent.end().await;
    });
}
