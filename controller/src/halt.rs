//! Why a command stopped: its exit code, the errors, the state the hosts are in now, and what to run next. Exit codes are a
//! public promise, documented in `docs/exit-codes.md`. How a halt is shown is the view's business; `Display` is plain text.

use std::{fmt, process::ExitCode};

use flytt_proto::failure::{Effect, Failure};

use crate::spec::Mistakes;

/// How a command ended, told apart by what a person or a script has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The command did what it was asked.
    Ok,
    /// The command line is not understood; clap ends with this code itself.
    Usage,
    /// migration.toml has mistakes; no host was asked anything.
    Spec,
    /// A finding stands in the way.
    Refused,
    /// Something failed before anything was changed.
    Failed,
    /// The move or cutover failed and was taken back.
    TakenBack,
    /// Something was changed, is written down, and can be carried on or taken back.
    NeedsResume,
    /// What became of a change is not known.
    Unknown,
    /// Another controller is in charge of this migration.
    InCharge,
    /// Findings of a check, none of which forbids the move.
    Warned,
    /// Ctrl-C; what was begun was taken back.
    Interrupted,
}

impl Exit {
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Usage,
        Self::Spec,
        Self::Refused,
        Self::Failed,
        Self::TakenBack,
        Self::NeedsResume,
        Self::Unknown,
        Self::InCharge,
        Self::Warned,
        Self::Interrupted,
    ];

    /// The process's exit code. 1 and 101 are left to what is not ours: a shell, a panic.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 2,
            Self::Spec => 3,
            Self::Refused => 4,
            Self::Failed => 5,
            Self::TakenBack => 6,
            Self::NeedsResume => 7,
            Self::Unknown => 8,
            Self::InCharge => 9,
            Self::Warned => 10,
            Self::Interrupted => 130,
        }
    }

    /// As it stands in `--json` and in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Usage => "usage",
            Self::Spec => "spec",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::TakenBack => "taken_back",
            Self::NeedsResume => "needs_resume",
            Self::Unknown => "unknown",
            Self::InCharge => "in_charge",
            Self::Warned => "warned",
            Self::Interrupted => "interrupted",
        }
    }

    /// One sentence on what it means.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Ok => "The command did what it was asked.",
            Self::Usage => "The command line is not understood; nothing was done.",
            Self::Spec => "migration.toml has mistakes; no host was asked anything.",
            Self::Refused => "A finding stands in the way; this command changed nothing.",
            Self::Failed => "Something failed before anything was changed.",
            Self::TakenBack => "The step failed and everything it did was taken back; the source serves as before.",
            Self::NeedsResume => "The command stopped half-way; what was done is recorded and waits for `flytt resume`.",
            Self::Unknown => "What became of a change is not known; a person must look before anything else is done.",
            Self::InCharge => "Another controller is in charge of this migration; this one changed nothing.",
            Self::Warned => "`flytt check` warns, and nothing forbids the move; nothing was changed.",
            Self::Interrupted => "The command was interrupted and took back what it had begun.",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A stop, with everything an operator needs to go on. Begin with [`Halt::new`] or from what went wrong, then add what is
/// known of the hosts ([`Halt::now`]) and the next command ([`Halt::then`]).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(into = "Shape")]
pub struct Halt {
    exit: Exit,
    cause: Cause,
    state: Option<String>,
    next: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// In the order in which they happened. Empty where nothing failed (Ctrl-C).
    Failures(Vec<Failure>),
    Mistakes(Mistakes),
}

impl Halt {
    pub fn new(exit: Exit, failures: impl IntoIterator<Item = Failure>) -> Self {
        Self { exit, cause: Cause::Failures(failures.into_iter().collect()), state: None, next: None }
    }

    /// The state the hosts are in now, in one sentence; without it the exit's own sentence stands.
    #[must_use]
    pub fn now(self, state: impl Into<String>) -> Self {
        Self { state: Some(state.into()), ..self }
    }

