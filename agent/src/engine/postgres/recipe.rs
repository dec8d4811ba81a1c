//! What each intent still needs on this host, as changes. Looks and proposes; nothing is done here.

use flytt_proto::{failure::Failure, name::Migration, v1};

use super::{Postgres, cluster, failure, names, rules, standby};
use crate::{
    change::{Backup, Block, Change, DataDir, File, Statement, Verb, block},
    engine::{Intent, SeedOrder, Serving, Upstream, directory},
    secret,
};

impl Postgres {
    pub(super) async fn changes(&self, migration: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure> {
        match intent {
            Intent::Admit { verifier, peer_address } => self.admit(migration, verifier, *peer_address).await,
            Intent::Seed(order) => self.seed(migration, order),
            Intent::Follow(upstream) => self.follow(migration, upstream).await,
            Intent::Ready => Ok(vec![Change::Server(Verb::Checkpoint)]),
            Intent::Gate => self.gate(migration).await,
            Intent::Fence { drain_ms } => {
                Ok(vec![self.shut(migration, "fence").await?, Change::Server(Verb::EndSessions { drain_ms: *drain_ms })])
            }
            Intent::Promote => Ok(vec![Change::Server(Verb::Promote)]),
            Intent::Burn => {
                // With the signal, whatever starts the burned copy again starts it read-only: the gate is not all that holds.
                let signal = self.config.data_directory.join("standby.signal");
                let signal = Change::File(File { path: signal, want: Some(String::new()), had: None, mode: 0o600 });
                Ok(vec![self.shut(migration, "gate").await?, Change::Server(Verb::Kill), signal])
            }
            Intent::Surrender => self.surrender(),
            Intent::Open => {
                let hba = self.files().await?.hba;
                // Back home there is the fence that it was surrendered with, too.
                let purposes: &[&str] = if migration.is_back() { &["gate", "fence"] } else { &["gate"] };
                Ok(purposes.iter().map(|purpose| absent(hba.clone(), names::block(migration, purpose))).collect())
            }
            Intent::Retire => self.retire(migration),
            Intent::Welcome { verifier } => self.welcome(migration, verifier).await,
            Intent::Arm => self.arm(migration),
            Intent::Rejoin(upstream) => self.rejoin(migration, upstream).await,
            Intent::Forget { role: v1::Role::Source } => Ok(vec![gone(self.passfile(&migration.back()))]),
            Intent::Forget { .. } => Ok(vec![gone(self.passfile(migration)), gone(self.seed_mark(migration))]),
            Intent::Finish { role } => self.finish(migration, *role).await,
        }
    }

    async fn admit(&self, migration: &Migration, verifier: &str, peer: Option<std::net::IpAddr>) -> Result<Vec<Change>, Failure> {
        if !is_verifier(verifier) {
            return Err(bad_verifier());
        }
        let (agent, replication, slot) =
            (names::agent_role(migration), names::replication_role(migration), names::slot(migration));
        let mut changes = vec![
            role(&agent, "superuser login password null"),
            role(&replication, &format!("replication login password '{verifier}'")),
        ];
        changes.extend(self.admission(migration, peer).await?);
        changes.push(Change::Statement(Statement {
            about: format!("create replication slot {slot}"),
            run: vec![make_slot(&slot)],
            undo: drop_slot(&slot),
        }));
        Ok(changes)
    }

    /// Target: the old source may come in later, by a role that the source makes, since this server is a copy of that one.
    async fn welcome(&self, migration: &Migration, verifier: &str) -> Result<Vec<Change>, Failure> {
        if !is_verifier(verifier) {
            return Err(bad_verifier());
        }
        let hba = self.files().await?.hba;
        let rules = rules::way_back(migration, &self.config.database);
        Ok(vec![present(hba, names::block(migration, "back"), rules)])
    }

    /// Source: the role that it will follow as. It replicates, so that the target has it before it is needed.
    fn arm(&self, migration: &Migration) -> Result<Vec<Change>, Failure> {
        let (back, path) = (names::replication_role(&migration.back()), self.passfile(&migration.back()));
        let verifier = secret::verifier(&path, &back).map_err(|error| failure::file(&path, &error))?;
        Ok(vec![follower(&back, &format!("replication login password '{verifier}'"))])
    }

    /// Source, ended at once and fenced: it comes up as a standby, whatever else its own configuration says. Where it had to be
    /// rewound, what stands in its data directory is the new primary's, so all that is said again.
    async fn rejoin(&self, migration: &Migration, upstream: &Upstream) -> Result<Vec<Change>, Failure> {
        let standby = self.standby_files(&migration.back(), upstream, standby::without_connection)?;
        let (host, port, _) = reach(upstream);
        let mut changes = standby.clone();
        changes.push(Change::Server(Verb::Rejoin { host, port }));
        changes.extend(standby);
        changes.extend(self.admission(migration, None).await?);
        changes.push(self.shut(migration, "fence").await?);
        changes.push(Change::Server(Verb::Start));
        Ok(changes)
    }

    /// Our ways in: the agent's role by peer authentication under a map of its own, the replication role by its password.
    async fn admission(&self, migration: &Migration, peer: Option<std::net::IpAddr>) -> Result<Vec<Change>, Failure> {
        let files = self.files().await?;
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten()
            .ok_or_else(|| Failure::refused("NO_USER", "the agent's own user has no name", "look at /etc/passwd"))?;
        let name = names::block(migration, "admit");
        Ok(vec![
            present(files.ident, name.clone(), rules::ident(migration, &user.name)),
            present(files.hba, name, rules::admission(migration, peer)),
        ])
    }

    fn seed(&self, migration: &Migration, order: &SeedOrder) -> Result<Vec<Change>, Failure> {
        let data = &self.config.data_directory;
        let slot = names::slot(migration);
        let system = cluster::system_identifier(data).map_err(|error| failure::file(data, &error))?;
        let refuse = |code: &str, sentence: String, remedy: &str| Err(Failure::refused(code, sentence, remedy));
        if !self.may_replace {
            let sentence = "this host does not allow its data directory to be replaced".to_owned();
            return refuse("NO_CONSENT", sentence, "set `may_replace_data = true` in the target's agent.toml");
        }
        if data.parent().is_none() || std::fs::symlink_metadata(data).is_ok_and(|meta| !meta.is_dir()) {
            return refuse("BAD_DATA_DIRECTORY", format!("{} is not a plain directory", data.display()), "name it in agent.toml");
        }
        if self.postmaster().is_some() {
            return refuse("TARGET_RUNS", format!("a server runs in {}", data.display()), "stop the target's server");
        }
        let empty = cluster::is_empty(data).map_err(|error| failure::file(data, &error))?;
        let named = system.is_some_and(|id| id.to_string() == order.replace_system);
        if !empty && !named && !self.holds_copy(&slot, data) {
            let found = system.map_or("files that are no cluster".to_owned(), |id| format!("cluster {id}"));
            return refuse(
                "DIRECTORY_NOT_EMPTY",
                format!("{} holds {found}, which nobody named", data.display()),
                "empty it, or name its system identifier as the one to be replaced",
            );
        }
        let mut changes = Vec::new();
        if !empty {
            if cluster::is_mount_point(data) {
                return refuse(
                    "MOUNT_POINT",
                    format!("{} is a mount point and not empty", data.display()),
                    "empty it, or put the data directory one level below",
                );
            }
            let parent = data.parent().expect("checked above");
            changes.push(Change::DataDir(DataDir { path: data.clone(), trash: parent.join(directory::trash(migration)) }));
        }
        let (host, port, tls) = reach(&order.upstream);
        changes.push(Change::Backup(Backup {
            into: data.clone(),
            host,
            port,
            role: names::replication_role(migration),
            slot,
            passfile: self.passfile(migration),
            tls,
            max_rate: order.max_rate,
            fast_checkpoint: order.fast_checkpoint,
            system: order.system.clone(),
            expected_bytes: order.expected_bytes,
            origin: None,
        }));
        Ok(changes)
    }

    async fn follow(&self, migration: &Migration, upstream: &Upstream) -> Result<Vec<Change>, Failure> {
        let mut changes = self.admission(migration, None).await?;
        changes.extend(self.standby_files(migration, upstream, standby::without_ours)?);
        changes.push(Change::Server(Verb::Start));
        Ok(changes)
    }

    pub(super) fn auto_conf(&self) -> Result<(std::path::PathBuf, String), Failure> {
        let path = self.config.data_directory.join("postgresql.auto.conf");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((path, String::new())),
            Err(error) => Err(failure::file(&path, &error)),
        }
    }

