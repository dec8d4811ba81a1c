//! The table of keys against the reader, and against the reference in `docs/`.

use std::collections::BTreeMap;

use super::*;
use crate::spec::key::{self, Form, KEYS, Key, Presence};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn reference() -> String {
    std::fs::read_to_string(docs().join("migration-toml.md")).expect("docs/migration-toml.md")
}

/// Key, type, default and range as the reference prints them.
fn row(key: &Key) -> [String; 4] {
    let words = |words: &[&str]| words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
    let (form, range) = match key.form {
        Form::Migration => ("migration name".into(), String::new()),
        Form::Host => ("host name".into(), String::new()),
        Form::Server => ("server name".into(), String::new()),
        Form::System => ("system identifier".into(), String::new()),
        Form::Path => ("absolute path".into(), String::new()),
        Form::Word { built, .. } => (words(built), String::new()),
        Form::Only => (format!("`{}`", key.presence.example()), String::new()),
        Form::Quantity { unit, least, most } => (unit.name().into(), format!("{least} to {most}")),
        Form::Limit { unit, least, most } => (format!("{} or `\"none\"`", unit.name()), format!("{least} to {most}")),
        Form::Count { least, most } => ("whole number".into(), format!("{least} to {most}")),
        Form::Factor { least, most } => ("number".into(), format!("{least} to {most}")),
        Form::Words(all) => (format!("list of {}", words(all)), String::new()),
    };
    let default = match key.presence {
        Presence::Required(_) => "required".into(),
        Presence::Optional(_) => String::new(),
        Presence::Default(text) => format!("`{text}`"),
    };
    [format!("`{}`", key.name), form, default, range]
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let mut section = String::new();
    let mut documented = BTreeMap::new();
    for line in reference().lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches(['`', '[', ']']).replace("The top of the file", "");
        } else if let Some(cells) = line.strip_prefix("| `").filter(|_| !section.contains(' ')) {
            let line = format!("| `{cells}");
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 5, "{line}");
            assert!(!cells[4].is_empty(), "{line} does not say what the key is for");
            let cells = [cells[0], cells[1], cells[2], cells[3]].map(str::to_owned);
            assert!(documented.insert((section.clone(), cells[0].clone()), cells).is_none(), "{line} stands there twice");
        }
    }
    let known: BTreeMap<_, _> = KEYS.iter().map(|key| ((key.section.to_owned(), format!("`{}`", key.name)), row(key))).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_reference_has_every_code_and_every_planned_word() {
    let text = reference();
    for code in MistakeCode::ALL {
        assert!(text.contains(&format!("| `{code}` |")), "{code}");
        assert_eq!(serde_json::to_value(code).expect("a word"), code.as_str());
    }
    for key in KEYS {
        if let Form::Word { planned, .. } = key.form {
            for word in planned {
                assert!(text.contains(&format!("`\"{word}\"`")), "{} = {word}", key.name);
            }
        }
    }
}

#[test]
fn every_example_in_the_documents_is_a_good_file() {
    let mut examples = 0;
    let mut files: Vec<PathBuf> = std::fs::read_dir(docs()).expect("docs").map(|entry| entry.expect("an entry").path()).collect();
    files.extend(docs().parent().map(|top| top.join("README.md")).filter(|path| path.exists()));
    for file in files.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(file).expect("a document");
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            // Other blocks are agent.toml.
            if block.contains("[source]") {
                examples += 1;
                parse(block).unwrap_or_else(|mistakes| panic!("{}: {mistakes}", file.display()));
            }
        }
    }
    assert!(examples >= 2, "only {examples} examples were found");
}

#[test]
fn every_default_bound_and_word_of_the_table_is_taken() {
    for key in KEYS {
        let mut values = match key.form {
            Form::Quantity { least, most, .. } | Form::Limit { least, most, .. } => {
                vec![format!("\"{least}\""), format!("\"{most}\"")]
            }
            Form::Count { least, most } => vec![least.to_string(), most.to_string()],
            Form::Factor { least, most } => vec![least.to_owned(), most.to_owned()],
            Form::Words(all) => all.iter().map(|word| format!("[\"{word}\"]")).collect(),
            Form::Word { built, .. } => built.iter().map(|word| format!("\"{word}\"")).collect(),
            Form::Migration | Form::Host | Form::Server | Form::System | Form::Path | Form::Only => Vec::new(),
        };
        values.push(key.presence.example().to_owned());
        for value in values {
            let text = match key.section {
                "canary" => format!("{SHORT}[canary]\nconnection = \"/c\"\n").replace(
                    "connection = \"/c\"",
                    &match key.name {
                        "connection" => format!("connection = {value}"),
                        name => format!("connection = \"/c\"\n{name} = {value}"),
                    },
                ),
                section => with(section, &format!("{} = {value}", key.name)),
            };
            // The longest drain is above the default max_outage: what goes together is another test's business.
            let wrong: Vec<_> = places(&text).into_iter().filter(|(code, _)| *code != "SPEC_CONFLICT").collect();
            assert_eq!(wrong, [], "[{}] {} = {value}", key.section, key.name);
        }
        assert!(key.section.is_empty() || key::SECTIONS.iter().any(|(section, _)| *section == key.section), "{key:?}");
    }
}
