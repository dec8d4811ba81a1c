//! Whom the source lets in for a copy: an account of its own that may be cloned from, and the plugin that does it. Both are gone
//! before the cutover, from the source and from the copy, which brings them along. A plugin that was loaded before stays loaded.

use std::path::Path;

use flytt_proto::{failure::Failure, name::Migration};

use super::super::{Mysql, account::created, names};
use crate::{
    change::{Change, Statement},
    engine::mysql_family::quote::{account, literal},
};

/// Says at the account that the plugin came with it.
const MARK: &str = "flytt_loads_clone";

impl Mysql {
    /// `verifier` is that of the move's password, checked by who asks. Nothing where the server has no such plugin: whoever wants to
    /// copy is told so by it.
    pub(in super::super) async fn admit_clone(&self, migration: &Migration, verifier: &str) -> Result<Option<Change>, Failure> {
        let name = names::clone(migration);
        let copier = account(&name, names::LOOPBACK);
        let session = self.session().await?;
        let loads = session.is_true(&format!("select not ({IS_LOADED}) or ({})", is_marked(&name))).await?;
        let plugins = session.value("select @@global.plugin_dir").await?;
        if loads && !Path::new(&plugins).join("mysql_clone.so").exists() {
            return Ok(None);
        }
        let mut run = created(&name, names::LOOPBACK, verifier).to_vec();
        run.push(format!("grant backup_admin on *.* to {copier}"));
        if loads {
            run.push(format!("alter user {copier} attribute '{{\"{MARK}\": true}}'"));
            run.extend(either(&format!("not ({IS_LOADED})"), "install plugin clone soname ''mysql_clone.so''"));
        }
        let about = format!("create account {name}, for CLONE");
        Ok(Some(Change::Statement(Statement { about, run, undo: turn_out(&name) })))
    }

    /// Nothing where nobody was let in.
    pub(in super::super) async fn clone_is_over_here(&self, migration: &Migration) -> Result<Option<Change>, Failure> {
        let is_there = format!("select count(*) from mysql.user where User = {}", literal(&names::clone(migration)));
        let found = self.session().await?.value(&is_there).await?;
        Ok((found != "0").then(|| clone_is_over(migration)))
    }
}

pub(in super::super) fn clone_is_over(migration: &Migration) -> Change {
    let name = names::clone(migration);
    Change::Statement(Statement { about: format!("drop account {name}, for CLONE"), run: turn_out(&name), undo: Vec::new() })
}

const IS_LOADED: &str = "exists(select 1 from information_schema.PLUGINS where PLUGIN_NAME = 'clone')";

fn is_marked(name: &str) -> String {
    format!(
        "exists(select 1 from mysql.user where User = {} and json_contains_path(User_attributes, 'one', '$.metadata.{MARK}'))",
        literal(name)
    )
}

/// A copy that was cut off keeps its session on the source for `clone_donor_timeout_after_network_failure` (5 minutes) and the plugin
/// in use with it: the session is ended. It takes a moment to go; it has up to two, one for data and one for keeping alive.
fn turn_out(name: &str) -> Vec<String> {
    let session = format!("from information_schema.PROCESSLIST where USER = {} limit 1", literal(name));
    let end = [
        format!("set @flytt = coalesce((select concat('kill ', ID) {session}), 'do 0')"),
        "prepare flytt from @flytt".into(),
        "execute flytt".into(),
        format!("set @flytt = (select 'do sleep(0.5)' {session})"),
        "set @flytt = coalesce(@flytt, 'do 0')".into(),
        "prepare flytt from @flytt".into(),
        "execute flytt".into(),
    ];
    let mut statements: Vec<String> = vec![format!("alter user if exists {} account lock", account(name, names::LOOPBACK))];
    statements.extend([&end[..], &end[..], &end[..]].concat());
    statements.extend(either(&format!("{IS_LOADED} and {}", is_marked(name)), "uninstall plugin clone"));
    statements.push(format!("drop user if exists {}", account(name, names::LOOPBACK)));
    statements
}

/// `statement`, as it stands in a literal, where `condition` holds.
fn either(condition: &str, statement: &str) -> [String; 3] {
    [format!("set @flytt = if({condition}, '{statement}', 'do 0')"), "prepare flytt from @flytt".into(), "execute flytt".into()]
}
