//! One side is lost for good, server and agent, at whatever point; and a person who says that the other may serve.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use flytt::{
    halt::{Cause, Exit, Halt},
    journal::Milestone,
    verb::{self, Answer, RecoverOptions},
};
use flytt_proto::{fuse::Fuse, name::Migration, v1::baton_state::Phase};

use crate::lab::{Lab, Seen, all, world::Side};

const SOURCE: &str = "db-old";
const TARGET: &str = "db-new";

impl Lab {
    async fn recover(&self, keep: &str, fingerprint: Option<&str>, fuse: &Fuse) -> Result<Answer, Halt> {
        let (fingerprint, reason) = fingerprint.map(|it| (it.to_owned(), "its rack burned down".to_owned())).unzip();
        let (migration, keep) = (self.name.clone(), keep.parse().expect("a name"));
        let options = RecoverOptions { migration, keep, fingerprint, reason };
        verb::recover(&self.session(fuse.clone()), options, &mut Seen::default()).await
    }

    /// What a person does: looks, reads the fingerprint, types it.
    async fn recover_as_shown(&self, keep: &str, fuse: &Fuse) -> Result<Answer, Halt> {
        let shown = self.recover(keep, None, &Fuse::default()).await.expect_err("it does nothing without being told twice");
        assert_eq!((shown.exit(), code(&shown)), (Exit::Refused, "RECOVER_UNCONFIRMED"), "{shown}");
        let fingerprint = shown.state().rsplit(' ').next().expect("it ends with it").to_owned();
        self.recover(keep, Some(&fingerprint), fuse).await
    }

    /// A move whose source or target is lost at this point of its life, and whose controller is gone a second later.
    async fn half_way(who: &'static str, n: u32) -> Self {
        let lab = Lab::losing(who, n).await;
        lab.until_lost(Box::pin(async {
            if lab.start(&Fuse::default()).await.is_ok() {
                lab.cutover(&Fuse::default()).await.ok();
            }
        }))
        .await;
        lab
    }

    async fn until_lost(&self, go: impl Future<Output = ()>) {
        let lab = self;
        let controller_dies = async {
            while !lab.is_lost() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            () = go => {}
            () = controller_dies => {}
        }
    }

    /// What was acknowledged by the target alone before it was lost: it had opened, and whoever vouches for the contrary is wrong.
    fn of_the_target_alone(&self) -> Vec<u64> {
        let world = self.world.lock();
        world.target.rows.iter().filter(|row| !world.source.rows.contains(row)).copied().collect()
    }

    /// What the host that is left says, once no lease runs any more.
    async fn settled(&self, host: &str) -> Phase {
        self.settled_on(&self.name, host).await
    }

