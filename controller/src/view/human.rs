//! For a person at a terminal.

use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use bytesize::ByteSize;
use flytt_proto::{
    artefact,
    v1::{self, event::Kind, finding::Level},
};

use super::{Line, View, print, safe};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();

#[derive(Debug, Default)]
pub struct Human {
    last_progress: Option<Instant>,
}

impl View for Human {
    fn show(&mut self, line: Line<'_>) {
        match line {
            Line::Step { step, .. } => print(&format!("{BOLD}{:<16}{BOLD:#} {:<10} {}", step.id, step.on, step.what)),
            Line::Would(change) => print(&format!("    {DIM}would{DIM:#} {}", safe(change))),
            Line::Event { kind, .. } => self.event(kind),
            Line::Done { step, outcome, elapsed_us } => {
                let text = match &outcome.kind {
                    Some(v1::outcome::Kind::Plain(plain)) => safe(&plain.text),
                    Some(v1::outcome::Kind::Seeded(seeded)) => {
                        let rate = seeded.bytes as f64 / (seeded.copy_ms.max(1) as f64 / 1000.0);
                        format!("{} copied at {}/s, then verified", ByteSize(seeded.bytes), ByteSize(rate as u64))
                    }
                    Some(v1::outcome::Kind::Artefact(artefact)) => stated(artefact),
                    Some(v1::outcome::Kind::Verifier(_)) => "made; it stays there, only its verifier leaves".into(),
                    Some(v1::outcome::Kind::Position(position)) => safe(position),
                    Some(v1::outcome::Kind::Findings(found)) => {
                        for finding in found.finding.iter().filter(|finding| finding.level() != Level::Ok) {
                            self.finding(&v1::Finding { host: step.on.to_string(), ..finding.clone() });
                        }
                        "done".into()
                    }
                    Some(v1::outcome::Kind::Probed(_)) | None => "done".into(),
                };
                print(&format!("    {GREEN}ok{GREEN:#} {text:<72} {DIM}{:>10}{DIM:#}", millis(elapsed_us)));
            }
            Line::Failed { failure, .. } => {
                print(&format!("    {RED}failed{RED:#} {} {DIM}[{}]{DIM:#}", safe(&failure.sentence), safe(&failure.code)));
            }
            Line::Back { step } => print(&format!("{BOLD}{:<16}{BOLD:#} {:<10} {YELLOW}taking back{YELLOW:#}", step.id, step.on)),
            Line::Finding(finding) => self.finding(finding),
            Line::Note(text) => print(&format!("    {DIM}{}{DIM:#}", safe(text))),
            Line::Warning(text) => print(&format!("{YELLOW}warning{YELLOW:#} {}", safe(text))),
            Line::Answer { text, .. } => print(&safe(text)),
        }
    }
}

impl Human {
    fn event(&mut self, kind: &Kind) {
        match kind {
            Kind::Doing(text) => print(&format!("    {DIM}{}{DIM:#}", safe(text))),
            Kind::Progress(progress) => {
                // A line every two seconds is enough for a log and for a person.
                if self.last_progress.is_none_or(|last| last.elapsed() >= Duration::from_secs(2)) {
                    self.last_progress = Some(Instant::now());
                    print(&format!("    {DIM}{}{DIM:#}", describe(progress)));
                }
            }
            Kind::Finding(finding) => self.finding(finding),
            Kind::Beat(_) | Kind::Done(_) | Kind::Failed(_) => {}
        }
    }

    fn finding(&self, finding: &v1::Finding) {
        let (style, level) = match finding.level() {
            Level::Block => (RED, "block"),
            Level::Accepted => (YELLOW, "accepted"),
            Level::Warn => (YELLOW, "warn"),
            Level::Ok | Level::Unspecified => (GREEN, "ok"),
        };
        let remedy = if finding.remedy.is_empty() || finding.level() == Level::Ok {
            String::new()
        } else {
            format!(" {DIM}→ {}{DIM:#}", safe(&finding.remedy))
        };
        // One line each, so that they can be searched and counted.
        print(&format!(
            "  {style}{level:<8}{style:#} {:<10} {:<20} {}{remedy}",
            safe(&finding.host),
            safe(&finding.code),
            safe(&finding.sentence)
        ));
    }
}

/// What a host put its signature under. It was verified by the host it is for, not here.
fn stated(artefact: &v1::Artefact) -> String {
    use flytt_proto::artefact::Kind;
    let said = match artefact::about(artefact) {
        Ok((_, Kind::FenceProof)) => "nobody writes here any more",
        Ok((_, Kind::ClosedProof)) => "promoted, and nobody gets in yet",
        Ok((_, Kind::Permit)) => "the right to write is given away for good",
        Ok((_, Kind::OpenReceipt)) => "open, and a durable write succeeded",
        Ok((_, Kind::BurnReceipt)) => "down, and never to be opened",
        Err(_) => "something that does not read",
    };
    format!("signed: {said}")
}

fn describe(progress: &v1::Progress) -> String {
    if !progress.text.is_empty() {
        return safe(&progress.text);
    }
    let mut text = ByteSize(progress.done).to_string();
    if progress.total > 0 {
        text.push_str(&format!(" of {} ({} %)", ByteSize(progress.total), progress.done * 100 / progress.total));
    }
    if progress.rows > 0 {
        text.push_str(&format!(", {} rows", progress.rows));
    }
    text.push_str(&format!(", {}/s", ByteSize(progress.rate as u64)));
    if progress.eta_seconds >= 0.0 {
        text.push_str(&format!(", {:.0} s to go", progress.eta_seconds));
    }
    text
}

fn millis(us: u64) -> String {
    if us >= 10_000_000 { format!("{:.1} s", us as f64 / 1e6) } else { format!("{:.1} ms", us as f64 / 1e3) }
}
