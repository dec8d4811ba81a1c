//! Power cuts and pulled cables at exact points, on hosts of their own with systemd and PostgreSQL 17, MariaDB 11.8 or MySQL:
//! `tests/hosts/lab`, whose disks lose what was not synced. Minutes long, and as root: `make test-faults`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on ends there; what it measured is shown on request"
)]

mod hosts;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use flytt::spec::Engine;

use hosts::{
    Cell,
    Fault::{Cable, Power},
    LONGEST, Lab, NEW, OLD,
    Role::{Source, Target},
    regulars::{Accounts, POOL, Regulars, Session},
};

const CELLS: [Cell; 14] = [
    (Source, "after ledger began cut-fence", Power(Source), false),
    (Source, "before ledger done cut-fence", Power(Source), false),
    (Source, "after ledger done cut-fence", Power(Target), true),
    (Target, "before ledger done cut-catch-up", Power(Target), true),
    (Target, "after ledger began cut-promote", Power(Source), false),
    (Target, "before ledger done cut-promote", Power(Target), true),
    (Target, "before ledger done cut-promote", Cable(Target), true),
    (Source, "after ledger began cut-surrender", Power(Source), false),
    (Source, "before ledger done cut-surrender", Power(Target), false),
    (Source, "after ledger done cut-surrender", Power(Source), false),
    (Target, "after ledger began cut-open", Power(Target), false),
    (Target, "before ledger done cut-open", Power(Target), false),
    (Target, "after ledger done cut-open", Power(Source), true),
    (Source, "before ledger done cut-fence", Cable(Source), false),
];

/// There and back, and anew when there is nothing more to move back.
fn play(engine: Engine, cells: &[Cell]) {
    let mut lab = Lab::following(engine);
    let mut count = 0;
    for cell in cells {
        if lab.milestone().0 == "moved_back" {
            count += lab.nothing_is_lost();
            lab.must(&["on", "client", "flytt", "finish", "shop"]);
            drop(lab);
            lab = Lab::following(engine);
        }
        lab.play(*cell);
        lab.nothing_is_lost();
    }
    count += lab.nothing_is_lost();
    println!("{}: {} power cuts and pulled cables, {count} acknowledged, 0 lost", engine.title(), cells.len());
}

#[test]
#[ignore = "long, and as root: make test-faults"]
fn a_power_cut_or_a_pulled_cable_at_any_step_loses_nothing() {
    play(Engine::Postgres, &CELLS);
}

#[test]
#[ignore = "long, and as root: make test-faults"]
fn a_power_cut_of_a_mariadb_host_loses_nothing() {
    play(Engine::Mariadb, &CELLS);
}

#[test]
#[ignore = "long, and as root: make test-faults"]
fn a_power_cut_of_a_mysql_host_loses_nothing() {
    play(Engine::Mysql, &CELLS);
}

