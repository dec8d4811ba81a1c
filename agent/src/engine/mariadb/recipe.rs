//! What each intent still needs on this host, as changes. Looks and proposes; nothing is done here.

use flytt_proto::{failure::Failure, name::Migration, v1};

use super::{Mariadb, closed, names};
use crate::{
    change::{Change, File, Statement, Verb},
    engine::{
        Intent, Serving, Upstream,
        mysql_family::{
            process,
            quote::{account, literal},
        },
    },
    secret,
};

/// Where the tunnel comes out on the target: the server speaks to no unix socket when it replicates.
const LOOPBACK: &str = "127.0.0.1";

impl Mariadb {
    pub(super) async fn changes(&self, migration: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure> {
        match intent {
            Intent::Admit { verifier, peer_address } => admit(migration, verifier, peer_address.is_some()),
            Intent::Seed(order) => self.seed(migration, order).await,
            Intent::Follow(upstream) => self.follow(migration, upstream).await,
            Intent::Ready => Ok(vec![Change::Server(Verb::Checkpoint)]),
            Intent::Gate => self.gate(migration).await,
            Intent::Fence { drain_ms } => {
                let session = self.session().await?;
                if session.account != names::AGENT {
                    return Err(closed::not_admitted(&session.account));
                }
                let events = session.is_true("select @@global.event_scheduler = 'ON'").await?;
                // The locks first: taken back in the other order, they are the last to go, over files that are gone already.
                Ok(vec![
                    Change::Server(Verb::Close { events, read_only: false }),
                    self.shut_alone(migration, "fence", events),
                    Change::Server(Verb::EndSessions { drain_ms: *drain_ms }),
                ])
            }
            Intent::Promote => Ok(vec![Change::Server(Verb::Promote)]),
            // Its locks and its read-only file stay: whatever starts the burned copy again starts it closed.
            Intent::Burn => Ok(vec![Change::Server(Verb::Kill)]),
            // The fence is durable from the beginning; this one is not taken back with it.
            Intent::Surrender => {
                let events = self.events_before(migration, "fence").unwrap_or(false);
                Ok(vec![self.shut(migration, "surrendered", events)])
            }
            Intent::Open if migration.is_back() => {
                let there = migration.there();
                let events = self.events_before(&there, "surrendered").unwrap_or(false);
                Ok(vec![
                    self.not_shut(migration, "gate"),
                    self.not_shut(&there, "surrendered"),
                    Change::Server(Verb::Reopen { events, read_only: false }),
                ])
            }
            Intent::Open => {
                let events = self.events_before(migration, "replica").unwrap_or(false);
                Ok(vec![
                    self.not_shut(migration, "gate"),
                    self.not_shut(migration, "replica"),
                    Change::Server(Verb::Reopen { events, read_only: false }),
                ])
            }
            // What it was surrendered with stays: that one lets it follow.
            Intent::Retire => Ok(vec![
                drop_account(&names::replication(migration), "localhost"),
                self.not_shut(migration, "fence"),
                Change::Server(Verb::Return),
            ]),
            Intent::Welcome { verifier } => welcome(verifier),
            // It follows already.
            Intent::Rejoin(_) => Ok(Vec::new()),
            // The table of the marker that proves it.
            Intent::Arm => Ok(vec![
                Change::Server(Verb::Checkpoint),
                Change::Server(Verb::FollowBack { host: LOOPBACK.to_owned(), port: self.config.tunnel_port }),
            ]),
            // The agent's own account on the source outlives the copy: it goes with the admission, and its password with it.
            Intent::Forget { role: v1::Role::Source } => Ok(vec![gone(self.back_passfile(migration))]),
            Intent::Forget { .. } => {
                let mut changes = vec![gone(secret::passfile(&self.state, &names::password(migration)))];
                // The agent's own account went with a copy whose server is down by now and could not drop it. Where one runs it is
                // still the way in, until it is dropped there.
                if process::server(&self.config.data_directory).is_none() {
                    changes.push(gone(secret::passfile(&self.state, names::OWN_PASSWORD)));
                }
                Ok(changes)
            }
            Intent::Finish { role } => self.finish(migration, *role).await,
        }
    }

    async fn follow(&self, migration: &Migration, upstream: &Upstream) -> Result<Vec<Change>, Failure> {
        let (host, port) = match upstream {
            Upstream::Tunnel { .. } => (LOOPBACK.to_owned(), self.config.tunnel_port),
            Upstream::Direct { .. } => return Err(no_direct()),
        };
        let mut changes = match self.is_dumped(migration) {
            // Shut since before the first row came, and for as long as there is one.
            true => Vec::new(),
            false => vec![self.shut(migration, "replica", self.events_by_file(migration).await)],
        };
        changes.extend([Verb::Start, Verb::OwnAccounts].map(Change::Server));
        changes.extend(self.appliers().await?);
        changes.push(Change::Server(Verb::Replicate { host, port }));
        Ok(changes)
    }

    /// A replica is read-only already; the gate keeps out whoever could write all the same once it follows nobody.
    async fn gate(&self, migration: &Migration) -> Result<Vec<Change>, Failure> {
        let path = secret::passfile(&self.state, &names::password(migration));
        let role = names::replication(migration);
        let verifier = secret::keep_native(&path, &role).map_err(|error| super::file(&path, &error))?;
        let prove = account(&role, "%");
        // On the leg back the move's own fence is for its opening to lift.
        let lifted = if migration.is_back() { Vec::new() } else { self.lifted(migration)? };
        let mut changes = vec![
            // Locked like all others while the gate stands; then it lets the proof through the routers in. It may do nothing.
            unlogged(
                format!("create account {role}@%"),
                vec![format!("create or replace user {prove} identified via mysql_native_password using {}", literal(&verifier))],
                vec![format!("drop user if exists {prove}")],
            ),
            Change::Server(Verb::Close { events: false, read_only: true }),
            self.shut(migration, "gate", false),
        ];
        changes.extend(lifted);
        changes.push(Change::Server(Verb::EndSessions { drain_ms: 0 }));
        Ok(changes)
    }

    /// A surrendered source stays closed: it holds data that is no longer the truth. Its agent's account stays with it.
    async fn finish(&self, migration: &Migration, role: v1::Role) -> Result<Vec<Change>, Failure> {
        let serving = self.now_serving().await?;
        let mut changes = Vec::new();
        match role {
            v1::Role::Target => {
                if serving != Serving::Down {
                    changes.push(Change::Server(Verb::Unwelcome));
                }
                changes.extend(["gate", "replica"].map(|purpose| self.not_shut(migration, purpose)));
                if serving == Serving::Writable {
                    changes.push(Change::Server(Verb::DropAccounts));
                    changes.push(gone(secret::passfile(&self.state, names::OWN_PASSWORD)));
                }
            }
            v1::Role::Source if serving != Serving::Down => {
                changes.push(Change::Server(Verb::DetachBack));
                if serving == Serving::Writable {
                    changes.push(Change::Server(Verb::DropAccounts));
                    changes.push(gone(secret::passfile(&self.state, names::OWN_PASSWORD)));
                }
            }
            v1::Role::Source | v1::Role::Router | v1::Role::Unspecified => {}
        }
        changes.push(gone(secret::passfile(&self.state, &names::password(migration))));
        changes.push(gone(self.back_passfile(migration)));
        changes.push(gone(secret::passfile(&self.state, &names::password(&migration.back()))));
        changes.push(self.not_shut(&migration.back(), "gate"));
        changes.push(gone(self.mark(&names::database(migration)).path().to_owned()));
        changes.push(gone(self.dump_record(migration)));
        Ok(changes)
    }
}

/// The replica is admitted from this very host alone: it comes out of the tunnel. It may read the binary log and nothing else.
fn admit(migration: &Migration, verifier: &str, direct: bool) -> Result<Vec<Change>, Failure> {
    if direct {
        return Err(no_direct());
    }
    must_be_verifier(verifier)?;
    let name = names::replication(migration);
    let replica = account(&name, "localhost");
    Ok(vec![
        Change::Server(Verb::OwnAccounts),
        unlogged(
            format!("create account {name}@localhost"),
            vec![
                format!("create or replace user {replica} identified via mysql_native_password using {}", literal(verifier)),
                format!("grant replication slave on *.* to {replica}"),
            ],
            vec![format!("drop user if exists {replica}")],
        ),
    ])
}

/// The source, from this very host alone: it comes out of the tunnel.
fn welcome(verifier: &str) -> Result<Vec<Change>, Failure> {
    must_be_verifier(verifier)?;
    Ok(vec![Change::Server(Verb::Welcome { verifier: verifier.to_owned() })])
}

fn must_be_verifier(text: &str) -> Result<(), Failure> {
    if is_verifier(text) {
        return Ok(());
    }
    let sentence = "the verifier is no mysql_native_password hash";
    Err(Failure::refused("BAD_VERIFIER", sentence, "make the credential again"))
}

pub(super) fn no_direct() -> Failure {
    Failure::refused(
        "NO_DIRECT_TRANSPORT",
        "MariaDB replicates through the tunnel only",
        "set `transport = \"tunnel\"` in migration.toml",
    )
}

/// `execute` never logs: what is done to one server stays on it.
fn unlogged(about: String, run: Vec<String>, undo: Vec<String>) -> Change {
    Change::Statement(Statement { about, run, undo })
}

fn drop_account(name: &str, host: &str) -> Change {
    let run = vec![format!("drop user if exists {}", account(name, host))];
    unlogged(format!("drop account {name}@{host}"), run, Vec::new())
}

fn gone(path: std::path::PathBuf) -> Change {
    Change::File(File { path, want: None, had: None, mode: 0o600 })
}

/// `*` and forty hexadecimal digits: nothing that could leave a string literal.
fn is_verifier(text: &str) -> bool {
    text.strip_prefix('*').is_some_and(|hash| hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_cannot_leave_its_literal() {
        assert!(is_verifier("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"));
        for bad in
            ["", "*", "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19", "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E1'", "SCRAM-SHA-256$"]
        {
            assert!(!is_verifier(bad), "{bad:?}");
        }
    }
}
