//! `flytt verify`: whether both sides hold the same, while the application writes on.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use flytt_proto::name::HostName;
use tokio::sync::watch;

use super::*;
use crate::{
    journal::Journal,
    verify::{Only, Options, Pace, Pair, Progress, Report, Side, pass},
};

/// A line is enough for a log and for a person.
const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct VerifyOptions {
    /// The migration whose two servers are compared.
    #[arg(required_unless_present = "source", conflicts_with = "source")]
    migration: Option<Migration>,
    /// Without a migration: the host whose data counts.
    #[arg(long, requires = "target")]
    source: Option<HostName>,
    /// Without a migration: the host that is compared with it.
    #[arg(long, requires = "source")]
    target: Option<HostName>,
    /// This table alone, as schema.table or database.schema.table; may be given several times.
    #[arg(long = "table", value_name = "schema.table")]
    tables: Vec<String>,
    /// Look at so many percent of the parts of large tables only, as 5%; the result says that it was a sample.
    #[arg(long, value_name = "percent", value_parser = percent)]
    sample: Option<u32>,
    /// Show both images of the rows that differ.
    #[arg(long)]
    show_rows: bool,
    /// Parts that are compared at the same time.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=16))]
    jobs: u32,
    /// Look at everything again, also where an interrupted comparison of the last day could be carried on.
    #[arg(long)]
    anew: bool,
    /// Do not rest while the source answers slower than before.
    #[arg(long)]
    full_speed: bool,
}

impl VerifyOptions {
    /// These tables of a move, from the beginning.
    pub(crate) fn of(migration: Migration, tables: Vec<String>, full_speed: bool) -> Self {
        let (source, target, sample) = (None, None, None);
        Self { migration: Some(migration), source, target, tables, sample, show_rows: false, jobs: 2, anew: true, full_speed }
    }
}

fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| "a number of percent, as 5%".to_owned())?;
    if (1..100).contains(&number) { Ok(number) } else { Err("between 1% and 99%".to_owned()) }
}

/// Compares. Interrupted, it ends what runs on the servers, and the next one of the same kind carries on.
pub async fn verify(session: &Session, options: VerifyOptions, view: &mut dyn View) -> Result<Answer, Halt> {
    let (pair, directory, again) = match (&options.migration, &options.source, &options.target) {
        (Some(name), ..) => {
            let (spec, _) = session.read(name)?;
            let pair = between(session, &spec.source, &spec.target, Some(name), &options).await?;
            (pair, session.directory(name), format!("flytt verify {name}"))
        }
        (None, Some(source), Some(target)) => {
            let pair = between(session, source, target, None, &options).await?;
            let directory = session.home.path().join("comparisons").join(format!("{source}--{target}"));
            (pair, directory, format!("flytt verify --source {source} --target {target}"))
        }
        (None, ..) => unreachable!("clap asks for a migration or two hosts"),
    };
    let tables: BTreeSet<String> = options.tables.iter().cloned().collect();
    let how = Options {
        only: Only { tables, sample: options.sample.unwrap_or_default() },
        jobs: options.jobs as usize,
        anew: options.anew,
    };
    if !pair.follows {
        let text = format!("{} does not follow {}: what is written meanwhile counts as a difference", pair.target, pair.source);
        view.show(Line::Warning(&text));
    }
    let (begun, mut first, progress) = (Instant::now(), None, watch::Sender::new(None));
    let mut on = |now: Progress| {
        let _ = progress.send_replace(Some(now));
    };
    let mut work = Box::pin(pass(&pair, &directory, &how, &mut on, &session.stop));
    let report = loop {
        match tokio::time::timeout(EVERY, &mut work).await {
            Ok(report) => break report,
            Err(_) => {
                let now = *progress.borrow();
                let text = match (pair.pace.waited(), now) {
                    // Anybody may be late by a moment.
                    (Some(waited), _) if waited >= EVERY => {
                        format!("waiting for {} to apply what {} has, for {} s", pair.target, pair.source, waited.as_secs())
                    }
                    (_, Some(now)) if pair.pace.is_resting() => {
                        let told = told(now, *first.get_or_insert(now), begun.elapsed());
                        format!("{told}; resting between parts, as {} answers slower than before", pair.source)
                    }
                    (_, Some(now)) => told(now, *first.get_or_insert(now), begun.elapsed()),
                    (_, None) => "looking at what there is to compare".to_owned(),
                };
                view.show(Line::Note(&text));
            }
        }
    };
    drop(work);
    let report = report.map_err(|failure| {
        let halt = Halt::from(in_use(failure)).now("nothing was changed on either server, and no query is left running");
        halt.then(again.clone())
    })?;
    let Some(report) = report else {
        return Err(Halt::new(Exit::Interrupted, [])
            .now("what was found equal stays found; nothing is left running on either server")
            .then(again));
    };
    let (mut text, mut value) = (report.text(), report.value());
    if options.show_rows {
        let (images, shown) = images(&pair, &report).await;
        text = if shown.is_empty() { text } else { format!("{}\n{text}", shown.join("\n")) };
        value["rows"] = images;
    }
    Ok(Answer { text, value, exit: report.exit() })
}

