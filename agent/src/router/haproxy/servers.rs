//! What HAProxy says about the servers of one backend (`show servers state`), and where that puts a route.
//!
//! Columns are found by the names in the answer's own header: their order is versioned.

use std::collections::BTreeSet;

use flytt_proto::{failure::Failure, v1};

use crate::change::RouteState;

/// Name of the server that holds new connections. It exists only during a move.
pub(super) const HOLDING: &str = "flytt-hold";

/// Who may send a server traffic, as administered; health is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admin {
    Ready,
    Drain,
    Maint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) port: u16,
    /// HAProxy's `SRV_ST_*`: 0 stopped, 1 starting, 2 running, 3 stopping.
    operational: u8,
    /// HAProxy's `SRV_ADMF_*` bits.
    admin: u16,
    pub(super) weight: u16,
    check: u8,
    agent: u8,
}

impl Server {
    pub(super) fn admin(&self) -> Admin {
        const MAINT: u16 = 0x01 | 0x02 | 0x20 | 0x40;
        const DRAIN: u16 = 0x08 | 0x10;
        if self.admin & MAINT != 0 {
            Admin::Maint
        } else if self.admin & DRAIN != 0 {
            Admin::Drain
        } else {
            Admin::Ready
        }
    }

    pub(super) fn disabled_in_file(&self) -> bool {
        self.admin & 0x04 != 0
    }

    /// By HAProxy's checks, or for want of any.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.operational, 1 | 2)
    }

    /// New connections can come here.
    pub(super) fn serves(&self) -> bool {
        self.admin() == Admin::Ready && self.is_up() && self.weight > 0
    }

    pub(super) fn is_checked(&self) -> bool {
        self.check & 0x04 != 0
    }

    pub(super) fn has_agent_check(&self) -> bool {
        self.agent & 0x04 != 0
    }

    pub(super) fn describe(&self) -> String {
        let admin = match self.admin() {
            Admin::Ready => "ready",
            Admin::Drain => "drain",
            Admin::Maint => "maint",
        };
        format!("{admin}, {}", if self.is_up() { "up" } else { "down" })
    }
}

/// The two servers of a route among those of their backend.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) source: Server,
    pub(super) target: Server,
    pub(super) holding: Option<Server>,
    pub(super) others: Vec<Server>,
}

impl View {
    pub(super) fn new(route: &v1::Route, servers: Vec<Server>) -> Result<Self, Failure> {
        let (mut source, mut target, mut holding, mut others) = (None, None, None, Vec::new());
        for server in servers {
            match server.name.as_str() {
                name if name == route.source => source = Some(server),
                name if name == route.target => target = Some(server),
                HOLDING => holding = Some(server),
                _ => others.push(server),
            }
        }
        let unknown = |name: &str| {
            Failure::refused(
                "SERVER_UNKNOWN",
                format!("HAProxy's backend {} has no server {name}", route.backend),
                "name the servers as HAProxy's configuration does",
            )
        };
        Ok(Self {
            source: source.ok_or_else(|| unknown(&route.source))?,
            target: target.ok_or_else(|| unknown(&route.target))?,
            holding,
            others,
        })
    }

    /// Only the administrative states of the two decide: they say the same however connections are made to wait, and they
    /// outlive this process.
    pub(super) fn state(&self) -> RouteState {
        match (self.source.admin(), self.target.admin()) {
            (Admin::Ready | Admin::Drain, _) => RouteState::Source,
            (Admin::Maint, Admin::Maint) => RouteState::Held,
            (Admin::Maint, Admin::Drain) => RouteState::Staged,
            (Admin::Maint, Admin::Ready) => RouteState::Target,
        }
    }
}

/// The rows of `show servers state <backend>`.
pub(super) fn parse(backend: &str, answer: &str) -> Result<Vec<Server>, Failure> {
    let unreadable = || {
        let start: String = answer.trim().chars().filter(|c| !c.is_control()).take(80).collect();
        Failure::refused(
            "ROUTER_ANSWER_UNREADABLE",
            format!("HAProxy's list of servers cannot be read: {start}"),
            "use HAProxy 2.4 or later, with an admin socket that answers `show servers state`",
        )
    };
    if answer.contains("Can't find backend") {
        return Err(Failure::refused(
            "BACKEND_UNKNOWN",
            format!("HAProxy has no backend {backend}"),
            "name the backend as HAProxy's configuration does",
        ));
    }
    let header = answer.lines().find_map(|line| line.strip_prefix("# ")).ok_or_else(unreadable)?;
    let columns: Vec<&str> = header.split(' ').collect();
    let column = |name: &str| columns.iter().position(|c| *c == name).ok_or_else(unreadable);
    let (be, name, address, port) = (column("be_name")?, column("srv_name")?, column("srv_addr")?, column("srv_port")?);
    let (operational, admin, weight) = (column("srv_op_state")?, column("srv_admin_state")?, column("srv_uweight")?);
    let (check, agent) = (column("srv_check_state")?, column("srv_agent_state")?);
    let mut servers = Vec::new();
    for line in answer.lines().filter(|line| line.contains(' ') && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let field = |at: usize| fields.get(at).copied().ok_or_else(unreadable);
        if field(be)? != backend {
            continue;
        }
        servers.push(Server {
            name: field(name)?.to_owned(),
            address: field(address)?.to_owned(),
            port: field(port)?.parse().map_err(|_| unreadable())?,
            operational: field(operational)?.parse().map_err(|_| unreadable())?,
            admin: field(admin)?.parse().map_err(|_| unreadable())?,
            weight: field(weight)?.parse().map_err(|_| unreadable())?,
            check: field(check)?.parse().map_err(|_| unreadable())?,
            agent: field(agent)?.parse().map_err(|_| unreadable())?,
        });
    }
    Ok(servers)
}

