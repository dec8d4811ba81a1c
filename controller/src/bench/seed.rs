//! `flytt bench seed`: a dump of ours beside the pipeline that everybody types, and beside mydumper, in turn on the same servers.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use flytt_proto::{failure::Failure, name::Migration};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Silent, agents_cpu, median, round, show};
use crate::{
    demo,
    halt::Halt,
    session::Session,
    spec::Engine,
    stage::{self, Peer, Peers, Stage},
    verb::{self, Answer},
    view::View,
};

#[derive(Debug, clap::Args)]
pub(crate) struct SeedOptions {
    #[arg(long, value_enum, default_value_t = Engine::Mariadb)]
    engine: Engine,
    /// Copies of each kind.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Of rows, as texts.
    #[arg(long, default_value_t = 1280, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    mib: u32,
    /// Leave mydumper out, where it does not know the server.
    #[arg(long)]
    no_mydumper: bool,
    /// Where the throw-away servers live.
    #[arg(long, default_value = "/tmp")]
    base: PathBuf,
}

/// Four of a tenth each, and a big one.
const TABLES: [(&str, u32); 5] = [("first", 10), ("second", 10), ("third", 10), ("fourth", 10), ("big", 60)];
/// Of a row as text.
const ROW: u64 = 232;
/// What a target is given by whoever imports into it: the same for all, and so nothing is left for a lease on such settings to win.
const IMPORT: &str = "SET GLOBAL innodb_flush_log_at_trx_commit = 2; SET GLOBAL sync_binlog = 0; \
                      SET GLOBAL innodb_io_capacity_max = 20000; SET GLOBAL innodb_io_capacity = 20000; \
                      SET GLOBAL innodb_buffer_pool_size = 2147483648; ";

pub(crate) async fn run(options: SeedOptions, stop: &CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    let scene = demo::Options {
        engine: options.engine,
        writers: 1,
        way: stage::Way::Dump,
        data_mib: 1,
        seconds: 1,
        base: options.base.clone(),
    };
    let stage = demo::unless_stopped(stop, demo::set(&scene)).await??;
    let measured = demo::unless_stopped(stop, Box::pin(in_turn(&options, &stage, stop))).await;
    stage.tear_down().await;
    let lines = compared(&options, &measured??);
    lines.iter().for_each(|line| show(line, view));
    let value = json!({ "bench": "seed", "lines": lines.len() });
    Ok(verb::answer(value.to_string(), value))
}

/// What one round came to, in MiB/s of the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Round {
    ours: f64,
    pipeline: f64,
    mydumper: Option<f64>,
    agents_cpu_s: f64,
}

/// Who begins changes with each round.
async fn in_turn(options: &SeedOptions, stage: &Stage, stop: &CancellationToken) -> Result<Vec<Round>, Halt> {
    let peers = Peers::find(options.engine, &stage.place, &stage.source)?;
    stage.source.sql("app", &filling(options.mib)).await?;
    let redo = if options.engine == Engine::Mysql { "innodb_redo_log_capacity" } else { "innodb_log_file_size" };
    stage.target.sql("", &format!("{IMPORT} SET GLOBAL {redo} = 1073741824;")).await?;
    let session = Session::open(&stage.home, stop.clone())?;
    let (name, file) = (stage::MIGRATION.parse().expect("a literal of the right form"), demo::migration_file(stage)?);
    let expected = rows_of(&stage.source).await?;
    let mut rounds = Vec::new();
    for turn in 0..options.runs {
        let (mut round, mut bytes) = (Round::default(), 0);
        let mut took = [Duration::ZERO; 3];
        for at in (0..3).map(|at| (at + turn) % 3) {
            took[at] = match at {
                0 => {
                    let before = agents_cpu(stage);
                    let (copied, took) = ours(&session, &name, &file, stage, &expected).await?;
                    round.agents_cpu_s = (agents_cpu(stage) - before).as_secs_f64();
                    bytes = copied;
                    took
                }
                1 => theirs(&peers, Peer::Pipeline, options.engine, stage, &expected).await?,
                _ if options.no_mydumper => Duration::ZERO,
                _ => theirs(&peers, Peer::Mydumper, options.engine, stage, &expected).await?,
            };
        }
        let rate = |took: Duration| demo::mib_s(bytes, took.as_millis().try_into().unwrap_or(u64::MAX));
        (round.ours, round.pipeline) = (rate(took[0]), rate(took[1]));
        round.mydumper = (!options.no_mydumper).then(|| rate(took[2]));
        rounds.push(round);
    }
    Ok(rounds)
}

/// The whole step, with the trial of settings before and all that comes after the rows.
async fn ours(
    session: &Session,
    name: &Migration,
    file: &std::path::Path,
    stage: &Stage,
    expected: &str,
) -> Result<(u64, Duration), Halt> {
    verb::start(session, file, BTreeSet::new(), &mut Silent).await?;
    let seeded = demo::seeded(session, name)?;
    is_whole(stage, expected).await?;
    verb::rollback(session, name, &mut Silent).await?;
    Ok((seeded.bytes, Duration::from_millis(seeded.elapsed_ms)))
}

async fn theirs(peers: &Peers, by: Peer, engine: Engine, stage: &Stage, expected: &str) -> Result<Duration, Halt> {
    let (open, shut) = match engine {
        Engine::Mysql => ("SET GLOBAL super_read_only = 0", "SET GLOBAL super_read_only = 1"),
        Engine::Mariadb | Engine::Postgres => ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 1"),
    };
    stage.target.sql("", open).await?;
    let begun = Instant::now();
    peers.copy(by, &stage.source, &stage.target).await?;
    let took = begun.elapsed();
    is_whole(stage, expected).await?;
    stage.target.sql("", &format!("SET SESSION sql_log_bin = 0; DROP DATABASE app; {shut}")).await?;
    Ok(took)
}

