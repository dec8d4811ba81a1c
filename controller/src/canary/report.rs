//! What the canary measured, as numbers a report can print. All of it is computed from the ledger after the end; milliseconds
//! are this host's own clock.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ledger::{History, Outcome, Write},
    writer::Tally,
};

/// What counts as "around" the longest gap, on either side of it.
const AROUND: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub started: Timestamp,
    pub seconds: f64,
    pub clients: usize,
    /// Transactions.
    pub sent: u64,
    pub acknowledged: u64,
    pub maybe: u64,
    pub refused: u64,
    /// Acknowledged transactions a second, over the whole time.
    pub rate: f64,
    /// The longest time in which no client was acknowledged.
    pub longest_gap: Gap,
    /// The longest such time of each single client.
    pub longest_gap_by_client: Vec<Gap>,
    pub latency: Latency,
    /// Of the writes acknowledged within two seconds around the longest gap.
    pub latency_around_gap: Latency,
    pub sessions_opened: u64,
    /// Sessions that ended without us.
    pub sessions_cut: u64,
    /// Writes that got no answer within ten seconds.
    pub unanswered: u64,
    pub connects: Connects,
    /// Statements the server answered with an error, by SQLSTATE or MySQL's error number.
    pub statements_refused: BTreeMap<String, u64>,
    /// Who acknowledged, in the order of the first answer.
    pub servers: Vec<ServerShare>,
    /// How often the acknowledging server changed, in the order the writes were sent: 1 for one move, more when two
    /// servers took writes at the same time.
    pub server_changes: u64,
}

/// A time without an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub ms: f64,
    /// Since the canary's start.
    pub from_ms: f64,
}

/// Time from sending to the answer, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Attempts to connect that failed, by how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connects {
    /// Nobody listened, or the network was not there.
    pub refused: u64,
    /// Accepted, and closed before the login was answered.
    pub closed_in_login: u64,
    /// The login was answered with an error, by SQLSTATE or MySQL's error number.
    pub logins_refused: BTreeMap<String, u64>,
    /// No answer within ten seconds.
    pub timed_out: u64,
}

impl Connects {
    pub fn failed(&self) -> u64 {
        self.refused + self.closed_in_login + self.timed_out + self.logins_refused.values().sum::<u64>()
    }
}

impl fmt::Display for Connects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections refused, {} closed during login, {} timed out",
            self.refused, self.closed_in_login, self.timed_out
        )?;
        self.logins_refused
            .iter()
            .try_for_each(|(code, count)| write!(f, ", {count} logins refused with {}", code.escape_debug()))
    }
}

/// What one server acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerShare {
    pub server: String,
    pub acknowledged: u64,
    pub first_ms: f64,
    pub last_ms: f64,
}

/// To the microsecond; what stands behind that is noise.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// One acknowledged write.
#[derive(Clone, Copy)]
struct Answer {
    sent: Duration,
    at: Duration,
    server: usize,
}

fn answer(write: &Write) -> Option<Answer> {
    match write.outcome {
        Outcome::Acknowledged { at, server } => Some(Answer { sent: write.sent, at, server }),
        Outcome::Maybe | Outcome::Refused => None,
    }
}

