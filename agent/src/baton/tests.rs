//! The orders and refusals that people and other modules rely on, one by one. That the guards suffice is `model`'s.

use flytt_proto::name::Lsn;

use super::*;

const JOURNAL: &str = "00112233445566778899aabbccddeeff";
const OTHER_JOURNAL: &str = "ffeeddccbbaa99887766554433221100";

fn host() -> HostName {
    "db".parse().unwrap()
}

fn at(lsn: u64) -> Position {
    Position::Postgres(Lsn(lsn))
}

fn source() -> Baton {
    Baton::source("shop".parse().unwrap())
}

fn target() -> Baton {
    Baton::target("shop".parse().unwrap(), JOURNAL)
}

fn charge(epoch: u64) -> Command {
    Command::TakeCharge { epoch: Epoch(epoch) }
}

fn claim(kind: Kind, epoch: u64, lsn: Option<u64>, journal: Option<&str>) -> Claim {
    let (position, journal) = (lsn.map(at), journal.map(str::to_owned));
    Claim { kind, migration: "shop".parse().unwrap(), epoch: Epoch(epoch), position, journal, signer: host() }
}

fn fence_proof(epoch: u64, lsn: u64) -> Claim {
    claim(Kind::FenceProof, epoch, Some(lsn), None)
}

fn closed_proof(epoch: u64, lsn: u64) -> Claim {
    claim(Kind::ClosedProof, epoch, Some(lsn), Some(JOURNAL))
}

fn permit(epoch: u64) -> Claim {
    claim(Kind::Permit, epoch, Some(100), Some(JOURNAL))
}

fn receipt(epoch: u64) -> Claim {
    claim(Kind::BurnReceipt, epoch, None, Some(JOURNAL))
}

fn surrender(epoch: u64, closed: Claim) -> Command {
    Command::Surrender { epoch: Epoch(epoch), closed, lease_left: Duration::from_secs(2), margin: Duration::from_secs(1) }
}

fn promote(epoch: u64, fence: Claim, applied: u64) -> Command {
    Command::Promote { epoch: Epoch(epoch), fence, applied: at(applied) }
}

