//! The documents say what is so: the diagram is the plan's own, files and commands that they name exist, every TOML block is
//! read by the program that would read it, and the list of codes is whole.

#![allow(clippy::disallowed_methods, reason = "a test starts the program and writes a scratch file")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use flytt::{plan, spec::Spec};
use flytt_agent::config::Config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document, by its path from the root.
fn documents() -> Vec<String> {
    let mut found: Vec<String> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).into();
    for directory in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(directory)).expect("a directory").flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        found.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{directory}/{name}")));
    }
    found
}

/// The blocks of one language in a document.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let blocks = text.split(begin.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.map(|block| format!("{block}\n")).collect()
}

#[test]
fn the_diagram_is_the_plan() {
    let smallest = blocks(&read("docs/migration-toml.md"), "toml").remove(0);
    let spec = Spec::parse(Path::new("shop.toml"), &smallest).expect("the smallest file");
    let diagram = plan::move_over(&spec).diagram();
    let shown = blocks(&read("docs/ARCHITECTURE.md"), "mermaid");
    assert_eq!(
        shown.first().map(String::as_str),
        Some(diagram.as_str()),
        "the plan has changed: put this into docs/ARCHITECTURE.md as its mermaid block:\n\n{diagram}"
    );
}

/// In the README and the reference; a block is a migration.toml, or else an agent.toml or a section of one.
#[test]
fn every_toml_block_is_read() {
    let head = "listen = \"10.0.0.5:7431\"\nstate = \"/var/lib/flytt\"\nruntime = \"/run/flytt\"\n";
    let mut read_by_us = 0;
    for path in documents() {
        for block in blocks(&read(&path), "toml") {
            if block.contains("engine") {
                Spec::parse(Path::new("shop.toml"), &block).unwrap_or_else(|mistakes| panic!("{path}: {mistakes}"));
            } else {
                let whole = if block.contains("listen") { block.clone() } else { format!("{head}{block}") };
                if let Err(error) = agent_toml(&whole) {
                    panic!("{path}: {error}\n{whole}");
                }
            }
            read_by_us += 1;
        }
    }
    assert!(read_by_us >= 4, "only {read_by_us} blocks were found");
}

#[test]
fn the_packaged_configuration_is_read() {
    let shipped = read("packaging/agent.toml");
    let config = agent_toml(&shipped).expect("the default agent.toml");
    assert!(!config.may_replace_data, "consent to destroy is never the default");
    // Every line that is commented out must be right, too, once somebody takes the `#` away.
    let all: Vec<&str> =
        shipped.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)).collect();
    let config = agent_toml(&all.join("\n")).expect("the default agent.toml with everything switched on");
    assert!(config.postgres.is_some() && config.mariadb.is_some() && config.mysql.is_some());
    assert!(config.haproxy.is_some() && config.may_replace_data);
}

fn agent_toml(text: &str) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    fs::write(file.path(), text).map_err(|error| error.to_string())?;
    Config::read(file.path()).map_err(|error| format!("{error:#}"))
}

#[test]
fn files_that_are_named_exist() {
    for path in documents() {
        let text = read(&path);
        let beside = root().join(&path).parent().expect("a directory").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_elsewhere = link.is_empty() || link.contains("://");
            assert!(is_elsewhere || beside.join(link).exists(), "{path} links to {link}");
        }
        let prefixes = ["agent/", "controller/", "proto/", "tests/", "packaging/", "docs/"];
        for word in text.split('`').skip(1).step_by(2).filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))) {
            let file = word.split([':', ' ', '*']).next().unwrap_or_default();
            assert!(root().join(file).exists(), "{path} names {word}");
        }
    }
}

/// What stands behind `flytt` in code, in documents and in the remedies of the program.
#[test]
fn commands_that_are_named_exist() {
    let mut known = subcommands("flytt");
    assert!(known.contains("cutover"), "{known:?}");
    // Hidden from help: it is for `make bench`.
    known.insert("bench".to_owned());
    let mut places: Vec<(String, String)> = documents().into_iter().map(|path| (path.clone(), read(&path))).collect();
    for crate_ in ["agent/src", "controller/src", "proto/src"] {
        sources(&root().join(crate_), &mut places);
    }
    for (path, text) in places {
        // In backticks, in a line of a fenced block, and as a literal that goes on with the migration's name.
        let fenced: String = text.split("```").skip(1).step_by(2).collect();
        let literals = text.split("\"flytt ").skip(1).filter(|rest| rest.split('"').next().is_some_and(|it| it.contains(" {")));
        let lines = ["\nflytt ", "\n$ flytt "].into_iter().flat_map(|begin| fenced.split(begin).skip(1));
        for spoken in text.split("`flytt ").skip(1).chain(literals).chain(lines) {
            let word: String = spoken.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            // A placeholder, an option, or a migration in the name of a configuration file's block.
            let is_other = word.is_empty() || word.starts_with('-') || ["shop", "demo"].contains(&word.as_str());
            let line = spoken.lines().next().unwrap_or_default();
            assert!(is_other || known.contains(&word), "{path} speaks of `flytt {line}`");
        }
    }
}

fn subcommands(program: &str) -> BTreeSet<String> {
    let directory = std::env::current_exe().expect("us").ancestors().nth(2).expect("target/debug").to_owned();
    let output = Command::new(directory.join(program)).arg("--help").output().expect("the program, built with the workspace");
    let help = String::from_utf8(output.stdout).expect("text");
    let list = help.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next()).expect("a list of commands");
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// What looks like a code and is none.
const NO_CODES: &[&str] = &[
    "BACKEND",
    "BEGIN",
    "CARGO_PKG_VERSION",
    "CODE",
    "COMMIT",
    "DETECT_AND_RECOVER",
    "DETECT_ONLY",
    "EXCLUSIVE",
    "FLYTT_STAGE",
    "FORM",
    "FRONTEND",
    "FULL",
    "GB",
    "GET",
    "GNU_LIBC_VERSION",
    "HEAD",
    "IOPS",
    "LC_ALL",
    "MB",
    "NORMAL",
    "OFF",
    "ON",
    "OPTIONS",
    "OUT_DIR",
    "PATH",
    "POSIX",
    "SCREAMING_SNAKE_CASE",
    "TB",
    "TCP4",
    "TCP6",
    "UNKNOWN",
    "UTF8",
    "WAL",
    // Of the fuse, which no build but that of the tests has.
    "DEAD",
];

#[test]
fn the_list_of_codes_is_whole() {
    let mut texts = Vec::new();
    for crate_ in ["agent/src", "controller/src", "proto/src"] {
        sources(&root().join(crate_), &mut texts);
    }
    let is_code = |word: &str| {
        word.len() > 1
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let code_lines = texts.iter().flat_map(|(_, text)| text.lines().filter(|line| !line.trim_start().starts_with("//")));
    let words = code_lines.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    let ours: BTreeSet<String> = words.filter(|word| is_code(word) && !NO_CODES.contains(&word.as_str())).collect();
    let listed = read("docs/errors.md");
    let listed: BTreeSet<String> =
        listed.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect();
    let missing: Vec<_> = ours.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&ours).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/errors.md lacks {missing:?}, and lists {gone:?}, which nothing says");
}

/// Source files below `directory`, without their tests.
fn sources(directory: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap_or_default();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, into);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "model.rs" {
            let text = fs::read_to_string(&path).expect("text");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            into.push((path.display().to_string(), code));
        }
    }
}
