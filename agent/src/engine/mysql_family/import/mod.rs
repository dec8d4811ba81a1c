//! Settings that make an import faster: which of them a host may have, the trial that decides, setting them and setting them back.
//! Only by SET GLOBAL, so that a server that restarts for whatever reason has its own values. When they are held, and that nobody
//! forgets them, is the agent's (`import.rs` there).

use std::path::Path;

use flytt_proto::{failure::Failure, v1};
use nix::unistd::Pid;

use super::session::Session;
use crate::{
    change::{Import, Setting, When},
    engine::directory,
};

mod candidates;
mod memory;
mod trial;
mod variables;

use variables::Reading;

/// Long enough for a pause of any load that is still alive.
const LEASE_MS: u64 = 60_000;
/// Held by the one session that sets or sets back. The server keeps it until that session's thread is gone, also when its agent
/// was killed in the middle of a statement: whoever sets back waits for it, so that no late SET comes after.
const TURN: &str = "flytt_import";
/// Seconds that a thread may take to go once it is killed; a change of the redo log's size is the slowest to give up.
const TURN_LIMIT: u32 = 20;

/// Whose statements and variables a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Mariadb,
    Mysql,
}

/// What the caller knows.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) vendor: Vendor,
    /// The name of a database of ours that exists nowhere.
    pub(crate) scratch: String,
    /// The server's process, for the memory that it may have.
    pub(crate) server: Option<Pid>,
    /// Bytes free where its data is.
    pub(crate) free_disk: u64,
    /// Whether the import may begin again from nothing, on a new data directory, when the server or its host dies: settings that
    /// cost the data then are tried, too.
    pub(crate) may_lose_data: bool,
}

/// What could be set for an import on this server, with the values and their origins as they stand. Looks only.
///
/// In a recipe: `Change::ImportSettings` of it before the load, `Change::ImportOver` after it. Between them the load's progress
/// renews the lease: a load that says nothing for `lease_ms` goes on with the server's own settings, which is slower and no
/// failure; one that waits for long says the same progress again.
pub(crate) async fn plan(session: &Session, order: &Order) -> Result<Import, Failure> {
    let found = variables::read(session, order.vendor, candidates::NAMES).await?;
    let memory = order.server.and_then(memory::of);
    let settings = candidates::settings(order, &found, memory.as_ref());
    Ok(Import { scratch: order.scratch.clone(), settings, lease_ms: LEASE_MS })
}

/// Tries each setting, one after the other on top of those that helped, and leaves in force what does.
pub(crate) async fn set(session: &Session, vendor: Vendor, import: &Import) -> Result<Vec<String>, Failure> {
    // What an earlier try left would be measured as the server's own.
    let mut notes = set_back(session, vendor, import).await?;
    for setting in import.settings.iter().filter(|setting| setting.when == When::Needed) {
        notes.push(match variables::change(session, vendor, setting, &setting.had, &setting.want).await? {
            Ok(()) => format!("{}: set while the import runs, which needs it", words(setting)),
            Err(why) => format!("{}: not set ({why})", words(setting)),
        });
    }
    let tried: Vec<&Setting> = import.settings.iter().filter(|setting| setting.when == When::Faster).collect();
    notes.extend(trial::run(session, vendor, &import.scratch, &tried).await?);
    Ok(notes)
}

/// Sets back what still has our value; says what is somebody else's by now.
pub(crate) async fn set_back(session: &Session, vendor: Vendor, import: &Import) -> Result<Vec<String>, Failure> {
    take_turn(session).await?;
    let mut notes = Vec::new();
    for setting in import.settings.iter().rev() {
        match look(session, vendor, setting).await? {
            Standing::Before => {}
            Standing::Ours => {
                if let Err(why) = variables::change(session, vendor, setting, &setting.want, &setting.had).await? {
                    return Err(not_restored(setting, &why));
                }
            }
            Standing::Other(now) => {
                notes.push(format!("{} is {now}: somebody else has set it, and it is left as it is", setting.name));
            }
        }
    }
    session.drop_database(&import.scratch).await?;
    Ok(notes)
}

/// What is left of it where no server runs on `data`: nothing, but for a redo log that is off. That outlives an orderly stop, and a
/// server that was killed does not start again (tried on MySQL 9.7).
pub(crate) fn set_back_at_rest(data: &Path, import: &Import) -> Result<Vec<String>, Failure> {
    let is_empty = directory::is_empty(data).unwrap_or(false);
    if is_empty || import.settings.iter().all(|setting| setting.name != variables::REDO_LOG) {
        return Ok(Vec::new());
    }
    Err(Failure::unknown(
        "IMPORT_SETTING_NOT_RESTORED",
        "the server is down, and may have been without its redo log, which stays off until it is switched on again",
        "start it, and the agent sees to it; where its log says that it does not start because of that, its data is lost: empty the \
         data directory, make a new server there, and begin the copy again",
    ))
}

