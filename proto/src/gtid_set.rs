//! A MySQL position: the set of all transactions that a server has, by the server that wrote each first (MySQL manual, "GTID
//! Format and Storage"). What a server does to get there is the engine's.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::name::BadName;

/// Transaction numbers go up to here (`GNO_END` in MySQL's `sql/rpl_gtid.h` is one more).
const LAST: u64 = i64::MAX as u64 - 1;
/// A tag has at most so many characters.
const TAG: usize = 32;

/// Whose transactions: the UUID of the server that wrote them, and the tag that they were given there (8.3 and later), or "".
type Origin = (u128, String);

/// Sorted, apart from each other by at least one number; both ends belong to it.
type Intervals = Vec<(u64, u64)>;

/// Printed as MySQL does: `uuid:1-5:7:tag:1-3,uuid:…`. Empty where nothing was ever written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidSet(BTreeMap<Origin, Intervals>);

impl GtidSet {
    /// Whether every transaction of `other` is in this one.
    pub fn covers(&self, other: &GtidSet) -> bool {
        other.without(self).is_empty()
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn without(&self, other: &GtidSet) -> GtidSet {
        let left = self.0.iter().map(|(origin, own)| {
            let theirs = other.0.get(origin).map_or(&[][..], Vec::as_slice);
            (origin.clone(), subtract(own, theirs))
        });
        GtidSet(left.filter(|(_, left)| !left.is_empty()).collect())
    }

    /// Both together.
    #[must_use]
    pub fn joined(&self, other: &GtidSet) -> GtidSet {
        let mut joined = self.clone();
        for (origin, theirs) in &other.0 {
            let own = joined.0.entry(origin.clone()).or_default();
            own.extend(theirs);
            normalise(own);
        }
        joined
    }

    /// Those that this server wrote first, by its UUID; none where that is no UUID.
    #[must_use]
    pub fn written_by(&self, server: &str) -> GtidSet {
        let server = uuid(server);
        GtidSet(
            self.0
                .iter()
                .filter(|((who, _), _)| Some(*who) == server)
                .map(|(origin, own)| (origin.clone(), own.clone()))
                .collect(),
        )
    }

    /// How many transactions it has.
    pub fn count(&self) -> u64 {
        self.0.values().flatten().map(|(first, last)| last - first + 1).fold(0, u64::saturating_add)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Sorts, and joins what overlaps or touches.
fn normalise(intervals: &mut Intervals) {
    intervals.sort_unstable();
    intervals.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1 + 1;
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

fn subtract(own: &[(u64, u64)], theirs: &[(u64, u64)]) -> Intervals {
    let mut left = Intervals::new();
    let mut others = theirs.iter().peekable();
    for &(mut first, last) in own {
        while others.next_if(|other| other.1 < first).is_some() {}
        let mut rest = others.clone();
        while let Some(other) = rest.next_if(|other| other.0 <= last) {
            if first < other.0 {
                left.push((first, other.0 - 1));
            }
            first = other.1 + 1;
        }
        if first <= last {
            left.push((first, last));
        }
    }
    left
}

fn number(text: &str) -> Option<u64> {
    // `u64::from_str` takes a sign; a server never writes one.
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && (1..=LAST).contains(number))
}

fn interval(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first <= last).then_some((first, last))
}

fn uuid(text: &str) -> Option<u128> {
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let is_plain = text.len() == 36 && dashes == [8, 13, 18, 23] && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| u128::from_str_radix(&digits, 16).ok()).flatten()
}

fn tag(text: &str) -> Option<String> {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_tag = text.len() <= TAG
        && text.bytes().next().is_some_and(is_first)
        && text.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit());
    is_tag.then(|| text.to_ascii_lowercase())
}

impl FromStr for GtidSet {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName {
            what: "position",
            text: text.chars().take(80).collect(),
            rule: "write it as server-uuid:first-last, with commas between servers",
        };
        let mut all: BTreeMap<Origin, Intervals> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let mut fields = part.split(':').map(str::trim);
            let server = fields.next().and_then(uuid).ok_or_else(bad)?;
            let (mut current, mut has_intervals) = (String::new(), false);
            for field in fields {
                if let Some(found) = interval(field) {
                    all.entry((server, current.clone())).or_default().push(found);
                    has_intervals = true;
                } else {
                    current = tag(field).ok_or_else(bad)?;
                    has_intervals = false;
                }
            }
            if !has_intervals {
                return Err(bad());
            }
        }
        all.values_mut().for_each(normalise);
        Ok(Self(all))
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = None;
        for ((server, tag), intervals) in &self.0 {
            if before != Some(server) {
                let hex = format!("{server:032x}");
                let comma = if before.is_some() { "," } else { "" };
                write!(f, "{comma}{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])?;
            }
            before = Some(server);
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (first, last) in intervals {
                if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
            }
        }
        Ok(())
    }
}

