//! The whole move on fakes: in a loop over everything that can die, at every point at which it can.

mod lab;
mod lost;
mod samples;

use flytt::{
    halt::Exit,
    journal::{Event, Journal, Milestone},
    verb,
};
use flytt_agent::engine::Serving;
use flytt_proto::{fuse::Fuse, v1::baton_state::Phase};
use lab::{AGENTS, Lab, Seen, all, world::Side};

#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_through_and_leaves_nothing() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.holds(Side::Source, "following").await;
    let [source, target] = &lab.kernels;
    assert_eq!((source.value("net/core/rmem_max"), source.value("vm/swappiness")), ("16777216".into(), "60".into()));
    assert_eq!((target.value("net/ipv4/tcp_wmem"), target.value("vm/swappiness")), ("4096 65536 16777216".into(), "1".into()));
    lab.cutover(&Fuse::default()).await.expect("it moves");
    lab.holds(Side::Target, "moved").await;
    lab.source_follows("moved").await;
    let status = verb::status(&lab.session(Fuse::default()), Some(&lab.name)).await.expect("it is told");
    assert!(status.text.contains("way back: ready; db-old follows db-new"), "{}", status.text);
    lab.finish(&Fuse::default()).await.expect("it finishes");
    lab.holds(Side::Target, "finished").await;
    assert!(lab.kernels.iter().all(|kernel| kernel.drop_in().exists()), "the tuning stays");
    let world = lab.world.lock();
    assert!(world.target.objects.is_empty(), "{:?}", world.target.objects);
    assert_eq!(world.source.serving, Serving::Down, "the old source goes on after the end");
    assert!(world.source.signal().exists(), "the old source would come back writable");
    assert!(world.acknowledged.len() > 10, "the load wrote");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_leaves_the_hosts_as_they_were() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.rollback(&Fuse::default()).await.expect("taken back");
    lab.holds(Side::Source, "rolled back").await;
    lab.is_as_it_was("rolled back");
    lab.start(&Fuse::default()).await.expect("and it can begin again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_has_changed_nothing_whatever_became_of_the_answer() {
    let lab = Lab::new(|_| 0).await;
    lab.world.lock().breaks = true;
    let halt = lab.start(&Fuse::default()).await.expect_err("nothing can be known");
    assert_eq!(halt.exit(), Exit::Failed, "{halt:?}");
    lab.world.lock().breaks = false;
    lab.start(&Fuse::default()).await.expect("it follows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_half_taken_back_is_gone_before_it_is_made_anew() {
    let lab = Lab::new(|_| 0).await;
    // Neither before the copy nor after it.
    lab.world.lock().copy_stays = 2;
    let halt = lab.start(&Fuse::default()).await.expect_err("there is no room for it");
    assert_eq!(halt.exit(), Exit::NeedsResume, "{halt:?}");
    lab.resume(&Fuse::default()).await.expect("it follows");
    lab.holds(Side::Source, "following").await;
    lab.rollback(&Fuse::default()).await.expect("taken back");
    lab.is_as_it_was("rolled back");
}

/// What is left when a controller dies for good, wherever in the cutover: before the surrender each host takes back its own part
/// when asked, after it none does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_controller_each_host_takes_back_its_own_part() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    let standing = lab.session(Fuse::default()).observer.ledger(&"db-old".parse().expect("a name")).await.expect("told");
    let [shop] = standing.moves.as_slice() else { panic!("{standing:?}") };
    let admit = shop.operations.iter().find(|operation| operation.step == "admit").expect("it stands");
    assert!(shop.kept.is_none() && shop.peer == "db-new" && admit.changes.iter().any(|it| it.contains("role")), "{shop:?}");
    let points = Fuse::at(0);
    lab.cutover(&points).await.expect("it moves");
    drop(lab);

    let cases: Vec<u32> = (1..=points.seen().len() as u32).step_by(3).collect();
    all(cases, 8, |n| async move {
        let what = format!("reverted after the controller has died at {n}");
        let mut lab = Lab::new(|_| 0).await;
        lab.start(&Fuse::default()).await.expect("it follows");
        lab.cutover(&Fuse::at(n)).await.expect_err("it dies");
        lab.somebody_serves(&what).await;
        let moved = lab.world.lock().db(Side::Target).accepts_writes();
        for (host, came_to) in lab.revert().await {
            match came_to {
                Ok(()) => assert!(!moved, "{what}: {host} has taken a move back"),
                // Nothing was ever asked of it.
                Err(failure) if host == "lb-1" && failure.code == "NO_PART" => assert!(!moved, "{what}"),
                Err(failure) if moved => assert_eq!(failure.code, "POINT_OF_NO_RETURN", "{what}: {host}"),
                Err(failure) => panic!("{what}: {host}: {failure}"),
            }
        }
        if moved {
            lab.holds(Side::Target, &what).await;
            lab.resume(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
            return lab.holds(Side::Target, &what).await;
        }
        lab.holds(Side::Source, &what).await;
        lab.is_as_it_was(&what);
        for host in AGENTS {
            let standing = lab.session(Fuse::default()).observer.ledger(&host.parse().expect("a name")).await.expect("told");
            assert!(standing.moves.is_empty(), "{what}: {host}: {standing}");
        }
        // A controller that is found again has nothing left to do, and may begin anew.
        lab.rollback(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
        lab.start(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: {halt}"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_past_its_point_of_no_return_is_completed_before_it_is_finished() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    let points = Fuse::at(0);
    lab.cutover(&points).await.expect("it moves");
    drop(lab);

    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.cutover(&Fuse::at(points.seen().len() as u32 - 2)).await.expect_err("it dies");
    let halt = lab.finish(&Fuse::default()).await.expect_err("it is not complete").to_string();
    assert!(halt.contains("UNDER_WAY") && halt.contains("flytt resume"), "{halt}");
    lab.resume(&Fuse::default()).await.expect("completed");
    lab.finish(&Fuse::default()).await.expect("it finishes");
    lab.holds(Side::Target, "finished").await;
}

/// The source's server has lost its power behind the fence. Its access rules were read before the fence goes from their file, and who
/// asked for that asks once.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_up_while_its_fence_goes_serves_again() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    let (session, mut seen) = (lab.session(Fuse::default()), Seen::default());
    let mut held = session.take(&lab.name).await.expect("it is there");
    let mut drive = held.drive(&mut seen);
    drive.take_charge("cutover").await.expect("in charge");
    let (fleet, epoch) = (drive.fleet.clone(), drive.journal.status.epoch);
    let (source, fence) = ("db-old".parse().expect("a name"), "shop/cut-fence".parse().expect("an operation"));
    lab.world.lock().surrender_looks_for = std::time::Duration::from_secs(1);
    let power_cut = async {
        while fleet.observer.baton(&source, &lab.name).await.map(|baton| baton.phase()) != Ok(Phase::Fenced) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        lab.world.lock().source_comes_up = true;
        let limit = std::time::Duration::from_secs(5);
        fleet.undo(&source, &fence, epoch, limit, &mut |_| ()).await
    };
    tokio::select! {
        // Done or not, nobody asks again.
        _ = power_cut => {}
        _ = drive.forward(flytt::plan::Phase::Ready..=flytt::plan::Phase::Cutover) => panic!("it goes on without its source"),
    }
    lab.world.lock().source_comes_up = false;
    lab.somebody_serves("up again").await;
    lab.holds(Side::Source, "up again").await;
}

/// It asks the target four times a second whether it has opened; on record it is before its gate goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_waits_until_the_targets_gate_is_gone() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.world.lock().target_reloads_in = std::time::Duration::from_millis(700);
    lab.cutover(&Fuse::default()).await.expect("it moves");
    lab.holds(Side::Target, "moved").await;
}

/// The controller has given up waiting, has looked, and is on its way back when the source surrenders.
#[tokio::test(flavor = "multi_thread")]
async fn a_surrender_that_comes_late_leaves_somebody_who_may_write() {
    for late in [2_100, 2_200, 2_300, 2_400] {
        let lab = Lab::new(|_| 0).await;
        lab.start(&Fuse::default()).await.expect("it follows");
        lab.world.lock().surrender_looks_for = std::time::Duration::from_millis(late);
        let what = format!("surrendered after {late} ms");
        lab.cutover(&Fuse::default()).await.ok();
        lab.world.lock().surrender_looks_for = std::time::Duration::ZERO;
        lab.somebody_serves(&what).await;
        let session = lab.session(Fuse::default());
        let (status, rows) = Journal::read(&session.directory(&lab.name)).expect("it reads");
        let burning = Event::Undoing { step: "cut-promote".parse().expect("a step") };
        let is_burned = rows.iter().any(|row| row.event == burning);
        assert!(status.milestone != Some(Milestone::Moved) || !is_burned, "{what}: what has surrendered is burned");
        Box::pin(to_the_end(&lab, Then::Resume, &Fuse::default(), &what)).await;
    }
}

/// The target is given up while the permit is on its way: its receipt gives the right back, without any controller.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_burned_before_the_permit_comes_gives_the_right_back() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.world.lock().surrender_looks_for = std::time::Duration::from_millis(700);
    let (session, mut seen) = (lab.session(Fuse::default()), Seen::default());
    let mut held = session.take(&lab.name).await.expect("it is there");
    let mut drive = held.drive(&mut seen);
    drive.take_charge("cutover").await.expect("in charge");
    let (fleet, epoch) = (drive.fleet.clone(), drive.journal.status.epoch);
    let (target, promote) = ("db-new".parse().expect("a name"), "shop/cut-promote".parse().expect("an operation"));
    let burn = async {
        while fleet.observer.baton(&target, &lab.name).await.map(|baton| baton.phase()) != Ok(Phase::Closed) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let limit = std::time::Duration::from_secs(10);
        fleet.undo(&target, &promote, epoch, limit, &mut |_| ()).await.expect("it is burned");
    };
    let (cut, ()) = tokio::join!(drive.forward(flytt::plan::Phase::Ready..=flytt::plan::Phase::Cutover), burn);
    assert!(cut.is_err(), "what is burned opens");
    let said = fleet.observer.baton(&target, &lab.name).await.expect("it says").phase();
    assert_eq!(said, Phase::Burned);
    lab.somebody_serves("burned").await;
    lab.holds(Side::Source, "burned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_nothing_is_lost_that_was_written_on_either_side() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.cutover(&Fuse::default()).await.expect("it moves");
    lab.holds(Side::Target, "moved").await;
    let before = lab.world.lock().acknowledged.len();
    while lab.world.lock().acknowledged.len() < before + 20 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    lab.rollback(&Fuse::default()).await.expect("it moves back");
    lab.holds(Side::Source, "moved back").await;
    let again = lab.rollback(&Fuse::default()).await.expect("it is back");
    assert!(again.text.contains("already"), "{}", again.text);
    lab.finish(&Fuse::default()).await.expect("it finishes");
    lab.holds(Side::Source, "finished").await;
    let world = lab.world.lock();
    assert!(world.source.objects.is_empty(), "{:?}", world.source.objects);
    let rules = std::fs::read_to_string(world.source.dir.join("hba")).expect("read");
    assert_eq!(rules, "local all all trust\n");
    assert!(!world.source.signal().exists() && world.target.signal().exists(), "who comes up as what");
}

/// Somebody dies on the way back; it ends on either side, whole.
async fn story_back(who: &'static str, n: u32) {
    let what = format!("{who} dies at {n} on the way back");
    let lab = Lab::new(|name| if name == who { n } else { 0 }).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.cutover(&Fuse::default()).await.expect("it moves");
    let controller = Fuse::at(if who == "controller" { n } else { 0 });
    let mut said = vec![format!("{:?}", lab.rollback(&controller).await)];
    lab.somebody_serves(&what).await;
    for _ in 0..6 {
        let session = lab.session(Fuse::default());
        let (_, there) = session.read(&lab.name).expect("it is there");
        let back = session.read(&lab.name.back()).map(|(_, status)| status).unwrap_or_default();
        let (side, other) = match (there.milestone, back.milestone) {
            (Some(Milestone::MovedBack), _) => (Side::Source, Side::Target),
            (Some(Milestone::Moved), Some(Milestone::TakenBack)) => (Side::Target, Side::Source),
            // It died before anything had begun.
            (Some(Milestone::Moved), None) if back.steps.is_empty() => (Side::Target, Side::Source),
            _ => {
                said.push(format!("{:?}", lab.resume(&Fuse::default()).await));
                continue;
            }
        };
        lab.holds(side, &what).await;
        lab.finish(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: finish: {halt}"));
        lab.holds(side, &what).await;
        assert!(lab.world.lock().db(other).signal().exists(), "{what}: whoever starts the other gets a second primary");
        return;
    }
    panic!("{what}: comes to no end: {}\n{:?}", said.join("\n"), lab.world.lock());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_dies_on_the_way_back_it_ends_on_one_side_with_everything() {
    let lab = Lab::new(|_| 0).await;
    lab.start(&Fuse::default()).await.expect("it follows");
    lab.cutover(&Fuse::default()).await.expect("it moves");
    let seen = |lab: &Lab| lab.fuses.iter().map(|(name, fuse)| (*name, fuse.seen().len() as u32)).collect::<Vec<_>>();
    let (before, controller) = (seen(&lab), Fuse::at(0));
    lab.rollback(&controller).await.expect("it moves back");
    let mut cases: Vec<(&'static str, u32)> = (1..=controller.seen().len() as u32).map(|n| ("controller", n)).collect();
    for ((who, there), (_, back)) in before.into_iter().zip(seen(&lab)) {
        assert!(back > there + 5, "{who} passes {there} points there and {back} in all");
        cases.extend((there + 1..=back).map(|n| (who, n)));
    }
    all(cases, 8, |(who, n)| story_back(who, n)).await;
}

/// How a story goes on after somebody died.
#[derive(Clone, Copy, Debug)]
enum Then {
    Resume,
    GoBack,
}

/// From wherever it stopped to one of the two ends.
async fn to_the_end(lab: &Lab, then: Then, second: &Fuse, what: &str) {
    let mut said = Vec::new();
    for round in 0..6 {
        let fuse = if round == 0 { second.clone() } else { Fuse::default() };
        let (_, status) = match lab.session(Fuse::default()).read(&lab.name) {
            Ok(read) => read,
            Err(failure) if failure.code == "NO_MIGRATION" => {
                lab.start(&fuse).await.ok();
                continue;
            }
            Err(failure) => panic!("{what}: {failure}"),
        };
        let follows = status.is_done(&"follow".parse().expect("a step"));
        let result = match (status.milestone, then) {
            (Some(Milestone::Moved), _) => {
                lab.holds(Side::Target, what).await;
                lab.finish(&Fuse::default()).await.unwrap_or_else(|halt| panic!("{what}: finish: {halt}"));
                lab.holds(Side::Target, what).await;
                return;
            }
            (Some(Milestone::Finished), _) => return lab.holds(Side::Target, what).await,
            (Some(Milestone::AsItWas), _) => {
                lab.holds(Side::Source, what).await;
                lab.is_as_it_was(what);
                return;
            }
            (Some(Milestone::Following), Then::Resume) => lab.cutover(&fuse).await,
            (Some(Milestone::TakenBack), Then::Resume) if follows => lab.cutover(&fuse).await,
            (_, Then::Resume) => lab.resume(&fuse).await,
            (_, Then::GoBack) => match lab.rollback(&fuse).await {
                // Past the point of no return there is one way.
                Err(halt) if halt.to_string().contains("POINT_OF_NO_RETURN") => lab.resume(&fuse).await,
                result => result,
            },
        };
        if let Err(halt) = result {
            said.push(format!("{halt}"));
            assert!(halt.exit() != Exit::Unknown || round < 5, "{what}: {halt}");
        }
    }
    let read = lab.session(Fuse::default()).read(&lab.name);
    let steps = read.map(|(_, status)| (status.milestone, status.steps));
    panic!("{what}: comes to no end: {}\n{steps:?}\n{:?}", said.join("\n"), lab.world.lock());
}

async fn story(who: &'static str, n: u32, then: Then, again: u32) {
    let what = format!("{who} dies at {n}, then {then:?}, and again at {again}");
    let lab = Lab::new(|name| if name == who { n } else { 0 }).await;
    let controller = Fuse::at(if who == "controller" { n } else { 0 });
    if lab.start(&controller).await.is_ok() {
        lab.cutover(&controller).await.ok();
    }
    lab.somebody_serves(&what).await;
    Box::pin(to_the_end(&lab, then, &Fuse::at(again), &what)).await;
}

/// How many points each of them passes in a move that nothing disturbs.
async fn points() -> Vec<(&'static str, u32)> {
    let lab = Lab::new(|_| 0).await;
    let controller = Fuse::at(0);
    lab.start(&controller).await.expect("it follows");
    lab.cutover(&controller).await.expect("it moves");
    let mut points: Vec<_> = lab.fuses.iter().map(|(name, fuse)| (*name, fuse.seen().len() as u32)).collect();
    points.push(("controller", controller.seen().len() as u32));
    points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_dies_at_whatever_point_it_ends_moved_or_as_it_was() {
    let points = points().await;
    assert_eq!(points.len(), AGENTS.len() + 1);
    let mut cases = Vec::new();
    for (who, count) in points {
        assert!(count > 10, "{who} passes {count} points");
        for n in 1..=count {
            cases.push((who, n, if n % 2 == 0 { Then::Resume } else { Then::GoBack }, 0));
        }
    }
    all(cases, 8, |(who, n, then, again)| story(who, n, then, again)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_controller_may_die_again_on_the_way_to_the_end() {
    let points = points().await;
    let mut cases = Vec::new();
    for (who, count) in points {
        for (at, n) in (1..=count).step_by(3).enumerate() {
            let then = if at % 2 == 0 { Then::GoBack } else { Then::Resume };
            cases.push((who, n, then, 1 + (at as u32 * 5) % 23));
        }
    }
    all(cases, 8, |(who, n, then, again)| story(who, n, then, again)).await;
}
