//! The packages, installed by dpkg on hosts of their own with systemd (`tests/hosts/lab`): a host joins, a database moves, agents are
//! upgraded and purged. Minutes long, and as root: `make test-packages`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on ends there; what it measured is shown on request"
)]

#[allow(dead_code, reason = "each test uses a part of the hosts")]
mod hosts;

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use flytt::spec::Engine;

use hosts::{LONGEST, Lab, NEW, OLD};

const AGENT: &str = "/root/flytt-agent.deb";

/// What is there of flytt on a host, beside the operator's program and what a test put there.
fn left(lab: &Lab, host: &str) -> String {
    let find = "find /etc /usr /var /run -xdev -name '*flytt*' ! -path '/var/lib/dpkg/*' ! -path '*/flytt.list' | sort";
    lab.must(&["on", host, "sh", "-c", find])
}

fn upgrade(lab: &Lab, host: &str) -> (bool, String) {
    let ended = lab.run(&["on", host, "dpkg", "--install", AGENT]);
    (ended.status.success(), String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr))
}

fn process(lab: &Lab, host: &str, user: &str) -> String {
    lab.must(&["on", host, "systemctl", "show", "--value", "--property=MainPID", &format!("flytt-agent@{user}")])
}

/// On a machine that has had no agent: as its README.Debian says.
fn joins_and_goes(lab: &Lab) {
    let on = |command: &str| lab.must(&["on", "client", "sh", "-ec", command]);
    let listening = "ss -Hltn";
    let (before, silent) = (left(lab, "client"), on(listening));
    on(&format!("dpkg --install {AGENT}"));
    assert_eq!(on(listening), silent, "an installation opens no port");
    assert_eq!(on("systemctl list-units --all --plain --no-legend 'flytt-agent@*'"), "", "and starts nothing");
    assert_eq!(
        on("systemctl list-unit-files --no-legend 'flytt-agent@*' | awk '$2 == \"enabled\"'"),
        "",
        "or ever will by itself"
    );
    on(
        "printf 'listen = \"0.0.0.0:7431\"\nstate = \"/var/lib/flytt/postgres\"\nruntime = \"/run/flytt/postgres\"\n' >/etc/flytt/postgres.toml",
    );
    on("install -d -o postgres -g postgres -m 700 /var/lib/flytt/postgres");
    on("runuser -u postgres -- flytt-agent --config /etc/flytt/postgres.toml join >/tmp/code & \
        while ! grep -q ^code: /tmp/code; do sleep 0.1; done; sed -n 's/^code: //p' /tmp/code | flytt host add client client:7431; wait");
    on("systemctl enable --quiet --now flytt-agent@postgres");
    assert!(on("flytt doctor client").contains("nothing of flytt stands"));
    let agent = process(lab, "client", "postgres");
    let (done, said) = upgrade(lab, "client");
    assert!(done && process(lab, "client", "postgres") != agent, "an agent is restarted by an upgrade: {said}");
    assert!(on("flytt doctor client").contains("nothing of flytt stands"));
    on("flytt host remove client; dpkg --purge flytt-agent");
    assert_eq!(left(lab, "client"), before, "a purge leaves nothing");
    assert_eq!(on(listening), silent);
}

/// Fenced, the source is between C0 and C10.
fn is_not_exchanged_in_the_window(lab: &Lab) {
    let agent = process(lab, OLD, "postgres");
    let fuse = lab.fuse(OLD, "after ledger done cut-fence");
    let cutover = lab.begin(&["on", "client", "flytt", "cutover", "shop"]);
    let reached = fuse.with_file_name("fuse-reached");
    let begun = Instant::now();
    while !reached.exists() {
        assert!(begun.elapsed() < LONGEST * 4, "it does not come to its fence\n{}", lab.journals());
        sleep(Duration::from_millis(5));
    }
    let (done, said) = upgrade(lab, OLD);
    fs::remove_file(&fuse).expect("the fuse");
    assert!(!done && said.contains("shop is between C0 and C10: this source is fenced"), "{said}");
    assert_eq!(process(lab, OLD, "postgres"), agent, "it runs on");
    drop(cutover.wait_with_output());
    lab.comes_to_rest("an upgrade that was refused");
    lab.one_accepts_writes("an upgrade that was refused");
}

