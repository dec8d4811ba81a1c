//! What a comparison came to, for a person and for a program.

use std::fmt::Write as _;

use flytt_proto::{name::HostName, v1};
use serde_json::{Value, json};

use super::{
    Only, Pair,
    narrow::{Found, How},
    objects::Object,
};
use crate::halt::Exit;

/// What became of a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Its rows were.
    Compared(Found),
    /// On the source alone.
    Missing,
    /// On the target alone.
    Extra,
    /// Its columns are not the same ones.
    Columns { differing: Vec<String> },
    /// It holds nothing that could be compared.
    LeftOut { reason: String },
    /// It should have been, and could not.
    NotCompared { reason: String },
}

/// A table, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    pub database: String,
    pub schema: String,
    #[serde(rename = "table")]
    pub name: String,
    #[serde(skip)]
    pub key: Vec<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Table {
    pub(super) fn new(table: &v1::Table, outcome: Outcome) -> Self {
        let v1::Table { database, schema, name, key, .. } = table.clone();
        Self { database, schema, name, key, outcome }
    }

    pub(super) fn table(&self) -> v1::Table {
        let Self { database, schema, name, key, .. } = self.clone();
        v1::Table { database, schema, name, key, ..v1::Table::default() }
    }

    /// `database.schema.table`; where tables say themselves in which database they are, `database.table`.
    pub fn name(&self) -> String {
        if self.database.is_empty() {
            format!("{}.{}", self.schema, self.name)
        } else {
            format!("{}.{}.{}", self.database, self.schema, self.name)
        }
    }
}

/// The end of it, as it stays on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    pub tables: usize,
    pub rows: u64,
    /// Tables and objects that differ.
    pub differing: usize,
    /// Tables and objects that changed in every look, or could not be compared.
    pub unsettled: usize,
    /// What there is nothing to compare of.
    pub left_out: usize,
    pub is_sample: bool,
}

impl Summary {
    /// Everything that can be compared was, and is equal.
    pub fn is_clean(&self) -> bool {
        self.differing == 0 && self.unsettled == 0 && !self.is_sample
    }
}

/// What was compared, what differs, and what was not compared and why.
#[derive(Clone, Debug)]
pub struct Report {
    source: HostName,
    target: HostName,
    only: Only,
    begun_ms: u64,
    resumed: bool,
    follows: bool,
    pub(super) tables: Vec<Table>,
    pub(super) objects: Vec<Object>,
    /// How many objects were compared.
    pub(super) compared: usize,
    /// Sentences.
    pub(super) left_out: Vec<String>,
    pub(super) not_compared: Vec<String>,
}

impl Report {
    pub(super) fn new(pair: &Pair, only: &Only, begun_ms: u64, resumed: bool) -> Self {
        let report = Self::of(pair.source.clone(), pair.target.clone(), only);
        Self { begun_ms, resumed, follows: pair.follows, ..report }
    }

    /// Of nothing yet.
    pub(super) fn of(source: HostName, target: HostName, only: &Only) -> Self {
        Self {
            source,
            target,
            only: only.clone(),
            begun_ms: 0,
            resumed: false,
            follows: true,
            tables: Vec::new(),
            objects: Vec::new(),
            compared: 0,
            left_out: Vec::new(),
            not_compared: Vec::new(),
        }
    }

    pub(super) fn add_objects(&mut self, (compared, objects): (usize, Vec<Object>)) {
        self.compared += compared;
        self.objects.extend(objects);
    }

