//! What a command needs before it can do anything: the operator's directory, the hosts, the migration and its journal.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use flytt_proto::{
    durable,
    failure::Failure,
    fuse::Fuse,
    name::{HostName, Migration},
};
use tokio_util::sync::CancellationToken;

use crate::{
    drive::Drive,
    fleet::{Observer, Operator},
    home::Home,
    journal::{Event, Journal, Milestone, Status},
    plan::{self, Known, Plan},
    spec::Spec,
    view::View,
};

/// The operator's side of one deployment.
#[derive(Debug)]
pub struct Session {
    pub home: Home,
    pub observer: Observer,
    pub stop: CancellationToken,
    /// For tests: where this controller dies.
    pub fuse: Fuse,
}

/// One migration under way, held by this command.
#[derive(Debug)]
pub struct Held {
    pub spec: Spec,
    pub plan: Plan,
    pub known: Known,
    pub journal: Journal,
    operator: Operator,
    stop: CancellationToken,
}

impl Session {
    pub fn open(home: &Path, stop: CancellationToken) -> Result<Self, Failure> {
        let home = Home::load(home)?;
        let addresses = home.hosts()?.into_iter().map(|(name, host)| (name, host.address)).collect();
        let observer = Observer::new(Arc::new(home.credentials()?), addresses);
        let fuse = Fuse::beside(home.path());
        Ok(Self { home, observer, stop, fuse })
    }

    pub fn directory(&self, migration: &Migration) -> PathBuf {
        let there = self.home.path().join("migrations").join(migration.name());
        if migration.is_back() { there.join("back") } else { there }
    }

    /// Asks every host of the plan what it is, all at once.
    pub async fn learn(&self, spec: &Spec, plan: &Plan) -> Result<Known, Failure> {
        let mut known = Known { addresses: self.observer.addresses(), ..Known::default() };
        let hosts = plan.hosts();
        let asked = futures::future::join_all(hosts.iter().map(|host| self.observer.facts(host))).await;
        for (host, facts) in hosts.into_iter().zip(asked) {
            known.facts.insert(host, facts?);
        }
        differ(&known, &spec.source, &spec.target)?;
        serve(&known, spec)?;
        Ok(known)
    }

    /// A new migration, or the one of this name where its text is the same. One that ended is put aside.
    pub async fn create(&self, spec: Spec, known: Known) -> Result<Held, Failure> {
        let directory = self.directory(&spec.name);
        let mut journal = self.journal(&directory)?;
        if matches!(journal.status.milestone, Some(Milestone::AsItWas | Milestone::Finished)) {
            let aside = directory.with_extension(format!("ended-{}", journal.status.at_ms));
            drop(journal);
            durable::rename(&directory, &aside).map_err(|error| {
                Failure::refused("DISK", format!("{}: {error}", directory.display()), "see to the disk and try again")
            })?;
            journal = self.journal(&directory)?;
        }
        if journal.status.migration.is_none() {
            let (migration, text) = (spec.name.clone(), spec.text.clone());
            journal.write(Event::Created { migration, spec: text, version: env!("CARGO_PKG_VERSION").into() }).await?;
        } else if journal.status.spec != spec.text {
            return Err(Failure::refused(
                "SPEC_CHANGED",
                format!("{} was begun with another migration.toml", spec.name),
                format!("run `flytt rollback {}` first, or give the new one another name", spec.name),
            ));
        }
        Ok(self.hold(spec, known, journal))
    }

    /// A migration that was begun, by name; its text is the one it was begun with.
    pub async fn take(&self, name: &Migration) -> Result<Held, Failure> {
        let directory = self.existing(name)?;
        let journal = self.journal(&directory)?;
        let spec = self.recorded(name, &journal.status)?;
        let plan = plan::of(&spec);
        // A host that is away now may not be needed; what needs it will say so.
        let mut known = Known { addresses: self.observer.addresses(), ..Known::default() };
        for host in plan.hosts() {
            if let Ok(facts) = self.observer.facts(&host).await {
                known.facts.insert(host, facts);
            }
        }
        Ok(self.hold(spec, known, journal))
    }

    /// The leg back of a move that is over, begun or not. Its journal is its own.
    pub async fn turn(&self, there: &Spec) -> Result<Held, Failure> {
        let name = there.name.back();
        let mut journal = self.journal(&self.directory(&name))?;
        if journal.status.migration.is_none() {
            let (migration, text) = (name.clone(), there.text.clone());
            journal.write(Event::Created { migration, spec: text, version: env!("CARGO_PKG_VERSION").into() }).await?;
        }
        drop(journal);
        self.take(&name).await
    }