    async fn settled_on(&self, leg: &Migration, host: &str) -> Phase {
        loop {
            let said = self.session(Fuse::default()).observer.baton(&host.parse().expect("a name"), leg).await;
            let phase = said.expect("it answers").phase();
            if !matches!(phase, Phase::Fencing | Phase::Fenced | Phase::Promoting) {
                return phase;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn code(halt: &Halt) -> &str {
    match halt.cause() {
        Cause::Failures(failures) => failures.first().map_or("", |failure| failure.code.as_str()),
        Cause::Mistakes(_) => "",
    }
}

/// The points that this host passes in a cutover.
async fn points(who: &str) -> RangeInclusive<u32> {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    let passed = || lab.fuses.iter().find(|(name, _)| *name == who).map_or(0, |(_, fuse)| fuse.seen().len() as u32);
    let before = passed();
    lab.cutover(&Fuse::default()).await.expect("it moves");
    before + 1..=passed()
}

/// All of them for `make test-faults`, whose environment says so; every third otherwise.
fn chosen<T>(cases: Vec<T>) -> Vec<T> {
    let step = if std::env::var_os("FLYTT_EVERY").is_some() { 1 } else { 3 };
    cases.into_iter().step_by(step).collect()
}

/// How many of these stories came to their end.
async fn how_many<T, F>(cases: Vec<T>, story: fn(T) -> F) -> u32
where
    T: std::fmt::Debug,
    F: Future<Output = bool> + Send + 'static,
{
    let count = Arc::new(AtomicU32::default());
    all(chosen(cases), 8, |case| {
        let (story, count) = (Box::pin(story(case)), count.clone());
        async move {
            count.fetch_add(u32::from(story.await), Ordering::Relaxed);
        }
    })
    .await;
    count.load(Ordering::Relaxed)
}

/// Whether it came to a recovery.
async fn target_lost(n: u32) -> bool {
    let (what, lab) = (format!("the target is lost at {n}"), Lab::half_way(TARGET, n).await);
    if !lab.is_lost() {
        return false;
    }
    let phase = lab.settled(SOURCE).await;
    if phase != Phase::Surrendered {
        let halt = lab.recover(SOURCE, None, &Fuse::default()).await.expect_err("refused");
        assert!(["NOTHING_TO_RECOVER", "NO_MIGRATION"].contains(&code(&halt)), "{what}: {phase:?}: {halt}");
        return false;
    }
    let halt = lab.recover(SOURCE, Some("0000-0000"), &Fuse::default()).await.expect_err("refused");
    assert_eq!(code(&halt), "FINGERPRINT", "{what}: {halt}");
    let halt = lab.recover(TARGET, None, &Fuse::default()).await.expect_err("refused");
    assert_eq!(code(&halt), "UNREACHABLE", "{what}: {halt}");
    lab.recover_as_shown(SOURCE, &Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
    let alone = lab.of_the_target_alone();
    if !alone.is_empty() {
        assert_eq!(lab.world.lock().lost(Side::Source), alone, "{what}: more is lost than what the target had alone");
        return false;
    }
    lab.holds(Side::Source, &what).await;
    let halt = lab.cutover(&Fuse::default()).await.expect_err("to nobody");
    assert_eq!(code(&halt), "LOST", "{what}: {halt}");
    lab.rollback(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
    lab.holds(Side::Source, &what).await;
    let world = lab.world.lock();
    let rules = std::fs::read_to_string(world.source.dir.join("hba")).expect("read");
    assert_eq!((rules.as_str(), world.source.objects.len()), ("local all all trust\n", 0), "{what}");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_target_that_is_lost_after_the_surrender_leaves_a_source_that_may_be_told_to_serve() {
    let recovered = how_many(points(TARGET).await.collect(), target_lost).await;
    assert!(recovered >= 2, "only {recovered} of them came to that");
}

/// Whether it came to a recovery.
async fn source_lost(n: u32) -> bool {
    let (what, lab) = (format!("the source is lost at {n}"), Lab::half_way(SOURCE, n).await);
    if !lab.is_lost() || lab.settled(TARGET).await != Phase::Closed {
        return false;
    }
    lab.recover_as_shown(TARGET, &Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
    lab.holds(Side::Target, &what).await;
    let halt = lab.rollback(&Fuse::default()).await.expect_err("to nobody");
    assert_eq!(code(&halt), "LOST", "{what}: {halt}");
    let status = verb::status(&lab.session(Fuse::default()), Some(&lab.name)).await.expect("told");
    assert!(status.text.contains("db-old: taken for lost"), "{what}: {}", status.text);
    lab.finish(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
    lab.holds(Side::Target, &what).await;
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_source_that_is_lost_before_its_permit_came_leaves_a_target_that_may_be_told_to_open() {
    let recovered = how_many(points(SOURCE).await.collect(), source_lost).await;
    assert!(recovered >= 2, "only {recovered} of them came to that");
}

/// The operator is cut off from a source that serves, and the target, which was left closed, is not: its agent asks, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_source_that_only_the_operator_cannot_reach_is_not_lost() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    // Longer than its lease: it un-fences, and the target stays promoted behind its gate.
    lab.world.lock().surrender_looks_for = Duration::from_secs(3);
    let target = TARGET.parse().expect("a name");
    let closed = async {
        let observer = lab.session(Fuse::default()).observer;
        while observer.baton(&target, &lab.name).await.map(|baton| baton.phase()) != Ok(Phase::Closed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let lives = Fuse::default();
    tokio::select! {
        ended = Box::pin(lab.cutover(&lives)) => panic!("{ended:?}"),
        () = closed => {}
    }
    lab.holds(Side::Source, "its lease has ended").await;
    assert_eq!(lab.settled(TARGET).await, Phase::Closed);

    let hosts = lab.home.join("hosts.toml");
    let known = std::fs::read_to_string(&hosts).expect("read");
    let address = lab.session(Fuse::default()).observer.addresses()[&SOURCE.parse().expect("a name")].clone();
    flytt_proto::durable::write(&hosts, known.replace(&address, "127.0.0.1:1").as_bytes(), 0o600).expect("written");
    let halt = lab.recover_as_shown(TARGET, &Fuse::default()).await.expect_err("it serves");
    assert_eq!(code(&halt), "NOT_LOST", "{halt}");
    flytt_proto::durable::write(&hosts, known.as_bytes(), 0o600).expect("written");
    lab.holds(Side::Source, "it was not lost").await;
    lab.resume(&Fuse::default()).await.expect("the target is given up");
    lab.rollback(&Fuse::default()).await.expect("taken back");
    lab.holds(Side::Source, "taken back").await;
    lab.is_as_it_was("taken back");
}

/// The first point at which losing it leaves the other waiting for a person.
async fn first_stuck(who: &'static str, other: &str, stuck: Phase) -> u32 {
    for n in points(who).await.rev() {
        let lab = Lab::half_way(who, n).await;
        if lab.is_lost() && lab.settled(other).await == stuck && lab.of_the_target_alone().is_empty() {
            return n;
        }
    }
    panic!("losing {who} leaves nobody waiting")
}

/// On the leg back, where the roles are exchanged: losing this host at this point.
async fn lost_on_the_leg_back((who, n): (&'static str, u32)) -> bool {
    let what = format!("{who} is lost at {n} on the way back");
    let lab = Lab::losing(who, n).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.cutover(&Fuse::default()).await.expect("it moves");
    lab.until_lost(Box::pin(async { drop(lab.rollback(&Fuse::default()).await) })).await;
    let (keep, stuck, side) = match who {
        SOURCE => (TARGET, Phase::Surrendered, Side::Target),
        _ => (SOURCE, Phase::Closed, Side::Source),
    };
    if !lab.is_lost() || lab.settled_on(&lab.name.back(), keep).await != stuck {
        return false;
    }
    lab.recover_as_shown(keep, &Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
    let alone = {
        let world = lab.world.lock();
        world.source.rows.iter().any(|row| !world.target.rows.contains(row))
    };
    if who == SOURCE && alone {
        // It had opened, and whoever vouched for the contrary was wrong.
        return false;
    }
    lab.holds(side, &what).await;
    let (_, status) = lab.session(Fuse::default()).read(&lab.name).expect("it is there");
    let ended = if side == Side::Source { Milestone::MovedBack } else { Milestone::Moved };
    assert_eq!((status.milestone, status.lost.len()), (Some(ended), 1), "{what}");
    lab.finish(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
    lab.holds(side, &what).await;
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn either_side_may_be_lost_on_the_leg_back() {
    for who in [SOURCE, TARGET] {
        let lab = Lab::new(|_| 0).await;
        lab.start(&Fuse::default()).await.expect("it follows");
        lab.cutover(&Fuse::default()).await.expect("it moves");
        lab.rollback(&Fuse::default()).await.expect("it moves back");
        let passed = lab.fuses.iter().find(|(name, _)| *name == who).map_or(0, |(_, fuse)| fuse.seen().len() as u32);
        let cases = (passed.saturating_sub(30)..=passed).map(|n| (who, n)).collect();
        assert!(how_many(cases, lost_on_the_leg_back).await > 0, "losing {who} came to that nowhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recovery_that_is_interrupted_is_carried_on() {
    let target = first_stuck(TARGET, SOURCE, Phase::Surrendered).await;
    let source = first_stuck(SOURCE, TARGET, Phase::Closed).await;
    let mut cases = Vec::new();
    for (lost, n, keep) in [(TARGET, target, SOURCE), (SOURCE, source, TARGET)] {
        let lab = Lab::half_way(lost, n).await;
        let points = Fuse::at(0);
        lab.recover_as_shown(keep, &points).await.expect("recovered");
        cases.extend((1..=points.seen().len() as u32).map(|dies| (lost, n, keep, dies)));
    }
    assert!(cases.len() > 20, "{} points", cases.len());
    all(chosen(cases), 8, |(lost, n, keep, dies)| async move {
        let what = format!("{lost} is lost at {n}, and the controller that recovers dies at {dies}");
        let lab = Lab::half_way(lost, n).await;
        lab.recover_as_shown(keep, &Fuse::at(dies)).await.expect_err("it dies");
        let side = if keep == SOURCE { Side::Source } else { Side::Target };
        for _ in 0..4 {
            let (_, status) = lab.session(Fuse::default()).read(&lab.name).expect("it is there");
            match status.milestone {
                Some(Milestone::TakenBack | Milestone::Moved) if !status.lost.is_empty() => {
                    return lab.holds(side, &what).await;
                }
                // As its owner would: what was decided is not asked for again, what was not is.
                _ if status.lost.is_empty() => match lab.recover(keep, None, &Fuse::default()).await {
                    Err(halt) if code(&halt) == "RECOVER_UNCONFIRMED" => lab.recover_as_shown(keep, &Fuse::default()).await,
                    other => other,
                },
                _ => lab.resume(&Fuse::default()).await,
            }
            .unwrap_or_else(|halt| panic!("{what}: {halt}"));
        }
        panic!("{what}: it comes to no end");
    })
    .await;
}
