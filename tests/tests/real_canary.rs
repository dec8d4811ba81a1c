//! The canary on a real server behind a real HAProxy: what is done to them is what it must report.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, time::Duration};

use flytt::{
    canary::{self, Canary, Connection, History, Options, Outcome, Protocol, Record, Row, Verification},
    stage::{self, Stage},
};

struct Scene {
    stage: Stage,
    base: tempfile::TempDir,
}

async fn scene() -> Scene {
    let base = tempfile::Builder::new().prefix("canary").tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let options = stage::Options { base: base.path().into(), data_mib: 1, ..stage::Options::default() };
    let stage = Stage::build(&options, async |_, _, _, _| unreachable!("no agents")).await.expect("a stage");
    Scene { stage, base }
}

impl Scene {
    fn entrance(&self) -> Connection {
        self.stage.connection().expect("a way in")
    }

    /// Past the proxy, to the server itself.
    fn server(&self) -> Connection {
        self.entrance().at("127.0.0.1", self.stage.source.port())
    }

    async fn canary(&self) -> Canary {
        Canary::start(self.entrance(), Options { clients: 4, ..Options::default() }).await.expect("a canary")
    }

    async fn sql(&self, statements: &str) -> String {
        self.stage.source.sql("app", statements).await.expect("done")
    }

