//! `flytt status`: what the journal says, and what each host says of itself.

use bytesize::ByteSize;
use flytt_proto::name::step as named;

use super::*;
use crate::{journal::Status, verify};

/// `flytt status`: what the journal says, and what each host says of itself now.
pub async fn status(session: &Session, name: Option<&Migration>) -> Result<Answer, Halt> {
    let Some(name) = name else {
        let names = session.migrations();
        let text = if names.is_empty() {
            "no migrations; begin one with `flytt start migration.toml`".to_owned()
        } else {
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        return Ok(answer(text, json!({ "migrations": names })));
    };
    let (spec, status) = session.read(name)?;
    let plan = plan::move_over(&spec);
    let mut lines = vec![format!("{name}: {} → {}, epoch {}", spec.source, spec.target, status.epoch)];
    let milestone = status.milestone.map(|milestone| serde_json::to_value(milestone).unwrap_or_default());
    lines.push(match &milestone {
        Some(milestone) => format!("state: {}", milestone.as_str().unwrap_or_default()),
        None => format!("state: in the middle of `{}`", status.command),
    });
    lines.extend(steps(&plan, &status));
    let compared = verify::last(&session.directory(name)).ok().flatten();
    if let Some(last) = &compared {
        let came = match (last.summary.is_clean(), last.summary.differing) {
            (true, _) => "everything is the same".to_owned(),
            (false, 0) => "not everything was compared, or came to rest".to_owned(),
            (false, differing) => format!("{differing} differ"),
        };
        let (age, source, target) = (Span(last.age().as_secs_f64()), &last.source, &last.target);
        lines.push(format!("compared {age} ago: {source} and {target}, {} rows; {came}", last.summary.rows));
    }
    let turned = session.read(&name.back()).ok().filter(|(_, back)| !back.steps.is_empty());
    if let Some((spec, back)) = &turned {
        lines.push(format!("the way back: {} → {}, epoch {}", spec.source, spec.target, back.epoch));
        lines.extend(steps(&plan::of(spec), back));
    }
    let mut hosts = serde_json::Map::new();
    for host in plan.hosts() {
        // Of the newest leg that this host has a part in.
        let newest = match session.observer.baton(&host, &name.back()).await {
            Ok(baton) if baton.phase() != v1::baton_state::Phase::NoPart => Ok(baton),
            Ok(_) | Err(_) => session.observer.baton(&host, name).await,
        };
        let value = match newest {
            Ok(baton) => {
                let phase = baton.phase().as_str_name().to_lowercase();
                lines.push(format!("{host}: {phase}, baton epoch {}, controller epoch {}", baton.epoch, baton.command_epoch));
                json!({ "baton": phase, "epoch": baton.epoch, "command_epoch": baton.command_epoch, "lease_ms": baton.lease_ms })
            }
            Err(failure) => {
                lines.push(format!("{host}: {}", failure.sentence));
                json!({ "unreachable": failure.sentence })
            }
        };
        hosts.insert(host.to_string(), value);
    }
    if let Ok(sample) = session.observer.replication(&spec.target, name).await {
        lines.push(format!("replication: {}", describe(&sample)));
        hosts.insert("replication".into(), serde_json::to_value(&sample).unwrap_or_default());
    }
    if let Ok(sample) = session.observer.replication(&spec.source, name).await
        && !sample.trouble.is_empty()
    {
        lines.push(format!("{}: {}", spec.source, sample.trouble));
        hosts.insert("source_trouble".into(), json!(sample.trouble));
    }
    for host in &status.lost {
        lines.push(format!("{host}: taken for lost by `flytt recover`"));
        hosts.insert("lost".into(), json!(status.lost));
    }
    if status.milestone == Some(Milestone::Moved) && status.lost.is_empty() {
        let back = match plan.step(named::REJOIN) {
            Some(_) => way_back(session, &spec, &status).await,
            None => connected(session, &spec).await,
        };
        lines.push(format!("way back: {}", back.sentence));
        hosts.insert("way_back".into(), back.value);
    }
    let compared =
        compared.map(|last| json!({ "ended_ms": last.ended_ms, "clean": last.summary.is_clean(), "summary": last.summary }));
    let value = json!({
        "migration": name, "milestone": milestone, "epoch": status.epoch, "command": status.command, "hosts": hosts, "compared": compared
    });
    Ok(answer(lines.join("\n"), value))
}

fn steps(plan: &plan::Plan, status: &Status) -> Vec<String> {
    let shown = plan.steps.iter().filter(|step| step.phase != Phase::Preflight);
    let line = |step: &plan::Step| {
        let state = match status.steps.get(&step.id) {
            None => "–".to_owned(),
            Some(StepState::Began) => "begun".to_owned(),
            Some(StepState::Done { elapsed_us }) => format!("done, {:.1} ms", *elapsed_us as f64 / 1e3),
            Some(StepState::Failed(failure)) => format!("failed: {failure}"),
            Some(StepState::Undoing(None)) => "being taken back".to_owned(),
            Some(StepState::Undoing(Some(failure))) => format!("not taken back yet: {failure}"),
            Some(StepState::Undone) => "taken back".to_owned(),
        };
        format!("  {:<15} {:<10} {state}", step.id, step.on)
    };
    shown.map(line).collect()
}

/// The way back after the move, as an operator reads it.
struct Back {
    sentence: String,
    value: Value,
}

/// Ready or not, how far behind, how long it will hold, and what would end it: by what the target says, which keeps the log for it.
async fn way_back(session: &Session, spec: &Spec, status: &Status) -> Back {
    let name = &spec.name;
    let proven = status.is_done(&step("rejoin-arrive"));
    let sample = match session.observer.replication_after(1, &spec.target, &name.back()).await {
        Ok(sample) => sample,
        Err(failure) => {
            let sentence = format!("not known: {}", failure.sentence);
            return Back { sentence, value: json!({ "ready": Value::Null }) };
        }
    };
    let (ready, hold) = (proven && sample.streaming, hold_seconds(&sample));
    let mut sentence = match (ready, sample.trouble.as_str()) {
        (true, _) => format!("ready; {} follows {}, {} behind", spec.source, spec.target, ByteSize(sample.lag_bytes)),
        (false, "") => format!("not ready: {} has not proven that it follows; run `flytt resume {name}`", spec.source),
        (false, trouble) => format!("not ready: {trouble}; run `flytt resume {name}`"),
    };
    if let Some(hold) = hold {
        sentence.push_str(&format!("; were {} away, it would hold for {hold}", spec.source));
    }
    if sample.room_known {
        sentence.push_str(&format!(
            "; {} keeps {} of log for it and gives it up before its own disk is full, {} from now",
            spec.target,
            ByteSize(sample.held_bytes),
            ByteSize(sample.room_bytes)
        ));
    }
    sentence.push_str(&format!("; it ends with `flytt finish {name}`"));
    let value = json!({
        "ready": ready,
        "proven": proven,
        "streaming": sample.streaming,
        "lag_bytes": sample.lag_bytes,
        "held_bytes": sample.held_bytes,
        "room_bytes": sample.room_known.then_some(sample.room_bytes),
        "written_bytes_s": (sample.written_rate >= 0.0).then_some(sample.written_rate),
        "hold": hold.map(|hold| hold.to_string()),
        "trouble": sample.trouble,
    });
    Back { sentence, value }
}

/// Where the old source has followed since before the window: what it says of that itself, and for how long the target keeps its log.
async fn connected(session: &Session, spec: &Spec) -> Back {
    let Spec { name, source, target, .. } = spec;
    let sample = match session.observer.replication(source, &name.back()).await {
        Ok(sample) => sample,
        Err(failure) => {
            let sentence = format!("not known: {}", failure.sentence);
            return Back { sentence, value: json!({ "ready": Value::Null }) };
        }
    };
    let log_seconds = session.observer.replication(target, &name.back()).await.map(|sample| sample.log_seconds).ok();
    let mut sentence = match (sample.streaming, sample.trouble.as_str()) {
        (true, _) => format!("ready; {source} follows {target}, {} behind", ByteSize(sample.lag_bytes)),
        (false, trouble) => format!("not ready: {trouble}"),
    };
    let hold = log_seconds.map(|seconds| if seconds == 0 { "ever".to_owned() } else { Span(seconds as f64).to_string() });
    if let Some(hold) = &hold {
        sentence.push_str(&format!("; were {source} away, {target} would keep its log for {hold}"));
    }
    sentence.push_str(&format!("; it ends with `flytt finish {name}`"));
    let value = json!({
        "ready": sample.streaming,
        "streaming": sample.streaming,
        "lag_bytes": sample.lag_bytes,
        "hold": hold,
        "trouble": sample.trouble,
    });
    Back { sentence, value }
}

/// At the rate at which the target writes now: how long its log can wait for somebody who is away.
fn hold_seconds(sample: &v1::ReplicationSample) -> Option<Span> {
    let seconds = sample.room_bytes as f64 / sample.written_rate;
    (sample.room_known && sample.written_rate > 0.0).then_some(Span(seconds))
}

/// Seconds, in the unit a person would choose.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span(f64);

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            seconds if seconds < 120.0 => write!(f, "{seconds:.0} s"),
            seconds if seconds < 7_200.0 => write!(f, "{:.0} min", seconds / 60.0),
            seconds if seconds < 172_800.0 => write!(f, "{:.0} h", seconds / 3_600.0),
            seconds => write!(f, "{:.0} days", seconds / 86_400.0),
        }
    }
}

