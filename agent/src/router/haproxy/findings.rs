//! Preflight: what would make a hold or a flip of this route fail, seen before anything is changed.

use std::time::{Duration, SystemTime};

use flytt_proto::{failure::Failure, v1, v1::finding::Level};
use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    Haproxy, HoldBy,
    servers::{self, Admin, View},
    settings,
    statistics::{Statistics, info},
    trial::way,
};

pub(super) async fn facts(router: &Haproxy) -> Result<String, Failure> {
    let about = router.socket.ask("show info").await?;
    let all = router.socket.ask("show servers state").await?;
    let mut backends = serde_json::Map::new();
    for backend in servers::backends(&all) {
        let rows = servers::parse(&backend, &all)?;
        let rows: Vec<_> = rows
            .iter()
            .map(|s| json!({"name": s.name, "address": format!("{}:{}", s.address, s.port), "state": s.describe()}))
            .collect();
        backends.insert(backend, rows.into());
    }
    Ok(json!({"version": info(&about, "Version"), "entrance": router.settings.entrance, "backends": backends}).to_string())
}

/// `Err` only where HAProxy cannot be asked at all and nothing else can be said.
pub(super) async fn findings(router: &Haproxy, route: &v1::Route, lease_ms: u64) -> Result<Vec<v1::Finding>, Failure> {
    let level = match router.socket.ask("show cli level").await {
        Ok(level) => level,
        Err(failure) => return Ok(vec![blocks(failure)]),
    };
    if level.trim() != "admin" {
        return Ok(vec![finding(
            Level::Block,
            "SOCKET_NOT_ADMIN",
            format!("HAProxy's socket {} is not of level admin", router.settings.socket.display()),
            "write `stats socket … level admin` in HAProxy's `global` section",
        )]);
    }
    let view = match router.view(route).await {
        Ok(view) => view,
        Err(failure) => return Ok(vec![blocks(failure)]),
    };
    let statistics = Statistics::read(&router.socket).await?;
    let mut found = of_servers(route, &view, &statistics);
    if statistics.value(&router.settings.frontend, "FRONTEND", "slim").is_none() {
        found.push(finding(
            Level::Block,
            "FRONTEND_UNKNOWN",
            format!("HAProxy has no frontend {}", router.settings.frontend),
            "let `haproxy.frontend` in agent.toml be the name of the `frontend` or `listen` section",
        ));
    }
    found.extend(entrance(router, route).await);
    found.extend(hold(router, route).await?);
    found.extend(of_file(router, route, lease_ms).await);
    Ok(found)
}

fn of_servers(route: &v1::Route, view: &View, statistics: &Statistics) -> Vec<v1::Finding> {
    let backend = &route.backend;
    let mut found = Vec::new();
    if view.source.admin() == Admin::Maint {
        found.push(finding(
            Level::Block,
            "ROUTE_NOT_AT_SOURCE",
            format!("backend {backend} does not send connections to {}: the route is {}", route.source, view.state()),
            "bring the source server to state ready, or name the servers the other way round",
        ));
    }
    if view.target.serves() {
        found.push(finding(
            Level::Block,
            "TARGET_SERVES",
            format!("server {} already gets connections of backend {backend}", route.target),
            "check it by `option httpchk GET /primary` on its agent's status port, or set it to maint until the move",
        ));
    }
    if let Some(other) = view.others.iter().find(|server| server.serves()) {
        found.push(finding(
            Level::Block,
            "OTHER_SERVER_SERVES",
            format!("server {} of backend {backend} gets connections, too, and would get those that should wait", other.name),
            "leave only source and target in the backend, or set the others to maint",
        ));
    }
    for server in [&view.source, &view.target] {
        if statistics.value(backend, &server.name, "bck") == Some("1") {
            found.push(finding(
                Level::Block,
                "SERVER_IS_BACKUP",
                format!(
                    "server {} of backend {backend} is a `backup`: HAProxy does not give it the connections that wait",
                    server.name
                ),
                "remove `backup`; a check of `/primary` keeps the server out until it is the primary",
            ));
        }
    }
    if view.target.disabled_in_file() {
        found.push(finding(
            Level::Warn,
            "TARGET_DISABLED_IN_FILE",
            format!(
                "server {} is `disabled` in HAProxy's configuration: a reload after the move takes it out of use",
                route.target
            ),
            "replace `disabled` by a check of `/primary`",
        ));
    }
    if !(view.source.is_checked() && view.target.is_checked()) {
        found.push(finding(
            Level::Warn,
            "SERVERS_NOT_CHECKED",
            format!("backend {backend} does not check both servers: a reload sends connections by the file alone"),
            "check both by `option httpchk GET /primary` on their agents' status ports",
        ));
    }
    if view.holding.is_some() {
        found.push(finding(
            Level::Warn,
            "HOLD_LEFT_OVER",
            format!("backend {backend} still has a holding server"),
            "nothing to do: the next change of this route removes it",
        ));
    }
    found
}

