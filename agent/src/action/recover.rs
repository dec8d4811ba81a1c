//! Source or target, between surrender and opening, and nowhere else: a person vouches that the other side is lost for good.
//!
//! No artefact stands for it, so it is bound to the state that this person was shown. The target does what it does on a permit
//! (`open.rs`), the source what it does on a burn receipt.

use flytt_proto::{
    name::step::{PROMOTE, SURRENDER},
    recovery::fingerprint,
};

use super::*;
use crate::{
    baton::{Command, Phase},
    lease,
};

#[tonic::async_trait]
impl Intent for v1::Recover {
    fn role(&self) -> v1::Role {
        self.role()
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let baton = at.host.ledger.baton(&at.migration).ok_or_else(crate::ledger::no_part)?;
        let position = baton.position().map(|position| position.to_string()).unwrap_or_default();
        let now = fingerprint(&at.migration, &at.host.name, baton.phase(), baton.epoch(), &position);
        if now != self.fingerprint {
            return Err(Failure::refused(
                "FINGERPRINT",
                format!("{} is in another state than the one that was shown with {:?}", at.host.name, self.fingerprint),
                "look again: run `flytt recover` without a fingerprint",
            ));
        }
        if self.reason.trim().is_empty() {
            return Err(missing("a reason"));
        }
        is_gone(at).await?;
        match self.role() {
            v1::Role::Target if baton.phase() == Phase::Closed => recipe(at, engine::Intent::Open).await,
            v1::Role::Source if baton.phase() == Phase::Surrendered => Ok(Survey::default()),
            v1::Role::Source | v1::Role::Target | v1::Role::Router | v1::Role::Unspecified => Err(Failure::refused(
                "NOTHING_TO_RECOVER",
                format!("{} is {}, and needs nobody's word to go on", at.host.name, baton.phase().as_str_name().to_lowercase()),
                "run `flytt status`, then `flytt resume`",
            )),
        }
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        tracing::warn!(migration = %at.migration, reason = self.reason, "the other side is taken for lost, on an operator's word");
        at.host.baton(&at.migration, &Command::Recover { epoch: at.epoch }).await
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        if self.role() == v1::Role::Target {
            // What it was promoted on: it had the source's final position then.
            let Some(v1::action::Kind::Promote(promote)) = at.host.action_of(&at.migration, PROMOTE) else {
                return Err(missing("a promotion"));
            };
            let fence = claim(at, promote.fence.as_ref(), ClaimKind::FenceProof).await?;
            let fork = fence.position.ok_or_else(|| missing("the final position"))?;
            at.host.engine()?.proven_primary(&at.migration, &fork).await?;
            return Ok(artefact(at.host.sign_newest(&at.migration)?));
        }
        lease::reopen(&at.host, &at.migration).await?;
        Ok(plain("the source serves again"))
    }

    async fn before_undo(&self, at: &At) -> Result<(), Failure> {
        match self.role() {
            v1::Role::Target => Err(past_the_point()),
            v1::Role::Source | v1::Role::Router | v1::Role::Unspecified => at.host.not_surrendered(&at.migration),
        }
    }
}

/// Asked from here, too: whoever gave his word may only be cut off from a host that this one reaches.
async fn is_gone(at: &At) -> Result<(), Failure> {
    let other = match at.host.action_of(&at.migration, SURRENDER) {
        Some(v1::action::Kind::Surrender(surrender)) => peer(surrender.target.as_ref())?,
        Some(_) | None => at.host.upstream_of(&at.migration).ok_or_else(crate::ledger::no_part)?,
    };
    match at.host.ask_baton(&at.migration, &other).await {
        Ok(said) if said.phase() != Phase::NoPart => Err(Failure::refused(
            "NOT_LOST",
            format!(
                "{} is not lost: {} reaches its agent, which says {}",
                other.0,
                at.host.name,
                said.phase().as_str_name().to_lowercase()
            ),
            "see why it is not reached from your machine, then run `flytt resume`",
        )),
        // A record that is gone answers so.
        Ok(_) | Err(_) => Ok(()),
    }
}