    /// `had` is what of the former text is brought back: never all of it, since a `primary_conninfo` may hold somebody's password.
    fn standby_files(
        &self,
        migration: &Migration,
        upstream: &Upstream,
        had: impl Fn(&str) -> String,
    ) -> Result<Vec<Change>, Failure> {
        let data = &self.config.data_directory;
        let (path, before) = self.auto_conf()?;
        let settings = standby::settings(migration, &reach(upstream), &self.passfile(migration));
        let want = format!("{}{settings}", standby::without_ours(&before));
        Ok(vec![
            Change::File(File { path, want: Some(want), had: Some(had(&before)), mode: 0o600 }),
            Change::File(File { path: data.join("standby.signal"), want: Some(String::new()), had: None, mode: 0o600 }),
        ])
    }

    async fn gate(&self, migration: &Migration) -> Result<Vec<Change>, Failure> {
        // Undone, it must not take away by what the agent is let in, on a server that stays fenced.
        let mut changes = if migration.is_back() { Vec::new() } else { self.admission(migration, None).await? };
        let hba = self.files().await?.hba;
        let is_armed = std::fs::read_to_string(&hba).is_ok_and(|text| text.contains(&names::block(migration, "back")));
        if is_armed && !migration.is_back() {
            changes.push(Change::Server(Verb::KeepLog));
        }
        // Dead while the gate stands before it; the moment the gate goes it lets the proof through the routers in.
        changes.push(present(hba, names::block(migration, "entrance"), rules::entrance(migration, &self.config.database)));
        changes.push(self.shut(migration, "gate").await?);
        changes.extend(self.lifted(migration).await?);
        changes.extend(self.autostart_again()?);
        changes.push(Change::Server(Verb::EndSessions { drain_ms: 0 }));
        Ok(changes)
    }

