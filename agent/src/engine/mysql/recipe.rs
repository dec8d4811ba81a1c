//! What each intent still needs on this host, as changes. Looks and proposes; nothing is done here.

use flytt_proto::{failure::Failure, name::Migration, v1};

use super::{Mysql, account::created, closed, names, seed::admitted::clone_is_over};
use crate::{
    change::{Change, File, Statement, Verb},
    engine::{
        Intent, Serving, Upstream,
        mysql_family::{process, quote::account},
    },
    secret,
};

impl Mysql {
    pub(super) async fn changes(&self, migration: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure> {
        match intent {
            Intent::Admit { verifier, peer_address } => {
                let mut changes = admit(migration, verifier, peer_address.is_some())?;
                changes.extend(self.admit_clone(migration, verifier).await?);
                Ok(changes)
            }
            Intent::Seed(order) => self.seed(migration, order).await,
            Intent::Follow(upstream) => self.follow(migration, upstream).await,
            Intent::Ready => {
                let over = self.clone_is_over_here(migration).await?;
                Ok(over.into_iter().chain([Change::Server(Verb::Checkpoint)]).collect())
            }
            Intent::Gate => self.gate(migration),
            Intent::Fence { drain_ms } => {
                let session = self.session().await?;
                if session.account != names::AGENT {
                    return Err(closed::not_admitted(&session.account));
                }
                let events = session.is_true("select @@global.event_scheduler = 'ON'").await?;
                Ok(vec![
                    Change::Server(Verb::Close { events, read_only: false }),
                    Change::Server(Verb::EndSessions { drain_ms: *drain_ms }),
                ])
            }
            Intent::Promote => Ok(vec![Change::Server(Verb::Promote)]),
            // Its locks and what it has persisted stay: whatever starts the burned copy again starts it closed.
            Intent::Burn => Ok(vec![Change::Server(Verb::Kill)]),
            // The fence is durable from the beginning: only its undo would take it away, and there is none from here on.
            Intent::Surrender => Ok(Vec::new()),
            Intent::Open => {
                let events = self.events_by_default().await;
                Ok(vec![Change::Server(Verb::Reopen { events, read_only: false })])
            }
            Intent::Welcome { verifier } => {
                must_be_verifier(verifier)?;
                Ok(vec![Change::Server(Verb::Welcome { verifier: verifier.to_owned() })])
            }
            // The table of the mark that proves it.
            Intent::Arm => Ok(vec![
                Change::Server(Verb::Checkpoint),
                Change::Server(Verb::FollowBack { host: names::LOOPBACK.to_owned(), port: self.config.tunnel_port }),
            ]),
            // It follows already.
            Intent::Rejoin(_) => Ok(Vec::new()),
            Intent::Retire => {
                Ok(vec![drop_account(&names::replication(migration), names::LOOPBACK), Change::Server(Verb::Return)])
            }
            // The agent's own account on the source outlives the copy: it goes with the admission, and its password with it.
            Intent::Forget { role: v1::Role::Source } => Ok(vec![gone(self.back_passfile(migration))]),
            Intent::Forget { .. } => {
                let mut changes = vec![gone(secret::passfile(&self.state, &names::password(migration)))];
                // The agent's own account went with a copy whose server is down by now and could not drop it.
                if process::server(&self.config.data_directory).is_none() {
                    changes.push(gone(secret::passfile(&self.state, names::OWN_PASSWORD)));
                }
                Ok(changes)
            }
            Intent::Finish { role } => self.finish(migration, *role).await,
        }
    }

    async fn follow(&self, migration: &Migration, upstream: &Upstream) -> Result<Vec<Change>, Failure> {
        match upstream {
            Upstream::Tunnel { .. } => {}
            Upstream::Direct { .. } => return Err(no_direct()),
        }
        let mut changes = Vec::new();
        if self.now_serving().await? == Serving::Down {
            changes.extend(self.shut_at_first_start());
        }
        changes.extend([Change::Server(Verb::Start), Change::Server(Verb::OwnAccounts), clone_is_over(migration)]);
        changes.extend(self.appliers().await?);
        changes.extend([Change::Server(Verb::Replicate { host: names::LOOPBACK.to_owned(), port: self.config.tunnel_port })]);
        Ok(changes)
    }

    /// A copy that starts with its source's events writes what the source will write, too. While it is down nobody can be told to
    /// persist that, so the file is written that the server would (MySQL manual, "Persisted System Variables"). One that is there
    /// already is left alone. A setting whose time is 0 is passed over without a word (tried on 9.7).
    fn shut_at_first_start(&self) -> Option<Change> {
        let path = self.config.data_directory.join("mysqld-auto.cnf");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(1).max(1);
        let set = |name: &str, value: bool| {
            let value = if value { "on" } else { "off" };
            let metadata = serde_json::json!({ "Timestamp": now, "User": names::AGENT, "Host": "localhost" });
            (name.to_owned(), serde_json::json!({ "Value": value, "Metadata": metadata }))
        };
        let all: serde_json::Map<_, _> =
            [set("event_scheduler", false), set("read_only", true), set("super_read_only", true)].into_iter().collect();
        let text = serde_json::json!({ "Version": 2, "mysql_dynamic_variables": all }).to_string();
        (!path.exists()).then_some(Change::File(File { path, want: Some(text), had: None, mode: 0o640 }))
    }

    /// A replica is read-only already; the gate keeps out whoever could write all the same once it follows nobody.
    fn gate(&self, migration: &Migration) -> Result<Vec<Change>, Failure> {
        let path = secret::passfile(&self.state, &names::password(migration));
        let role = names::replication(migration);
        let verifier = secret::keep_sha2(&path, &role).map_err(|error| super::file(&path, &error))?;
        Ok(vec![
            // Locked like all others while the gate stands; then it lets the proof through the routers in. It may do nothing.
            unlogged(
                format!("create account {role}@%"),
                created(&role, "%", &verifier).to_vec(),
                vec![format!("drop user if exists {}", account(&role, "%"))],
            ),
            Change::Server(Verb::Close { events: false, read_only: true }),
            Change::Server(Verb::EndSessions { drain_ms: 0 }),
        ])
    }

    /// A surrendered source stays closed: it holds data that is no longer the truth. Its agent's account stays with it.
    async fn finish(&self, migration: &Migration, role: v1::Role) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        match role {
            v1::Role::Target | v1::Role::Source => {
                let serving = self.now_serving().await?;
                if serving != Serving::Down {
                    changes.push(Change::Server(if role == v1::Role::Target { Verb::Unwelcome } else { Verb::DetachBack }));
                }
                if serving == Serving::Writable {
                    changes.push(Change::Server(Verb::DropAccounts));
                    changes.push(gone(secret::passfile(&self.state, names::OWN_PASSWORD)));
                }
            }
            v1::Role::Router | v1::Role::Unspecified => {}
        }
        changes.push(gone(secret::passfile(&self.state, &names::password(migration))));
        changes.push(gone(self.back_passfile(migration)));
        changes.push(gone(secret::passfile(&self.state, &names::password(&migration.back()))));
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
    let replica = account(&name, names::LOOPBACK);
    let mut run = created(&name, names::LOOPBACK, verifier).to_vec();
    run.push(format!("grant replication slave on *.* to {replica}"));
    Ok(vec![
        Change::Server(Verb::OwnAccounts),
        unlogged(format!("create account {name}@{}", names::LOOPBACK), run, vec![format!("drop user if exists {replica}")]),
    ])
}

fn must_be_verifier(text: &str) -> Result<(), Failure> {
    if is_verifier(text) {
        return Ok(());
    }
    let sentence = "the verifier is no caching_sha2_password hash";
    Err(Failure::refused("BAD_VERIFIER", sentence, "make the credential again"))
}

pub(super) fn no_direct() -> Failure {
    Failure::refused(
        "NO_DIRECT_TRANSPORT",
        "MySQL replicates through the tunnel only",
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

/// `$A$`, the rounds, a salt of twenty characters and 43 of the hash: nothing that could leave a string literal.
fn is_verifier(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    text.strip_prefix("$A$005$").is_some_and(|rest| rest.len() == 63 && rest.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_cannot_leave_its_literal() {
        let good = crate::sha_crypt::verifier(b"x", &[7; 20]);
        assert!(is_verifier(&good));
        let bad =
            [good[1..].to_owned(), format!("{good}x"), good.replace("5$", "5'"), format!("{}'", &good[..69]), String::new()];
        for bad in bad {
            assert!(!is_verifier(&bad), "{bad:?}");
        }
    }
}
