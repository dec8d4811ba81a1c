//! The tables of the history: seconds in rows of a minute, minutes in rows of their own, both bounded. SQLite, one writer.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::{
    durable,
    v1::{Peak, Sample},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, params};

use super::Batch;
use crate::samples::{kept, minute, peak};

/// "flys": tells this file from any other SQLite database (the `application_id` of sqlite.org/pragma.html).
const APPLICATION: i32 = 0x666c_7973;
const LAYOUT: i32 = 1;

/// Seconds kept one by one: a day of them.
const SECONDS: f64 = 86_400.0;
/// Minutes kept summed up: a month of them.
const MINUTES: i64 = 31 * 24 * 60;
/// What the database may come to in any case. A host with many busy devices reaches back less far. Its log (`-wal`) comes on
/// top: 4 MiB.
pub(super) const BOUND: i64 = 64 << 20;
const PAGE: i64 = 4096;
/// Room below the bound for the next batch: pages are let go of before SQLite refuses.
const NEXT: i64 = 4 << 20;
const LOG: i64 = 4 << 20;

const TABLES: &str = "
    CREATE TABLE seconds (seq INTEGER PRIMARY KEY, from_ms INTEGER, to_ms INTEGER, seconds REAL, samples BLOB);
    CREATE TABLE minutes (
        seq INTEGER PRIMARY KEY, from_ms INTEGER, to_ms INTEGER, seconds REAL,
        place TEXT, device TEXT, observed_s REAL, since_ms INTEGER, write_iops REAL, write_iops_at_ms INTEGER,
        read_iops REAL, write_mb_s REAL, flush_await_ms REAL, write_await_ms REAL, samples BLOB);
    -- So that the peak over a month is read from a few pages.
    CREATE INDEX peaks ON minutes (place, seq, device, observed_s, since_ms, write_iops, write_iops_at_ms, read_iops,
        write_mb_s, flush_await_ms, write_await_ms);";

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file is no history of ours, or no longer one.
    Broken(String),
    /// No room, no permission, a disk that fails.
    Refused(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Broken(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    rows: i64,
    seconds: f64,
    bytes: i64,
}

#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    seconds: Held,
    minutes: Held,
}

/// The newest row of each table.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::samples) struct Last {
    pub(in crate::samples) seconds: i64,
    pub(in crate::samples) minutes: i64,
}

/// What is asked for: rows after `after` up to `until`, samples labelled `from_ms..=to_ms`.
#[derive(Clone, Copy, Debug)]
pub(in crate::samples) struct Span {
    pub(in crate::samples) minutes: bool,
    pub(in crate::samples) after: i64,
    pub(in crate::samples) until: i64,
    pub(in crate::samples) from_ms: i64,
    pub(in crate::samples) to_ms: i64,
}

/// A few rows' samples, and after which row the next ones come; `None` = these were the last.
#[derive(Debug, Default)]
pub(in crate::samples) struct Page {
    pub(in crate::samples) samples: Vec<Sample>,
    pub(in crate::samples) next: Option<i64>,
}