/// What stands on the server now of an import that is over.
pub(crate) async fn left(session: &Session, vendor: Vendor, import: &Import) -> Result<Vec<v1::Finding>, Failure> {
    let mut found = Vec::new();
    for setting in &import.settings {
        let Setting { name, had, origin, .. } = setting;
        match look(session, vendor, setting).await? {
            Standing::Before => {}
            Standing::Ours => found.push(finding(
                v1::finding::Level::Block,
                "IMPORT_SETTING_STANDS",
                format!("{name} is {}, as it was set for the import; before that it was {had} ({origin})", setting.want),
                format!("wait until the import is over and the agent has set it back, or run `{}`", variables::by_hand(setting)),
            )),
            Standing::Other(now) => found.push(finding(
                v1::finding::Level::Warn,
                "IMPORT_SETTING_CHANGED",
                format!("{name} is {now}, set by somebody while the import ran or since; before that it was {had} ({origin})"),
                format!("see whether that is meant; `{}` brings back what was", variables::by_hand(setting)),
            )),
        }
    }
    Ok(found)
}

fn finding(level: v1::finding::Level, code: &str, sentence: String, remedy: String) -> v1::Finding {
    v1::Finding { level: level.into(), code: code.into(), host: String::new(), sentence, remedy }
}

/// What the server makes of a setting.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// As it was, or as a restart of the server made it.
    Before,
    Ours,
    Other(String),
}

async fn look(session: &Session, vendor: Vendor, setting: &Setting) -> Result<Standing, Failure> {
    let found = variables::read(session, vendor, &[&setting.name]).await?;
    Ok(match found.get(&setting.name) {
        Some(Reading { value, .. }) if *value == setting.had => Standing::Before,
        // By a restart, with an option file that somebody has changed.
        Some(Reading { is_set: false, .. }) | None => Standing::Before,
        Some(Reading { value, .. }) if *value == setting.want => Standing::Ours,
        Some(Reading { value, .. }) => Standing::Other(value.clone()),
    })
}

/// Returns once no other session of ours sets anything; this one's from then on, until it ends.
async fn take_turn(session: &Session) -> Result<(), Failure> {
    let take = |seconds: u32| format!("select get_lock('{TURN}', {seconds})");
    if session.is_true(&take(0)).await? {
        return Ok(());
    }
    let holder = session.value(&format!("select is_used_lock('{TURN}')")).await?;
    if let Ok(holder) = holder.parse::<u64>() {
        // It may have gone in between.
        let _ = session.run(&format!("kill {holder}")).await;
    }
    if session.is_true(&take(TURN_LIMIT)).await? {
        return Ok(());
    }
    Err(Failure::unknown(
        "IN_USE",
        format!("thread {holder} of the server still changes settings for an import"),
        "look at the server's process list, then run the command again",
    ))
}

fn words(setting: &Setting) -> String {
    format!("{} = {} instead of {} ({})", setting.name, setting.want, setting.had, setting.origin)
}

fn not_restored(setting: &Setting, why: &str) -> Failure {
    Failure::unknown(
        "IMPORT_SETTING_NOT_RESTORED",
        format!("{} stays at {}, as it was set for the import: {why}", setting.name, setting.want),
        format!("run `{}` as an administrator, or restart the server: it then has its own value", variables::by_hand(setting)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redo_log_that_was_off_is_not_forgotten_with_its_server() {
        let setting = |name: &str| Setting {
            name: name.into(),
            want: "OFF".into(),
            had: "ON".into(),
            origin: "compiled default".into(),
            when: When::Faster,
        };
        let import = |names: &[&str]| Import {
            scratch: String::new(),
            settings: names.iter().map(|name| setting(name)).collect(),
            lease_ms: 0,
        };
        let data = tempfile::tempdir().unwrap();
        let redo = import(&["local_infile", variables::REDO_LOG]);
        assert_eq!(set_back_at_rest(data.path(), &redo).unwrap(), [""; 0]);
        std::fs::create_dir(data.path().join("mysql")).unwrap();
        assert_eq!(set_back_at_rest(data.path(), &redo).unwrap_err().code, "IMPORT_SETTING_NOT_RESTORED");
        assert_eq!(set_back_at_rest(data.path(), &import(&["local_infile"])).unwrap(), [""; 0]);
    }
}