    async fn verify(&self, record: &Record) -> Verification {
        record.verify(&self.server()).await.expect("comparable")
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Waits until acknowledgements come again.
async fn recovered(canary: &Canary) {
    let before = canary.pulse().acknowledged;
    for _ in 0..1500 {
        if canary.pulse().acknowledged > before + 100 {
            return;
        }
        pause(20).await;
    }
    panic!("nothing is acknowledged any more: {:?}", canary.pulse());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_is_measured_and_loses_nothing_and_each_seeded_violation_is_found() {
    let scene = scene().await;
    let path = scene.base.path().join("ledger");
    let options = Options { clients: 4, ledger: Some(path.clone()), ..Options::default() };
    let canary = Canary::start(scene.entrance(), options).await.expect("a canary");
    recovered(&canary).await;
    scene.stage.source.stop_immediate().await.expect("stopped");
    pause(400).await;
    scene.stage.source.start().await.expect("started");
    recovered(&canary).await;
    let record = canary.stop().await;

    let report = &record.report;
    assert!(report.longest_gap.ms >= 400.0, "{report:?}");
    assert!(report.longest_gap_by_client.iter().all(|gap| gap.ms >= report.longest_gap.ms), "{report:?}");
    assert_eq!(report.sessions_cut, 4, "{report:?}");
    assert!(report.sessions_opened >= 8 && report.acknowledged > 40 && report.rate > 0.0, "{report:?}");
    assert_eq!(report.sent, report.acknowledged + report.maybe + report.refused);
    assert_eq!((report.servers.len(), report.server_changes), (1, 0));
    assert!(report.latency.count == report.acknowledged && report.latency_around_gap.count > 0);
    let clean = scene.verify(&record).await;
    assert!(clean.is_clean(), "{clean:?}");
    assert!(clean.acknowledged > report.acknowledged, "some are of two rows");
    assert_eq!(clean.server, report.servers[0].server);

    // The file alone tells the same, as it must after the canary was killed.
    let acknowledged = |history: &History| {
        let all = history.writers.iter().flatten();
        all.filter(|write| matches!(write.outcome, Outcome::Acknowledged { .. })).count()
    };
    assert_eq!(acknowledged(&History::from_file(&path).expect("readable")), acknowledged(&record.history));

    // Now the data is damaged, one way after the other. What a checker never found, it cannot find.
    let first = |rows| {
        let fits = |write: &&canary::Write| write.rows == rows && matches!(write.outcome, Outcome::Acknowledged { .. });
        record.history.writers[1].iter().find(fits).expect("one acknowledged").seq
    };
    let (single, pair) = (first(1), first(2));
    let row = |seq| Row { writer: 1, seq };
    scene.sql(&format!("DELETE FROM flytt_canary.written WHERE writer = 1 AND seq = {single}")).await;
    let lost = scene.verify(&record).await;
    assert_eq!((lost.is_clean(), &lost.lost[..]), (false, &[row(single)][..]));

    scene.sql("INSERT INTO flytt_canary.written VALUES (1, 1000000, 'elsewhere')").await;
    let strange = scene.verify(&record).await;
    assert_eq!((strange.is_clean(), &strange.never_sent[..]), (false, &["1/1000000".to_owned()][..]));

    scene.sql(&format!("DELETE FROM flytt_canary.written WHERE writer = 1 AND seq = {}", pair + 1)).await;
    let torn = scene.verify(&record).await;
    assert_eq!((torn.is_clean(), &torn.torn[..]), (false, &[row(pair)][..]));
    assert_eq!(BTreeSet::from_iter(torn.lost), BTreeSet::from([row(single), row(pair + 1)]));

    scene
        .sql(&format!(
            "ALTER TABLE flytt_canary.written DROP CONSTRAINT written_pkey; \
             INSERT INTO flytt_canary.written SELECT * FROM flytt_canary.written WHERE writer = 1 AND seq = {pair}"
        ))
        .await;
    let doubled = scene.verify(&record).await;
    assert_eq!((doubled.is_clean(), &doubled.doubled[..]), (false, &[row(pair)][..]));

    record.clean_up().await.expect("cleaned up");
    assert_eq!(scene.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'flytt_canary'").await, "0");
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_being_turned_away_is_counted_apart() {
    let scene = scene().await;

    // Held: new connections and answers only wait. No failure, but a gap.
    let canary = scene.canary().await;
    scene.stage.proxy.process().pause();
    pause(1000).await;
    scene.stage.proxy.process().resume();
    recovered(&canary).await;
    let held = canary.stop().await;
    assert!(held.report.longest_gap.ms >= 900.0, "{:?}", held.report);
    assert_eq!((held.report.sessions_cut, held.report.connects.failed(), held.report.maybe), (0, 0, 0), "{:?}", held.report);
    assert!(scene.verify(&held).await.is_clean());

    // A second canary does not write into the first one's table, and what a dead one left can be removed.
    let second = Canary::start(scene.entrance(), Options::default()).await.expect_err("there is one");
    assert_eq!(second.code, "CANARY_EXISTS");
    canary::clean_up(&scene.entrance()).await.expect("removed");

    // The proxy is gone for 200 ms: nobody listens.
    let canary = scene.canary().await;
    scene.stage.proxy.process().kill_hard();
    pause(50).await;
    recovered(&canary).await;
    let record = canary.stop().await;
    let connects = &record.report.connects;
    assert!(connects.refused > 0 && connects.logins_refused.is_empty() && connects.closed_in_login == 0, "{:?}", record.report);
    assert_eq!(record.report.sessions_cut, 4);
    assert!(scene.verify(&record).await.is_clean());
    record.clean_up().await.expect("cleaned up");

    // The server's access file turns the application away, and its sessions are ended: a fence.
    let canary = scene.canary().await;
    let hba = scene.stage.source.hba_file();
    let open = std::fs::read_to_string(&hba).expect("readable");
    let edit = |text: String| {
        let file = std::fs::OpenOptions::new().write(true).truncate(true).open(&hba);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).expect("written");
    };
    edit(format!("host all app 127.0.0.1/32 reject\n{open}"));
    scene.sql("SELECT pg_reload_conf(); SELECT pg_sleep(0.2); SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'").await;
    pause(500).await;
    edit(open);
    scene.sql("SELECT pg_reload_conf()").await;
    recovered(&canary).await;
    let record = canary.stop().await;
    let connects = &record.report.connects;
    assert!(record.report.longest_gap.ms >= 400.0, "{:?}", record.report);
    assert_eq!(connects.logins_refused.keys().collect::<Vec<_>>(), ["28000"], "{:?}", record.report);
    assert_eq!((connects.refused, connects.closed_in_login, record.report.sessions_cut), (0, 0, 4), "{:?}", record.report);
    assert!(scene.verify(&record).await.is_clean());
    record.clean_up().await.expect("cleaned up");

    // No server is up any more: the proxy closes what it accepts. The canary ends all the same, and what is lost with the
    // server is only in question, not acknowledged.
    let canary = scene.canary().await;
    scene.stage.source.stop_immediate().await.expect("stopped");
    pause(6000).await;
    let record = canary.stop().await;
    let report = &record.report;
    assert!(report.connects.closed_in_login > 0 && report.connects.refused == 0, "{report:?}");
    assert!(report.longest_gap.ms >= 5000.0, "{report:?}");
    let unreachable = record.verify(&scene.server()).await.expect_err("the server is down");
    assert_eq!(unreachable.code, "CANARY_UNREACHABLE");
    scene.stage.source.start().await.expect("started");
    assert!(scene.verify(&record).await.is_clean());
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_log_in_or_make_a_schema_is_refused_at_the_start() {
    let scene = scene().await;
    let conninfo = |text: String| {
        let path = scene.base.path().join("conninfo");
        let file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("mode");
        Connection::from_file(Protocol::Postgres, &path)
    };
    let address = scene.stage.proxy.entrance();
    let way = format!("host={} port={} dbname=app", address.ip(), address.port());
    let wrong = conninfo(format!("{way} user=app password=guessed")).expect("a connection");
    let failure = Canary::start(wrong, Options::default()).await.expect_err("wrong password");
    assert_eq!(failure.code, "CANARY_DENIED");
    assert!(!format!("{failure:?}").contains("guessed"));

    scene.sql("ALTER DATABASE app OWNER TO postgres; REVOKE CREATE ON DATABASE app FROM app, public").await;
    let failure = Canary::start(scene.entrance(), Options::default()).await.expect_err("no right to make a schema");
    assert_eq!(failure.code, "CANARY_DENIED", "{failure}");

    std::fs::set_permissions(&scene.stage.conninfo, PermissionsExt::from_mode(0o644)).expect("mode");
    assert_eq!(scene.stage.connection().expect_err("exposed").code, "CONNINFO_EXPOSED");
    scene.stage.tear_down().await;
}
