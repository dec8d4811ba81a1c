//! Checked names: what arrives as text becomes one of these at the edge, or is refused there.

use std::{fmt, str::FromStr};

use crate::{gtid::GtidPosition, gtid_set::GtidSet};

/// A name that is not of the right form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {rule}")]
pub struct BadName {
    pub what: &'static str,
    pub text: String,
    pub rule: &'static str,
}

/// Lower-case letters, digits and hyphens, beginning with a letter, not ending with a hyphen (no DNS label does), at most `max` bytes: safe in paths, DNS names and SQL.
/// `suffix` may follow.
fn check(what: &'static str, whole: &str, max: usize, rule: &'static str, suffix: &str) -> Result<String, BadName> {
    let text = if suffix.is_empty() { whole } else { whole.strip_suffix(suffix).unwrap_or(whole) };
    let fits = text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(whole.to_owned()) } else { Err(BadName { what, text: whole.chars().take(80).collect(), rule }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal) => {
        name!($(#[$doc])* $name, $what, $max, $rule, "");
    };
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal, $suffix:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                check($what, text, $max, $rule, $suffix).map(Self)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl fmt::Display for $name {
            // `pad`, so that a width given to it makes columns.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A host as the operator calls it (`flytt host add NAME …`); also the DNS label in its certificate.
    HostName, "host name", 40, "use at most 40 lower-case letters, digits and hyphens, beginning with a letter"
);
name!(
    /// The hosts that one certificate authority vouches for.
    Deployment, "deployment", 40, "use at most 40 lower-case letters, digits and hyphens, beginning with a letter"
);
name!(
    /// A migration's name. Slots, roles and files on the hosts carry it, so it is short.
    Migration, "migration name", 30, "use at most 30 lower-case letters, digits and hyphens, beginning with a letter", BACK
);
name!(
    /// A step of the plan: the key in journal and ledger.
    StepId, "step", 40, "use at most 40 lower-case letters, digits and hyphens, beginning with a letter"
);

/// What a migration's second leg is called after its name: no name of an operator's has a dot.
const BACK: &str = ".back";

/// A migration has at most two legs: there, and after it, with the roles exchanged, back. Each is a migration of its own to the
/// agents' ledgers and in what they sign, so that nothing which was said of one can ever count in the other; what stands on the
/// servers and on the hosts is the migration's, whichever leg it is.
impl Migration {
    /// The name as part of an SQL identifier: hyphens become underscores. The same for both legs.
    pub fn identifier(&self) -> String {
        format!("flytt_{}", self.name().replace('-', "_"))
    }

    /// The operator's name for it.
    pub fn name(&self) -> &str {
        self.0.strip_suffix(BACK).unwrap_or(&self.0)
    }

    /// The leg there.
    #[must_use]
    pub fn there(&self) -> Self {
        Self(self.name().to_owned())
    }

    /// The leg back.
    #[must_use]
    pub fn back(&self) -> Self {
        Self(format!("{}{BACK}", self.name()))
    }

    pub fn is_back(&self) -> bool {
        self.0.ends_with(BACK)
    }
}

/// The steps that an agent must find in its own ledger, because it may have to end or complete them alone.
pub mod step {
    pub const FENCE: &str = "cut-fence";
    pub const PROMOTE: &str = "cut-promote";
    pub const SURRENDER: &str = "cut-surrender";
    pub const OPEN: &str = "cut-open";
    pub const RETIRE: &str = "cut-retire";
    pub const ARM: &str = "back-arm";
    pub const REJOIN: &str = "back-rejoin";
    /// Of no plan: on a source whose target is lost.
    pub const RECOVER: &str = "recover";
}

/// `<migration>/<step>`: the idempotency key of everything that is done to a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationId {
    pub migration: Migration,
    pub step: StepId,
}

impl FromStr for OperationId {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let rule = "write it as <migration>/<step>";
        let bad = || BadName { what: "operation", text: text.chars().take(120).collect(), rule };
        let (migration, step) = text.split_once('/').ok_or_else(bad)?;
        Ok(Self { migration: migration.parse()?, step: step.parse()? })
    }
}
impl TryFrom<String> for OperationId {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}
impl From<OperationId> for String {
    fn from(id: OperationId) -> String {
        id.to_string()
    }
}
impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.migration, self.step)
    }
}

/// Grows each time a controller takes charge. An agent refuses a lower one than it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A PostgreSQL log sequence number, printed as `X/X` (PostgreSQL manual, `pg_lsn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl FromStr for Lsn {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName { what: "position", text: text.chars().take(80).collect(), rule: "write it as X/X in hexadecimal" };
        let (high, low) = text.split_once('/').ok_or_else(bad)?;
        let part = |s: &str| {
            if s.is_empty() || s.len() > 8 || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            u64::from_str_radix(s, 16).map_err(|_| bad())
        };
        Ok(Self(part(high)? << 32 | part(low)?))
    }
}
impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}
impl serde::Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What an engine's positions count. A limit in bytes means nothing where they count transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogUnit {
    Bytes,
    Transactions,
}

