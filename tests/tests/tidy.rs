//! What must stay absent from the sources, read from the sources: who may change a host, who may speak SQL, who may start a
//! process, which way the agent's modules depend on each other. The compiler cannot say these; a reader relies on them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file: its path from the repository's root, and its text without comments and unit tests.
struct Source {
    path: String,
    whole: String,
    code: String,
}

impl Source {
    fn is_test(&self) -> bool {
        let is_tests_file = self.path.ends_with("/tests.rs") || self.path.ends_with("/model.rs");
        is_tests_file || self.path.starts_with("tests/") || self.path.contains("/tests/")
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// `path:line` of each line of code that holds one of `words`.
    fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let found = self.code.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.map(|(at, line)| format!("{}:{}: {}", self.path, at + 1, line.trim())).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for place in ["proto", "agent", "controller", "tests"] {
        collect(&root().join(place), &mut sources);
    }
    assert!(sources.len() > 100, "the sources are not where they are looked for");
    sources
}

fn collect(directory: &Path, into: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let whole = fs::read_to_string(&path).expect("text");
            let tested = whole.find("#[cfg(test)]\nmod tests {").unwrap_or(whole.len());
            let code = whole[..tested].lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
            let code = code.collect::<Vec<_>>().join("\n");
            let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            into.push(Source { path, whole, code });
        }
    }
}

/// Lines with one of `words` in code below `within` but not below `except`.
fn found(within: &[&str], except: &[&str], words: &[&str]) -> Vec<String> {
    let all = sources().into_iter().filter(|source| !source.is_test() && source.is_in(within) && !source.is_in(except));
    all.flat_map(|source| source.lines_with(words)).collect()
}

fn none(lines: &[String], law: &str) {
    assert!(lines.is_empty(), "{law}:\n  {}", lines.join("\n  "));
}

#[test]
fn only_change_calls_the_hands() {
    let hands = [".execute(", ".reload()", ".tell(", ".back_up(", ".end_backup(", ".route(", ".set_for_import(", ".set_back("];
    let mut lines = found(&["agent/src/"], &["agent/src/change/", "agent/src/engine/", "agent/src/router/"], &hands);
    // A copy that an earlier process of this agent left is ended at its start; its change stands in the ledger.
    lines.retain(|line| !(line.starts_with("agent/src/recovery.rs:") && line.contains("engine.end_backup(backup)")));
    // `status.rs` and `plan.rs` have routes of another kind.
    lines.retain(|line| !line.starts_with("agent/src/status.rs:"));
    none(&lines, "only agent/src/change/ alters a host");
}

#[test]
fn nothing_else_writes_files_of_the_host() {
    let writes = ["durable::write(", "durable::remove(", "fs::remove_file(", "fs::write(", "fs::set_permissions("];
    let within = ["agent/src/action/", "agent/src/service/", "agent/src/baton/", "agent/src/apply.rs", "agent/src/recovery.rs"];
    none(&found(&within, &[], &writes), "an intent looks and proposes; it writes no file");
}

#[test]
fn sql_stands_with_the_engine_alone() {
    let sql = ["\"select ", "\"insert ", "\"update ", "\"delete ", "\"create ", "\"alter ", "\"drop ", "\"SELECT ", "\"INSERT "];
    let agent = ["agent/src/service/", "agent/src/action/", "agent/src/apply.rs", "agent/src/recovery.rs", "agent/src/lease.rs"];
    let mut lines = found(&agent, &[], &sql);
    lines.extend(found(&["controller/src/"], &["controller/src/canary/", "controller/src/stage/"], &sql));
    lines.extend(found(&["controller/src/"], &["controller/src/canary/", "controller/src/stage/"], &["tokio_postgres"]));
    none(&lines, "SQL is the engine's (and, for throw-away data, the canary's and the stage's)");
}