/// A rate of a copy that is not whole would be none.
async fn is_whole(stage: &Stage, expected: &str) -> Result<(), Failure> {
    let there = rows_of(&stage.target).await?;
    if there == expected {
        return Ok(());
    }
    let sentence = format!("the copy has {there} rows, and there are {expected}");
    Err(Failure::refused("ROWS_DIFFER", sentence, "report this"))
}

async fn rows_of(server: &stage::Server) -> Result<String, Failure> {
    let counts = TABLES.map(|(table, _)| format!("(SELECT count(*) FROM app.{table})")).join(", ");
    server.sql("", &format!("SELECT concat_ws(' ', {counts})")).await
}

/// Rows as an application has them: numbers, names, times, and texts that zstd halves. Each table doubles until it is full.
fn filling(mib: u32) -> String {
    let mut sql = "SET SESSION sql_log_bin = 0;\n".to_owned();
    let row = |id: &str| {
        format!(
            "{id}, crc32({id}) % 100000, elt(1 + crc32({id} + 7) % 4, 'new', 'paid', 'shipped', 'returned'), \
             (crc32({id} + 1) % 1000000) / 100, timestamp('2020-01-01') + interval crc32({id} + 2) % 150000000 second, \
             if({id} % 3 = 0, concat('call before noon, gate ', {id} % 97), null), \
             concat('Item ', {id}, ': ', sha2({id}, 256), ' ', repeat('lorem ipsum dolor ', 5))"
        )
    };
    for (table, part) in TABLES {
        let rows = (u64::from(mib) << 20) / ROW * u64::from(part) / 100;
        let _ = writeln!(
            sql,
            "CREATE TABLE {table} (id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, customer int unsigned NOT NULL, \
             status varchar(12) NOT NULL, amount decimal(10,2) NOT NULL, created datetime NOT NULL, note varchar(255), \
             body varchar(255) NOT NULL, KEY customer (customer), KEY created (created, status)) ENGINE = InnoDB;"
        );
        let _ = writeln!(sql, "INSERT INTO {table} SELECT {};", row("1"));
        let mut there = 1;
        while there < rows {
            let more = there.min(rows - there);
            let _ =
                writeln!(sql, "INSERT INTO {table} SELECT {} FROM {table} WHERE id <= {more};", row(&format!("(id + {there})")));
            there += more;
        }
        let _ = writeln!(sql, "ANALYZE NO_WRITE_TO_BINLOG TABLE {table};");
    }
    sql
}

fn compared(options: &SeedOptions, rounds: &[Round]) -> Vec<Value> {
    let all = |of: fn(&Round) -> Option<f64>| rounds.iter().filter_map(of).collect::<Vec<f64>>();
    let (ours, cpu) = (all(|round| Some(round.ours)), all(|round| Some(round.agents_cpu_s)));
    let line = |peer: &str, of: fn(&Round) -> Option<f64>, note: &str| {
        let theirs = all(of);
        let ratios = ours.iter().zip(&theirs).map(|(ours, peer)| ours / peer.max(1e-9) * 1e3).collect();
        let (ours, peer_rate) = (median(ours.clone()), median(theirs.clone()));
        (!theirs.is_empty()).then(|| {
            json!({
                "bench": format!("seed/{}/{peer}", options.engine.name()), "ours": ours, "peer": peer_rate,
                "ratio": round(ours / peer_rate.max(1e-9), 3), "unit": "MiB/s", "runs": rounds.len(),
                "median_of_ratios": round(median(ratios) / 1e3, 3), "data_mib": options.mib,
                "agents_cpu_s": median(cpu.clone()), "note": note,
            })
        })
    };
    let lines = [
        line(
            "vs-plain-pipeline",
            |round| Some(round.pipeline),
            "the whole step, through TLS 1.3; peer: the vendor's dump | zstd -1 | zstd -d | client",
        ),
        line(
            "vs-mydumper",
            |round| round.mydumper,
            "peer: mydumper and myloader of the distribution, four threads, files between them uncompressed",
        ),
    ];
    lines.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_filled_to_its_part_and_no_further() {
        let sql = filling(1);
        let rows = (1 << 20) / ROW * 60 / 100;
        let big: Vec<&str> = sql.lines().filter(|line| line.starts_with("INSERT INTO big")).collect();
        let last = |line: &&str| line.rsplit_once("<= ").and_then(|(_, n)| n.trim_end_matches(';').parse::<u64>().ok());
        assert_eq!(1 + big.iter().filter_map(last).sum::<u64>(), rows);
        assert_eq!(sql.matches("CREATE TABLE").count(), 5);
    }

    #[test]
    fn a_peer_that_was_left_out_has_no_line() {
        let options = |no_mydumper| SeedOptions { engine: Engine::Mysql, runs: 1, mib: 1, no_mydumper, base: "/tmp".into() };
        let round = Round { ours: 50.0, pipeline: 20.0, mydumper: Some(40.0), agents_cpu_s: 1.0 };
        let lines = compared(&options(false), &[round, round]);
        assert_eq!((&lines[0]["bench"], &lines[0]["ratio"]), (&json!("seed/mysql/vs-plain-pipeline"), &json!(2.5)));
        assert_eq!((&lines[1]["bench"], &lines[1]["median_of_ratios"]), (&json!("seed/mysql/vs-mydumper"), &json!(1.25)));
        assert_eq!(compared(&options(true), &[Round { mydumper: None, ..round }]).len(), 1);
    }
}