const ROWS_A_PAGE: usize = 16;

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        create_private(path).map_err(|error| Trouble::Refused(error.to_string()))?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, layout) = (number("application_id")?, number("user_version")?);
        if tables > 0 && (application, layout) != (APPLICATION, LAYOUT) {
            return Err(Trouble::Broken(format!("it is no history of this version (form {layout} of {application:#x})")));
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Durable at each checkpoint of the log: a power cut may cost the last minutes, never the database (sqlite.org/pragma.html).
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", LOG)?;
        connection.pragma_update(None, "cache_size", -512)?;
        connection.pragma_update(None, "max_page_count", BOUND / PAGE)?;
        if tables == 0 {
            let birth = connection.transaction()?;
            birth.execute_batch(TABLES)?;
            birth.pragma_update(None, "application_id", APPLICATION)?;
            birth.pragma_update(None, "user_version", LAYOUT)?;
            birth.commit()?;
        }
        let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(Trouble::Broken(sound));
        }
        let (seconds, minutes) = (held(&connection, "seconds")?, held(&connection, "minutes")?);
        Ok(Self { connection, seconds, minutes })
    }

    /// How many minutes there are.
    pub(super) fn minutes(&self) -> i64 {
        self.minutes.rows
    }

    pub(super) fn last(&self) -> Result<Last, Trouble> {
        let last =
            |table: &str| self.connection.query_row(&format!("SELECT coalesce(max(seq), 0) FROM {table}"), [], |row| row.get(0));
        Ok(Last { seconds: last("seconds")?, minutes: last("minutes")? })
    }

    /// Writes a batch down in one transaction, and lets go of what is beyond the bounds.
    pub(super) fn keep(&mut self, batch: &Batch) -> Result<(), Trouble> {
        let Some(minute) = minute::sum_up(&batch.samples) else { return Ok(()) };
        let (mut seconds, mut minutes) = (self.seconds, self.minutes);
        let transaction = self.connection.transaction()?;
        insert(&transaction, batch, &minute, &mut seconds, &mut minutes)?;
        while seconds.seconds > SECONDS && drop_oldest(&transaction, "seconds", &mut seconds)? {}
        while minutes.rows > MINUTES && drop_oldest(&transaction, "minutes", &mut minutes)? {}
        while used(&transaction)? > BOUND - NEXT {
            let (table, held) = if seconds.bytes > minutes.bytes { ("seconds", &mut seconds) } else { ("minutes", &mut minutes) };
            if !drop_oldest(&transaction, table, held)? {
                break;
            }
        }
        transaction.commit()?;
        (self.seconds, self.minutes) = (seconds, minutes);
        Ok(())
    }

    /// Over all minutes in which `place` was the data directory, whatever the device under it was called.
    pub(super) fn peak(&self, place: &str) -> Result<Peak, Trouble> {
        // The other columns beside a max() are those of its row (sqlite.org/lang_select.html, bare columns).
        let highest = self.connection.query_row(
            "SELECT max(write_iops), write_iops_at_ms FROM minutes WHERE place = ?1 AND observed_s > 0",
            [place],
            |row| Ok(row.get::<_, Option<f64>>(0)?.zip(row.get(1)?)),
        )?;
        let Some((write_iops, at_ms)) = highest else { return Ok(peak::none()) };
        let (read_iops, write_mb_s, observed_s, since_ms) = self.connection.query_row(
            "SELECT max(read_iops), max(write_mb_s), sum(observed_s), min(since_ms) FROM minutes \
             WHERE place = ?1 AND observed_s > 0",
            [place],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        let device = self.connection.query_row(
            "SELECT device FROM minutes WHERE place = ?1 AND observed_s > 0 ORDER BY seq DESC LIMIT 1",
            [place],
            |row| row.get(0),
        )?;
        let commit_await_ms = match self.median("flush_await_ms", place)? {
            Some(flush) => Some(flush),
            None => self.median("write_await_ms", place)?,
        };
        let commit_await_ms = commit_await_ms.unwrap_or(-1.0);
        Ok(Peak { device, write_iops, read_iops, write_mb_s, at_ms, observed_s, since_ms, commit_await_ms })
    }

    fn median(&self, column: &str, place: &str) -> Result<Option<f64>, Trouble> {
        let of = format!("FROM minutes WHERE place = ?1 AND {column} IS NOT NULL");
        let median = format!("SELECT {column} {of} ORDER BY {column} LIMIT 1 OFFSET (SELECT (count(*) - 1) / 2 {of})");
        Ok(self.connection.query_row(&median, [place], |row| row.get(0)).optional()?)
    }

    /// On a connection of its own, so that the writer is not kept waiting.
    pub(super) fn page(path: &Path, span: &Span) -> Result<Page, Trouble> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let table = if span.minutes { "minutes" } else { "seconds" };
        let mut statement = connection.prepare(&format!(
            "SELECT seq, samples FROM {table} WHERE seq > ?1 AND seq <= ?2 AND to_ms >= ?3 AND from_ms <= ?4 \
             ORDER BY seq LIMIT {ROWS_A_PAGE}"
        ))?;
        let mut rows = statement.query(params![span.after, span.until, span.from_ms, span.to_ms])?;
        let (mut page, mut count) = (Page::default(), 0);
        while let Some(row) = rows.next()? {
            page.next = Some(row.get(0)?);
            count += 1;
            let samples = kept::decode(row.get_ref(1)?.as_blob().unwrap_or_default());
            let samples = samples.ok_or_else(|| Trouble::Broken(format!("row {:?} of {table} does not read", page.next)))?;
            if span.minutes {
                page.samples.extend(whole_minute(samples));
            } else {
                let asked = span.from_ms..=span.to_ms;
                page.samples.extend(samples.into_iter().filter(|sample| asked.contains(&sample.at_ms)));
            }
        }
        if count < ROWS_A_PAGE {
            page.next = None;
        }
        Ok(page)
    }
}

#[cfg(test)]
impl Store {
    /// As a bad block would: the next write finds a page that is none.
    pub(super) fn break_tables(&self) {
        self.connection.pragma_update(None, "writable_schema", true).unwrap();
        self.connection.execute_batch("UPDATE sqlite_schema SET rootpage = 2000 WHERE name = 'seconds'").unwrap();
        let version: i64 = self.connection.pragma_query_value(None, "schema_version", |row| row.get(0)).unwrap();
        self.connection.pragma_update(None, "schema_version", version + 1).unwrap();
    }
}