/// The baton after all of `commands`, folded from events that went through their written form.
fn played(mut baton: Baton, commands: impl IntoIterator<Item = Command>) -> Baton {
    for command in commands {
        let event = baton.decide(&command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        let json = serde_json::to_string(&event.expect("something new")).unwrap();
        baton = baton.after(&serde_json::from_str(&json).unwrap()).unwrap();
    }
    baton
}

fn fenced(epoch: u64) -> Baton {
    let epoch_ = Epoch(epoch);
    played(source(), [charge(epoch), Command::Fence { epoch: epoch_ }, Command::Shut, Command::Fenced { position: at(100) }])
}

fn surrendered(epoch: u64) -> Baton {
    played(fenced(epoch), [surrender(epoch, closed_proof(epoch, 100))])
}

fn closed(epoch: u64) -> Baton {
    played(target(), [charge(epoch), promote(epoch, fence_proof(epoch, 100), 100), Command::Closed { applied: at(120) }])
}

fn burned(epoch: u64) -> Baton {
    played(closed(epoch), [Command::Burn { epoch: Epoch(epoch) }, Command::Down])
}

fn refused(baton: &Baton, command: Command) -> String {
    let refusal = baton.decide(&command).expect_err("refused");
    assert!(!refusal.remedy.is_empty() && refusal.effect == flytt_proto::failure::Effect::None);
    refusal.code
}

#[test]
fn a_cutover_goes_its_way_and_each_side_may_say_what_it_recorded() {
    let source = fenced(1);
    assert_eq!((source.phase(), source.stance(), source.is_leased()), (Phase::Fenced, Stance::Shut, true));
    assert_eq!(source.statement(&host()), Some(fence_proof(1, 100)));
    let target = played(target(), [charge(1), promote(1, source.statement(&host()).unwrap(), 110)]);
    assert_eq!((target.phase(), target.stance(), target.statement(&host())), (Phase::Promoting, Stance::Shut, None));
    let target = played(target, [Command::Closed { applied: at(120) }]);
    assert_eq!(target.statement(&host()), Some(closed_proof(1, 120)));
    let source = played(source, [surrender(1, target.statement(&host()).unwrap())]);
    assert_eq!((source.phase(), source.stance(), source.is_leased()), (Phase::Surrendered, Stance::ShutForGood, false));
    assert_eq!(source.statement(&host()), Some(permit(1)));
    let target = played(target, [Command::Open { permit: source.statement(&host()).unwrap() }]);
    assert_eq!((target.phase(), target.stance()), (Phase::Open, Stance::Open));
    let source = played(source, [Command::Retire { open: target.statement(&host()).unwrap() }]);
    assert_eq!(
        (source.phase(), source.stance(), source.statement(&host())),
        (Phase::Retired, Stance::ShutForGood, Some(permit(1)))
    );
}

#[test]
fn a_fence_that_ends_raises_the_epoch_in_the_very_event_that_lets_it_go() {
    for command in [Command::LeaseEnded, Command::Abort { epoch: Epoch(4) }] {
        let before = fenced(4);
        let event = before.decide(&command).unwrap().unwrap();
        assert_eq!(event, BatonEvent::Reclaimed { epoch: Epoch(5) });
        assert!(before.after(&BatonEvent::Reclaimed { epoch: Epoch(4) }).is_err(), "no way back without a higher epoch");
        let after = before.after(&event).unwrap();
        assert_eq!((after.phase(), after.stance(), after.epoch()), (Phase::Serving, Stance::Open, Epoch(5)));
        assert_eq!(refused(&after, surrender(4, closed_proof(4, 100))), "BATON_ORDER");
        assert_eq!(refused(&after, Command::Fence { epoch: Epoch(4) }), "EPOCH_SPENT");
        assert_eq!(after.decide(&Command::Abort { epoch: Epoch(4) }), Ok(None), "taken back already");
        assert_eq!(played(after, [charge(5), Command::Fence { epoch: Epoch(5) }]).phase(), Phase::Fencing);
    }
}

#[test]
fn after_surrender_neither_time_nor_a_controller_brings_it_back() {
    let source = surrendered(1);
    assert_eq!(refused(&source, Command::LeaseEnded), "POINT_OF_NO_RETURN");
    assert_eq!(refused(&source, Command::Abort { epoch: Epoch(1) }), "POINT_OF_NO_RETURN");
    let taken_over = played(source, [charge(9)]);
    assert_eq!((taken_over.epoch(), taken_over.command_epoch()), (Epoch(1), Epoch(9)));
    assert_eq!(refused(&taken_over, Command::Abort { epoch: Epoch(9) }), "POINT_OF_NO_RETURN");
    assert_eq!(taken_over.decide(&surrender(9, closed_proof(1, 100))), Ok(None), "a resumed controller may have it re-issued");
    assert_eq!(taken_over.statement(&host()), Some(permit(1)));

    for (wrong, code) in [
        (permit(1), "NOT_A_BURN_RECEIPT"),
        (receipt(0), "RECEIPT_EPOCH"),
        (Claim { journal: Some(OTHER_JOURNAL.into()), ..receipt(1) }, "RECEIPT_JOURNAL"),
        (Claim { migration: "bank".parse().unwrap(), ..receipt(1) }, "OTHER_MIGRATION"),
    ] {
        assert_eq!(refused(&taken_over, Command::Return { receipt: wrong }), code);
    }
    let back = played(taken_over, [Command::Return { receipt: receipt(3) }]);
    assert_eq!((back.phase(), back.stance(), back.epoch()), (Phase::Serving, Stance::Open, Epoch(10)));
}

#[test]
fn the_right_is_given_only_to_a_target_that_has_everything_and_in_time() {
    for (wrong, code) in [
        (closed_proof(1, 99), "PROOF_BEHIND"),
        (closed_proof(2, 100), "PROOF_EPOCH"),
        (fence_proof(1, 100), "NOT_A_CLOSED_PROOF"),
        (Claim { migration: "bank".parse().unwrap(), ..closed_proof(1, 100) }, "OTHER_MIGRATION"),
    ] {
        assert_eq!(refused(&fenced(1), surrender(1, wrong)), code);
    }
    let margin = Duration::from_secs(1);
    let late = |lease_left| Command::Surrender { epoch: Epoch(1), closed: closed_proof(1, 100), lease_left, margin };
    assert_eq!(refused(&fenced(1), late(margin - Duration::from_millis(1))), "LEASE_TOO_SHORT");
    assert!(fenced(1).decide(&late(margin)).is_ok());
    assert_eq!(surrendered(1).decide(&late(Duration::ZERO)), Ok(None), "given away already: no lease runs");
}

#[test]
fn the_final_position_counts_only_after_writes_were_refused() {
    let fencing = played(source(), [charge(1), Command::Fence { epoch: Epoch(1) }]);
    assert_eq!(refused(&fencing, Command::Fenced { position: at(1) }), "FINAL_TOO_EARLY");
    assert_eq!(fencing.decide(&Command::Fence { epoch: Epoch(1) }), Ok(None));
    assert_eq!(refused(&source(), Command::Shut), "BATON_ORDER");
    assert_eq!(refused(&fenced(1), Command::Fenced { position: at(101) }), "BATON_ORDER", "it is said once");
}

#[test]
fn a_target_promotes_only_what_is_complete_and_of_this_epoch() {
    let target = played(target(), [charge(2)]);
    for (fence, applied, code) in [
        (fence_proof(2, 100), 99, "BEHIND_FINAL"),
        (fence_proof(1, 100), 100, "PROOF_EPOCH"),
        (fence_proof(3, 100), 100, "PROOF_EPOCH"),
        (closed_proof(2, 100), 100, "NOT_A_FENCE_PROOF"),
        (Claim { migration: "bank".parse().unwrap(), ..fence_proof(2, 100) }, 100, "OTHER_MIGRATION"),
    ] {
        assert_eq!(refused(&target, promote(2, fence, applied)), code);
    }
    let promoting = played(target, [promote(2, fence_proof(2, 100), 100)]);
    assert_eq!(refused(&promoting, Command::Closed { applied: at(99) }), "BEHIND_FINAL");
    assert_eq!(promoting.decide(&promote(2, fence_proof(2, 100), 100)), Ok(None));
}

#[test]
fn a_target_opens_only_on_its_own_permit_and_never_after_a_burn() {
    for (wrong, code) in [
        (closed_proof(1, 100), "NOT_A_PERMIT"),
        (permit(2), "PERMIT_EPOCH"),
        (Claim { journal: Some(OTHER_JOURNAL.into()), ..permit(1) }, "PERMIT_JOURNAL"),
        (Claim { migration: "bank".parse().unwrap(), ..permit(1) }, "OTHER_MIGRATION"),
    ] {
        assert_eq!(refused(&closed(1), Command::Open { permit: wrong }), code);
    }
    let burning = played(closed(1), [Command::Burn { epoch: Epoch(1) }]);
    assert_eq!((burning.stance(), burning.statement(&host())), (Stance::Down, None), "no receipt before the database is down");
    assert_eq!(refused(&burning, Command::Open { permit: permit(1) }), "BURNED");
    assert_eq!(burned(1).statement(&host()), Some(receipt(1)));
    assert_eq!(refused(&burned(1), Command::Open { permit: permit(1) }), "BURNED");
    let again = played(burned(1), [Command::Reseed { epoch: Epoch(1) }]);
    assert_eq!(refused(&again, Command::Burn { epoch: Epoch(1) }), "BURN_EPOCH");
    assert_eq!(refused(&again, promote(1, fence_proof(1, 100), 100)), "EPOCH_BURNED");
    assert_eq!(played(again, [charge(2), promote(2, fence_proof(2, 100), 100)]).phase(), Phase::Promoting);
}

#[test]
fn what_is_open_is_never_burned() {
    let open = played(closed(1), [Command::Open { permit: permit(1) }, charge(5)]);
    assert_eq!(refused(&open, Command::Burn { epoch: Epoch(5) }), "OPEN");
    assert_eq!(open.decide(&Command::Open { permit: permit(1) }), Ok(None));
    assert_eq!(open.statement(&host()), Some(claim(Kind::OpenReceipt, 1, None, Some(JOURNAL))));
}

#[test]
fn a_forgotten_controller_is_refused_by_both_sides() {
    let old = Epoch(3);
    for baton in [played(source(), [charge(4)]), played(target(), [charge(4)])] {
        assert_eq!(refused(&baton, charge(3)), "STALE_EPOCH");
        assert_eq!(baton.decide(&charge(4)), Ok(None));
        for command in [Command::Fence { epoch: old }, Command::Abort { epoch: old }, Command::Burn { epoch: old }] {
            assert_eq!(refused(&baton, command), "STALE_EPOCH");
        }
        assert_eq!(refused(&baton, Command::Reseed { epoch: Epoch(5) }), "NOT_IN_CHARGE");
    }
    let adopted = played(fenced(4), [charge(6)]);
    assert_eq!(adopted.statement(&host()), Some(fence_proof(6, 100)), "adopted with the fence standing");
    assert_eq!(refused(&adopted, surrender(6, closed_proof(4, 100))), "PROOF_EPOCH");
}

#[test]
fn a_source_retires_only_for_the_target_it_gave_the_right_to() {
    let open = claim(Kind::OpenReceipt, 1, None, Some(JOURNAL));
    assert_eq!(refused(&surrendered(1), Command::Retire { open: permit(1) }), "NOT_AN_OPEN_RECEIPT");
    let other = Claim { journal: Some(OTHER_JOURNAL.into()), ..open.clone() };
    assert_eq!(refused(&surrendered(1), Command::Retire { open: other }), "RECEIPT_OTHER");
    assert_eq!(refused(&surrendered(2), Command::Retire { open: open.clone() }), "RECEIPT_OTHER");
    assert_eq!(refused(&fenced(1), Command::Retire { open: open.clone() }), "BATON_ORDER");
    let retired = played(surrendered(1), [Command::Retire { open: open.clone() }]);
    assert_eq!(retired.decide(&Command::Retire { open }), Ok(None));
    assert_eq!(refused(&retired, Command::Return { receipt: receipt(1) }), "BATON_ORDER");
}

#[test]
fn one_sides_commands_and_events_have_no_place_on_the_other() {
    assert_eq!(refused(&source(), Command::Open { permit: permit(1) }), "BATON_ORDER");
    assert_eq!(refused(&target(), Command::LeaseEnded), "BATON_ORDER");
    let refusal = source().after(&BatonEvent::Burned).expect_err("not a target");
    assert_eq!(refusal.sentence, r#""burned" cannot follow on SERVING"#);
}

/// What stands in ledgers that exist: these words stay readable.
#[test]
fn events_are_written_as_they_always_were() {
    for (event, json) in [
        (BatonEvent::Shut, r#"{"baton":"shut"}"#),
        (BatonEvent::Charged { epoch: Epoch(7) }, r#"{"baton":"charged","epoch":7}"#),
        (BatonEvent::Recovered { epoch: Epoch(1_000_001) }, r#"{"baton":"recovered","epoch":1000001}"#),
        (BatonEvent::Fenced { position: at(0x1_0000_0001) }, r#"{"baton":"fenced","position":{"postgres":"1/1"}}"#),
        (
            BatonEvent::Returned { receipt: receipt(1), epoch: Epoch(2) },
            r#"{"baton":"returned","receipt":{"kind":"burn_receipt","migration":"shop","epoch":1,"journal":"00112233445566778899aabbccddeeff","signer":"db"},"epoch":2}"#,
        ),
    ] {
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        assert_eq!(serde_json::from_str::<BatonEvent>(json).unwrap(), event);
    }
}

#[test]
fn only_between_surrender_and_opening_a_person_may_take_the_right_for_lost() {
    let recover = |epoch| Command::Recover { epoch: Epoch(epoch) };
    // Far beyond what is under way: the controller that asks has taken charge with it before.
    let source = played(surrendered(3), [charge(1_000_000), recover(1_000_000)]);
    assert_eq!((source.phase(), source.stance(), source.epoch()), (Phase::Serving, Stance::Open, Epoch(1_000_001)));
    assert_eq!(source.statement(&host()), None, "the permit is not given out any more");
    assert_eq!(source.decide(&recover(1_000_000)), Ok(None));
    let late = claim(Kind::OpenReceipt, 3, None, Some(JOURNAL));
    assert_eq!(refused(&source, Command::Retire { open: late }), "BATON_ORDER");

    let target = played(closed(3), [charge(1_000_000), recover(1_000_000)]);
    assert_eq!((target.phase(), target.stance(), target.epoch()), (Phase::Open, Stance::Open, Epoch(3)));
    assert_eq!(target.decide(&Command::Open { permit: permit(3) }), Ok(None), "a permit that turns up after all finds it open");
    let receipt = target.statement(&host()).expect("an open receipt");
    let source = played(surrendered(3), [Command::Retire { open: receipt }]);
    assert_eq!(source.phase(), Phase::Retired, "and its receipt retires the source that gave it");

    let promoting = played(target_in_charge(3), [promote(3, fence_proof(3, 100), 100)]);
    for baton in [played(source_in_charge(3), []), fenced(3), promoting, target_in_charge(3), burned(3)] {
        let already = baton.phase() == Phase::Serving;
        match baton.decide(&recover(3)) {
            Ok(event) => assert!(already && event.is_none(), "{:?} lets itself be taken for lost", baton.phase()),
            Err(refusal) => assert_eq!(refusal.code, "BATON_ORDER", "{:?}", baton.phase()),
        }
    }
    assert_eq!(refused(&surrendered(3), recover(2)), "STALE_EPOCH");
    assert_eq!(refused(&surrendered(3), recover(4)), "NOT_IN_CHARGE");
}

fn source_in_charge(epoch: u64) -> Baton {
    played(source(), [charge(epoch)])
}

fn target_in_charge(epoch: u64) -> Baton {
    played(target(), [charge(epoch)])
}
