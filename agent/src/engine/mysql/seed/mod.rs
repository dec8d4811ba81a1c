//! The seed by CLONE: which changes are missing for it on the target. Who is let in for it on the source is `admitted`'s, the copying
//! `copy`'s, and the server that receives it `receiver`'s.
//!
//! CLONE writes into a server's own data directory, or into a new one. The first throws that server's data away before the copy
//! is whole, and writes the names of accounts and passwords of the source into a server that runs. So a receiver of our own is started
//! for it, in the target's data directory and for as long as the copy takes; it listens on no network, keeps no log, and writes into
//! a new directory beside its own. The target's server is down meanwhile, its former data moved aside, as with every other seed.

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mysql, names, system};
use crate::{
    change::{Backup, Change},
    engine::{SeedOrder, Upstream, Way, directory::Mark, mysql_family::place::Place},
    secret,
};

pub(super) mod admitted;
pub(super) mod copy;
mod receiver;

impl Mysql {
    pub(super) async fn seed(&self, migration: &Migration, order: &SeedOrder) -> Result<Vec<Change>, Failure> {
        if order.way == Way::Dump {
            return self.seed_by_dump(migration, order).await;
        }
        if let Upstream::Direct { .. } = order.upstream {
            return Err(super::recipe::no_direct());
        }
        let (data, name) = (&self.config.data_directory, names::database(migration));
        let place = Place { data, may_replace: self.may_replace, found: system::identifier(data), mark: self.mark(&name) };
        let mut changes: Vec<Change> = place.made_free(migration, &order.replace_system)?.into_iter().collect();
        changes.push(Change::Backup(Backup {
            into: data.clone(),
            host: names::LOOPBACK.to_owned(),
            port: self.config.tunnel_port,
            role: names::clone(migration),
            slot: name,
            passfile: secret::passfile(&self.state, &names::password(migration)),
            tls: true,
            max_rate: order.max_rate,
            fast_checkpoint: false,
            system: order.system.clone(),
            expected_bytes: order.expected_bytes,
            origin: order.origin.clone(),
        }));
        Ok(changes)
    }

    pub(super) fn mark(&self, name: &str) -> Mark {
        Mark::of(&self.state, name)
    }
}