fn in_use(failure: Failure) -> Failure {
    if failure.code == "RECORD_IN_USE" {
        let remedy = "wait for the other `flytt verify`, or stop it".to_owned();
        return Failure { sentence: "another comparison of these two is under way".to_owned(), remedy, ..failure };
    }
    failure
}

/// The one that takes writes is the one whose data counts.
async fn between(
    session: &Session,
    source: &HostName,
    target: &HostName,
    name: Option<&Migration>,
    options: &VerifyOptions,
) -> Result<Pair, Halt> {
    let (one, other) = tokio::try_join!(session.observer.facts(source), session.observer.facts(target))?;
    for (host, facts) in [(source, &one), (target, &other)] {
        if facts.engine.is_empty() {
            let sentence = format!("{host} serves no database");
            return Err(Failure::refused("NO_ENGINE", sentence, "name two database hosts of this deployment").into());
        }
        if facts.server == "down" {
            let sentence = format!("the server of {host} is down");
            return Err(Failure::refused("SERVER_DOWN", sentence, "start it, then verify again").into());
        }
    }
    if one.key == other.key {
        let sentence = format!("{source} and {target} are the same host");
        return Err(Failure::refused("SAME_SERVER", sentence, "name two different ones").into());
    }
    let is_turned = name.is_some() && one.server != "writable" && other.server == "writable";
    let (source, target) = if is_turned { (target, source) } else { (source, target) };
    let follows = session.observer.position(target, v1::PositionRequest::default()).await?.follows;
    let one_system = !one.system.is_empty() && one.system == other.system;
    Ok(Pair {
        observer: session.observer.clone(),
        source: source.clone(),
        target: target.clone(),
        migration: name.cloned(),
        // Positions of two PostgreSQL clusters have nothing to do with each other.
        follows: follows && (one_system || one.engine != "postgres"),
        one_system,
        copied_ms: match name {
            Some(name) => Journal::copied_ms(&session.directory(name))?,
            None => 0,
        },
        pace: Arc::new(Pace::new(!options.full_speed)),
    })
}

fn told(now: Progress, first: Progress, elapsed: Duration) -> String {
    let mut text = format!(
        "{} of {} tables, {} rows, {} of {}",
        now.tables,
        now.of_tables,
        now.rows,
        ByteSize(now.bytes),
        ByteSize(now.of_bytes.max(now.bytes))
    );
    let rate = now.bytes.saturating_sub(first.bytes) as f64 / elapsed.as_secs_f64().max(0.001);
    if rate > 1.0 {
        let left = now.of_bytes.saturating_sub(now.bytes) as f64 / rate;
        text.push_str(&format!(", {}/s, {left:.0} s to go", ByteSize(rate as u64)));
    }
    text
}

/// Both images of each row that is named: for programs, and as lines.
async fn images(pair: &Pair, report: &Report) -> (Value, Vec<String>) {
    let (mut all, mut lines) = (Vec::new(), Vec::new());
    for (table, found) in report.differing() {
        for row in &found.differing {
            let mut both = serde_json::Map::new();
            for side in [Side::Source, Side::Target] {
                let request = v1::ImageRequest {
                    database: table.database.clone(),
                    table: Some(v1::Table {
                        schema: table.schema.clone(),
                        name: table.name.clone(),
                        key: table.key.clone(),
                        ..v1::Table::default()
                    }),
                    key: Some(v1::Key { value: row.key.clone() }),
                };
                let host = pair.host(side);
                let shown = match pair.observer.image(host, request).await {
                    Ok(reply) => json!(
                        reply
                            .value
                            .iter()
                            .map(|value| (value.column.clone(), json!(value.text)))
                            .collect::<serde_json::Map<_, _>>()
                    ),
                    Err(failure) => json!(failure.sentence),
                };
                lines.push(format!("row            {} {}: {host} {shown}", table.name(), row.key.join(", ")));
                both.insert(host.to_string(), shown);
            }
            all.push(json!({ "table": table.name(), "key": row.key, "images": both }));
        }
    }
    (Value::Array(all), lines)
}