#[test]
#[ignore = "minutes long, and as root: make test-packages"]
fn what_is_installed_by_packages_moves_a_database_and_leaves_nothing() {
    assert!(std::env::var_os("FLYTT_PACKAGES").is_some(), "make test-packages makes them");
    let lab = Lab::of(Engine::Postgres);
    for (host, user) in [(OLD, "postgres"), (NEW, "postgres"), ("lb-1", "haproxy")] {
        lab.must(&["on", host, "systemd-analyze", "security", "--no-pager", "--threshold=15", &format!("flytt-agent@{user}")]);
    }
    joins_and_goes(&lab);

    lab.must(&["on", "client", "flytt", "start", "shop.toml"]);
    for host in [OLD, NEW] {
        let agent = process(&lab, host, "postgres");
        let (done, said) = upgrade(&lab, host);
        assert!(done && process(&lab, host, "postgres") != agent, "{host}: {said}");
    }
    lab.comes_to_rest("upgraded in the middle of replication");
    is_not_exchanged_in_the_window(&lab);
    while lab.milestone().0 == "following" {
        lab.run(&["on", "client", "flytt", "cutover", "shop"]);
        lab.comes_to_rest("a cutover");
    }
    // The server is its own unit's, not the agent's child.
    let unit = "systemctl show --value --property=ActiveState postgresql@17-main";
    assert_eq!(lab.must(&["on", NEW, "sh", "-c", unit]).trim(), "active");
    lab.nothing_is_lost();

    let said = lab.must(&["on", OLD, "dpkg", "--purge", "flytt-agent"]);
    assert!(said.contains("is kept") && said.contains("shop: retired"), "a purge names what is owed: {said}");
    assert!(upgrade(&lab, OLD).0, "and it can be had again");
    lab.must(&["on", OLD, "systemctl", "start", "flytt-agent@postgres"]);
    lab.must(&["on", "client", "flytt", "finish", "shop"]);
    lab.one_accepts_writes("finished");
    lab.nothing_is_lost();
    for host in [OLD, NEW, "lb-1"] {
        assert_eq!(lab.must(&["on", host, "sh", "-c", "systemctl list-units --failed --plain --no-legend"]), "", "{host}");
        lab.must(&["on", host, "dpkg", "--purge", "flytt-agent"]);
        // A database host's ledger is on a disk of its own here, whose place stays.
        let place = if host == "lb-1" { "" } else { "/var/lib/flytt\n" };
        assert_eq!(left(&lab, host), place, "{host}: a purge leaves nothing");
        assert_eq!(lab.must(&["on", host, "sh", "-c", "ls -A /var/lib/flytt 2>/dev/null || true"]), "");
    }
}

/// There, and everything removed: under the packaged unit the agent's hands are tied, whichever server it is.
fn moves(engine: Engine) {
    assert!(std::env::var_os("FLYTT_PACKAGES").is_some(), "make test-packages makes them");
    let lab = Lab::following(engine);
    while lab.milestone().0 == "following" {
        lab.run(&["on", "client", "flytt", "cutover", "shop"]);
        lab.comes_to_rest("a cutover");
    }
    lab.one_accepts_writes("moved");
    let count = lab.nothing_is_lost();
    lab.must(&["on", "client", "flytt", "finish", "shop"]);
    println!("{}: {count} acknowledged, 0 lost", engine.title());
}

#[test]
#[ignore = "minutes long, and as root: make test-packages"]
fn what_is_installed_by_packages_moves_a_mariadb() {
    moves(Engine::Mariadb);
}

#[test]
#[ignore = "minutes long, and as root: make test-packages"]
fn what_is_installed_by_packages_moves_a_mysql() {
    moves(Engine::Mysql);
}
