//! Names that only migration.toml knows, checked where they are read.

use std::{fmt, path::PathBuf, str::FromStr};

use flytt_proto::name::{BadName, Migration};

/// A text that is not of the form its key takes; the sentence says which form that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadText(&'static str);

/// A backend or server as the router's configuration names it. It goes into a line of the router's admin socket, so it is
/// made of letters, digits and `._:-` alone (HAProxy manual, 2.2 "Names").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerName(String);

impl FromStr for ServerName {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if plain && (1..=100).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadText("a router's own names are 1 to 100 letters, digits and `._:-`"))
        }
    }
}

impl ServerName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A migration as its operator calls it: what agents call its legs is not for a file to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MoveName(pub(super) Migration);

impl FromStr for MoveName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let name: Migration = text.parse()?;
        let rule = "a dot has no place in it";
        if name.is_back() { Err(BadName { what: "migration name", text: text.to_owned(), rule }) } else { Ok(Self(name)) }
    }
}

/// Whose data a directory holds. PostgreSQL's and MariaDB's are 64-bit numbers other than zero; MySQL's is a UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemId {
    Number(u64),
    /// In lower case.
    Uuid(String),
}

impl FromStr for SystemId {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let rule = BadText("a system identifier is a whole number (PostgreSQL, MariaDB) or a UUID (MySQL)");
        if is_uuid(text) {
            return Ok(Self::Uuid(text.to_ascii_lowercase()));
        }
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(rule);
        }
        text.parse().ok().filter(|number| *number != 0).map(Self::Number).ok_or(rule)
    }
}

/// 8-4-4-4-12 hexadecimal digits (RFC 9562, section 4).
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hex)
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Uuid(uuid) => f.write_str(uuid),
        }
    }
}

/// Relative ones would mean another file in each directory.
#[derive(Debug)]
pub(super) struct AbsolutePath(pub(super) PathBuf);

impl FromStr for AbsolutePath {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        if !text.starts_with('/') || text.ends_with('/') || text.chars().any(char::is_control) {
            return Err(BadText("the path of a file begins with `/` and has no control characters"));
        }
        Ok(Self(text.into()))
    }
}