#[test]
fn processes_are_started_in_two_files() {
    let except = ["agent/src/command.rs", "controller/src/stage/spawn.rs"];
    // By their imports: the agent's own `Command` describes a program, and `command.rs` starts it.
    let spawns = ["process::Command", "process::{Command", "tokio::process", "Command::spawn"];
    let lines = found(&["proto/src/", "agent/src/", "controller/src/"], &except, &spawns);
    none(&lines, "only agent/src/command.rs and controller/src/stage/spawn.rs start processes");
}

/// What Cargo would build, asked of Cargo; and a program that was built without tests, where one is here.
#[test]
#[allow(clippy::disallowed_methods, reason = "Cargo is asked, as whoever builds a package would")]
fn no_build_but_the_tests_own_has_the_seam() {
    let features = |edges: &str| {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["tree", "--workspace", "--locked", "--offline", "--invert", "flytt-proto", "--edges", edges]);
        let output = cargo.current_dir(root()).output().expect("Cargo answers");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(features("features").contains("\"fuse\""), "the tests have it");
    let built = features("normal,build,features");
    assert!(built.contains("flytt-agent v") && !built.contains("fuse"), "{built}");
    for program in ["flytt", "flytt-agent"] {
        for profile in ["release", "dist", "x86_64-unknown-linux-gnu/dist"] {
            let Ok(bytes) = fs::read(root().join("target").join(profile).join(program)) else { continue };
            let name = flytt_proto::fuse::REACHED.as_bytes();
            assert!(!bytes.windows(name.len()).any(|at| at == name), "{profile}/{program} has the seam");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    for source in sources() {
        assert!(source.whole.starts_with("//!"), "{} does not open with what it is for", source.path);
        let tested = source.whole.find("#[cfg(test)]\nmod tests {").unwrap_or(source.whole.len());
        let lines = source.whole[..tested].lines().count();
        assert!(source.is_test() || lines <= 500, "{} has {lines} lines: what is the second idea in it?", source.path);
        let name = Path::new(&source.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!["util", "utils", "common", "helper", "helpers", "types", "misc"].contains(&name.as_str()), "{}", source.path);
    }
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    let marks = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X:"];
    for source in sources() {
        for mark in &marks {
            assert!(!source.whole.contains(mark.as_str()), "{} holds a {mark}", source.path);
        }
    }
}

/// Left depends on right, never the other way. What stands in no row (`host`, `apply`, `lease`, `ledger`, `baton`, `config`) is
/// the agent itself: it ties the rows together.
const ORDER: &[&[&str]] =
    &[&["service"], &["action"], &["engine", "router", "link", "tuning"], &["change"], &["command"], &["secret"]];

/// Engine and router are what `change` acts through: it names their traits and their progress, and they name its data. A link
/// asks the engine whether a connection's first packet may pass, and knows no more of it than the answer's type.
const ALLOWED: &[(&str, &str)] = &[("change", "engine"), ("change", "router"), ("link", "engine")];

#[test]
fn the_agents_modules_depend_in_one_direction() {
    let rank = |module: &str| ORDER.iter().position(|row| row.contains(&module));
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|source| !source.is_test()) {
        let Some(module) = source.path.strip_prefix("agent/src/").and_then(|path| path.split(['/', '.']).next()) else {
            continue;
        };
        let Some(own) = rank(module) else { continue };
        for used in used(&source.code) {
            let up = rank(&used).is_some_and(|other| other < own || (other == own && used != module));
            if up && !ALLOWED.contains(&(module, used.as_str())) {
                wrong.push(format!("{} uses {used}", source.path));
            }
        }
    }
    none(&wrong, "service → action → engine, router, link → change → command → secret");
}

/// The modules behind `use crate::…` and `crate::…`, also out of braces.
fn used(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for after in code.split("crate::").skip(1) {
        let word = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
        match after.strip_prefix('{') {
            None => used.push(word(after)),
            Some(list) => {
                let (mut depth, mut at_start) = (1, true);
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => at_start = true,
                        c if c.is_whitespace() => {}
                        _ if depth == 1 && at_start => {
                            used.push(word(&list[at..]));
                            at_start = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    used
}
