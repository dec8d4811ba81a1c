//! Whether a setting makes an import faster on this host: the same short load without it and with it, in a table of ours, several
//! times. What is not clearly faster than the host's own noise is not set.

use std::time::{Duration, Instant};

use flytt_proto::failure::Failure;

use super::{
    super::quote::identifier,
    Session, Setting, Vendor,
    variables::{self, REDO_LOG},
    words,
};

/// Times each way.
const ROUNDS: usize = 5;
/// Less is not worth an exception, however quiet the host.
const LEAST_GAIN: f64 = 0.05;
/// For all settings together; what comes after it is not tried, and not set.
const LIMIT: Duration = Duration::from_secs(12);
/// One round: so many statements of a quarter of a mebibyte each, two of them a transaction.
const STATEMENTS: usize = 16;
const STATEMENT_BYTES: usize = 256 << 10;
const ROW_BYTES: usize = 256;

/// Tries one after the other, each on top of those that helped. Returns a line for each.
pub(super) async fn run(session: &Session, vendor: Vendor, scratch: &str, settings: &[&Setting]) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    if settings.is_empty() {
        return Ok(notes);
    }
    let bench = Bench { session, scratch, load: load(&identifier(scratch)) };
    let begun = Instant::now();
    let mut able = bench.round().await.map(drop);
    for setting in settings {
        let words = words(setting);
        if let Some(why) = refused(&mut able)? {
            notes.push(format!("{words}: not set (the trial cannot be made here: {why})"));
        } else if begun.elapsed() > LIMIT {
            notes.push(format!("{words}: not tried, and not set (the trials before it took their time)"));
        } else {
            match bench.try_out(vendor, setting).await {
                Ok(said) => notes.push(format!("{words}: {said}")),
                Err(failure) => {
                    able = Err(failure);
                    let why = refused(&mut able)?.unwrap_or_default();
                    notes.push(format!("{words}: not set (the trial ends: {why})"));
                }
            }
        }
    }
    session.drop_database(scratch).await?;
    Ok(notes)
}

/// Why it cannot go on, where that is no failure of the server itself.
fn refused(able: &mut Result<(), Failure>) -> Result<Option<String>, Failure> {
    match able {
        Ok(()) => Ok(None),
        Err(failure) if failure.code == "SERVER_GONE" => Err(failure.clone()),
        Err(failure) => Ok(Some(failure.sentence.clone())),
    }
}

struct Bench<'a> {
    session: &'a Session,
    scratch: &'a str,
    load: Vec<String>,
}

impl Bench<'_> {
    /// A table like many: a key, an index in another order, and a text.
    async fn prepare(&self) -> Result<(), Failure> {
        self.session.drop_database(self.scratch).await?;
        let scratch = identifier(self.scratch);
        self.session.run(&format!("create database {scratch}")).await?;
        let columns = "id bigint not null auto_increment primary key, k bigint not null, t varchar(400) not null, key (k)";
        self.session.run(&format!("create table {scratch}.t ({columns}) engine = InnoDB default character set latin1")).await
    }

    /// Seconds that it took, into an empty table: a larger one is slower.
    async fn round(&self) -> Result<f64, Failure> {
        self.prepare().await?;
        let begun = Instant::now();
        for pair in self.load.chunks(2) {
            self.session.run("begin").await?;
            for statement in pair {
                self.session.run(statement).await?;
            }
            self.session.run("commit").await?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Leaves it in force when it helps, and as it was otherwise.
    async fn try_out(&self, vendor: Vendor, setting: &Setting) -> Result<String, Failure> {
        // In turns, so that what changes on the host meanwhile changes both; but for what takes long to switch.
        let sizes = if is_slow_to_switch(&setting.name) { vec![ROUNDS] } else { vec![1; ROUNDS] };
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for (number, size) in sizes.iter().enumerate() {
            if number > 0
                && let Err(why) = self.switch(vendor, setting, false).await?
            {
                return Ok(format!("it cannot be set back ({why})"));
            }
            for _ in 0..*size {
                without.push(self.round().await?);
            }
            if let Err(why) = self.switch(vendor, setting, true).await? {
                return Ok(format!("not set ({why})"));
            }
            for _ in 0..*size {
                match self.round().await {
                    Ok(seconds) => with.push(seconds),
                    Err(failure) => {
                        // Nothing stays in force that nobody has measured.
                        let _ = self.switch(vendor, setting, false).await?;
                        return Err(failure);
                    }
                }
            }
        }
        let verdict = judge(&without, &with);
        if verdict.helps {
            return Ok(format!("{verdict}, set while the import runs"));
        }
        match self.switch(vendor, setting, false).await? {
            Ok(()) => Ok(format!("{verdict}, not set")),
            Err(why) => Ok(format!("{verdict}, and it cannot be set back ({why})")),
        }
    }

    async fn switch(&self, vendor: Vendor, setting: &Setting, on: bool) -> Result<Result<(), String>, Failure> {
        let (from, to) = if on { (&setting.had, &setting.want) } else { (&setting.want, &setting.had) };
        variables::change(self.session, vendor, setting, from, to).await
    }
}

fn is_slow_to_switch(name: &str) -> bool {
    name == REDO_LOG || name.ends_with("_size") || name.ends_with("_capacity") && name != "innodb_io_capacity"
}

/// What a trial came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Verdict {
    helps: bool,
    /// How much more is loaded in the same time: 0.5 = half as much again.
    gain: f64,
    /// How far two rounds of one kind are apart.
    noise: f64,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (gain, noise) = (self.gain * 100.0, self.noise * 100.0);
        write!(f, "{gain:+.0} % in a trial whose rounds differ by {noise:.0} % by themselves")
    }
}

