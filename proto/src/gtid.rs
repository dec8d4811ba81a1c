//! A MariaDB position: for each replication domain the last transaction of it (MariaDB manual, "Global Transaction ID").
//! What a server does to get there is the engine's.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::name::BadName;

/// The last transaction of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gtid {
    pub domain: u32,
    /// `server_id` of the server that wrote it first.
    pub server: u32,
    /// Grows within a domain.
    pub sequence: u64,
}

impl FromStr for Gtid {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad =
            || BadName { what: "position", text: text.chars().take(80).collect(), rule: "write it as domain-server-sequence" };
        let mut parts = text.split('-');
        let mut next = || {
            let part = parts.next().unwrap_or_default();
            // `u64::from_str` takes a sign; a server never writes one.
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) { Err(bad()) } else { Ok(part) }
        };
        let domain = next()?.parse().map_err(|_| bad())?;
        let server = next()?.parse().map_err(|_| bad())?;
        let sequence = next()?.parse().map_err(|_| bad())?;
        if parts.next().is_some() { Err(bad()) } else { Ok(Self { domain, server, sequence }) }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// At most one transaction for each domain, printed as MariaDB does: `0-1-100,7-2-5`. Empty where nothing was ever written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidPosition(BTreeMap<u32, Gtid>);

impl GtidPosition {
    /// Whether every transaction of `other` is in this one. The same sequence number by another server is another history.
    pub fn covers(&self, other: &GtidPosition) -> bool {
        other.0.values().all(|theirs| {
            let covers = |own: &Gtid| own.sequence > theirs.sequence || own == theirs;
            self.0.get(&theirs.domain).is_some_and(covers)
        })
    }

    /// How many transactions of `other` are missing here. Exact where sequence numbers have no holes, as in strict mode.
    pub fn missing(&self, other: &GtidPosition) -> u64 {
        let missing = |theirs: &Gtid| theirs.sequence.saturating_sub(self.0.get(&theirs.domain).map_or(0, |own| own.sequence));
        other.0.values().map(missing).fold(0, u64::saturating_add)
    }

    /// Both together: of each domain the later transaction.
    #[must_use]
    pub fn joined(&self, other: &GtidPosition) -> GtidPosition {
        let mut joined = self.clone();
        for theirs in other.iter() {
            let own = joined.0.entry(theirs.domain).or_insert(theirs);
            if theirs.sequence > own.sequence {
                *own = theirs;
            }
        }
        joined
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Gtid> + '_ {
        self.0.values().copied()
    }
}

impl FromStr for GtidPosition {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut domains = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let gtid: Gtid = part.parse()?;
            if domains.insert(gtid.domain, gtid).is_some() {
                let text = text.chars().take(80).collect();
                return Err(BadName { what: "position", text, rule: "name each domain once" });
            }
        }
        Ok(Self(domains))
    }
}

impl fmt::Display for GtidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, gtid) in self.0.values().enumerate() {
            write!(f, "{}{gtid}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl serde::Serialize for GtidPosition {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for GtidPosition {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> GtidPosition {
        text.parse().expect("a position")
    }

    #[test]
    fn what_no_server_writes_is_refused() {
        for bad in ["0", "0-1", "0-1-2-3", "-1-2-3", "0-1-+2", "0--2", "a-1-2", "0-1-2,", "0-1-2,0-2-3", "4294967296-1-1", ","] {
            assert!(bad.parse::<GtidPosition>().is_err(), "{bad:?}");
        }
        assert!(at("").is_empty() && at(" \n").is_empty());
        assert_eq!(at("7-2-5, 0-1-18446744073709551615").to_string(), "0-1-18446744073709551615,7-2-5");
    }

    #[test]
    fn it_is_judged_domain_by_domain() {
        assert!(at("0-1-100,1-2-5").covers(&at("0-1-100")));
        assert!(at("0-2-101").covers(&at("0-1-100")), "a later transaction of the domain, whoever wrote it");
        assert!(!at("0-2-100").covers(&at("0-1-100")), "the same number by another server is another history");
        assert!(!at("0-1-1000").covers(&at("0-1-100,1-2-1")), "a whole domain is missing");
        assert!(at("").covers(&at("")) && !at("").covers(&at("0-1-1")));
        assert_eq!(at("0-1-90").missing(&at("0-1-100,1-2-5")), 15);
        assert_eq!(at("0-1-200").missing(&at("0-1-100")), 0);
    }

    fn any_position() -> impl Strategy<Value = GtidPosition> {
        let gtid = (0_u32..4, 1_u32..3, 0_u64..6);
        proptest::collection::vec(gtid, 0..5).prop_map(|gtids| {
            let of = |(domain, server, sequence)| (domain, Gtid { domain, server, sequence });
            GtidPosition(gtids.into_iter().map(of).collect())
        })
    }

    proptest! {
        #[test]
        fn it_reads_back_as_printed(position in any_position(), domain: u32, server: u32, sequence: u64) {
            prop_assert_eq!(at(&position.to_string()), position);
            let one = Gtid { domain, server, sequence };
            prop_assert_eq!(one.to_string().parse::<Gtid>().expect("reads"), one);
        }

        #[test]
        fn covering_is_an_order(a in any_position(), b in any_position(), c in any_position()) {
            prop_assert!(a.covers(&a));
            if a.covers(&b) && b.covers(&a) {
                prop_assert_eq!(&a, &b);
            }
            if a.covers(&b) && b.covers(&c) {
                prop_assert!(a.covers(&c));
            }
            if a.covers(&b) {
                prop_assert_eq!(a.missing(&b), 0);
            }
        }

        #[test]
        fn both_together_miss_nothing_of_either(a in any_position(), b in any_position()) {
            let joined = a.joined(&b);
            prop_assert_eq!(joined.missing(&a) + joined.missing(&b), 0);
            prop_assert!(joined.iter().all(|gtid| a.iter().chain(b.iter()).any(|one| one == gtid)));
        }

        #[test]
        fn nothing_else_is_taken(text in "[0-9,\\- a]{0,20}") {
            if let Ok(position) = text.parse::<GtidPosition>() {
                prop_assert_eq!(at(&position.to_string()), position);
            }
        }
    }
}