    /// Tables of which rows differ, with the rows that are named.
    pub fn differing(&self) -> impl Iterator<Item = (&Table, &Found)> {
        self.tables.iter().filter_map(|table| match &table.outcome {
            Outcome::Compared(found) if found.differs() => Some((table, found)),
            Outcome::Compared(_)
            | Outcome::Missing
            | Outcome::Extra
            | Outcome::Columns { .. }
            | Outcome::LeftOut { .. }
            | Outcome::NotCompared { .. } => None,
        })
    }

    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            left_out: self.left_out.len(),
            unsettled: self.not_compared.len(),
            is_sample: self.only.sample > 0,
            ..Summary::default()
        };
        for table in &self.tables {
            match &table.outcome {
                Outcome::Compared(found) => {
                    summary.tables += 1;
                    summary.rows += found.rows;
                    summary.differing += usize::from(found.differs());
                    summary.unsettled += usize::from(!found.differs() && found.in_flight > 0);
                }
                Outcome::Missing | Outcome::Extra | Outcome::Columns { .. } => summary.differing += 1,
                Outcome::LeftOut { .. } => summary.left_out += 1,
                Outcome::NotCompared { .. } => summary.unsettled += 1,
            }
        }
        for object in self.objects.iter().filter(|object| !object.is_a_note()) {
            if object.in_flight {
                summary.unsettled += 1;
            } else {
                summary.differing += 1;
            }
        }
        summary
    }

    pub fn exit(&self) -> Exit {
        let summary = self.summary();
        match (summary.differing, summary.unsettled) {
            (0, 0) => Exit::Ok,
            (0, _) => Exit::Warned,
            (..) => Exit::Refused,
        }
    }

    pub fn value(&self) -> Value {
        json!({
            "source": self.source,
            "target": self.target,
            "begun_ms": self.begun_ms,
            "resumed": self.resumed,
            "waited_for_replication": self.follows,
            "sample_percent": (self.only.sample > 0).then_some(self.only.sample),
            "summary": self.summary(),
            "clean": self.summary().is_clean(),
            "tables": self.tables,
            "objects": self.objects,
            "objects_compared": self.compared,
            "left_out": self.left_out,
            "not_compared": self.not_compared,
        })
    }

    /// What differs first, what was not compared next, and what it comes to last.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for table in &self.tables {
            lines.extend(told(table));
        }
        lines.extend(self.objects.iter().map(|object| object.told(&self.source, &self.target)));
        lines.extend(self.not_compared.iter().map(|what| format!("not compared   {what}")));
        lines.extend(self.left_out.iter().map(|what| format!("left out       {what}")));
        let summary = self.summary();
        let mut end = format!("{} tables with {} rows", summary.tables, summary.rows);
        if self.compared > 0 {
            let _ = write!(end, ", and {} objects,", self.compared);
        }
        end.push_str(match (summary.differing, summary.unsettled) {
            (0, 0) => " are the same",
            (0, _) => " were compared; nothing differs, but not everything came to rest or could be read",
            (..) => " were compared",
        });
        let _ = write!(end, " on {} and {}", self.source, self.target);
        for (count, what) in [(summary.differing, "differ"), (summary.unsettled, "not settled"), (summary.left_out, "left out")] {
            if count > 0 {
                let _ = write!(end, "; {count} {what}");
            }
        }
        if self.only.sample > 0 {
            let _ = write!(
                end,
                "\nthis was a sample of {} % of the parts of large tables: the rest was not looked at",
                self.only.sample
            );
        }
        if !self.only.tables.is_empty() {
            end.push_str("\nonly these tables were asked for; nothing else was compared");
        }
        if !self.follows {
            let _ = write!(
                end,
                "\n{} does not follow {}: what was written in between counts as a difference",
                self.target, self.source
            );
        }
        lines.push(end);
        lines.join("\n")
    }
}

fn told(table: &Table) -> Vec<String> {
    let name = table.name();
    match &table.outcome {
        Outcome::Compared(found) if found.is_equal() => Vec::new(),
        Outcome::Compared(found) => {
            let mut lines = Vec::new();
            for row in &found.differing {
                let how = match row.how {
                    How::Missing => "is missing on the target",
                    How::Extra => "is on the target alone",
                    How::Differs => "differs",
                };
                let key = if table.key.is_empty() { "row at".to_owned() } else { table.key.join(", ") };
                lines.push(format!("differs        {name}: {key} = {} {how}", row.key.join(", ")));
            }
            for (source, target) in &found.ranges {
                lines.push(format!("differs        {name}: a range of {source} rows on the source and {target} on the target"));
            }
            if found.in_flight > 0 {
                lines.push(format!("in flight      {name}: {} rows or ranges changed in every look", found.in_flight));
            }
            lines
        }
        Outcome::Missing => vec![format!("differs        {name} is missing on the target")],
        Outcome::Extra => vec![format!("differs        {name} is on the target alone")],
        Outcome::Columns { differing } => vec![format!("differs        {name}: its columns: {}", differing.join("; "))],
        Outcome::LeftOut { reason } => vec![format!("left out       {name} {reason}")],
        Outcome::NotCompared { reason } => vec![format!("not compared   {name}: {reason}")],
    }
}