    /// What earlier moves left to stand for good on a host that was their source: behind our own gate it may go, and once that is
    /// open it would shut everybody out but us. On the leg back the fence of the move itself is for its opening to lift.
    async fn lifted(&self, migration: &Migration) -> Result<Vec<Change>, Failure> {
        let hba = self.files().await?.hba;
        let text = std::fs::read_to_string(&hba).map_err(|error| failure::file(&hba, &error))?;
        let (gate, fence) = (names::block(migration, "gate"), names::block(migration, "fence"));
        let stays = |name: &str| name == gate || (migration.is_back() && name == fence);
        let shut = |name: &str| name.starts_with("flytt ") && (name.ends_with(" fence") || name.ends_with(" gate"));
        let blocks = block::all(&text).into_iter().filter(|(name, _)| shut(name) && !stays(name));
        Ok(blocks.map(|(name, had)| Change::Block(Block { path: hba.clone(), name, want: None, had: Some(had) })).collect())
    }

    /// The block that lets nobody in but us. Its undo always removes it, whoever else edited the file.
    async fn shut(&self, migration: &Migration, purpose: &str) -> Result<Change, Failure> {
        let hba = self.files().await?.hba;
        let now = std::fs::read_to_string(&hba).map_err(|error| failure::file(&hba, &error))?;
        Ok(present(hba, names::block(migration, purpose), rules::closed(migration, &now)))
    }

    fn surrender(&self) -> Result<Vec<Change>, Failure> {
        let signal = self.config.data_directory.join("standby.signal");
        let mut changes = vec![Change::File(File { path: signal, want: Some(String::new()), had: None, mode: 0o600 })];
        changes.extend(self.no_autostart()?);
        Ok(changes)
    }

    fn retire(&self, migration: &Migration) -> Result<Vec<Change>, Failure> {
        if self.postmaster().is_none() {
            return Ok(Vec::new());
        }
        let slot = names::slot(migration);
        let about = format!("drop replication slot {slot}");
        Ok(vec![Change::Statement(Statement { about, run: drop_slot(&slot), undo: Vec::new() }), Change::Server(Verb::Kill)])
    }

    /// Blocks first: without the map the agent is its configured role again, and can drop the one it was.
    async fn finish(&self, migration: &Migration, role: v1::Role) -> Result<Vec<Change>, Failure> {
        let files = self.files().await?;
        let serving = self.now_serving().await?;
        let writable = serving == Serving::Writable;
        let mut changes = Vec::new();
        let statement = |about: String, run: Vec<String>| Change::Statement(Statement { about, run, undo: Vec::new() });
        if writable {
            for slot in [names::slot(migration), names::slot(&migration.back())] {
                changes.push(statement(format!("drop replication slot {slot}"), drop_slot(&slot)));
            }
            if role == v1::Role::Target {
                changes.push(statement("reset the standby's settings".into(), standby::reset()));
            }
        } else {
            if serving == Serving::Standby {
                changes.push(Change::Server(Verb::Stop { was_running: false }));
            }
            let (path, text) = self.auto_conf()?;
            if standby::is_ours(&text) {
                let kept = standby::without_ours(&text);
                changes.push(Change::File(File { path, want: Some(kept.clone()), had: Some(kept), mode: 0o600 }));
            }
        }
        for purpose in ["gate", "fence", "entrance", "admit", "back"] {
            // A surrendered source stays fenced: it holds data that is no longer the truth.
            if !writable && purpose == "fence" {
                continue;
            }
            changes.push(absent(files.hba.clone(), names::block(migration, purpose)));
        }
        changes.push(absent(files.ident, names::block(migration, "admit")));
        if writable {
            let (agent, target) = (names::agent_role(migration), names::replication_role(migration));
            for role in [agent, target, names::replication_role(&migration.back())] {
                changes.push(statement(format!("drop role {role}"), vec![drop_role(&role)]));
            }
        }
        // What we keep of the move in our own state directory.
        let back = migration.back();
        let kept = [self.passfile(migration), self.passfile(&back), self.seed_mark(migration), self.rewinding(migration)];
        changes.extend(kept.map(gone));
        Ok(changes)
    }