    /// Whether a migration of this name was begun and has not ended.
    pub fn is_under_way(&self, name: &Migration) -> bool {
        let ended = |status: &Status| matches!(status.milestone, Some(Milestone::AsItWas | Milestone::Finished));
        self.read(name).is_ok_and(|(_, status)| !ended(&status))
    }

    /// What the journal says, without holding it.
    pub fn read(&self, name: &Migration) -> Result<(Spec, Status), Failure> {
        let (status, _) = Journal::read(&self.existing(name)?)?;
        Ok((self.recorded(name, &status)?, status))
    }

    /// The names of all migrations.
    pub fn migrations(&self) -> Vec<Migration> {
        let Ok(entries) = std::fs::read_dir(self.home.path().join("migrations")) else { return Vec::new() };
        let mut names: Vec<Migration> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        names.sort();
        names
    }

    fn existing(&self, name: &Migration) -> Result<PathBuf, Failure> {
        let directory = self.directory(name);
        if directory.join("journal.db").exists() {
            return Ok(directory);
        }
        Err(self.unknown(name))
    }

    fn unknown(&self, name: &Migration) -> Failure {
        let others = self.migrations().into_iter().filter(|other| other != name);
        let names: Vec<String> = others.map(String::from).collect();
        let known = if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        let sentence = format!("there is no migration {name}; {known}");
        Failure::refused("NO_MIGRATION", sentence, "begin one with `flytt start migration.toml`")
    }

    /// The text that the migration was begun with. A journal that was made and never begun is no migration.
    fn recorded(&self, name: &Migration, status: &Status) -> Result<Spec, Failure> {
        if status.migration.is_none() {
            return Err(self.unknown(name));
        }
        let turned = |spec: Spec| if name.is_back() { spec.turned() } else { spec };
        Spec::parse(Path::new("migration.toml"), &status.spec).map(turned).map_err(|mistakes| {
            Failure::refused(
                "OLD_SPEC",
                format!("the migration.toml that {name} was begun with does not read with this version: {mistakes}"),
                "use the version of flytt that began it",
            )
        })
    }

    fn journal(&self, directory: &Path) -> Result<Journal, Failure> {
        let mut journal = Journal::open(directory)?;
        journal.fuse = self.fuse.clone();
        Ok(journal)
    }

    fn hold(&self, spec: Spec, mut known: Known, journal: Journal) -> Held {
        known.outcomes.clone_from(&journal.status.outcomes);
        known.accepted.clone_from(&journal.status.accepted);
        let operator = Operator { observer: self.observer.clone() };
        Held { plan: plan::of(&spec), spec, known, journal, operator, stop: self.stop.clone() }
    }
}

impl Held {
    pub fn drive<'a>(&'a mut self, view: &'a mut dyn View) -> Drive<'a> {
        Drive {
            spec: &self.spec,
            plan: self.plan.clone(),
            fleet: self.operator.clone(),
            known: self.known.clone(),
            journal: &mut self.journal,
            view,
            stop: self.stop.clone(),
        }
    }
}

/// Two names for one server would have it copy over itself.
fn differ(known: &Known, source: &HostName, target: &HostName) -> Result<(), Failure> {
    let (Some(one), Some(other)) = (known.facts.get(source), known.facts.get(target)) else { return Ok(()) };
    let same = if one.key == other.key {
        "the same agent"
    } else if !one.place.is_empty() && one.place == other.place {
        "the same data directory"
    } else {
        return Ok(());
    };
    Err(Failure::refused(
        "SAME_SERVER",
        format!("{source} and {target} are {same} under two names"),
        "name two different servers in migration.toml; nothing was changed",
    ))
}

/// Orders for one engine mean nothing to another. A host that serves none says so itself.
fn serve(known: &Known, spec: &Spec) -> Result<(), Failure> {
    for host in [&spec.source, &spec.target] {
        let engine = known.facts.get(host).map_or("", |facts| &facts.engine);
        if !engine.is_empty() && engine != spec.engine.name() {
            return Err(Failure::refused(
                "OTHER_ENGINE",
                format!("{host} serves {engine}; migration.toml says {}", spec.engine.name()),
                "name the engine that both hosts serve in migration.toml; nothing was changed",
            ));
        }
    }
    Ok(())
}
