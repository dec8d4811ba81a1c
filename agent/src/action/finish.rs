//! Any host, once it is over: what is left of the move goes.

use super::*;

/// Files that say how a server starts and follows, on a source that is the primary again: as they were before it was surrendered
/// and before it followed. The engine has taken back what stands in its own settings.
fn back_home(role: v1::Role, at: &At) -> Vec<Change> {
    if role != v1::Role::Source || at.host.phase(&at.migration.back()) != Some(crate::baton::Phase::Open) {
        return Vec::new();
    }
    let of = |kind: &v1::action::Kind| matches!(kind, v1::action::Kind::Surrender(_) | v1::action::Kind::Rejoin(_));
    let files = at.host.changes_of(&at.migration, of).into_iter().filter_map(|change| {
        let Change::File(file) = change else { return None };
        // A signal is the server's own to remove, and it did when it was promoted.
        file.had.is_some().then(|| Change::File(crate::change::File { want: file.had.clone(), ..file }))
    });
    let mut files: Vec<Change> = files.collect();
    files.dedup();
    files
}

#[tonic::async_trait]
impl Intent for v1::Finish {
    fn role(&self) -> v1::Role {
        self.role()
    }

    fn ends(&self) -> bool {
        true
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let mut changes = match self.role() {
            v1::Role::Router | v1::Role::Unspecified => Vec::new(),
            role @ (v1::Role::Source | v1::Role::Target) => {
                at.host.engine()?.recipe(&at.migration, &engine::Intent::Finish { role }).await?
            }
        };
        changes.extend(back_home(self.role(), at));
        changes.extend(at.host.trash(&at.migration).map(|path| Change::Discard { path }));
        Ok(changes.into())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.close_tunnel(&at.migration).await;
        let kept = at.host.changes_of(&at.migration, super::tune::is_tune);
        if kept.is_empty() {
            return Ok(plain("nothing of this move is left here"));
        }
        Ok(plain(format!("nothing of this move is left here but {} kernel settings, as they were set", kept.len())))
    }

    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Err(past_the_point())
    }
}
