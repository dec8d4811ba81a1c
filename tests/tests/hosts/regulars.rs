//! An application's sessions that stay open, as its own pool holds them, through the PgBouncer of its host. Each writes, some by
//! transactions of several statements, and keeps account of what was acknowledged.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

/// How many sessions of the server that PgBouncer has for them (`default_pool_size`).
pub(crate) const POOL: usize = 4;
/// Between two writes of one session.
const PACE: Duration = Duration::from_millis(20);

/// One session, whatever it is for: a statement is sent, and what is answered comes back.
pub(crate) struct Session {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Session {
    pub(crate) fn open(mut psql: Command) -> Self {
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    /// The lines of the answer; of an error, the error. `Err` = the session has ended, and what it said last.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<Vec<String>, Vec<String>> {
        let mut said = Vec::new();
        // The last line says that it is the last one.
        let _ = writeln!(self.to, "{sql}\n\\echo answered");
        loop {
            let mut line = String::new();
            match self.from.read_line(&mut line) {
                Ok(0) | Err(_) => return Err(said),
                Ok(_) if line.trim_end() == "answered" => return Ok(said),
                Ok(_) => said.push(line.trim_end().to_owned()),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one of them has been told.
#[derive(Default)]
struct Account {
    /// Number and time of what was acknowledged.
    taken: Vec<(u64, Instant)>,
    /// What was not: it may be there or not.
    unknown: Vec<u64>,
    /// How often which reason was heard.
    reasons: BTreeMap<String, usize>,
}

/// At work until this value goes.
pub(crate) struct Regulars {
    table: String,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Account>>,
}

/// What all of them have been told, by writer.
pub(crate) struct Accounts {
    table: String,
    ended: Instant,
    all: Vec<Account>,
}

impl Regulars {
    /// The table has no key: a row that is there twice is to be seen.
    pub(crate) fn make(table: &str) -> String {
        format!("CREATE TABLE {table} (writer int, number bigint); ALTER TABLE {table} OWNER TO shop")
    }

    /// `psql` opens a session, each time anew.
    pub(crate) fn start(table: &str, count: usize, psql: impl Fn() -> Command + Clone + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |writer| {
            let (table, psql, stop) = (table.to_owned(), psql.clone(), Arc::clone(&stop));
            spawn(move || write(&table, writer, &psql, &stop))
        };
        Self { table: table.to_owned(), threads: (0..count).map(thread).collect(), stop }
    }

    pub(crate) fn stop(mut self) -> Accounts {
        let ended = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        let all = std::mem::take(&mut self.threads).into_iter().map(|thread| thread.join().unwrap()).collect();
        Accounts { table: std::mem::take(&mut self.table), ended, all }
    }
}

impl Drop for Regulars {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write(table: &str, writer: usize, psql: &impl Fn() -> Command, stop: &AtomicBool) -> Account {
    let mut account = Account::default();
    let mut session = Session::open(psql());
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let insert = format!("INSERT INTO {table} VALUES ({writer}, {number}) RETURNING number;");
        let whole = if writer.is_multiple_of(2) { insert } else { format!("BEGIN;\nSELECT WHERE false;\n{insert}\nCOMMIT;") };
        // A commit that failed says so in the variable; that of a transaction which had failed before has given no number.
        match session.ask(&format!("{whole}\n\\echo failed :ERROR")) {
            Ok(said) if said == [number.to_string(), "failed false".to_owned()] => account.taken.push((number, Instant::now())),
            Ok(said) => account.refused(number, &said),
            Err(said) => {
                account.refused(number, &said);
                session = Session::open(psql());
            }
        }
        sleep(PACE);
    }
    account
}

impl Account {
    fn refused(&mut self, number: u64, said: &[String]) {
        self.unknown.push(number);
        let why = said.iter().find(|line| line.contains("FATAL") || line.contains("ERROR")).or(said.first());
        *self.reasons.entry(why.cloned().unwrap_or_default()).or_default() += 1;
    }
}

impl Accounts {
    pub(crate) fn taken(&self) -> usize {
        self.all.iter().map(|account| account.taken.len()).sum()
    }

    /// What was not acknowledged, by what was said instead.
    pub(crate) fn refused(&self) -> BTreeMap<&str, usize> {
        let mut all = BTreeMap::new();
        for (why, count) in self.all.iter().flat_map(|account| &account.reasons) {
            *all.entry(why.as_str()).or_default() += count;
        }
        all
    }

    /// The longest time without an acknowledgement from then to the end: of all of them together, and of one of them.
    pub(crate) fn longest_gaps(&self, since: Instant) -> (Duration, Duration) {
        let longest = |accounts: &[Account]| {
            let taken = accounts.iter().flat_map(|account| &account.taken).map(|(_, time)| *time);
            let mut times: Vec<Instant> = taken.filter(|time| *time >= since).chain([since, self.ended]).collect();
            times.sort_unstable();
            times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
        };
        (longest(&self.all), self.all.chunks(1).map(longest).max().unwrap_or_default())
    }

    pub(crate) fn rows(&self) -> String {
        format!("SELECT writer, number, count(*) FROM {} GROUP BY 1, 2", self.table)
    }

    /// Every acknowledged row is there once, any other once or not at all, and none that nobody wrote. The rows are those that
    /// [`Self::rows`] asks for.
    pub(crate) fn are_there_once(&self, rows: &str) {
        let mut there = BTreeMap::new();
        for row in rows.lines() {
            let mut row = row.split('|').map(|value| value.parse::<u64>().unwrap());
            there.insert((row.next().unwrap(), row.next().unwrap()), row.next().unwrap());
        }
        let (mut wrong, mut found) = (Vec::new(), 0);
        for (writer, account) in (0..).zip(&self.all) {
            let taken = account.taken.iter().map(|(number, _)| (*number, true));
            for (number, is_taken) in taken.chain(account.unknown.iter().map(|number| (*number, false))) {
                let count = there.get(&(writer, number)).copied().unwrap_or_default();
                found += usize::from(count > 0);
                if count > 1 || (is_taken && count == 0) {
                    wrong.push(format!("{writer}/{number}, acknowledged: {is_taken}, there {count} times"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(found, there.len(), "rows that nobody wrote");
    }
}