/// Between source and target a packet takes 10 ms each way and one in two hundred never arrives; the router is near to neither. The
/// target's disk and processor are slow.
#[test]
#[ignore = "long, and as root: make test-faults"]
fn a_move_over_a_slow_and_lossy_road_to_a_throttled_host_takes_long_and_loses_nothing() {
    let lab = Lab::of(Engine::Postgres);
    // Beside the application's few rows: enough for road and disk to count.
    let stock = "CREATE TABLE stock AS SELECT id, repeat(md5(id::text), 30) AS body FROM generate_series(1, 30000) id";
    lab.answer(OLD, stock);
    let whole = "SELECT count(*), md5(string_agg(body, '' ORDER BY id)) FROM stock";
    let before = lab.answer(OLD, whole);
    for slow in [["slow", OLD, NEW, "10", "0.5"], ["slow", "lb-1", NEW, "5", "0.5"], ["slow", "lb-1", OLD, "5", "0.5"]] {
        lab.must(&slow);
    }
    lab.must(&["throttle", NEW, "disk", "8M"]);
    lab.must(&["throttle", NEW, "cpu", "50%"]);
    let begun = Instant::now();
    lab.must(&["on", "client", "flytt", "start", "shop.toml"]);
    println!("a slow road: follows after {:?}", begun.elapsed());
    assert!(lab.counter(OLD, "Tcp", "RetransSegs") > 0, "the road loses nothing");
    for (verb, milestone) in [("cutover", "moved"), ("rollback", "moved_back")] {
        let begun = Instant::now();
        while lab.milestone().0 != milestone {
            let ended = lab.run(&["on", "client", "flytt", verb, "shop"]);
            let said = String::from_utf8_lossy(&ended.stderr);
            println!("a slow road: {verb}: exit {:?}", ended.status.code());
            assert!(matches!(ended.status.code(), Some(0 | 6)), "{verb}: {said}\n{}", lab.journals());
            assert!(begun.elapsed() < Duration::from_mins(5), "{verb}: not in {:?}\n{}", begun.elapsed(), lab.journals());
            lab.served_within(LONGEST, verb);
            if ended.status.code() == Some(6) {
                // It was not within `max_outage`: as it was before, and served.
                lab.comes_to_rest(verb);
            }
        }
        lab.one_accepts_writes(verb);
        let count = lab.nothing_is_lost();
        println!(
            "a slow road: {milestone}, {count} acknowledged, 0 lost, never silent for longer than {:?}",
            lab.longest_silence()
        );
        let holder = if milestone == "moved" { NEW } else { OLD };
        assert_eq!(lab.answer(holder, whole), before, "what was there before the move");
    }
    assert!(lab.longest_silence() < LONGEST, "{:?}", lab.longest_silence());
}