/// A minute is kept as three samples in a row.
fn whole_minute(three: Vec<Sample>) -> Option<Sample> {
    let [most, p50, p99] = <[Sample; 3]>::try_from(three).ok()?;
    Some(Sample { p50: Some(p50.into()), p99: Some(p99.into()), ..most })
}

fn insert(
    transaction: &Transaction<'_>,
    batch: &Batch,
    minute: &Sample,
    seconds: &mut Held,
    minutes: &mut Held,
) -> rusqlite::Result<()> {
    let labels = || batch.samples.iter().map(|sample| sample.at_ms);
    let (from_ms, to_ms) = (labels().min(), labels().max());
    let row = kept::encode(batch.samples.iter().map(AsRef::as_ref));
    transaction
        .prepare_cached("INSERT INTO seconds (from_ms, to_ms, seconds, samples) VALUES (?1, ?2, ?3, ?4)")?
        .insert(params![from_ms, to_ms, minute.seconds, row])?;
    seconds.add(minute.seconds, row.len());

    let row = kept::encode([Some(minute), minute.p50.as_deref(), minute.p99.as_deref()].into_iter().flatten());
    let (place, device) = batch.data.as_ref().map(|(place, device)| (place.as_str(), device.as_str())).unzip();
    let seen = peak::over(batch.samples.iter().map(AsRef::as_ref), device.unwrap_or_default());
    let waits = |wait: fn(&flytt_proto::v1::sample::Disk) -> Option<f64>| {
        let load = batch.samples.iter().filter(|sample| !sample.own);
        let disks = load.flat_map(|sample| &sample.disks).filter(|disk| Some(disk.name.as_str()) == device);
        let mut waits: Vec<f64> = disks.filter_map(wait).collect();
        waits.sort_unstable_by(f64::total_cmp);
        minute::rank(&waits, 0.5)
    };
    transaction
        .prepare_cached(
            "INSERT INTO minutes (from_ms, to_ms, seconds, place, device, observed_s, since_ms, write_iops, write_iops_at_ms, \
             read_iops, write_mb_s, flush_await_ms, write_await_ms, samples) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .insert(params![
            from_ms,
            to_ms,
            minute.seconds,
            place,
            device,
            seen.observed_s,
            seen.since_ms,
            seen.write_iops,
            seen.at_ms,
            seen.read_iops,
            seen.write_mb_s,
            waits(|disk| (disk.f_s > 0.0).then_some(disk.f_await)),
            waits(|disk| (disk.w_s > 0.0).then_some(disk.w_await)),
            row,
        ])?;
    minutes.add(minute.seconds, row.len());
    Ok(())
}

impl Held {
    fn add(&mut self, seconds: f64, bytes: usize) {
        self.rows += 1;
        self.seconds += seconds;
        self.bytes += bytes as i64;
    }
}

/// By order and not by label: a clock that was wrong for a while must not take the history with it. `false`: there is none.
fn drop_oldest(transaction: &Transaction<'_>, table: &str, held: &mut Held) -> rusqlite::Result<bool> {
    let delete = format!("DELETE FROM {table} WHERE seq = (SELECT min(seq) FROM {table}) RETURNING seconds, length(samples)");
    let gone = transaction.prepare_cached(&delete)?.query_row([], |row| Ok((row.get::<_, f64>(0)?, row.get::<_, i64>(1)?)));
    let Some((seconds, bytes)) = gone.optional()? else { return Ok(false) };
    held.rows -= 1;
    held.seconds -= seconds;
    held.bytes -= bytes;
    Ok(true)
}

/// Bytes of pages in use.
fn used(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok((number("page_count")? - number("freelist_count")?) * PAGE)
}

fn held(connection: &Connection, table: &str) -> rusqlite::Result<Held> {
    let sums = format!("SELECT count(*), coalesce(sum(seconds), 0.0), coalesce(sum(length(samples)), 0) FROM {table}");
    connection.query_row(&sums, [], |row| Ok(Held { rows: row.get(0)?, seconds: row.get(1)?, bytes: row.get(2)? }))
}

fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// For its owner alone; SQLite gives its companions the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)?;
    Ok(())
}

/// Only one is kept aside: a file that breaks again and again must not fill the disk.
pub(super) fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = beside(".aside");
    durable::rename(path, &aside)?;
    // The log of the old file must not be taken for one of the new.
    for end in ["-wal", "-shm"] {
        durable::remove(&beside(end))?;
    }
    Ok(aside)
}
