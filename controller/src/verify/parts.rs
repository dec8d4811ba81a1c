//! How tables are cut into ranges: half-open, and open at both ends of the table, so that no row is outside of all.

use flytt_proto::{failure::Failure, v1};

use super::sides::{Side, Sides};

/// Bytes of a table that one question is about: half a second's work.
const PART: u64 = 32 << 20;
/// A table that is not worth being cut.
pub(super) const SMALL: u64 = 8 << 20;
/// Of a page of PostgreSQL; only decides how large parts are.
const PAGE: u64 = 8 << 10;
/// Into how many parts a range falls that is looked at more closely.
const BRANCHES: u64 = 16;
/// Cuts that are asked for at once.
const CUTS: u32 = 16;

/// How the ranges of a table are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Whole,
    Keys,
    /// Both sides have the same pages.
    Pages,
}

pub(super) fn by(table: &v1::Table, same_pages: bool) -> By {
    match (table.bytes <= SMALL && !table.key.is_empty(), same_pages, table.key.is_empty()) {
        (true, ..) => By::Whole,
        (_, true, _) => By::Pages,
        (_, _, false) => By::Keys,
        (_, _, true) => By::Whole,
    }
}

pub(super) fn piece(table: &v1::Table, kind: Option<v1::range::Kind>) -> v1::Piece {
    v1::Piece { table: Some(table.clone()), range: kind.map(|kind| v1::Range { kind: Some(kind) }) }
}

pub(super) fn keys(after: Option<v1::Key>, up_to: Option<v1::Key>) -> Option<v1::range::Kind> {
    Some(v1::range::Kind::Keys(v1::range::Keys { after, up_to }))
}

pub(super) fn pages(from: u64, before: Option<u64>) -> Option<v1::range::Kind> {
    Some(v1::range::Kind::Pages(v1::range::Pages { from, before }))
}

/// Whether the rows of a range have names: a key, or the same places on both sides.
pub(super) fn has_named_rows(piece: &v1::Piece) -> bool {
    let by_pages = matches!(piece.range.as_ref().and_then(|range| range.kind.as_ref()), Some(v1::range::Kind::Pages(_)));
    by_pages || piece.table.as_ref().is_some_and(|table| !table.key.is_empty())
}

/// The ranges of one table, one after the other, from behind the last one that is known to be equal.
#[derive(Debug)]
pub(super) struct Ranges {
    table: v1::Table,
    by: By,
    /// Rows or pages of each.
    size: u64,
    /// How far the last one went; `None`: nothing was cut yet.
    at: Option<End>,
    /// Cuts that are known already, the next one last.
    ahead: Vec<v1::Key>,
    /// Where the pages ended on the source when the first range was cut.
    pages: u64,
    is_over: bool,
}

/// Where a range ends.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) enum End {
    Key(v1::Key),
    Page(u64),
}

impl End {
    /// Whether ranges that are told so end there.
    pub(super) fn is_of(&self, by: By) -> bool {
        match self {
            Self::Key(_) => by == By::Keys,
            Self::Page(_) => by == By::Pages,
        }
    }

    /// `None`: the range is open, and the last one.
    pub(super) fn of(piece: &v1::Piece) -> Option<Self> {
        match piece.range.as_ref()?.kind.as_ref()? {
            v1::range::Kind::Keys(keys) => keys.up_to.clone().map(Self::Key),
            v1::range::Kind::Pages(pages) => pages.before.map(Self::Page),
        }
    }
}

impl Ranges {
    pub(super) fn new(table: v1::Table, by: By, at: Option<End>) -> Self {
        let width = table.bytes / table.rows.max(1);
        let size = match by {
            By::Pages => PART / PAGE,
            By::Keys | By::Whole => (PART / width.max(1)).clamp(1_000, 500_000),
        };
        Self { table, by, size, at, ahead: Vec::new(), pages: 0, is_over: false }
    }

    pub(super) async fn next(&mut self, sides: &dyn Sides) -> Result<Option<v1::Piece>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let kind = match self.by {
            By::Whole => None,
            By::Pages => {
                if self.pages == 0 {
                    self.pages = sides.pages(Side::Source, &self.table).await?.max(1);
                }
                let from = match &self.at {
                    Some(End::Page(page)) => *page,
                    Some(End::Key(_)) | None => 0,
                };
                let before = Some(from + self.size).filter(|before| *before < self.pages);
                pages(from, before)
            }
            By::Keys => {
                let after = match &self.at {
                    Some(End::Key(key)) => Some(key.clone()),
                    Some(End::Page(_)) | None => None,
                };
                if self.ahead.is_empty() {
                    let rest = piece(&self.table, keys(after.clone(), None));
                    self.ahead = sides.cuts(Side::Source, &rest, self.size, CUTS).await?;
                    self.ahead.reverse();
                }
                keys(after, self.ahead.pop())
            }
        };
        let piece = piece(&self.table, kind);
        self.at = End::of(&piece);
        self.is_over = self.at.is_none();
        Ok(Some(piece))
    }
}

/// Smaller ranges of which this one consists; none where it cannot be cut. It has about so many rows, on that side.
pub(super) async fn smaller(sides: &dyn Sides, side: Side, whole: &v1::Piece, rows: u64) -> Result<Vec<v1::Piece>, Failure> {
    let Some(table) = &whole.table else { return Ok(Vec::new()) };
    match whole.range.as_ref().and_then(|range| range.kind.as_ref()) {
        Some(v1::range::Kind::Pages(range)) => {
            let end = match range.before {
                Some(before) => before,
                None => sides.pages(side, table).await?,
            };
            let size = (end.saturating_sub(range.from) / BRANCHES).max(1);
            if end <= range.from + 1 {
                return Ok(Vec::new());
            }
            let starts: Vec<u64> = (range.from..end).step_by(usize::try_from(size).unwrap_or(usize::MAX)).collect();
            let ends = starts.iter().skip(1).map(|end| Some(*end)).chain([range.before]);
            Ok(starts.iter().zip(ends).map(|(from, before)| piece(table, pages(*from, before))).collect())
        }
        kind => {
            if table.key.is_empty() {
                return Ok(Vec::new());
            }
            let (first, last) = match kind {
                Some(v1::range::Kind::Keys(keys)) => (keys.after.clone(), keys.up_to.clone()),
                Some(v1::range::Kind::Pages(_)) | None => (None, None),
            };
            let within = piece(table, keys(first.clone(), last.clone()));
            let most = u32::try_from(BRANCHES - 1).unwrap_or(u32::MAX);
            let cuts = sides.cuts(side, &within, (rows / BRANCHES).max(1), most).await?;
            // The last row's own key cuts nothing off.
            let cuts: Vec<v1::Key> = cuts.into_iter().filter(|key| Some(key) != last.as_ref()).collect();
            if cuts.is_empty() {
                return Ok(Vec::new());
            }
            let starts = std::iter::once(first).chain(cuts.iter().cloned().map(Some));
            let ends = cuts.iter().cloned().map(Some).chain([last]);
            Ok(starts.zip(ends).map(|(after, up_to)| piece(table, keys(after, up_to))).collect())
        }
    }
}