impl Report {
    pub(super) fn new(history: &History, tally: &Tally) -> Self {
        let counts = tally.counts().clone();
        let mut answers: Vec<Answer> = history.writers.iter().flatten().filter_map(answer).collect();
        answers.sort_by_key(|answer| answer.at);
        let (from, to) = longest_gap(answers.iter().map(|answer| answer.at), history.length);
        let around = |answer: &&Answer| answer.at + AROUND >= from && answer.sent <= to + AROUND;
        let outcomes =
            |wanted: fn(&Outcome) -> bool| count(history.writers.iter().flatten().filter(|write| wanted(&write.outcome)));
        let acknowledged = count(answers.iter());
        let servers = shares(history, &answers);
        let latency_around_gap = latency(answers.iter().filter(around));
        let latency = latency(answers.iter());
        answers.sort_by_key(|answer| answer.sent);
        let seconds = history.length.as_secs_f64();
        Self {
            started: history.started,
            seconds,
            clients: history.writers.len(),
            sent: count(history.writers.iter().flatten()),
            acknowledged,
            maybe: outcomes(|outcome| *outcome == Outcome::Maybe),
            refused: outcomes(|outcome| *outcome == Outcome::Refused),
            rate: if seconds > 0.0 { acknowledged as f64 / seconds } else { 0.0 },
            longest_gap: Gap { ms: ms(to - from), from_ms: ms(from) },
            longest_gap_by_client: history.writers.iter().map(|writes| of_client(writes, history.length)).collect(),
            latency,
            latency_around_gap,
            sessions_opened: counts.opened,
            sessions_cut: counts.cut,
            unanswered: counts.unanswered,
            connects: Connects {
                refused: counts.network,
                closed_in_login: counts.closed,
                logins_refused: counts.logins,
                timed_out: counts.timed_out,
            },
            statements_refused: counts.statements,
            servers,
            server_changes: count(answers.windows(2).filter(|pair| pair[0].server != pair[1].server)),
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.fold(0, |sum, _| sum + 1)
}

/// From and to of the longest time between two of the (ascending) answers. The time before the first answer counts only when
/// there is none: until then connections are being made. The time after the last one always counts, or an outage that never
/// ended would measure nothing.
fn longest_gap(answers: impl Iterator<Item = Duration>, end: Duration) -> (Duration, Duration) {
    let mut longest = (Duration::ZERO, Duration::ZERO);
    let mut last = None;
    for at in answers.map(Some).chain([None]) {
        let to = at.unwrap_or_else(|| end.max(last.unwrap_or_default()));
        if at.is_none() || last.is_some() {
            let from = last.unwrap_or_default();
            if to - from > longest.1 - longest.0 {
                longest = (from, to);
            }
        }
        last = Some(to);
    }
    longest
}

fn of_client(writes: &[Write], end: Duration) -> Gap {
    let (from, to) = longest_gap(writes.iter().filter_map(answer).map(|answer| answer.at), end);
    Gap { ms: ms(to - from), from_ms: ms(from) }
}

fn latency<'a>(answers: impl Iterator<Item = &'a Answer>) -> Latency {
    // Microseconds up to an hour, three digits: within the bounds that the constructor checks.
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3) else { return Latency::default() };
    for answer in answers {
        histogram.saturating_record(u64::try_from((answer.at - answer.sent).as_micros()).unwrap_or(u64::MAX));
    }
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Latency { count: histogram.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
}

fn shares(history: &History, answers: &[Answer]) -> Vec<ServerShare> {
    let of = |(index, server): (usize, &String)| {
        let mut own = answers.iter().filter(|answer| answer.server == index).peekable();
        let first_ms = ms(own.peek()?.at);
        let (acknowledged, last) = own.fold((0, Duration::ZERO), |(sum, _), answer| (sum + 1, answer.at));
        Some(ServerShare { server: server.clone(), acknowledged, first_ms, last_ms: ms(last) })
    };
    history.servers.iter().enumerate().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Each write as (sent, answered, server) in milliseconds; answered 0 = never.
    fn history(writers: &[&[(u64, u64, usize)]], length: u64) -> History {
        let write = |(seq, &(sent, answered, server)): (i64, &(u64, u64, usize))| Write {
            seq,
            rows: 1,
            sent: at(sent),
            outcome: if answered == 0 { Outcome::Maybe } else { Outcome::Acknowledged { at: at(answered), server } },
        };
        History {
            started: Timestamp::UNIX_EPOCH,
            length: at(length),
            writers: writers.iter().map(|writes| (1..).zip(writes.iter()).map(write).collect()).collect(),
            servers: vec!["old:1".into(), "new:2".into()],
        }
    }

    #[test]
    fn the_gap_is_nobodys_acknowledgement_and_each_client_has_its_own() {
        let history = history(&[&[(0, 10, 0), (20, 0, 0), (600, 610, 1)], &[(0, 20, 0), (300, 310, 1), (400, 410, 1)]], 700);
        let report = Report::new(&history, &Tally::default());
        assert_eq!(report.longest_gap, Gap { ms: 290.0, from_ms: 20.0 });
        assert_eq!(report.longest_gap_by_client, [Gap { ms: 600.0, from_ms: 10.0 }, Gap { ms: 290.0, from_ms: 20.0 }]);
        assert_eq!((report.sent, report.acknowledged, report.maybe, report.refused), (6, 5, 1, 0));
        assert_eq!(report.server_changes, 1);
        assert_eq!(report.servers[1], ServerShare { server: "new:2".into(), acknowledged: 3, first_ms: 310.0, last_ms: 610.0 });
        assert_eq!(report.latency.count, 5);
    }

    #[test]
    fn an_outage_that_never_ends_is_measured() {
        let stuck = Report::new(&history(&[&[(0, 10, 0), (20, 0, 0)]], 5000), &Tally::default());
        assert_eq!(stuck.longest_gap, Gap { ms: 4990.0, from_ms: 10.0 });
        let never = Report::new(&history(&[&[(0, 0, 0)]], 5000), &Tally::default());
        assert_eq!(never.longest_gap, Gap { ms: 5000.0, from_ms: 0.0 });
        // An answer that comes after the canary was told to stop ends the gap later, not before it began.
        let late = Report::new(&history(&[&[(0, 10, 0), (20, 5100, 0)]], 5000), &Tally::default());
        assert_eq!(late.longest_gap, Gap { ms: 5090.0, from_ms: 10.0 });
    }

    #[test]
    fn latency_around_the_gap_leaves_out_what_is_far_from_it() {
        let history = history(&[&[(0, 100, 0), (10_000, 10_001, 0), (10_002, 15_000, 1), (19_000, 19_001, 1)]], 19_500);
        let report = Report::new(&history, &Tally::default());
        assert_eq!(report.longest_gap, Gap { ms: 9901.0, from_ms: 100.0 });
        assert_eq!((report.latency.count, report.latency_around_gap.count), (4, 3));
        assert!(report.latency.max >= 4998.0);
    }

    fn history_of_a_move() -> History {
        history(&[&[(0, 25, 0)], &[(1, 5, 0), (10, 11, 1)]], 30)
    }

    #[test]
    fn two_writable_servers_show_as_many_changes() {
        let history = history(&[&[(0, 1, 0), (10, 11, 0), (20, 21, 0)], &[(5, 6, 1), (15, 16, 1)]], 30);
        assert_eq!(Report::new(&history, &Tally::default()).server_changes, 4);
        // An answer that was long under way is no second writer.
        let late = history_of_a_move();
        assert_eq!(Report::new(&late, &Tally::default()).server_changes, 1);
    }

    #[test]
    fn a_report_reads_back_as_written() {
        let report = Report::new(&history(&[&[(0, 10, 0)]], 20), &Tally::default());
        let text = serde_json::to_string(&report).expect("serialisable");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("readable"), report);
    }
}
