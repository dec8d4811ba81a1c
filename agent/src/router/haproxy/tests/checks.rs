//! HAProxy's own checks on the agents' status ports, and the example configuration.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::lab::{self, Lab, Load, Options, served};
use crate::{
    change::RouteState::{Held, Source, Staged, Target},
    engine::Serving::{self, Standby, Writable},
    status::{Standing, Status},
};

struct Agent {
    standing: watch::Sender<Standing>,
    http: u16,
    agent_check: u16,
    _serving: AbortOnDropHandle<()>,
}

impl Agent {
    async fn start(serving: Serving) -> Self {
        let any = || Some("127.0.0.1:0".parse().unwrap());
        let status = Status::bind(any(), any()).await.unwrap();
        let (http, agent_check) = (status.http_address().unwrap().port(), status.agent_check_address().unwrap().port());
        let standing = watch::Sender::new(Standing { serving, fenced: false, follows: true });
        let now = standing.subscribe();
        let serving = tokio::spawn(async move {
            status.serve(move || std::future::ready(Ok(*now.borrow())), || false).await.unwrap();
        });
        Self { standing, http, agent_check, _serving: AbortOnDropHandle::new(serving) }
    }

    fn is(&self, serving: Serving, fenced: bool) {
        self.standing.send_replace(Standing { serving, fenced, follows: true });
    }
}

async fn eventually(lab: &Lab, name: &str, up: bool) {
    for _ in 0..200 {
        if lab.server(name).await.is_up() == up {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("HAProxy never counts {name} as {}", if up { "up" } else { "down" });
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_follow_the_primary() {
    for with_agent_check in [false, true] {
        let (old, new) = (Agent::start(Writable).await, Agent::start(Standby).await);
        let line = |agent: &Agent| match with_agent_check {
            false => format!("check port {} inter 50 fall 1 rise 1", agent.http),
            true => format!("agent-check agent-port {} agent-inter 50", agent.agent_check),
        };
        let lab = Lab::with(Options {
            backend: if with_agent_check { String::new() } else { "option httpchk GET /primary".into() },
            old: line(&old),
            new: line(&new),
            ..Options::default()
        })
        .await;
        eventually(&lab, "old", true).await;
        eventually(&lab, "new", false).await;

        old.is(Writable, true);
        eventually(&lab, "old", false).await;
        new.is(Writable, false);
        eventually(&lab, "new", true).await;
        assert_eq!(served(&mut lab.connect().await).await.unwrap(), "new", "the checks alone converge");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_under_checks_refuses_nobody() {
    let (old, new) = (Agent::start(Writable).await, Agent::start(Standby).await);
    let line = |a: &Agent| {
        format!("check port {} inter 50 fall 1 rise 1 agent-check agent-port {} agent-inter 50", a.http, a.agent_check)
    };
    let backend = "option httpchk GET /primary".to_owned();
    let lab = Lab::with(Options { backend, old: line(&old), new: line(&new), ..Options::default() }).await;
    eventually(&lab, "new", false).await;
    let load = Load::start(&lab.settings.entrance, 8);
    // Half a dozen check intervals in each state: no check, and no agent's `up`, may undo it.
    let checked = || sleep(Duration::from_millis(300));
    lab.go(Held).await;
    checked().await;
    lab.go(Staged).await;
    checked().await;
    lab.go(Source).await;
    checked().await;
    assert_eq!(lab.new.accepted(), 0, "back at the source, the standby gets nothing");
    lab.go(Held).await;
    old.is(Writable, true);
    checked().await;
    lab.go(Staged).await;
    let before = (lab.old.accepted(), lab.new.accepted());
    checked().await;
    new.is(Writable, false);
    checked().await;
    assert_eq!((lab.old.accepted(), lab.new.accepted()), before, "held, whatever the checks say");
    lab.go(Target).await;
    checked().await;
    old.is(Standby, false);
    checked().await;
    let (_, failures) = load.end().await;
    assert_eq!(failures, Vec::<String>::new());
    assert!(lab.new.accepted() > 0);
    assert_eq!(lab.old.accepted(), before.0);
}

#[tokio::test]
async fn the_example_configuration_is_valid() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/haproxy.cfg");
    let check = lab::haproxy(&["-c", "-f", file]).output().await.unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let settings = super::super::settings::of_backend(&std::fs::read_to_string(file).unwrap(), "shop").unwrap();
    assert_eq!(settings.queue(), Some(Duration::from_secs(60)));
    assert!(!settings.ends_sessions_of("old"));
}
