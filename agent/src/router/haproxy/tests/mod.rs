//! The router against a real HAProxy: nobody is refused, and nothing of ours stays behind.

use std::{sync::Arc, time::Duration};

use flytt_proto::{failure::Effect, fuse::Fuse, v1::finding::Level};
use tokio::time::{Instant, sleep};

use super::{HoldBy, Router as _, servers::Admin, trial};
use crate::change::{
    Change, Hands, RouteChange,
    RouteState::{self, Held, Source, Staged, Target},
};

mod checks;
mod lab;
mod later;
use lab::{BINARY, Lab, Load, Options, change, route, served};

/// Connections that HAProxy had given a server before the hold may still arrive there.
const SETTLED: Duration = Duration::from_millis(30);

#[tokio::test(flavor = "multi_thread")]
async fn thirty_moves_refuse_nobody() {
    let lab = Lab::start().await;
    let load = Load::start(&lab.settings.entrance, 24);
    let (mut releases, mut windows) = (Vec::new(), Vec::new());
    for cycle in 0..30 {
        let ((from, from_server), (to, to_server)) =
            if cycle % 2 == 0 { (("old", &lab.old), ("new", &lab.new)) } else { (("new", &lab.new), ("old", &lab.old)) };
        let go = async |state| lab.router.route(&change(from, to, state)).await.unwrap();
        let begun = Instant::now();
        go(Held).await;
        windows.push(begun.elapsed());
        sleep(SETTLED).await;
        let before = (from_server.accepted(), to_server.accepted());
        sleep(SETTLED).await;
        go(Staged).await;
        sleep(SETTLED).await;
        assert_eq!((from_server.accepted(), to_server.accepted()), before, "cycle {cycle}: a held connection gets through");
        // Every third one goes back first.
        if cycle % 3 == 2 {
            go(Source).await;
            sleep(SETTLED).await;
            assert!(from_server.accepted() > before.0 && to_server.accepted() == before.1);
            go(Held).await;
            sleep(SETTLED).await;
        }
        releases.push((Instant::now(), go(Target).await, Instant::now()));
        sleep(SETTLED).await;
        let after = from_server.accepted();
        sleep(SETTLED).await;
        assert_eq!(from_server.accepted(), after, "cycle {cycle}: the old server still gets connections");
        assert!(to_server.accepted() > before.1, "cycle {cycle}: those who waited are served");
    }
    let (visits, failures) = load.end().await;
    assert_eq!(failures, Vec::<String>::new());
    holding_server_goes(&lab).await;
    let mut waits: Vec<_> = Vec::new();
    for (begun, (), _) in &releases {
        let held = visits.iter().filter(|visit| visit.begun < *begun && visit.served > *begun);
        waits.push(held.map(|visit| visit.served - *begun).max().expect("somebody waits at each release"));
    }
    waits.sort();
    windows.sort();
    let mut calls: Vec<_> = releases.iter().map(|(begun, (), done)| *done - *begun).collect();
    calls.sort();
    report(&format!(
        "{} visits, 0 failures; hold median {:?} max {:?}; release call median {:?} max {:?}; last of the queue served {:?} (median) {:?} (max) after the order",
        visits.len(),
        windows[15],
        windows[29],
        calls[15],
        calls[29],
        waits[15],
        waits[29]
    ));
}

