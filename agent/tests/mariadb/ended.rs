//! An import whose agent is killed, that fails, is taken back or whose agent ends in order: what was set for it is set back; and no
//! cutover begins while anything of it stands.

use flytt_proto::v1::action::Kind;
use mysql_async::prelude::Queryable as _;

use crate::{
    agent::{Agent, Load},
    import::REDO_SIZE,
    killed::{Process, Scene, by, load, reaches},
    server::value,
    user::as_server_user,
};

#[test]
fn a_load_that_fails_is_taken_back_or_whose_agent_ends_in_order_sets_back_at_once() {
    as_server_user("ended::a_load_that_fails_is_taken_back_or_whose_agent_ends_in_order_sets_back_at_once", |base| async move {
        let scene = Scene::new(base).await;
        let mut root = scene.server.root_session().await;
        let endless = Load { statements: 100_000, ..load(scene.import.clone()) };
        let agent = Agent::start(&scene.base.join("agent"), by(&scene.server), endless.clone()).await;
        let middle = "(select count(*) from app.load) > 0 and @@global.innodb_flush_log_at_trx_commit = 2";

        let (failed, ()) = tokio::join!(agent.seed(|_| ()), async {
            reaches(&mut root, middle).await;
            root.query_drop("rename table app.load to app.other").await.unwrap();
        });
        assert!(failed.clone().is_err_and(|failed| failed.contains("1146")), "{failed:?}");
        scene.is_as_it_was("after a load that has failed").await;

        // Resumed, from the originals on record, and then interrupted by whoever takes it back.
        root.query_drop("create table app.load like app.other").await.unwrap();
        let (interrupted, ()) = tokio::join!(agent.seed(|_| ()), async {
            reaches(&mut root, middle).await;
            agent.take_back("seed").await.unwrap();
        });
        assert!(interrupted.clone().is_err_and(|why| why.starts_with("INTERRUPTED")), "{interrupted:?}");
        scene.is_as_it_was("after the load was taken back").await;

        root.query_drop("truncate table app.load").await.unwrap();
        tokio::select! {
            ended = agent.seed(|_| ()) => panic!("{ended:?}"),
            () = reaches(&mut root, middle) => {}
        }
        agent.end().await;
        scene.is_as_it_was("after the agent's end").await;
    });
}

#[test]
fn no_cutover_while_anything_of_an_import_stands() {
    as_server_user("ended::no_cutover_while_anything_of_an_import_stands", |base| async move {
        let scene = Scene::new(base).await;
        let mut root = scene.server.root_session().await;
        let agent = Agent::start(&scene.base.join("agent"), by(&scene.server), load(scene.import.clone())).await;
        let mut said = Vec::new();
        agent.seed(|text| said.push(text.to_owned())).await.unwrap();
        assert!(said.iter().any(|text| text.starts_with("innodb_flush_log_at_trx_commit = 2 instead of 1")), "{said:#?}");
        assert!(said.iter().any(|text| text.starts_with(REDO_SIZE) && text.contains("in a trial")), "{said:#?}");

        let ready = || {
            Kind::Ready(flytt_proto::v1::Ready {
                role: flytt_proto::v1::Role::Target.into(),
                lag_ms: 1_000,
                ..Default::default()
            })
        };
        let gate = || Kind::Gate(flytt_proto::v1::Gate { lag_ms: 5_000 });
        let promote = || Kind::Promote(flytt_proto::v1::Promote::default());
        root.query_drop("set global innodb_flush_log_at_trx_commit = 2").await.unwrap();
        for (step, kind) in [("ready-target", ready()), ("gate", gate()), ("cut-promote", promote())] {
            let refused = agent.run(step, kind, |_| ()).await.unwrap_err();
            assert!(refused.starts_with("IMPORT_SETTING_STANDS: innodb_flush_log_at_trx_commit is 2"), "{step}: {refused}");
        }
        root.query_drop("set global innodb_flush_log_at_trx_commit = 1").await.unwrap();
        for (step, kind) in [("ready-target", ready()), ("gate", gate()), ("cut-promote", promote())] {
            let said = agent.run(step, kind, |_| ()).await;
            assert!(!said.clone().is_err_and(|said| said.contains("IMPORT_SETTING")), "{step}: {said:?}");
        }
        agent.end().await;
    });
}

#[test]
fn an_agent_that_is_killed_is_followed_by_one_that_sets_back_before_it_serves() {
    as_server_user("ended::an_agent_that_is_killed_is_followed_by_one_that_sets_back_before_it_serves", |base| async move {
        let scene = Scene::new(base).await;
        for n in 0..10 {
            let (mut agent, state) = scene.up_to(n).await;
            agent.kill();
            scene.is_under_way(n).await;
            let next = Process::start(&scene.base, &state, false);
            next.hears("up");
            scene.is_as_it_was(&format!("point {n}")).await;
            let trial = "select count(*) from information_schema.SCHEMATA where SCHEMA_NAME like 'flytt%'";
            assert_eq!(value(&mut scene.server.root_session().await, trial).await, "0", "point {n}");
        }
    });
}