    pub(super) fn passfile(&self, migration: &Migration) -> std::path::PathBuf {
        secret::passfile(&self.state, migration.as_str())
    }

    fn seed_mark(&self, migration: &Migration) -> std::path::PathBuf {
        directory::Mark::of(&self.state, &names::slot(migration)).path().to_owned()
    }
}

fn gone(path: std::path::PathBuf) -> Change {
    Change::File(File { path, want: None, had: None, mode: 0o600 })
}

/// `attributes` of a role that is made where it is missing.
fn role(role: &str, attributes: &str) -> Change {
    Change::Statement(Statement {
        about: format!("create role {role}"),
        run: vec![
            format!(
                "do $$ begin if not exists (select from pg_roles where rolname = '{role}') then create role {role}; \
                 end if; end $$"
            ),
            format!("alter role {role} {attributes}"),
        ],
        undo: vec![format!("drop role if exists {role}")],
    })
}

/// A role that may read the server's files, too, as `pg_rewind` does (its manual, "Notes"): no more than a base backup gives it. And ask for
/// the checkpoint without which `pg_rewind` does not see a promotion, where a role for that exists (PostgreSQL 15).
fn follower(name: &str, attributes: &str) -> Change {
    const FILES: &str = "pg_ls_dir(text, boolean, boolean), pg_catalog.pg_stat_file(text, boolean), \
        pg_catalog.pg_read_binary_file(text), pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)";
    let mut change = role(name, attributes);
    if let Change::Statement(statement) = &mut change {
        statement.run.push(format!("grant execute on function pg_catalog.{FILES} to {name}"));
        statement.run.push(format!(
            "do $$ begin if exists (select from pg_roles where rolname = 'pg_checkpoint') then grant pg_checkpoint to {name}; \
             end if; end $$"
        ));
        statement.undo = vec![drop_role(name)];
    }
    change
}

/// With what it was granted.
fn drop_role(role: &str) -> String {
    format!(
        "do $$ begin if exists (select from pg_roles where rolname = '{role}') then drop owned by {role}; drop role {role}; \
         end if; end $$"
    )
}

fn bad_verifier() -> Failure {
    Failure::refused("BAD_VERIFIER", "the verifier is not SCRAM-SHA-256", "make the credential again")
}

/// It keeps the log from now on, and not only once somebody has connected.
pub(super) fn make_slot(slot: &str) -> String {
    format!(
        "select pg_create_physical_replication_slot('{slot}', true) \
         where not exists (select from pg_replication_slots where slot_name = '{slot}')"
    )
}

/// Host (or socket directory), port, TLS.
fn reach(upstream: &Upstream) -> (String, u16, bool) {
    match upstream {
        Upstream::Tunnel { directory, port } => (directory.to_string_lossy().into_owned(), *port, false),
        Upstream::Direct { host, port } => (host.clone(), *port, true),
    }
}

/// A slot in use cannot be dropped: its walsender is ended first, and waited for.
pub(super) fn drop_slot(slot: &str) -> Vec<String> {
    vec![
        format!("select pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = '{slot}' and active"),
        format!("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{slot}'"),
    ]
}

fn present(path: std::path::PathBuf, name: String, text: String) -> Change {
    Change::Block(Block { path, name, want: Some(text), had: None })
}

fn absent(path: std::path::PathBuf, name: String) -> Change {
    Change::Block(Block { path, name, want: None, had: None })
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`: nothing that could leave a string literal.
fn is_verifier(text: &str) -> bool {
    text.len() < 300
        && text.starts_with("SCRAM-SHA-256$")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-$:+/=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_cannot_leave_its_literal() {
        assert!(is_verifier(&postgres_protocol::password::scram_sha_256(b"x")));
        for bad in ["", "md5abc", "SCRAM-SHA-256$' superuser '", "SCRAM-SHA-256$\\", "SCRAM-SHA-256$\n"] {
            assert!(!is_verifier(bad), "{bad:?}");
        }
    }
}
