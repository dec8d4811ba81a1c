//! The whole way: admit, seed, follow, gate, fence, promote, open, retire, finish – under eight writers.

use std::{fs, time::Duration};

use flytt_agent::{
    change::{Change, Verb},
    engine::{Engine as _, Intent, SeedOrder, Serving},
};
use flytt_proto::{name::Position, v1};

use crate::{
    apply::{apply, one, shop, undo},
    server::{Server, value},
    user::as_server_user,
    writers::{Writers, rows},
};

pub(crate) async fn order(source: &Server) -> SeedOrder {
    SeedOrder {
        upstream: source.upstream(),
        max_rate: 0,
        fast_checkpoint: true,
        system: source.engine.facts().await.unwrap().system,
        replace_system: String::new(),
        expected_bytes: 0,
        way: flytt_agent::engine::Way::Physical,
        origin: None,
    }
}

/// A source, and a target that streams from it.
pub(crate) async fn following(source: &Server, target: &Server) -> Vec<Change> {
    let verifier = target.engine.credential(&shop()).await.unwrap();
    let admitted = apply(source, &Intent::Admit { verifier, peer_address: None }).await;
    apply(target, &Intent::Seed(order(source).await)).await;
    apply(target, &Intent::Follow(source.upstream())).await;
    for _ in 0..500 {
        if target.engine.replication(&shop()).await.unwrap().streaming {
            return admitted;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the standby does not stream: {:?}", target.engine.replication(&shop()).await);
}

#[test]
fn no_acknowledged_write_is_lost() {
    as_server_user("cutover::no_acknowledged_write_is_lost", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let migration = shop();
        source.client("postgres").await.batch_execute("alter system set work_mem = '5MB'").await.unwrap();
        following(&source, &target).await;
        let verifier = source.engine.back_credential(&migration).await.unwrap();
        apply(&target, &Intent::Welcome { verifier }).await;
        apply(&source, &Intent::Arm).await;
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable);
        assert_eq!(target.engine.serving().await.unwrap(), Serving::Standby);

        let writers = Writers::start(8, source.port);
        while writers.count() < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ready = v1::Ready { lag_bytes: 1 << 30, long_transaction_ms: 60_000, role: 0, lag_ms: 1_000 };
        assert_eq!(source.engine.obstacles(&migration, &ready).await.unwrap(), []);
        assert_eq!(target.engine.obstacles(&migration, &ready).await.unwrap(), []);
        for side in [&source, &target] {
            apply(side, &Intent::Ready).await;
            assert!(!side.engine.is_closed(&migration).await.unwrap());
        }

        // A reader on the standby would be a writer after the promotion.
        let reader = target.client("app").await;
        apply(&target, &Intent::Gate).await;
        assert!(target.engine.is_closed(&migration).await.unwrap());
        assert!(reader.batch_execute("select 1").await.is_err(), "a session outlives the gate");
        assert!(target.engine.replication(&migration).await.unwrap().streaming, "the gate cuts the stream");

        apply(&source, &Intent::Fence { drain_ms: 200 }).await;
        let end = source.engine.final_position(&migration).await.unwrap();
        assert!(source.engine.is_closed(&migration).await.unwrap());
        assert!(source.login("postgres").await.is_err() && source.login_by_tcp().await.is_err());
        let reached = target.engine.caught_up(&end).await.unwrap();
        assert_eq!(reached.covers(&end), Some(true));

        let early = target.engine.proven_primary(&migration, &end).await.unwrap_err();
        assert_eq!(early.code, "NOT_THE_PRIMARY", "a standby is taken for the primary");
        apply(&target, &Intent::Promote).await;
        assert_eq!(target.engine.serving().await.unwrap(), Serving::Writable);
        assert!(target.engine.is_closed(&migration).await.unwrap(), "the promotion opens the gate");
        let Position::Postgres(lsn) = end else { panic!("{end}") };
        let beyond = Position::Postgres(flytt_proto::name::Lsn(lsn.0 + (1 << 32)));
        assert_eq!(target.engine.proven_primary(&migration, &beyond).await.unwrap_err().code, "NOT_THE_PRIMARY");
        let position = target.engine.proven_primary(&migration, &end).await.unwrap();
        assert_eq!(position.covers(&end), Some(true));

        apply(&source, &Intent::Surrender).await;
        apply(&target, &Intent::Open).await;
        assert!(!target.engine.is_closed(&migration).await.unwrap());
        let (here, there) = (format!("127.0.0.1:{}", target.port), format!("127.0.0.1:{}", source.port));
        target.engine.reached_through(&migration, &here).await.unwrap();
        assert_eq!(target.engine.reached_through(&migration, &there).await.unwrap_err().code, "NOT_REACHED");

        let acknowledged = writers.stop().await;
        assert!(acknowledged.len() >= 200);
        let arrived = rows(&target.login_by_tcp().await.unwrap()).await;
        let lost: Vec<_> = acknowledged.difference(&arrived).collect();
        assert_eq!(lost, Vec::<&(i32, i32)>::new());

        let before = source.engine.position().await.unwrap();
        assert_eq!(before.covers(&end), Some(true));
        // What an autovacuum worker might do: the old source goes on where the new primary has branched off.
        source.engine.final_position(&migration).await.unwrap();
        apply(&source, &Intent::Retire).await;
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Down);
        follows_back(&source, &target).await;
        assert!(source.read("log").contains("not in this server's history") || source.read("log").contains("forked off"));
        // And once more, as whoever restarts it: without having written anything.
        source.engine.tell(&migration, &Verb::Kill).await.unwrap();
        source.engine.tell(&migration, &Verb::Start).await.unwrap();
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Standby, "the old source comes up writable");
        follows_back(&source, &target).await;
        assert!(
            source.login("postgres").await.is_err() && source.login_by_tcp().await.is_err(),
            "the follower has lost its fence"
        );

        apply(&source, &Intent::Finish { role: v1::Role::Source }).await;
        apply(&target, &Intent::Finish { role: v1::Role::Target }).await;
        nothing_left(&target).await;
        assert!(source.read("etc/pg_hba.conf").contains("local all all reject"), "the old source loses its fence");
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Down, "the old source goes on");
        assert!(source.data().join("standby.signal").exists(), "whoever starts it gets a second primary");
        let auto = fs::read_to_string(source.data().join("postgresql.auto.conf")).unwrap();
        assert!(!auto.contains("flytt") && auto.contains("work_mem = '5MB'"), "{auto}");
        assert_eq!(fs::read_dir(source.root.join("state/secret")).unwrap().count(), 0);
    });
}