/// A silent connection through the entrance must show up among this very HAProxy's sessions, bound for the backend.
async fn entrance(router: &Haproxy, route: &v1::Route) -> Option<v1::Finding> {
    let entrance = &router.settings.entrance;
    let remedy = "let `haproxy.entrance` and `haproxy.frontend` in agent.toml name the address and the frontend of this HAProxy";
    let stream = match timeout(Duration::from_secs(2), TcpStream::connect(entrance)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Some(finding(Level::Block, "ENTRANCE_SILENT", format!("{entrance} cannot be reached: {error}"), remedy));
        }
        Err(_) => return Some(finding(Level::Block, "ENTRANCE_SILENT", format!("{entrance} does not answer"), remedy)),
    };
    let own = stream.local_addr().ok()?;
    let (from, from_mapped) = (format!(" src={own} "), format!(" src=::ffff:{own} "));
    for _ in 0..20 {
        let sessions = router.socket.ask("show sess").await.ok()?;
        if let Some(line) = sessions.lines().find(|line| line.contains(&from) || line.contains(&from_mapped)) {
            let has = |key: &str, value: &str| line.split(' ').any(|word| word.strip_prefix(key) == Some(value));
            if has("fe=", &router.settings.frontend) && has("be=", &route.backend) {
                return None;
            }
            let sentence =
                format!("{entrance} does not lead through frontend {} to backend {}", router.settings.frontend, route.backend);
            return Some(finding(Level::Block, "ENTRANCE_LEADS_ELSEWHERE", sentence, remedy));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Some(finding(
        Level::Block,
        "ENTRANCE_NOT_OURS",
        format!("a connection to {entrance} does not arrive in this HAProxy"),
        remedy,
    ))
}

async fn hold(router: &Haproxy, route: &v1::Route) -> Result<Vec<v1::Finding>, Failure> {
    let verdict = router.hold_by(route).await?;
    let because = verdict.reasons.join("; ");
    Ok(match verdict.by {
        HoldBy::HoldingServer => {
            vec![finding(Level::Ok, "HOLD_TRIED", "new connections can wait: tried in a second HAProxy process", "")]
        }
        HoldBy::FrontendLimit => vec![finding(
            Level::Ok,
            "HOLD_TRIED",
            format!("new connections can wait by {}: tried in a second HAProxy process ({because})", way(verdict.by)),
            "",
        )],
        HoldBy::Nothing => vec![finding(
            Level::Warn,
            "NO_HOLD",
            format!("new connections are refused for about as long as the window lasts: {because}"),
            "use a dynamic `balance` algorithm (roundrobin, leastconn, random), or accept it",
        )],
    })
}

async fn of_file(router: &Haproxy, route: &v1::Route, lease_ms: u64) -> Vec<v1::Finding> {
    let remedy = "set `timeout queue` in the backend or its defaults well above the hold's lease";
    let started = async {
        let uptime: u64 = info(&router.socket.ask("show info").await.ok()?, "Uptime_sec")?.parse().ok()?;
        SystemTime::now().checked_sub(Duration::from_secs(uptime))
    };
    let started = started.await;
    let mut text = String::new();
    let mut newer = false;
    for file in settings::files(&router.socket.ask("show env").await.unwrap_or_default()) {
        text.push_str(&tokio::fs::read_to_string(&file).await.unwrap_or_default());
        text.push('\n');
        let modified = tokio::fs::metadata(&file).await.and_then(|file| file.modified()).ok();
        newer |= modified.zip(started).is_some_and(|(modified, started)| modified > started + Duration::from_secs(1));
    }
    let Some(settings) = settings::of_backend(&text, &route.backend) else {
        let sentence = format!(
            "HAProxy's configuration of backend {} cannot be read here: how long connections may wait is not known",
            route.backend
        );
        return vec![finding(Level::Warn, "QUEUE_TIMEOUT_UNKNOWN", sentence, remedy)];
    };
    let mut found = Vec::new();
    if let Some(queue) = settings.queue().filter(|queue| *queue <= Duration::from_millis(lease_ms)) {
        found.push(finding(
            Level::Block,
            "QUEUE_TIMEOUT_SHORT",
            format!(
                "connections to backend {} wait for {} ms at most, the hold may last {lease_ms} ms",
                route.backend,
                queue.as_millis()
            ),
            remedy,
        ));
    }
    if settings.ends_sessions_of(&route.source) {
        found.push(finding(
            Level::Warn,
            "SESSIONS_END_AT_HOLD",
            format!("server {} has `on-marked-down shutdown-sessions`: its sessions end when the hold begins, before they could drain", route.source),
            "remove it from the source's server line for the move",
        ));
    }
    if newer {
        found.push(finding(
            Level::Warn,
            "CONFIGURATION_NEWER",
            "HAProxy's configuration file is newer than the running process",
            "reload HAProxy before the move, never during it",
        ));
    }
    found
}

fn blocks(failure: Failure) -> v1::Finding {
    finding(Level::Block, &failure.code, failure.sentence, &failure.remedy)
}

/// The host is filled in by whoever knows its name.
fn finding(level: Level, code: &str, sentence: impl Into<String>, remedy: &str) -> v1::Finding {
    v1::Finding {
        level: level.into(),
        code: code.to_owned(),
        host: String::new(),
        sentence: sentence.into(),
        remedy: remedy.to_owned(),
    }
}
