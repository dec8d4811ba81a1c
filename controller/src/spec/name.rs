//! Names that only migration.toml knows, checked where they are read.

use std::{fmt, path::PathBuf, str::FromStr};

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

/// PostgreSQL's identity of a cluster: a 64-bit number other than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemId(u64);

impl FromStr for SystemId {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let rule = BadText("a system identifier is a whole number, as `pg_controldata` prints it");
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(rule);
        }
        text.parse().ok().filter(|number| *number != 0).map(Self).ok_or(rule)
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
