//! The table of keys: every key of migration.toml, its form, range and default. The reader, its hints and the test of the
//! reference (`docs/migration-toml.md`) all use this one table.

use super::quantity::Unit;

/// One key. `section` is empty at the top of the file.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) presence: Presence,
}

/// What a value may look like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Migration,
    Host,
    /// A name in the router's own configuration; goes into a line of its admin socket.
    Server,
    /// What tells one server's data from another's, in text because a number of that size does not fit every reader's integer.
    System,
    Path,
    /// One of some words; `planned` ones belong to parts that are not built yet.
    Word {
        built: &'static [&'static str],
        planned: &'static [&'static str],
    },
    /// Its default only; whatever else the key will take is not built yet.
    Only,
    Quantity {
        unit: Unit,
        least: &'static str,
        most: &'static str,
    },
    /// A quantity, or the word "none" for no limit.
    Limit {
        unit: Unit,
        least: &'static str,
        most: &'static str,
    },
    Count {
        least: u64,
        most: u64,
    },
    /// A number that may have a fraction, of three digits at most.
    Factor {
        least: &'static str,
        most: &'static str,
    },
    /// A list of some of these words.
    Words(&'static [&'static str]),
}

/// Whether a key must stand there. The text is an example, or the default, as it would be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presence {
    Required(&'static str),
    Optional(&'static str),
    Default(&'static str),
}

impl Presence {
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Required(text) | Self::Optional(text) | Self::Default(text) => text,
        }
    }
}

use Form::{Count, Factor, Host, Limit, Migration, Only, Path, Quantity, Server, System, Word, Words};
use Presence::{Default, Optional, Required};

const fn key(section: &'static str, name: &'static str, form: Form, presence: Presence) -> Key {
    Key { section, name, form, presence }
}

const fn duration(least: &'static str, most: &'static str) -> Form {
    Quantity { unit: Unit::Duration, least, most }
}

const ENGINE: Form = Word { built: &["postgres", "mariadb", "mysql"], planned: &[] };
const TRANSPORT: Form = Word { built: &["tunnel", "direct"], planned: &[] };
const KERNEL: Form = Word { built: &["auto", "off"], planned: &[] };
const WAY: Form = Word { built: &["auto", "physical", "dump"], planned: &["cold"] };
// The bounds are those of pg_basebackup's --max-rate (PostgreSQL manual, pg_basebackup).
const MAX_RATE: Form = Limit { unit: Unit::Rate, least: "32KiB/s", most: "1GiB/s" };
const CHECKPOINT: Form = Word { built: &["spread", "fast"], planned: &[] };
const LAG_BYTES: Form = Quantity { unit: Unit::Size, least: "8KiB", most: "16GiB" };
const STEAL: Form = Quantity { unit: Unit::Percent, least: "0.1%", most: "100%" };
const GATES: Form = Words(&["iops", "commit", "storage", "steal", "converge"]);
const PROBE_FILE: Form = Quantity { unit: Unit::Size, least: "1MiB", most: "64GiB" };
const FENCE: Form = Word { built: &["in_place"], planned: &["stop"] };
const ROUTER: Form = Word { built: &["haproxy"], planned: &["pgbouncer", "floating_ip", "hook"] };

pub(super) const KEYS: &[Key] = &[
    key("", "name", Migration, Required("\"shop\"")),
    key("", "engine", ENGINE, Required("\"postgres\"")),
    key("", "transport", TRANSPORT, Default("\"tunnel\"")),
    key("source", "host", Host, Required("\"db-old\"")),
    key("target", "host", Host, Required("\"db-new\"")),
    key("target", "replace", System, Optional("\"7438912345678901234\"")),
    key("tuning", "kernel", KERNEL, Default("\"auto\"")),
    key("seed", "way", WAY, Default("\"auto\"")),
    key("seed", "jobs", Only, Default("\"auto\"")),
    key("seed", "compress", Only, Default("\"none\"")),
    key("seed", "max_rate", MAX_RATE, Default("\"200MiB/s\"")),
    key("seed", "checkpoint", CHECKPOINT, Default("\"spread\"")),
    key("gates", "lag", duration("100ms", "1m"), Default("\"1s\"")),
    key("gates", "lag_bytes", LAG_BYTES, Default("\"16MiB\"")),
    key("gates", "iops_headroom", Factor { least: "0", most: "100" }, Default("1.3")),
    key("gates", "await", duration("1ms", "10s"), Default("\"10ms\"")),
    key("gates", "steal", STEAL, Default("\"5%\"")),
    key("gates", "block", GATES, Default("[\"iops\", \"converge\"]")),
    key("probe", "seconds", Count { least: 1, most: 600 }, Optional("10")),
    key("probe", "file", PROBE_FILE, Optional("\"1GiB\"")),
    key("cutover", "max_outage", duration("1s", "10m"), Default("\"5s\"")),
    key("cutover", "drain", duration("0ms", "1m"), Default("\"500ms\"")),
    key("cutover", "lease", duration("1s", "1m"), Default("\"3s\"")),
    key("cutover", "fence", FENCE, Default("\"in_place\"")),
    key("cutover", "long_transaction", duration("10ms", "1h"), Default("\"1s\"")),
    key("cutover", "verified", duration("1m", "30d"), Optional("\"24h\"")),
    key("router", "kind", ROUTER, Required("\"haproxy\"")),
    key("router", "host", Host, Required("\"lb-1\"")),
    key("router", "backend", Server, Required("\"database_back\"")),
    key("router", "source", Server, Required("\"db_old\"")),
    key("router", "target", Server, Required("\"db_new\"")),
    key("canary", "connection", Path, Required("\"/etc/flytt/canary\"")),
    key("canary", "clients", Count { least: 1, most: 64 }, Default("4")),
];

/// The tables of the file, and whether each is a list.
pub(super) const SECTIONS: &[(&str, bool)] = &[
    ("source", false),
    ("target", false),
    ("tuning", false),
    ("seed", false),
    ("gates", false),
    ("probe", false),
    ("cutover", false),
    ("router", true),
    ("canary", false),
];

pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// How a table is written: `[cutover]`, `[[router]]`.
pub(super) fn heading(section: &str) -> String {
    match SECTIONS.iter().find(|(name, _)| *name == section) {
        Some((_, true)) => format!("[[{section}]]"),
        Some((_, false)) => format!("[{section}]"),
        None => "the top of the file".into(),
    }
}