/// The old source reads what the new primary writes; and not before.
async fn follows_back(source: &Server, target: &Server) {
    let word = target.engine.mark_own(&shop()).await.unwrap();
    apply(source, &Intent::Rejoin(target.upstream())).await;
    source.engine.has_come_back(&shop(), &word).await.unwrap();
    let here = source.engine.replication(&shop().back()).await.unwrap();
    let there = target.engine.replication(&shop().back()).await.unwrap();
    assert!(here.streaming && there.streaming && there.trouble.is_empty(), "{here:?} {there:?}");
}

async fn nothing_left(server: &Server) {
    let client = server.client("postgres").await;
    assert_eq!(value(&client, "select count(*) from pg_roles where rolname like 'flytt%'").await, "0");
    assert_eq!(value(&client, "select count(*) from pg_replication_slots").await, "0");
    let kept = fs::read_to_string(server.data().join("postgresql.auto.conf")).unwrap();
    for text in [server.read("etc/pg_hba.conf"), server.read("etc/pg_ident.conf"), kept] {
        assert!(!text.contains("flytt") && !text.contains("primary_conninfo"), "left behind: {text}");
    }
    for directory in ["state/secret", "state/seed"] {
        assert_eq!(fs::read_dir(server.root.join(directory)).unwrap().count(), 0, "{directory}");
    }
}

#[test]
fn the_password_and_its_verifier_stay_where_they_belong() {
    as_server_user("cutover::the_password_and_its_verifier_stay_where_they_belong", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let verifier = target.engine.credential(&shop()).await.unwrap();
        assert_eq!(target.engine.credential(&shop()).await.unwrap(), verifier);
        let passfile = target.read("state/secret/shop.pgpass");
        let password = passfile.trim_end().rsplit(':').next().unwrap().to_owned();
        assert!(password.len() >= 40);

        apply(&source, &Intent::Admit { verifier: verifier.clone(), peer_address: None }).await;
        // A statement that fails is logged by a loud server, too.
        let bad = vec![format!("alter role nobody_here password '{verifier}'")];
        assert_eq!(source.engine.execute(&bad).await.unwrap_err().code, "SQL_REFUSED");
        let monitor = source.client("postgres").await;
        let seen = value(&monitor, "select string_agg(query, ' ') from pg_stat_activity").await;
        assert!(!seen.contains("SCRAM-SHA-256$"), "a session shows the verifier: {seen}");

        let slow = SeedOrder { max_rate: 8 << 20, ..order(&source).await };
        let changes = target.engine.recipe(&shop(), &Intent::Seed(slow)).await.unwrap();
        let mut copies = 0;
        for change in &changes {
            let work = one(&target, change);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => { done.unwrap(); break; }
                    () = tokio::time::sleep(Duration::from_millis(20)) => {
                        for process in procfs::process::all_processes().unwrap().filter_map(Result::ok) {
                            let line = process.cmdline().unwrap_or_default().join(" ");
                            copies += usize::from(line.contains("pg_basebackup") && line.contains("flytt_shop"));
                            assert!(!line.contains(&password), "a process shows the password");
                        }
                    }
                }
            }
        }
        assert!(copies > 0, "the copy was never seen");
        let changes = apply(&target, &Intent::Follow(source.upstream())).await;
        let auto = fs::read_to_string(target.data().join("postgresql.auto.conf")).unwrap();
        assert!(auto.contains("primary_conninfo") && !auto.contains(&password));
        let stored = serde_json::to_string(&changes).unwrap();
        assert!(!stored.contains(&password));
        for (side, log) in [("source", source.read("log")), ("target", target.read("log"))] {
            assert!(!log.contains("SCRAM-SHA-256$") && !log.contains(&password), "the {side}'s log tells a secret");
        }
        assert!(source.read("log").contains("connection authenticated"), "the log is loud enough to show it");
        undo(&target, &changes).await;
        assert_eq!(target.engine.serving().await.unwrap(), Serving::Down);
    });
}
