//! What becomes of a range that was not equal: it is cut into smaller ones until rows can be named.

use std::collections::BTreeMap;

use flytt_proto::{failure::Failure, v1};

use super::{
    look::{Look, look},
    parts,
    sides::{Side, Sides},
};

/// Rows that are compared one by one.
const FEW: u64 = 1_000;
/// How often what is in flight is looked at: with a pause between, so that what changes all the time is caught at rest if it ever
/// is.
const LOOKS: usize = 8;
/// Ranges that one look is about.
const TOGETHER: usize = 64;
/// How often ranges are cut and looked at again before a range that grows is left as it is.
const ROUNDS: usize = 200;
/// Rows that are named; more are counted by their ranges.
pub(super) const NAMED: usize = 100;

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// The key's values; without a key, where PostgreSQL has the row.
    pub key: Vec<String>,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// On the source alone.
    Missing,
    /// On the target alone.
    Extra,
    Differs,
}

/// What a range came to in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Found {
    /// Rows on the source.
    pub rows: u64,
    /// Rows that differ, by name; at most a hundred of a table.
    pub differing: Vec<Row>,
    /// Ranges that differ, and whose rows are not named: rows on the source and on the target.
    pub ranges: Vec<(u64, u64)>,
    /// Rows, or ranges, that changed in every look.
    pub in_flight: u64,
}

impl Found {
    pub fn is_equal(&self) -> bool {
        self.differing.is_empty() && self.ranges.is_empty() && self.in_flight == 0
    }

    pub fn differs(&self) -> bool {
        !self.differing.is_empty() || !self.ranges.is_empty()
    }

    /// By pages, a row that differs may be in one range on the source and in another on the target.
    pub(super) fn merged(mut self) -> Self {
        self.differing.sort();
        self.differing.dedup_by(|later, first| {
            let same = later.key == first.key;
            if same {
                first.how = How::Differs;
            }
            same
        });
        self
    }

    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.differing.extend(other.differing);
        self.ranges.extend(other.ranges);
        self.in_flight += other.in_flight;
    }
}

/// `piece` has been seen not to be equal. `named` rows of its table have been named already. All ranges of one size are looked at
/// together: what takes long is to wait for the target.
pub(super) async fn narrow(sides: &dyn Sides, form: v1::Form, piece: v1::Piece, named: usize) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut level = vec![piece];
    let mut rounds = 0;
    while !level.is_empty() {
        rounds += 1;
        let rest = level.split_off(level.len().min(TOGETHER));
        let looks = look(sides, form, &level).await?;
        let mut next = Vec::new();
        for (piece, seen) in level.into_iter().zip(looks) {
            let seen = seen?;
            if seen.is_equal() {
                found.rows += seen.rows().0;
                continue;
            }
            if named + found.differing.len() >= NAMED {
                found.add(as_a_whole(sides, form, &piece).await?);
                continue;
            }
            let (source, target) = seen.rows();
            let (most, side) = if source >= target { (source, Side::Source) } else { (target, Side::Target) };
            let smaller = if most > FEW { parts::smaller(sides, side, &piece, most).await? } else { Vec::new() };
            if !smaller.is_empty() {
                next.extend(smaller);
            } else if parts::has_named_rows(&piece) && rounds < ROUNDS {
                match row_by_row(sides, form, &piece).await? {
                    Some(rows) => found.add(rows),
                    // It has grown.
                    None => next.push(piece),
                }
            } else {
                found.add(as_a_whole(sides, form, &piece).await?);
            }
        }
        next.extend(rest);
        level = next;
    }
    Ok(found)
}

async fn one(sides: &dyn Sides, form: v1::Form, piece: &v1::Piece) -> Result<Look, Failure> {
    look(sides, form, std::slice::from_ref(piece)).await?.pop().expect("one answer for one piece")
}

/// Without names: it differs when two looks, a pause apart, see the same two sides with the source at rest.
async fn as_a_whole(sides: &dyn Sides, form: v1::Form, piece: &v1::Piece) -> Result<Found, Failure> {
    let mut last: Option<Look> = None;
    for _ in 0..LOOKS {
        let seen = one(sides, form, piece).await?;
        let (source, target) = seen.rows();
        if seen.is_equal() {
            return Ok(Found { rows: source, ..Found::default() });
        }
        if seen.is_still() && last.as_ref() == Some(&seen) {
            return Ok(Found { rows: source, ranges: vec![(source, target)], ..Found::default() });
        }
        last = Some(seen);
        sides.pause().await;
    }
    let rows = last.map_or(0, |last| last.rows().0);
    Ok(Found { rows, in_flight: 1, ..Found::default() })
}

type Hashes = BTreeMap<Vec<String>, String>;
/// Of a row that is not equal: its hash on the source and on the target; `None`: the source changed under our eyes.
type Seen = Option<(Option<String>, Option<String>)>;

/// A row differs when two looks, a pause apart, see the same two hashes of it (or the same one absent) with the source at rest.
/// `None`: there are too many rows to be told one by one.
async fn row_by_row(sides: &dyn Sides, form: v1::Form, piece: &v1::Piece) -> Result<Option<Found>, Failure> {
    let mut suspects = BTreeMap::new();
    let mut count = 0;
    for round in 0..LOOKS {
        if round > 0 {
            sides.pause().await;
        }
        let Some(before) = hashes(sides, Side::Source, form, piece).await? else { return Ok(None) };
        sides.settle().await?;
        let Some(target) = hashes(sides, Side::Target, form, piece).await? else { return Ok(None) };
        let Some(after) = hashes(sides, Side::Source, form, piece).await? else { return Ok(None) };
        count = after.len() as u64;
        let keys = before.keys().chain(target.keys()).chain(after.keys());
        let mut now = BTreeMap::new();
        for key in keys {
            let (was, there, is) = (before.get(key), target.get(key), after.get(key));
            if there != was && there != is {
                let seen: Seen = (was == is).then(|| (is.cloned(), there.cloned()));
                now.insert(key.clone(), seen);
            }
        }
        let is_real = |key: &Vec<String>, seen: &Seen| seen.is_some() && suspects.get(key) == Some(seen);
        if now.iter().all(|(key, seen)| is_real(key, seen)) {
            return Ok(Some(Found { rows: count, differing: now.iter().filter_map(row).collect(), ..Found::default() }));
        }
        if round + 1 == LOOKS {
            let (real, moving): (Vec<_>, Vec<_>) = now.iter().partition(|(key, seen)| is_real(key, seen));
            let in_flight = moving.len() as u64;
            let differing = real.into_iter().filter_map(row).collect();
            return Ok(Some(Found { rows: count, differing, in_flight, ..Found::default() }));
        }
        suspects = now;
    }
    Ok(Some(Found { rows: count, ..Found::default() }))
}

/// `None`: too many to be told one by one.
async fn hashes(sides: &dyn Sides, side: Side, form: v1::Form, piece: &v1::Piece) -> Result<Option<Hashes>, Failure> {
    let reply = sides.rows(side, form, piece).await?;
    Ok((!reply.more).then(|| reply.row.into_iter().map(|row| (row.key, row.hash)).collect()))
}

fn row((key, seen): (&Vec<String>, &Seen)) -> Option<Row> {
    let how = match seen.as_ref()? {
        (Some(_), None) => How::Missing,
        (None, Some(_)) => How::Extra,
        (Some(_), Some(_)) | (None, None) => How::Differs,
    };
    Some(Row { key: key.clone(), how })
}