    /// The command to run next, as it would be typed.
    #[must_use]
    pub fn then(self, command: impl Into<String>) -> Self {
        Self { next: Some(command.into()), ..self }
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }

    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    pub fn state(&self) -> &str {
        self.state.as_deref().unwrap_or(self.exit.sentence())
    }

    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

impl From<Mistakes> for Halt {
    fn from(mistakes: Mistakes) -> Self {
        Self { exit: Exit::Spec, cause: Cause::Mistakes(mistakes), state: None, next: None }
    }
}

/// Of one failure, the exit follows from what it left behind.
impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        let exit = match failure.effect {
            Effect::None => Exit::Failed,
            Effect::Done => Exit::NeedsResume,
            Effect::Unknown => Exit::Unknown,
        };
        Self::new(exit, [failure])
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Mistakes(mistakes) => writeln!(f, "{mistakes}\n")?,
            Cause::Failures(failures) => {
                for failure in failures {
                    writeln!(f, "error[{}]: {}", Plain(&failure.code), Plain(&failure.sentence))?;
                    writeln!(f, "  help: {}", Plain(&failure.remedy))?;
                }
            }
        }
        write!(f, "state: {}", Plain(self.state()))?;
        match self.next() {
            Some(next) => write!(f, "\nnext:  {}", Plain(next)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Halt {}

/// Text that came over the network, on its way to a terminal: nothing in it can steer one or fake a line.
struct Plain<'t>(&'t str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            // The characters that turn the writing direction can make a command read as another one.
            let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || turns { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// The JSON form: one object; `failures` or `mistakes`, whichever there are.
#[derive(serde::Serialize)]
struct Shape {
    code: u8,
    name: &'static str,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mistakes: Option<Mistakes>,
}

impl From<Halt> for Shape {
    fn from(halt: Halt) -> Self {
        let state = halt.state().to_owned();
        let (failures, mistakes) = match halt.cause {
            Cause::Failures(failures) => (failures, None),
            Cause::Mistakes(mistakes) => (Vec::new(), Some(mistakes)),
        };
        Self { code: halt.exit.code(), name: halt.exit.name(), state, next: halt.next, failures, mistakes }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    fn failure(effect: Effect) -> Failure {
        Failure::refused("NO_SPACE", "db-new has 1 GiB free", "free 10 GiB").with_effect(effect)
    }

    #[test]
    fn the_documentation_lists_precisely_these_codes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exit-codes.md");
        let text = std::fs::read_to_string(path).expect("docs/exit-codes.md");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let documented: Vec<_> = rows.iter().map(|row| (row[0].to_owned(), row[1].to_owned(), row[2].to_owned())).collect();
        let ours: Vec<_> =
            Exit::ALL.map(|exit| (exit.code().to_string(), format!("`{}`", exit.name()), exit.sentence().to_owned())).to_vec();
        assert_eq!(documented, ours);
    }

    #[test]
    fn codes_and_names_tell_exits_apart() {
        let codes: BTreeSet<u8> = Exit::ALL.map(Exit::code).into();
        let names: BTreeSet<&str> = Exit::ALL.map(Exit::name).into();
        assert_eq!((codes.len(), names.len()), (Exit::ALL.len(), Exit::ALL.len()));
        for exit in Exit::ALL {
            assert_eq!(serde_json::to_value(exit).expect("a word"), exit.name());
        }
    }

    #[test]
    fn an_unknown_effect_is_never_called_a_plain_failure() {
        assert_eq!(Halt::from(failure(Effect::None)).exit(), Exit::Failed);
        assert_eq!(Halt::from(failure(Effect::Done)).exit(), Exit::NeedsResume);
        assert_eq!(Halt::from(failure(Effect::Unknown)).exit(), Exit::Unknown);
    }

    #[test]
    fn a_halt_says_what_is_wrong_what_state_the_hosts_are_in_and_what_to_do() {
        let halt =
            Halt::new(Exit::Refused, [failure(Effect::None)]).now("Nothing was changed on any host.").then("flytt check shop");
        assert_eq!(
            halt.to_string(),
            "error[NO_SPACE]: db-new has 1 GiB free\n  help: free 10 GiB\n\
             state: Nothing was changed on any host.\nnext:  flytt check shop"
        );
        assert_eq!(
            serde_json::to_value(&halt).expect("an object"),
            serde_json::json!({
                "code": 4, "name": "refused", "state": "Nothing was changed on any host.", "next": "flytt check shop",
                "failures": [{
                    "code": "NO_SPACE", "sentence": "db-new has 1 GiB free", "remedy": "free 10 GiB", "effect": "none"
                }]
            })
        );
        assert_eq!(Halt::new(Exit::Interrupted, []).to_string(), format!("state: {}", Exit::Interrupted.sentence()));
    }

    #[test]
    fn mistakes_keep_their_places() {
        let mistakes =
            crate::spec::Spec::parse(Path::new("shop.toml"), "name = \"shop\"\nnmae = 1\n").expect_err("not a whole file");
        let halt = Halt::from(mistakes);
        assert_eq!(halt.exit().code(), 3);
        let json = serde_json::to_value(&halt).expect("an object");
        assert!(json["failures"].is_null());
        let places: Vec<_> =
            json["mistakes"].as_array().expect("a list").iter().map(|m| (&m["code"], &m["line"], &m["column"])).collect();
        assert!(places.contains(&(&"SPEC_UNKNOWN_KEY".into(), &2.into(), &1.into())), "{places:?}");
    }

    #[test]
    fn a_peer_cannot_steer_the_terminal() {
        let evil = Failure::refused("X", "gone\u{1b}[2J\nstate: all is well\u{202e}\u{9b}", "run\rthis");
        let text = Halt::from(evil).to_string();
        assert_eq!(text.lines().count(), 3, "{text:?}");
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}', '\u{9b}']), "{text:?}");
        assert!(text.contains(r"\u{1b}[2J\nstate"), "{text:?}");
    }
}