/// A client that got into the slot first is served through this process; the holding server goes with the last of those.
async fn holding_server_goes(lab: &Lab) {
    for _ in 0..150 {
        if lab.servers().await == ["old", "new"] {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the holding server stays");
}

#[allow(clippy::print_stderr, reason = "figures for whoever runs the test by hand")]
fn report(line: &str) {
    eprintln!("{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_live_until_the_target_has_taken_over() {
    let lab = Lab::start().await;
    let mut session = lab.connect().await;
    assert_eq!(served(&mut session).await.unwrap(), "old");
    lab.go(Held).await;
    lab.go(Staged).await;
    sleep(SETTLED).await;
    assert_eq!(session.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "a hold leaves sessions alone");
    lab.go(Target).await;
    assert!(served(&mut session).await.unwrap_err().starts_with("turned away"), "sessions to the source are shut");
}

/// As HAProxy stands after a restart: there is no hold to go back to.
#[tokio::test(flavor = "multi_thread")]
async fn taking_a_staging_back_holds_nobody_anew() {
    let lab = Lab::start().await;
    let hands = Hands {
        engine: None,
        router: Some(Arc::new(lab.another_router())),
        kernel: crate::change::sysctl::Kernel::default(),
        fuse: Fuse::default(),
    };
    let staging = Change::Route(RouteChange { was: Held, ..change("old", "new", Staged) });
    hands.undo(&"shop".parse().unwrap(), &staging).await.unwrap();
    assert_eq!(lab.router.state(&route("old", "new")).await.unwrap(), Source);
    lab.go(Held).await;
    lab.go(Staged).await;
    hands.undo(&"shop".parse().unwrap(), &staging).await.unwrap();
    assert_eq!(lab.router.state(&route("old", "new")).await.unwrap(), Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_is_reached_from_every_other_and_twice() {
    let lab = Lab::start().await;
    for from in [Source, Held, Staged, Target] {
        for to in [Source, Held, Staged, Target] {
            lab.go(Source).await;
            lab.go(from).await;
            let mut client = lab.connect().await;
            lab.go(to).await;
            lab.go(to).await;
            let (mut late, ends) = (
                lab.connect().await,
                match to {
                    Target => "new",
                    Source | Held | Staged => "old",
                },
            );
            if matches!(to, Held | Staged) {
                sleep(SETTLED).await;
                assert_eq!(late.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "{from} to {to}");
                lab.go(Source).await;
            }
            assert_eq!(served(&mut late).await.unwrap(), ends, "{from} to {to}");
            if matches!(from, Held | Staged) {
                assert_eq!(served(&mut client).await.unwrap(), ends, "{from} to {to}: who waited is served");
            }
            assert_eq!(lab.servers().await, ["old", "new"], "{from} to {to}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_restarts_takes_the_hold_over() {
    for (state, to, ends) in [(Held, Target, "new"), (Staged, Target, "new"), (Held, Source, "old"), (Held, Held, "old")] {
        let mut lab = Lab::start().await;
        lab.go(state).await;
        let mut waiting = Vec::new();
        for _ in 0..10 {
            waiting.push(lab.connect().await);
        }
        sleep(SETTLED).await;
        // The listener and our connection are gone: HAProxy sends the first of the queue to a closed port.
        lab.router = lab.another_router();
        sleep(Duration::from_millis(300)).await;
        lab.router.adopt().await.unwrap();
        assert_eq!(lab.router.state(&route("old", "new")).await.unwrap(), state);
        sleep(Duration::from_millis(1500)).await;
        for client in &waiting {
            assert_eq!(client.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "they still wait");
        }
        lab.go(to).await;
        if to == Held {
            lab.go(Source).await;
        }
        for client in &mut waiting {
            assert_eq!(served(client).await.unwrap(), ends);
        }
        drop(waiting);
        holding_server_goes(&lab).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_our_slot_is_served_like_the_others() {
    let lab = Lab::start().await;
    // A holding server as it stands before our own connection has come round: whoever comes gets the slot.
    let mut holds = lab.router.holds.lock().await;
    let room = super::room::Room::open(0, &lab.settings.entrance).await.unwrap();
    let server = format!("pg/flytt-hold {}:{} maxconn 1 weight 254 send-proxy", super::room::ADDRESS, room.port());
    lab.router.socket.expect(&format!("add server {server}"), "New server registered").await.unwrap();
    lab.router
        .socket
        .order(&["set server pg/flytt-hold state ready".into(), "set server pg/old state maint".into()])
        .await
        .unwrap();
    holds.rooms.insert("pg".into(), room);
    drop(holds);
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(lab.connect().await);
    }
    sleep(SETTLED).await;
    assert_eq!(lab.router.holds.lock().await.rooms["pg"].guests(), 1, "one of them came to us");
    lab.go(Held).await;
    lab.go(Target).await;
    for client in &mut clients {
        assert_eq!(served(client).await.unwrap(), "new");
    }
    assert_eq!(lab.servers().await, ["old", "new", "flytt-hold"], "still carries that client");
    drop(clients);
    holding_server_goes(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_change_nothing() {
    let lab = Lab::start().await;
    let before = lab.router.socket.ask("show servers state").await.unwrap();
    let columns =
        |text: &str| text.lines().map(|l| l.split(' ').take(8).map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>();
    for (source, target, code) in [
        ("old", "nowhere", "SERVER_UNKNOWN"),
        ("nowhere", "new", "SERVER_UNKNOWN"),
        ("old", "new; disable frontend shop", "ROUTE_NAME_INVALID"),
        ("old", "old", "ROUTE_TO_ITSELF"),
    ] {
        for to in [Source, Held, Staged, Target] {
            let failure = lab.router.route(&change(source, target, to)).await.unwrap_err();
            assert_eq!((failure.code.as_str(), failure.effect), (code, Effect::None), "{source} {target}");
        }
    }
    let mut elsewhere = change("old", "new", Held);
    elsewhere.backend = "nowhere".into();
    assert_eq!(lab.router.route(&elsewhere).await.unwrap_err().code, "BACKEND_UNKNOWN");
    assert_eq!(columns(&lab.router.socket.ask("show servers state").await.unwrap()), columns(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_cannot_be_taken_leaves_the_route_alone() {
    let mut lab = Lab::start().await;
    // Connections through this address never come to HAProxy.
    let elsewhere = lab::Server::start("xxx").await;
    lab.settings.entrance = format!("127.0.0.1:{}", elsewhere.port);
    lab.router = lab.another_router();
    let failure = lab.router.route(&change("old", "new", Held)).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.effect), ("HOLD_NOT_TAKEN", Effect::None));
    assert_eq!(lab.router.state(&route("old", "new")).await.unwrap(), Source);
    assert_eq!(lab.servers().await, ["old", "new"]);
    assert_eq!(codes(&lab, 7_000).await.iter().filter(|(level, _)| *level == Level::Block).count(), 1, "and preflight says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_restores_how_the_target_stood() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let down = format!("check port {closed} inter 50 fall 1");
    for (options, admin) in [(String::from("disabled"), Admin::Maint), (down, Admin::Ready)] {
        let lab = Lab::with(Options { new: options, ..Options::default() }).await;
        sleep(Duration::from_millis(300)).await;
        let load = Load::start(&lab.settings.entrance, 4);
        assert!(!lab.server("new").await.is_up());
        for _ in 0..5 {
            lab.go(Held).await;
            lab.go(Staged).await;
            lab.go(Source).await;
            assert_eq!(lab.server("new").await.admin(), admin);
        }
        let (_, failures) = load.end().await;
        assert_eq!(failures, Vec::<String>::new());
        assert_eq!(lab.new.accepted(), 0, "the target never got a connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_tells_what_this_build_survives() {
    let scratch = tempfile::tempdir().unwrap();
    let tried = async |algorithm, by| trial::try_out(BINARY.as_ref(), scratch.path(), algorithm, by).await;
    for algorithm in ["roundrobin", "leastconn", "random"] {
        assert_eq!(tried(algorithm, HoldBy::HoldingServer).await, Ok(()));
    }
    assert!(tried("source", HoldBy::HoldingServer).await.unwrap_err().contains("dynamic"), "a static algorithm takes no servers");
    assert!(tried("roundrobin", HoldBy::Nothing).await.unwrap_err().contains("turned away"), "a trial can fail");
    let version = lab::haproxy(&["-v"]).output().await.unwrap().stdout;
    if String::from_utf8_lossy(&version).contains("2.6.12") {
        let verdict = tried("source", HoldBy::FrontendLimit).await;
        report(&format!("frontend limit: {verdict:?}"));
        assert!(verdict.is_err(), "this build hangs in its own lock");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing of a trial stays");
}

async fn codes(lab: &Lab, lease_ms: u64) -> Vec<(Level, String)> {
    let found = lab.router.findings(&route("old", "new"), lease_ms).await.unwrap();
    found.into_iter().map(|finding| (finding.level(), finding.code)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_names_what_is_wrong() {
    let with = async |options: Options| Lab::with(options).await;
    let warns = |code: &str| (Level::Warn, code.to_owned());
    let blocks = |code: &str| (Level::Block, code.to_owned());
    let base = Options::default();

    let lab = with(base.clone()).await;
    let found = codes(&lab, 7_000).await;
    assert_eq!(found, [warns("TARGET_DISABLED_IN_FILE"), warns("SERVERS_NOT_CHECKED"), (Level::Ok, "HOLD_TRIED".into())]);
    assert_eq!(codes(&lab, 20_000).await.last(), Some(&blocks("QUEUE_TIMEOUT_SHORT")));
    for (source, target, code) in
        [("old", "x", "SERVER_UNKNOWN"), ("x", "new", "SERVER_UNKNOWN"), ("a b", "new", "ROUTE_NAME_INVALID")]
    {
        assert_eq!(lab.router.findings(&route(source, target), 7_000).await.unwrap()[0].code, code);
    }
    assert_eq!(lab.router.findings(&route("new", "old"), 7_000).await.unwrap()[0].code, "ROUTE_NOT_AT_SOURCE");

    for (options, expected) in [
        (Options { new: String::new(), ..base.clone() }, blocks("TARGET_SERVES")),
        (Options { new: "disabled backup".into(), ..base.clone() }, blocks("SERVER_IS_BACKUP")),
        (Options { backend: "server third 127.0.0.1:1".into(), ..base.clone() }, blocks("OTHER_SERVER_SERVES")),
        (Options { old: "on-marked-down shutdown-sessions".into(), ..base.clone() }, warns("SESSIONS_END_AT_HOLD")),
        (Options { level: "operator", ..base.clone() }, blocks("SOCKET_NOT_ADMIN")),
        (Options { backend: "balance source".into(), ..base.clone() }, warns("NO_HOLD")),
    ] {
        let lab = with(options).await;
        let found = codes(&lab, 7_000).await;
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }

    let mut lab = with(base).await;
    lab.settings.frontend = "other".into();
    lab.router = lab.another_router();
    assert!(codes(&lab, 7_000).await.contains(&blocks("FRONTEND_UNKNOWN")));
    assert!(codes(&lab, 7_000).await.contains(&blocks("ENTRANCE_LEADS_ELSEWHERE")));
    lab.settings.socket = lab.directory.path().join("none");
    lab.router = lab.another_router();
    assert_eq!(codes(&lab, 7_000).await, [blocks("ROUTER_UNREACHABLE")]);
    let failure = lab.router.route(&change("old", "new", RouteState::Held)).await.unwrap_err();
    assert_eq!(failure.effect, Effect::None);
}
