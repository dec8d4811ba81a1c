//! Two servers' schemas compared, object by object. What a server counts or guesses is not compared, nor whether an event sleeps.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};

use super::{AccountName, Object, Schema, event, table};
use crate::verify;

impl Schema {
    /// One sentence for each object that is not the same on both; empty when they are equal. The accounts that read the two
    /// schemas, and those of `except`, are each server's own.
    pub fn differences(&self, other: &Schema, except: &[AccountName]) -> Vec<String> {
        let own = |account: &AccountName| *account == self.reader || *account == other.reader || except.contains(account);
        let (mut here, mut there) = (self.parts(&own), other.parts(&own));
        let mut found = Vec::new();
        while let Some((name, text)) = here.pop_first() {
            match there.remove(&name) {
                None => found.push(format!("{name} is missing")),
                Some(other) if other != text => found.push(format!("{name} differs")),
                Some(_) => {}
            }
        }
        found.extend(there.into_keys().map(|name| format!("{name} is not on the source")));
        found
    }

    /// The same parts, to be compared by somebody who is to see no verifier: what an account is stands in it as a digest with `salt`.
    /// And where sequences stand.
    pub fn objects(&self, except: &[AccountName], salt: u64) -> Vec<verify::Object> {
        let (mut locks, mut parts) = (Vec::new(), self.parts(&|account| except.contains(account)));
        for (name, text) in &mut parts {
            let Some(name) = name.strip_prefix("account ") else { continue };
            // A fence locks accounts: that is the server's state and no difference of what they are.
            let unlocked = text.replace(" ACCOUNT UNLOCK", "").replace(" ACCOUNT LOCK", "");
            let definition = if text.contains(" ACCOUNT LOCK") { "locked" } else { "open" };
            locks.push(verify::Object {
                kind: "account lock".to_owned(),
                name: name.to_owned(),
                definition: definition.to_owned(),
            });
            *text = unlocked;
        }
        let parts = parts.into_iter();
        let object = |(name, text): (String, String)| {
            let (kind, name) = name.split_once(' ').unwrap_or(("", &name));
            let definition = match kind {
                "account" => {
                    let hash = digest(&SHA256, format!("{salt} {text}").as_bytes());
                    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
                }
                _ => text,
            };
            verify::Object { kind: kind.to_owned(), name: name.to_owned(), definition }
        };
        let value = |sequence: &super::Sequence| verify::Object {
            kind: "sequence value".to_owned(),
            name: format!("{}.{}", sequence.database, sequence.name),
            definition: format!("{} {}", sequence.next, sequence.round),
        };
        parts.map(object).chain(locks).chain(self.sequences.iter().map(value)).collect()
    }

    fn parts(&self, own: &dyn Fn(&AccountName) -> bool) -> BTreeMap<String, String> {
        let mut parts = BTreeMap::new();
        for database in &self.databases {
            parts.insert(format!("database {}", database.name), format!("{} {}", database.create, database.collation));
        }
        for table in &self.tables {
            let (mut indexes, mut foreign_keys) = (table.indexes.clone(), table.foreign_keys.clone());
            indexes.sort();
            foreign_keys.sort();
            let create = table::without_repetition(&table::without_counter(&table.create));
            let text =
                format!("{create} {indexes:?} {foreign_keys:?} {:?} {:?} {:?}", table.columns, table.key, table.histograms);
            parts.insert(format!("table {}.{}", table.database, table.name), text);
        }
        for sequence in &self.sequences {
            parts.insert(format!("sequence {}.{}", sequence.database, sequence.name), sequence.create.clone());
        }
        for object in [&self.views, &self.routines, &self.events].into_iter().flatten() {
            parts.insert(name(object), format!("{} {:?}", self.asleep(object), object.context));
        }
        // Of triggers the order counts, too.
        let mut last = BTreeMap::new();
        for trigger in &self.triggers {
            let before = last.insert(&trigger.database, &trigger.name);
            parts.insert(name(trigger), format!("{} {:?} {before:?}", trigger.create, trigger.context));
        }
        for account in self.accounts.iter().filter(|account| !own(&account.name)) {
            let mut grants: Vec<&String> = account.grants.iter().map(|grant| &grant.sql).collect();
            grants.sort();
            parts.insert(format!("account {}", account.name), format!("{} {grants:?}", account.create.sql));
        }
        parts
    }

    fn asleep(&self, object: &Object) -> String {
        let is_event = object.kind == "event";
        let asleep = is_event.then(|| event::asleep(&object.create, self.vendor)).flatten();
        asleep.unwrap_or_else(|| object.create.clone())
    }
}

fn name(object: &Object) -> String {
    format!("{} {}.{}", object.kind, object.database, object.name)
}
