//! What is not rows: definitions, rights, settings, where sequences stand.

use std::collections::BTreeMap;

use flytt_proto::{failure::Failure, name::HostName, v1};

use super::sides::{Side, Sides};

/// How often what changes is looked at.
const LOOKS: usize = 3;
/// Kind of what is said of where a sequence stands: a number, and more.
const SEQUENCE: &str = "sequence value";

/// One that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Object {
    pub database: String,
    pub kind: String,
    pub name: String,
    /// `None`: it is not there.
    pub source: Option<String>,
    pub target: Option<String>,
    /// It changed on the source in every look.
    pub in_flight: bool,
}

impl Object {
    /// Two servers may well be set up differently, and one of them may be fenced; a person should know.
    pub(super) fn is_a_note(&self) -> bool {
        ["server setting", "account lock"].contains(&self.kind.as_str())
    }

    pub(super) fn told(&self, source: &HostName, target: &HostName) -> String {
        let word = match (self.is_a_note(), self.in_flight) {
            (true, _) => "note          ",
            (_, true) => "in flight     ",
            (_, false) => "differs       ",
        };
        let place = if self.database.is_empty() { String::new() } else { format!(" in {}", self.database) };
        let what = match (&self.source, &self.target) {
            (Some(_), None) => format!("is missing on {target}"),
            (None, Some(_)) => format!("is on {target} alone"),
            (Some(one), Some(other)) => {
                let (one, other) = unlike(one, other);
                format!("differs: {source} has `{one}`, {target} has `{other}`")
            }
            (None, None) => "was there for a moment".to_owned(),
        };
        format!("{word} {} {}{place} {what}", self.kind, self.name)
    }
}

/// The parts of two definitions that are not the same, cut to a line.
fn unlike(one: &str, other: &str) -> (String, String) {
    let begin = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count().saturating_sub(20);
    let cut = |text: &str| {
        let mut cut: String = text.chars().skip(begin).take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if begin > 0 {
            cut.insert(0, '…');
        }
        if text.chars().count() > begin + 80 {
            cut.push('…');
        }
        cut
    };
    (cut(one), cut(other))
}

/// Kind and name.
type Key = (String, String);
type All = BTreeMap<Key, String>;
/// On the source, on the target, and whether the source was the same before and after.
type Seen = (Option<String>, Option<String>, bool);

/// How many there are, and those that differ in two looks in a row with the source at rest, or never came to rest.
pub(super) async fn compare(sides: &dyn Sides, database: &str, salt: u64) -> Result<(usize, Vec<Object>), Failure> {
    let mut before: BTreeMap<Key, (Option<String>, Option<String>)> = BTreeMap::new();
    for round in 0.. {
        let source = read(sides, Side::Source, database, salt).await?;
        sides.settle().await?;
        let target = read(sides, Side::Target, database, salt).await?;
        let after = if source == target { source.clone() } else { read(sides, Side::Source, database, salt).await? };
        let mut differing = BTreeMap::new();
        for key in source.keys().chain(target.keys()).chain(after.keys()) {
            let (was, there, is) = (source.get(key), target.get(key), after.get(key));
            if there != was && there != is && !is_between(&key.0, was, there, is) {
                differing.insert(key.clone(), (is.cloned(), there.cloned(), was == is));
            }
        }
        let is_real = |key: &Key, seen: &Seen| {
            let (is, there, still) = seen;
            *still && before.get(key) == Some(&(is.clone(), there.clone()))
        };
        if round + 1 == LOOKS || differing.iter().all(|(key, seen)| is_real(key, seen)) {
            let object = |(key, seen): (&Key, &Seen)| Object {
                database: database.to_owned(),
                kind: key.0.clone(),
                name: key.1.clone(),
                source: seen.0.clone(),
                target: seen.1.clone(),
                // A sequence in use is never at rest; one that stood on the way in no look stands elsewhere.
                in_flight: !is_real(key, seen) && key.0 != SEQUENCE,
            };
            return Ok((after.len(), differing.iter().map(object).collect()));
        }
        before = differing.into_iter().map(|(key, (is, there, _))| (key, (is, there))).collect();
        sides.pause().await;
    }
    Ok((0, Vec::new()))
}

/// A sequence in use moves on between two questions: the target has stood with the source if it stands on the way.
fn is_between(kind: &str, was: Option<&String>, there: Option<&String>, is: Option<&String>) -> bool {
    let number = |text: Option<&String>| text?.split(' ').next()?.parse::<i128>().ok();
    match (number(was), number(there), number(is)) {
        (Some(was), Some(there), Some(is)) if kind == SEQUENCE => (was.min(is)..=was.max(is)).contains(&there),
        (..) => false,
    }
}

/// Two of one kind and name (an operator's, say) are one, with both definitions.
async fn read(sides: &dyn Sides, side: Side, database: &str, salt: u64) -> Result<All, Failure> {
    let mut all = All::new();
    for v1::Object { kind, name, definition } in sides.objects(side, database, salt).await? {
        all.entry((kind, name))
            .and_modify(|known: &mut String| {
                let mut both = [known.as_str(), definition.as_str()];
                both.sort_unstable();
                *known = both.join("\n");
            })
            .or_insert(definition);
    }
    Ok(all)
}
