//! `flytt status`: what the journal says, and what each host says of itself.

use super::*;

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
    for step in plan.steps.iter().filter(|step| step.phase != Phase::Preflight) {
        let state = match status.steps.get(&step.id) {
            None => "–".to_owned(),
            Some(StepState::Began) => "begun".to_owned(),
            Some(StepState::Done { elapsed_us }) => format!("done, {:.1} ms", *elapsed_us as f64 / 1e3),
            Some(StepState::Failed(failure)) => format!("failed: {failure}"),
            Some(StepState::Undoing) => "being taken back".to_owned(),
            Some(StepState::Undone) => "taken back".to_owned(),
        };
        lines.push(format!("  {:<15} {:<10} {state}", step.id, step.on));
    }
    let mut hosts = serde_json::Map::new();
    for host in plan.hosts() {
        let value = match session.observer.baton(&host, name).await {
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
    let value =
        json!({ "migration": name, "milestone": milestone, "epoch": status.epoch, "command": status.command, "hosts": hosts });
    Ok(answer(lines.join("\n"), value))
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