pub(super) fn describe(sample: &v1::ReplicationSample) -> String {
    if !sample.streaming {
        return format!("not streaming {}", sample.trouble);
    }
    let eta = match sample.eta_seconds {
        eta if eta < 0.0 => "never at this rate".to_owned(),
        eta => format!("caught up in {eta:.0} s"),
    };
    format!("streaming, {} bytes and {:.1} s behind, {eta}", sample.lag_bytes, sample.lag_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_holds_as_long_as_its_disk_takes_what_is_written() {
        let sample = |room_bytes, written_rate| v1::ReplicationSample {
            room_bytes,
            room_known: true,
            written_rate,
            ..v1::ReplicationSample::default()
        };
        let words = |room, rate| hold_seconds(&sample(room, rate)).map(|hold| hold.to_string());
        assert_eq!(words(1 << 30, f64::from(1 << 20)), Some("17 min".to_owned()));
        assert_eq!(words(100, 1.0), Some("100 s".to_owned()));
        assert_eq!(words(36_000, 1.0), Some("10 h".to_owned()));
        assert_eq!(words(864_000, 1.0), Some("10 days".to_owned()));
        assert_eq!((words(1 << 30, 0.0), words(1 << 30, -1.0)), (None, None), "nothing is written, or it is not known");
    }
}
