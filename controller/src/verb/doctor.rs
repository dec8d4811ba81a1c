//! `flytt doctor`: what flytt has on a host, by the host's own ledger, and how to take it back there without a controller.

use flytt_proto::name::HostName;

use super::*;

/// Looks, and changes nothing. A host that cannot be asked has the same to say of itself by `flytt-agent revert`.
pub async fn doctor(session: &Session, host: &HostName) -> Result<Answer, Halt> {
    let facts = session.observer.facts(host).await?;
    let ledger = session.observer.ledger(host).await?;
    let serves = [&facts.engine, &facts.router].into_iter().find(|name| !name.is_empty());
    let server = if facts.server.is_empty() { String::new() } else { format!(" ({})", facts.server) };
    let what = serves.map_or_else(|| "no database and no router".to_owned(), |name| format!("{name}{server}"));
    let text = format!("{host}: flytt-agent {}, {what}\n{ledger}", facts.version);
    let value = json!({
        "host": host, "version": facts.version, "serves": serves, "server": facts.server,
        "moves": ledger.moves.iter().map(of_move).collect::<Vec<_>>(),
    });
    Ok(answer(text.trim_end(), value))
}

fn of_move(it: &v1::ledger_reply::Move) -> Value {
    let operations = it.operations.iter().map(|operation| {
        let state = operation.state().as_str_name().to_lowercase();
        json!({ "step": operation.step, "state": state, "changes": operation.changes })
    });
    let kept = it.kept.clone().map(Failure::from);
    json!({
        "migration": it.migration, "baton": it.phase().as_str_name().to_lowercase(), "command_epoch": it.command_epoch,
        "lease_ms": it.lease_ms, "peer": it.peer, "guarded": it.guarded, "operations": operations.collect::<Vec<_>>(),
        "kept": kept.map(|failure| json!({ "code": failure.code, "sentence": failure.sentence, "remedy": failure.remedy })),
    })
}
