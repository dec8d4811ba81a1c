//! An error as operators and programs see it: a stable code, one sentence, the remedy, and what it left behind.

use crate::v1;

/// What is known of the host after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// The change was made (and something after it failed).
    Done,
    /// It may or may not have been made: ask before trying again.
    Unknown,
}

/// An error with what an operator needs. `sentence` is one present-tense sentence, `remedy` what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("{sentence} [{code}]")]
pub struct Failure {
    pub code: String,
    pub sentence: String,
    pub remedy: String,
    pub effect: Effect,
}

impl Failure {
    /// Nothing was changed.
    pub fn refused(code: &str, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.into(), sentence: sentence.into(), remedy: remedy.into(), effect: Effect::None }
    }

    /// It cannot be said what was changed.
    pub fn unknown(code: &str, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { effect: Effect::Unknown, ..Self::refused(code, sentence, remedy) }
    }

    #[must_use]
    pub fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }
}

impl From<Failure> for v1::Error {
    fn from(failure: Failure) -> Self {
        let effect = match failure.effect {
            Effect::None => v1::Effect::None,
            Effect::Done => v1::Effect::Done,
            Effect::Unknown => v1::Effect::Unknown,
        };
        Self { code: failure.code, sentence: failure.sentence, remedy: failure.remedy, effect: effect.into() }
    }
}

impl From<v1::Error> for Failure {
    fn from(error: v1::Error) -> Self {
        let effect = match error.effect() {
            v1::Effect::None => Effect::None,
            v1::Effect::Done => Effect::Done,
            v1::Effect::Unknown | v1::Effect::Unspecified => Effect::Unknown,
        };
        Self { code: error.code, sentence: error.sentence, remedy: error.remedy, effect }
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        let sentence = failure.to_string();
        let details = prost::Message::encode_to_vec(&v1::Error::from(failure));
        tonic::Status::with_details(tonic::Code::FailedPrecondition, sentence, details.into())
    }
}

impl From<tonic::Status> for Failure {
    /// An agent's own failure comes back whole; anything else is the transport's, and its effect is not known.
    fn from(status: tonic::Status) -> Self {
        if status.code() == tonic::Code::FailedPrecondition
            && let Ok(error) = <v1::Error as prost::Message>::decode(status.details())
        {
            return error.into();
        }
        let mut sentence = status.message().to_owned();
        let mut source = std::error::Error::source(&status);
        while let Some(cause) = source {
            sentence = format!("{sentence}: {cause}");
            source = cause.source();
        }
        use tonic::Code::{PermissionDenied, Unauthenticated, Unimplemented};
        if [PermissionDenied, Unauthenticated, Unimplemented].contains(&status.code()) {
            return Failure::refused("DENIED", sentence, "use an identity of this deployment that is allowed this call");
        }
        Failure::unknown("UNREACHABLE", sentence, "look at the host and its agent, then run `flytt resume`")
    }
}
