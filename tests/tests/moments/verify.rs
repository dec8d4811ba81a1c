//! `flytt verify` on real servers: a copy that follows is the same while others write, and whatever is planted in one side is named.

use std::collections::BTreeSet;

use flytt::{
    spec::Engine,
    stage::{MIGRATION, SOURCE, TARGET},
};
use serde_json::Value;

use super::{FAST, Holder, Scene, UNLIMITED, flytt::Ended};

mod plants;

use plants::{Plant, Seen};

const VERIFY: [&str; 2] = ["verify", MIGRATION];
const BOTH: [&str; 5] = ["verify", "--source", SOURCE, "--target", TARGET];

fn is_clean(ended: &Ended) -> bool {
    ended.answer()["clean"] == true
}

/// The tables and objects that are not the same, each as one line: `table row how`, `table missing`, `kind name`.
fn found(ended: &Ended) -> BTreeSet<String> {
    let answer = ended.answer();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = BTreeSet::new();
    for table in answer["tables"].as_array().unwrap_or_else(|| panic!("{ended}")) {
        let name = text(&table["table"]);
        match table["outcome"].as_str() {
            Some("compared") => {
                for row in table["differing"].as_array().unwrap() {
                    let key: Vec<String> = row["key"].as_array().unwrap().iter().map(text).collect();
                    all.insert(format!("{name} {} {}", key.join(","), text(&row["how"])));
                }
                for range in table["ranges"].as_array().unwrap() {
                    all.insert(format!("{name} range {} {}", range[0], range[1]));
                }
                if table["in_flight"] != 0 {
                    all.insert(format!("{name} in flight"));
                }
            }
            Some("left_out") => {}
            other => drop(all.insert(format!("{name} {}", other.unwrap_or_default()))),
        }
    }
    for object in answer["objects"].as_array().unwrap() {
        if object["kind"] != "server setting" && object["kind"] != "account lock" {
            let flight = if object["in_flight"] == true { " in flight" } else { "" };
            all.insert(format!("{} {}{flight}", text(&object["kind"]), text(&object["name"])));
        }
    }
    all
}

/// Each plant's table is `p` and its place in the list.
fn place(number: usize, sql: &str) -> String {
    sql.replace("{t}", &format!("p{number}"))
}

fn wanted(plants: &[Plant]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (number, plant) in plants.iter().enumerate() {
        for seen in plant.seen {
            all.insert(match seen {
                Seen::Row(key, how) => format!("p{number} {key} {how}"),
                Seen::Table(what) => format!("p{number} {what}"),
                Seen::Other(line) => place(number, line),
            });
        }
    }
    all
}