/// (backend, server) of every row of `show servers state`.
fn rows(answer: &str) -> Vec<(&str, &str)> {
    let Some(columns) = answer.lines().find_map(|line| line.strip_prefix("# ")) else { return Vec::new() };
    let column = |name: &str| columns.split(' ').position(|c| c == name);
    let (Some(backend), Some(server)) = (column("be_name"), column("srv_name")) else { return Vec::new() };
    answer
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some((line.split(' ').nth(backend)?, line.split(' ').nth(server)?)))
        .collect()
}

pub(super) fn backends(answer: &str) -> BTreeSet<String> {
    rows(answer).into_iter().map(|(backend, _)| backend.to_owned()).collect()
}

/// The backends in which a holding server stands.
pub(super) fn with_holding(answer: &str) -> BTreeSet<String> {
    rows(answer).into_iter().filter(|(_, server)| *server == HOLDING).map(|(backend, _)| backend.to_owned()).collect()
}

/// HAProxy's own rule for names of proxies and servers; nothing that fits it can end a command on the socket.
pub(super) fn check_names(route: &v1::Route) -> Result<(), Failure> {
    for (what, name) in [("backend", &route.backend), ("server", &route.source), ("server", &route.target)] {
        let fits = |c: u8| c.is_ascii_alphanumeric() || b"_-.:".contains(&c);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(fits) || name == HOLDING {
            let shown: String = name.escape_debug().take(80).collect();
            return Err(Failure::refused(
                "ROUTE_NAME_INVALID",
                format!("`{shown}` is not the name of a HAProxy {what}"),
                "use letters, digits, `-`, `_`, `.` and `:`, as HAProxy's configuration does",
            ));
        }
    }
    if route.source == route.target {
        return Err(Failure::refused(
            "ROUTE_TO_ITSELF",
            format!("source and target of backend {} are the same server {}", route.backend, route.source),
            "name two servers of the backend",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n\
        3 pg 1 old 10.0.0.1 2 0 1 1 3 15 3 4 6 23 0 0 - 5432 - 0 0 - - 0\n\
        3 pg 2 new 10.0.0.2 0 5 1 1 3 1 0 0 14 0 0 0 - 5433 - 0 0 - - 0\n\
        4 other 1 old 10.0.0.9 2 0 1 1 3 1 0 0 0 0 0 0 - 5432 - 0 0 - - 0\n\n";

    fn route(source: &str, target: &str) -> v1::Route {
        v1::Route { backend: "pg".into(), source: source.into(), target: target.into() }
    }

    #[test]
    fn rows_are_read_by_their_header() {
        let servers = parse("pg", ANSWER).expect("an answer of HAProxy 2.6");
        assert_eq!(servers.len(), 2);
        let (old, new) = (&servers[0], &servers[1]);
        assert!(old.serves() && old.is_checked() && old.has_agent_check() && !old.disabled_in_file());
        assert!(!new.serves() && new.disabled_in_file() && new.admin() == Admin::Maint && new.port == 5433);
        assert!(new.is_checked() && !new.has_agent_check());
    }

    #[test]
    fn the_administrative_states_are_the_route() {
        for (source, target, state) in [
            (0, 1, RouteState::Source),
            (0, 0, RouteState::Source),
            (1, 1, RouteState::Held),
            (1, 8, RouteState::Staged),
            (1, 0, RouteState::Target),
            (1, 4, RouteState::Target),
        ] {
            let text = ANSWER
                .replace("10.0.0.1 2 0", &format!("10.0.0.1 2 {source}"))
                .replace("10.0.0.2 0 5", &format!("10.0.0.2 0 {target}"));
            let view = View::new(&route("old", "new"), parse("pg", &text).expect("valid")).expect("both are there");
            assert_eq!(view.state(), state, "{source} {target}");
        }
    }

    #[test]
    fn what_is_not_a_list_of_servers_is_an_error() {
        assert_eq!(parse("pg", "Can't find backend.\n").expect_err("unknown").code, "BACKEND_UNKNOWN");
        for bad in [
            "",
            "Permission denied\n",
            "1\n# be_id be_name\n",
            "1\n# be_name srv_name srv_addr srv_port srv_op_state srv_admin_state srv_uweight srv_check_state srv_agent_state\npg old\n",
        ] {
            assert_eq!(parse("pg", bad).expect_err("unreadable").code, "ROUTER_ANSWER_UNREADABLE", "{bad:?}");
        }
    }

    #[test]
    fn names_cannot_carry_a_command() {
        assert!(check_names(&route("pg-1.a", "pg_2:b")).is_ok());
        for bad in ["", "a b", "a;disable frontend f", "a\nb", "a/b", "é", HOLDING] {
            assert!(check_names(&route("old", bad)).is_err(), "{bad:?}");
        }
        assert!(check_names(&route("old", "old")).is_err());
    }
}
