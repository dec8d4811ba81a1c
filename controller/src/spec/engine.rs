//! The database engines: how each is named, and which keys of migration.toml mean nothing to it. What an engine does is its
//! agents' business.

use serde::Serialize;

use crate::canary::Protocol;

use super::{
    MistakeCode, SystemId,
    read::{Placed, Reader, Section},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    #[default]
    Postgres,
    Mariadb,
    Mysql,
}

impl Engine {
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Mariadb, Self::Mysql];

    /// As migration.toml and the agents write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
        }
    }

    /// As its makers write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
            Self::Mysql => "MySQL",
        }
    }

    /// How its clients speak to it.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Postgres => Protocol::Postgres,
            Self::Mariadb | Self::Mysql => Protocol::Mysql,
        }
    }

    /// What was written, and is another engine's alone, would be ignored: it is a mistake. Defaults are none.
    pub(super) fn audit(self, reader: &mut Reader, root: &Section<'_>, seed: &Section<'_>) {
        if self == Self::Postgres
            && let Some(place) = seed.given("way", "dump")
        {
            let sentence = format!("`way`: {} is not copied by a dump", self.title());
            reader.push(MistakeCode::SpecConflict, place, sentence, "write `way = \"physical\"`, or remove the key");
        }
        if self == Self::Postgres {
            return;
        }
        if let Some(place) = root.given("transport", "direct") {
            let sentence = format!("{} replicates through the tunnel only", self.title());
            reader.push(MistakeCode::SpecConflict, place, sentence, "write `transport = \"tunnel\"`, or remove the key");
        }
        if let Some(place) = seed.place_of("checkpoint") {
            let sentence = format!("`checkpoint` means nothing to {}", self.title());
            reader.push(
                MistakeCode::SpecConflict,
                place,
                sentence,
                "remove the key: only PostgreSQL's base backup begins with one",
            );
        }
    }

    /// Whether a system could be one of this engine's.
    pub(super) fn audit_system(self, reader: &mut Reader, system: &Placed<SystemId>) {
        let (fits, hint) = match (self, system.get_ref()) {
            (Self::Postgres, SystemId::Number(_)) | (Self::Mariadb, SystemId::Number(_)) | (Self::Mysql, SystemId::Uuid(_)) => {
                return;
            }
            (Self::Postgres, SystemId::Uuid(_)) => ("a whole number", "write what `pg_controldata` prints"),
            (Self::Mariadb, SystemId::Uuid(_)) => ("a whole number", "write the one that `flytt plan` names"),
            (Self::Mysql, SystemId::Number(_)) => ("a UUID", "write the `server-uuid` of its auto.cnf"),
        };
        let sentence = format!("`replace`: {} names a server by {fits}", self.title());
        reader.push(MistakeCode::SpecConflict, system.span(), sentence, hint);
    }
}