/// The application has a pooler of its own, which lends sessions for a transaction and goes through the router.
#[test]
#[ignore = "long, and as root: make test-faults"]
fn a_move_behind_a_pooler_loses_nothing_and_its_clients_stay() {
    let lab = Lab::pooled();
    let psql = lab.pooled_session();
    let mut resting = Session::open(psql());
    let mut who_answers = || resting.ask("SELECT host(inet_server_addr());").unwrap_or_else(|said| panic!("{said:?}")).concat();
    let address = |host| lab.must(&["on", "client", "getent", "hosts", host]).split(' ').next().unwrap_or_default().to_owned();
    assert_eq!(who_answers(), address(OLD));
    // Warnings alone are 10.
    let check = lab.run(&["on", "client", "flytt", "check", "shop.toml"]);
    assert!(matches!(check.status.code(), Some(0 | 10)), "{}", String::from_utf8_lossy(&check.stdout));
    lab.must(&["on", "client", "flytt", "start", "shop.toml"]);
    let mut all = Vec::new();
    for (verb, from, to) in [("cutover", OLD, NEW), ("rollback", NEW, OLD)] {
        lab.answer(from, &Regulars::make(verb));
        let regulars = Regulars::start(verb, 6, psql.clone());
        sleep(Duration::from_secs(2));
        let lent = lab.answer(from, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop'");
        let lent: usize = lent.trim().parse().unwrap();
        assert!((1..=POOL).contains(&lent), "{lent} sessions on the server, of a pool of {POOL}");
        let begun = Instant::now();
        lab.must(&["on", "client", "flytt", verb, "shop"]);
        let took = begun.elapsed();
        lab.served_within(LONGEST, verb);
        sleep(Duration::from_secs(1));
        let account = regulars.stop();
        lab.comes_to_rest(verb);
        lab.one_accepts_writes(verb);
        lab.nothing_is_lost();
        all.push(account);
        for account in &all {
            account.are_there_once(&lab.answer(to, &account.rows()));
        }
        // The client's session is the one from before the move; what it is lent is on the other server.
        assert_eq!(who_answers(), address(to));
        let (account, count) = (&all[all.len() - 1], all.iter().map(Accounts::taken).sum::<usize>());
        let (of_all, of_one) = account.longest_gaps(begun);
        println!(
            "behind a pooler: {verb} in {took:?}, {count} acknowledged, 0 lost; longest gap {of_all:?}, of one session {of_one:?}; \
             not acknowledged: {:?}",
            account.refused()
        );
        assert!(of_one < LONGEST, "{of_one:?}");
        // Who was lent none of the sessions that were ended has not noticed it.
        let refused: usize = account.refused().values().sum();
        assert!(refused <= POOL, "{refused} of a pool of {POOL}");
    }
    println!("behind a pooler: sessions of one write each were never without one for longer than {:?}", lab.longest_silence());
    lab.must(&["on", "client", "flytt", "finish", "shop"]);
    lab.served_within(LONGEST, "after the move");
}

#[test]
#[ignore = "long, and as root: make test-faults"]
fn what_the_lab_does_to_its_hosts_is_felt_there() {
    let lab = Lab::of(Engine::Postgres);
    let is_reached = |from, to| lab.run(&["on", from, "ping", "-qc", "3", "-i", "0.1", "-W", "1", to]).status.success();
    let heard = |from, to| {
        let before = lab.counter(to, "Icmp", "InEchos");
        is_reached(from, to);
        lab.counter(to, "Icmp", "InEchos") > before
    };
    assert!(heard(OLD, NEW) && heard(NEW, OLD));
    lab.must(&["oneway", OLD, NEW]);
    assert!(heard(OLD, NEW) && !heard(NEW, OLD) && is_reached("lb-1", OLD) && is_reached("lb-1", NEW));
    lab.must(&["split", NEW, OLD]);
    assert!(!heard(OLD, NEW) && !heard(NEW, OLD) && is_reached("lb-1", OLD) && is_reached("lb-1", NEW));
    // A road that is slow is shut all the same.
    lab.must(&["slow", OLD, NEW, "20", "0"]);
    assert!(!heard(OLD, NEW) && !heard(NEW, OLD));
    lab.must(&["join", OLD, NEW]);
    assert!(is_reached(OLD, NEW));
    let takes = |from, to| timed(|| assert!(lab.run(&["on", from, "ping", "-qc", "1", to]).status.success()));
    lab.must(&["slow", OLD, NEW, "300", "0"]);
    let (slow, other) = (takes(OLD, NEW), takes(OLD, "lb-1"));
    assert!(slow > Duration::from_millis(600) && other < Duration::from_millis(500), "{slow:?}, past it {other:?}");
    lab.must(&["slow", OLD, NEW, "0", "100"]);
    assert!(!is_reached(OLD, NEW));
    lab.must(&["join", OLD, NEW]);

    let write = "dd if=/dev/zero of=/var/lib/postgresql/x bs=1M count=6 conv=fsync; rm /var/lib/postgresql/x";
    let count = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done";
    let takes = |what| timed(|| drop(lab.must(&["on", NEW, "sh", "-ec", what])));
    let (disk, processor) = (takes(write), takes(count));
    lab.must(&["throttle", NEW, "disk", "3M"]);
    lab.must(&["throttle", NEW, "cpu", "20%"]);
    for power in ["on", "cut and given back"] {
        assert!(takes(write) > disk.max(Duration::from_secs(1)), "a disk with its power {power}");
        let slow = takes(count);
        assert!(slow > processor * 2, "a processor with its power {power}: {slow:?}, and {processor:?}");
        if power == "on" {
            lab.must(&["cut", NEW]);
            lab.must(&["boot", NEW]);
        }
    }
    lab.must(&["throttle", NEW, "off"]);
    assert!(takes(write) < Duration::from_secs(1));

    lab.must(&["fill", NEW]);
    assert!(!lab.run(&["on", NEW, "sh", "-ec", write]).status.success(), "there is room");
    lab.must(&["free", NEW]);
    lab.must(&["on", NEW, "sh", "-ec", write]);
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
