//! The least that applies changes and takes them back: no ledger, no durability.

use std::fs;

use flytt_agent::{
    change::{Block, Change, File, Verb},
    engine::{Engine as _, Intent},
};
use flytt_proto::{failure::Failure, name::Migration};

use crate::server::Server;

pub(crate) fn shop() -> Migration {
    "shop".parse().unwrap()
}

/// Each change twice, because it must bear that.
pub(crate) async fn apply(server: &Server, intent: &Intent) -> Vec<Change> {
    let changes = server.engine.recipe(&shop(), intent).await.unwrap();
    for change in &changes {
        for _ in 0..2 {
            one(server, change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        }
    }
    changes
}

pub(crate) async fn one(server: &Server, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Statement(statement) => server.engine.execute(&statement.run).await,
        Change::Block(block) => {
            write_block(block, block.want.as_deref());
            server.engine.reload().await
        }
        Change::File(file) => {
            write_file(file, file.want.as_deref());
            Ok(())
        }
        Change::DataDir(dir) => {
            fs::create_dir_all(&dir.trash).unwrap();
            for entry in fs::read_dir(&dir.path).unwrap().map(Result::unwrap) {
                fs::rename(entry.path(), dir.trash.join(entry.file_name())).unwrap();
            }
            Ok(())
        }
        // A copy is not made twice over itself here: that is a test of its own.
        Change::Backup(backup) if server.data().join("PG_VERSION").exists() && server.data() == backup.into => Ok(()),
        Change::Backup(backup) => server.engine.back_up(backup, tokio::sync::mpsc::channel(64).0).await,
        Change::Server(verb) => server.engine.tell(&shop(), verb).await,
        Change::Route(_) => panic!("no engine proposes a route"),
    }
}

pub(crate) async fn undo(server: &Server, changes: &[Change]) {
    for change in changes.iter().rev() {
        for _ in 0..2 {
            match change {
                Change::Statement(statement) => server.engine.execute(&statement.undo).await.unwrap(),
                Change::Block(block) => {
                    write_block(block, block.had.as_deref());
                    server.engine.reload().await.unwrap();
                }
                Change::File(file) => write_file(file, file.had.as_deref()),
                Change::DataDir(_) | Change::Route(_) => {}
                Change::Backup(backup) => server.engine.end_backup(backup).await.unwrap(),
                Change::Server(Verb::Start) => {
                    server.engine.tell(&shop(), &Verb::Stop { was_running: false }).await.unwrap();
                }
                Change::Server(_) => {}
            }
        }
    }
}

fn write_block(block: &Block, text: Option<&str>) {
    let (begin, end) = (format!("# >>> {}\n", block.name), format!("# <<< {}\n", block.name));
    let mut file = fs::read_to_string(&block.path).unwrap();
    if let (Some(from), Some(to)) = (file.find(&begin), file.find(&end)) {
        file.replace_range(from..to + end.len(), "");
    }
    if let Some(text) = text {
        file = format!("{begin}{text}{end}{file}");
    }
    fs::write(&block.path, file).unwrap();
}

fn write_file(file: &File, text: Option<&str>) {
    match text {
        Some(text) => fs::write(&file.path, text).unwrap(),
        None if file.path.exists() => fs::remove_file(&file.path).unwrap(),
        None => {}
    }
}