/// Seconds of each round. What else goes on on a host only ever makes a round slower, so the fastest of each kind are compared;
/// how far the two fastest of a kind are apart is the noise that is left in them.
fn judge(without: &[f64], with: &[f64]) -> Verdict {
    let (Some((before, noise)), Some((now, noise_now))) = (fastest(without), fastest(with)) else {
        return Verdict { helps: false, gain: 0.0, noise: 0.0 };
    };
    let (gain, noise) = (before / now - 1.0, noise.max(noise_now));
    Verdict { helps: gain > noise.max(LEAST_GAIN), gain, noise }
}

/// The fastest, and by which part of it the next one is slower.
fn fastest(seconds: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, second) = (*sorted.first()?, *sorted.get(1)?);
    Some((first, second / first - 1.0))
}

/// The statements of one round. The same every time: numbers that look like chance (`xorshift`), so that the index is filled in no
/// order and the text does not shrink.
fn load(scratch: &str) -> Vec<String> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let statement = |_| {
        let mut statement = format!("insert into {scratch}.t (k, t) values ");
        while statement.len() < STATEMENT_BYTES {
            let mut text = String::with_capacity(ROW_BYTES);
            while text.len() < ROW_BYTES - 32 {
                text.push_str(&format!("{:016x}", next()));
            }
            let comma = if statement.ends_with(')') { "," } else { "" };
            statement.push_str(&format!("{comma}({}, '{text}')", next() >> 1));
        }
        statement
    };
    (0..STATEMENTS).map(statement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_faster_than_the_noise_helps() {
        assert!(judge(&[1.0, 1.02, 1.01], &[0.8, 0.82, 0.81]).helps);
        // One round of each was disturbed.
        assert!(judge(&[1.0, 1.02, 7.0], &[0.8, 3.0, 0.81]).helps);
        // Faster by a quarter, where the two fastest differ by three tenths.
        assert!(!judge(&[1.0, 1.3, 1.4], &[0.8, 0.82, 0.81]).helps);
        assert!(!judge(&[1.0, 1.0, 1.0], &[0.8, 1.1, 1.2]).helps);
        assert!(!judge(&[1.0, 1.0, 1.0], &[0.97, 0.97, 0.97]).helps);
        assert!(!judge(&[1.0, 1.0, 1.0], &[1.2, 1.2, 1.2]).helps);
        assert!(!judge(&[1.0], &[0.5]).helps);
        let verdict = judge(&[1.0, 1.0, 1.0], &[0.5, 0.5, 2.0]);
        assert_eq!(verdict.to_string(), "+100 % in a trial whose rounds differ by 0 % by themselves");
    }

    #[test]
    fn a_round_is_small_and_its_statements_pass_any_packet_limit() {
        let load = load("`flytt_shop_trial`");
        assert_eq!(load.len(), STATEMENTS);
        assert!(load.iter().all(|statement| (STATEMENT_BYTES..STATEMENT_BYTES + 1024).contains(&statement.len())));
        assert_ne!(load[0], load[1]);
    }
}