/// How far a server's history goes. Comparable only within one engine, so each engine has a variant of its own.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    Postgres(Lsn),
    Mariadb(GtidPosition),
    Mysql(GtidSet),
}

impl Position {
    /// What a distance between two positions of this engine counts.
    pub fn unit(&self) -> LogUnit {
        match self {
            Position::Postgres(_) => LogUnit::Bytes,
            Position::Mariadb(_) | Position::Mysql(_) => LogUnit::Transactions,
        }
    }

    /// How much was written up to here since there is a log, in [`Self::unit`]. Good for telling whether a distance grows.
    pub fn written(&self) -> u64 {
        match self {
            Position::Postgres(lsn) => lsn.0,
            Position::Mariadb(gtids) => gtids.iter().map(|gtid| gtid.sequence).fold(0, u64::saturating_add),
            Position::Mysql(gtids) => gtids.count(),
        }
    }

    /// Whether this position includes `other`; `None` when they are of different engines.
    pub fn covers(&self, other: &Position) -> Option<bool> {
        match (self, other) {
            (Position::Postgres(a), Position::Postgres(b)) => Some(a >= b),
            (Position::Mariadb(a), Position::Mariadb(b)) => Some(a.covers(b)),
            (Position::Mysql(a), Position::Mysql(b)) => Some(a.covers(b)),
            (Position::Postgres(_) | Position::Mariadb(_) | Position::Mysql(_), _) => None,
        }
    }
}
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Postgres(lsn) => write!(f, "postgres:{lsn}"),
            Position::Mariadb(gtids) => write!(f, "mariadb:{gtids}"),
            Position::Mysql(gtids) => write!(f, "mysql:{gtids}"),
        }
    }
}
impl FromStr for Position {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        match text.split_once(':') {
            Some(("postgres", lsn)) => Ok(Position::Postgres(lsn.parse()?)),
            Some(("mariadb", gtids)) => Ok(Position::Mariadb(gtids.parse()?)),
            Some(("mysql", gtids)) => Ok(Position::Mysql(gtids.parse()?)),
            _ => {
                Err(BadName { what: "position", text: text.chars().take(80).collect(), rule: "write it as <engine>:<position>" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_escape_are_refused() {
        for bad in ["", "-a", "A", "a_b", "a/b", "../x", "a b", "a-", "a\n", "1a", &"a".repeat(41)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
        assert_eq!("db-old-2".parse::<HostName>().expect("a good name").as_str(), "db-old-2");
        assert!("shop/cut-fence".parse::<OperationId>().is_ok());
        assert!("shop".parse::<OperationId>().is_err());
    }

    #[test]
    fn the_leg_back_is_another_migration_with_the_same_things() {
        let there: Migration = "shop".parse().expect("a name");
        let back = there.back();
        assert!(back != there && back.is_back() && !there.is_back());
        assert_eq!((back.there(), back.back(), back.identifier()), (there.clone(), back.clone(), there.identifier()));
        assert_eq!(back.to_string().parse::<Migration>(), Ok(back));
        for bad in [".back", "shop.back.back", "shop.", "shop.x"] {
            assert!(bad.parse::<Migration>().is_err(), "{bad}");
        }
        assert!("db.back".parse::<HostName>().is_err());
        assert!("shop.back/cut-fence".parse::<OperationId>().is_ok());
    }

    #[test]
    fn an_lsn_reads_back_as_printed() {
        for text in ["0/0", "0/3000028", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().expect("valid").to_string(), text);
        }
        for bad in ["", "0", "/", "0/", "0/123456789", "+1/2", "g/1", "1/2/3"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad:?}");
        }
        assert!("1/0".parse::<Lsn>().expect("valid") > "0/FFFFFFFF".parse().expect("valid"));
    }

    const SET: &str = "mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:tag:7";

    #[test]
    fn positions_of_two_engines_do_not_compare() {
        let position = |text: &str| text.parse::<Position>().expect("valid");
        for text in ["postgres:16/B374D848", "mariadb:0-1-5,3-2-9", "mariadb:", "mysql:", SET] {
            assert_eq!(position(text).to_string(), text);
            let stored = serde_json::to_string(&position(text)).expect("stored");
            assert_eq!(serde_json::from_str::<Position>(&stored).expect("read"), position(text));
        }
        assert_eq!(position("postgres:0/1").covers(&position("mariadb:")), None);
        assert_eq!(position("mariadb:0-1-5").covers(&position("postgres:0/0")), None);
        assert_eq!(position("mariadb:0-1-5").covers(&position("mariadb:0-1-4")), Some(true));
        assert_eq!(position(SET).covers(&position("mysql:")), Some(true));
        assert_eq!(position(SET).covers(&position("mariadb:")), None);
        for bad in ["", "0/1", "mysql:0-1-5", "mariadb", "mariadb:x", ":"] {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
    }
}