async fn planted(engine: Engine) {
    let scene = Scene::of(engine, 20, if engine == Engine::Postgres { FAST } else { UNLIMITED }).await;
    let plants = plants::of(engine);
    let mut script = String::new();
    for (number, plant) in plants.iter().enumerate() {
        for sql in plants::before(engine).iter().chain(plant.before) {
            script.push_str(&place(number, sql));
            script.push_str(";\n");
        }
    }
    scene.stage.source.sql("app", &script).await.unwrap();
    let canary = scene.canary().await;
    scene.following().await;
    let clean = scene.must(&VERIFY).await;
    assert!(is_clean(&clean), "nothing was planted: {clean}");
    let command: &[&str] = if engine == Engine::Postgres {
        // Nothing can be planted in a standby; once it is none, nobody may write to one side alone.
        drop(canary.stop().await);
        drop(scene.prober.lock().unwrap().take());
        assert_eq!(scene.stage.target.sql("postgres", "select pg_promote()").await.unwrap().trim(), "t");
        let apart = scene.must(&BOTH).await;
        assert!(is_clean(&apart) && apart.to_string().contains("does not follow"), "nothing was planted: {apart}");
        &BOTH
    } else {
        &VERIFY
    };
    for (number, plant) in plants.iter().enumerate() {
        let sql = format!("{}{}", plants::unseen(engine), place(number, plant.sql));
        scene.stage.target.sql("app", &sql).await.unwrap_or_else(|error| panic!("{}: {sql}: {error}", plant.what));
    }
    let ended = scene.flytt(command).end().await;
    let (found, wanted) = (found(&ended), wanted(plants));
    let (missed, more): (Vec<_>, Vec<_>) = (wanted.difference(&found).collect(), found.difference(&wanted).collect());
    assert!(missed.is_empty() && more.is_empty(), "missed {missed:#?}, and more {more:#?}\n{}", ended.words);
    assert_eq!(ended.code, Some(4), "{ended}");
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_fault_is_named_on_postgres() {
    planted(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_fault_is_named_on_mariadb_while_others_write() {
    planted(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "there is no MySQL server: packaging/mysql.sh")]
async fn each_planted_fault_is_named_on_mysql_while_others_write() {
    planted(Engine::Mysql).await;
}

/// Before the cutover, after it with the sides exchanged, and nothing of it stays in the way of the move.
async fn before_and_after(engine: Engine) {
    let scene = Scene::of(engine, 20, UNLIMITED).await;
    let canary = scene.canary().await;
    scene.following().await;
    let before = scene.must(&VERIFY).await;
    assert!(is_clean(&before) && before.answer()["waited_for_replication"] == true, "{before}");
    scene.must(&["cutover", MIGRATION]).await;
    let after = scene.must(&VERIFY).await;
    assert!(is_clean(&after), "{after}");
    assert_eq!((&after.answer()["source"], &after.answer()["target"]), (&TARGET.into(), &SOURCE.into()), "{after}");
    scene.ends(canary, Holder::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_the_same_before_and_after_the_cutover() {
    before_and_after(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_the_same_before_and_after_the_cutover_of_mariadb() {
    before_and_after(Engine::Mariadb).await;
}

/// proc(5), `VmHWM`: the most that a process ever had, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// A hundred tables of ten thousand rows, and a plant in the last row of one of them; what agents need does not grow with it.
async fn a_million_rows(engine: Engine) {
    let scene = Scene::of(engine, 20, UNLIMITED).await;
    scene.following().await;
    let rows = match engine {
        Engine::Postgres => "generate_series(1, 10000) AS n(seq)",
        Engine::Mariadb | Engine::Mysql => "seq_1_to_10000",
    };
    let create = |at: usize| {
        format!(
            "CREATE TABLE many_{at} (id integer PRIMARY KEY, v integer); INSERT INTO many_{at} SELECT seq, seq * {at} FROM {rows};"
        )
    };
    scene.stage.source.sql("app", &(0..100).map(create).collect::<String>()).await.unwrap();
    let agents = scene.agents();
    let pids = [agents.source.process.pid().unwrap(), agents.target.process.pid().unwrap()];
    let before = pids.map(peak_mib);
    let ended = scene.must(&VERIFY).await;
    let answer = ended.answer();
    let sum = |key: &str| {
        let tables = answer["tables"].as_array().unwrap().iter();
        tables
            .filter(|table| table["table"].as_str().unwrap().contains("many_"))
            .filter_map(|table| table[key].as_u64())
            .sum::<u64>()
    };
    assert!(is_clean(&ended), "{ended}");
    assert_eq!(sum("rows"), 1_000_000, "{ended}");
    for (now, then) in pids.map(peak_mib).iter().zip(before) {
        assert!(now - then <= 16, "from {then} to {now} MiB");
    }
    if engine == Engine::Mariadb {
        let plant = format!("{}UPDATE many_77 SET v = v + 1 WHERE id = 10000", plants::unseen(engine));
        scene.stage.target.sql("app", &plant).await.unwrap();
        let ended = scene.flytt(&VERIFY).end().await;
        assert_eq!(found(&ended), ["many_77 10000 differs".to_owned()].into(), "{ended}");
    }
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tables_of_a_million_rows_are_compared_on_postgres() {
    a_million_rows(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tables_of_a_million_rows_are_compared_on_mariadb() {
    a_million_rows(Engine::Mariadb).await;
}