impl serde::Serialize for GtidSet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for GtidSet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "ffffffff-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.replace('A', A).replace('B', B).parse().expect("a set")
    }

    #[test]
    fn what_no_server_writes_is_refused() {
        for bad in [
            "A",
            "A:",
            "A:0",
            "A:1-",
            "A:-1",
            "A:5-4",
            "A:+1",
            "A:1:",
            "A:1,",
            ",",
            "A:1:tag",
            "A:tag",
            "A:9tag:1",
            "A:t-g:1",
            "x:1",
            "A:9223372036854775807",
            "A:99999999999999999999",
            "A:1\u{0}",
            "0-1-5",
            "A:1-2-3",
            "A:1;drop",
            "A-:1",
            "A:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1",
            "3e11fa4771ca-11e1-9e33-c80aa9429562----:1",
        ] {
            assert!(bad.replace('A', A).parse::<GtidSet>().is_err(), "{bad:?}");
        }
        assert!(set("").is_empty() && set(" \n").is_empty());
    }

    #[test]
    fn it_is_printed_as_a_server_prints_it() {
        let said = set("B:3,\nA:7:1-3:4-5:Tag:2, A:tag:1:9");
        assert_eq!(said.to_string(), format!("{A}:1-5:7:tag:1-2:9,{B}:3"));
        assert_eq!(said.count(), 10);
        assert_eq!(set("A:1-9223372036854775806").count(), LAST);
        assert_eq!(format!("{}:1", A.to_uppercase()).parse::<GtidSet>().expect("a set").to_string(), format!("{A}:1"));
    }

    #[test]
    fn it_is_judged_both_ways() {
        assert!(set("A:1-10,B:1").covers(&set("A:2-3:5")));
        assert!(!set("A:1-10").covers(&set("A:1-10,B:1")), "a whole server is missing");
        assert!(!set("A:1-10").covers(&set("A:tag:1")), "a tag is a row of its own");
        assert!(!set("A:1-4:6-10").covers(&set("A:1-10")), "there is a hole");
        assert_eq!(set("A:1-10:20-30,B:1").without(&set("A:3:5-6:10-25,B:1-9")), set("A:1-2:4:7-9:26-30"));
        assert!(set("").covers(&set("")) && !set("").covers(&set("A:1")));
    }

    /// A few servers and tags, small numbers: as a set of single transactions, and as text in any order.
    fn any_set() -> impl Strategy<Value = (BTreeSet<(bool, bool, u64)>, GtidSet)> {
        proptest::collection::btree_set((any::<bool>(), any::<bool>(), 1_u64..12), 0..20).prop_map(|all| {
            let text = |(b, tagged, number): &(bool, bool, u64)| {
                format!("{}:{}{number}", if *b { B } else { A }, if *tagged { "t:" } else { "" })
            };
            let parsed = all.iter().rev().map(text).collect::<Vec<_>>().join(",").parse().expect("a set");
            (all, parsed)
        })
    }

    proptest! {
        #[test]
        fn it_counts_as_single_transactions_would((ones, a) in any_set(), (others, b) in any_set()) {
            prop_assert_eq!(a.count(), ones.len() as u64);
            prop_assert_eq!(a.covers(&b), ones.is_superset(&others));
            prop_assert_eq!(a.without(&b).count(), ones.difference(&others).count() as u64);
            prop_assert!(!a.without(&b).0.values().any(Vec::is_empty));
            prop_assert_eq!(a.joined(&b).count(), ones.union(&others).count() as u64);
            prop_assert_eq!(a.joined(&b), b.joined(&a));
            prop_assert_eq!(a.without(&b).joined(&b), a.joined(&b));
        }

        #[test]
        fn it_reads_back_as_printed((_, a) in any_set()) {
            prop_assert_eq!(a.to_string().parse::<GtidSet>().expect("reads"), a);
        }

        #[test]
        fn nothing_else_is_taken(text in "[0-9a-f:,\\- ]{0,60}") {
            if let Ok(set) = text.parse::<GtidSet>() {
                prop_assert_eq!(set.to_string().parse::<GtidSet>().expect("reads"), set);
            }
        }
    }
}
