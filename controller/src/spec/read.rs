//! Walks the parsed file along the table of keys and collects every mistake on the way. What the values mean together is
//! the parent module's business.

use std::{collections::BTreeSet, fmt::Display, ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    key::{self, Form, Key, Presence},
    mistake::{MistakeCode, Mistakes},
    nearest::nearest,
    quantity::Bad,
};

/// One table of the file; `None` where the file has none, which reads as an empty one.
#[derive(Clone, Debug)]
pub(super) struct Section<'d> {
    name: &'static str,
    table: Option<&'d DeTable<'d>>,
    span: Range<usize>,
}

impl Section<'_> {
    pub(super) fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// Where the value of a key stands; `None` where the file has none.
    pub(super) fn place_of(&self, name: &str) -> Option<Range<usize>> {
        Some(self.table?.get(name)?.span())
    }

    /// The same, where it is this text.
    pub(super) fn given(&self, name: &str, text: &str) -> Option<Range<usize>> {
        let value = self.table?.get(name)?;
        (value.get_ref().as_str() == Some(text)).then(|| value.span())
    }
}

/// A value with its place. A default has the place of its table.
pub(super) type Placed<T> = Spanned<T>;

#[derive(Debug)]
pub(super) struct Reader {
    mistakes: Mistakes,
    /// Lines that are not TOML: what else seems wrong with them is only the echo of that.
    broken: BTreeSet<usize>,
}

impl Reader {
    pub(super) fn new(mistakes: Mistakes) -> Self {
        Self { mistakes, broken: BTreeSet::new() }
    }

    pub(super) fn syntax(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            // The parser has no code for it, only this message.
            if error.message().starts_with("duplicate key") {
                self.push(
                    MistakeCode::SpecDuplicateKey,
                    span,
                    "this key or table stands here a second time",
                    "keep one of the two",
                );
            } else {
                let sentence = format!("this is not TOML: {}", error.message());
                self.push(
                    MistakeCode::SpecSyntax,
                    span,
                    sentence,
                    "write `key = \"value\"`, with text in double quotes, one to a line",
                );
            }
        }
        let syntax = self.mistakes.iter().filter(|mistake| mistake.code == MistakeCode::SpecSyntax);
        self.broken = syntax.map(|mistake| mistake.line).collect();
    }

    /// The mistakes, in the order of the lines.
    pub(super) fn finish(mut self) -> Mistakes {
        let broken = self.broken;
        self.mistakes.retain(|mistake| {
            use MistakeCode::{SpecConflict, SpecMissingKey, SpecSyntax};
            // In a file with broken lines, what is missing may stand in one of them.
            let guess = matches!(mistake.code, SpecMissingKey | SpecConflict) && !broken.is_empty();
            mistake.code == SpecSyntax || !(guess || broken.contains(&mistake.line))
        });
        self.mistakes.sort();
        self.mistakes
    }

    pub(super) fn push(&mut self, code: MistakeCode, span: Range<usize>, sentence: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.push(code, span, sentence, hint);
    }

    // --- tables

    /// The top of the file, with a look at every key of it.
    pub(super) fn root<'d>(&mut self, root: &'d Spanned<DeTable<'d>>) -> Section<'d> {
        let section = Section { name: "", table: Some(root.get_ref()), span: 0..0 };
        self.audit(&section);
        section
    }

    /// A table that stands at most once.
    pub(super) fn table<'d>(&mut self, root: &Section<'d>, name: &'static str) -> Section<'d> {
        let absent = Section { name, table: None, span: 0..0 };
        let Some(value) = root.table.and_then(|table| table.get(name)) else { return absent };
        let Some(table) = value.get_ref().as_table() else {
            let sentence = format!("`{name}` is {}, not a table", kind(value.get_ref()));
            self.push(
                MistakeCode::SpecType,
                value.span(),
                sentence,
                format!("write `[{name}]` on a line of its own, its keys below"),
            );
            return absent;
        };
        let section = Section { name, table: Some(table), span: value.span() };
        self.audit(&section);
        section
    }

    /// A table that stands once for each of something.
    pub(super) fn tables<'d>(&mut self, root: &Section<'d>, name: &'static str) -> Vec<Section<'d>> {
        let Some(value) = root.table.and_then(|table| table.get(name)) else {
            let sentence = format!("a [[{name}]] is missing");
            self.push(
                MistakeCode::SpecMissingKey,
                0..0,
                sentence,
                format!("add one `[[{name}]]` for each {name} of the application"),
            );
            return Vec::new();
        };
        let hint =
            || format!("write `[[{name}]]`, in double brackets, on a line of its own, once for each {name}, its keys below");
        let Some(list) = value.get_ref().as_array() else {
            let sentence = format!("`{name}` is {}, not a list of tables", kind(value.get_ref()));
            self.push(MistakeCode::SpecType, value.span(), sentence, hint());
            return Vec::new();
        };
        if list.is_empty() {
            self.push(MistakeCode::SpecMissingKey, value.span(), format!("the list `{name}` is empty"), hint());
        }
        let mut sections = Vec::new();
        for entry in list.iter() {
            match entry.get_ref().as_table() {
                Some(table) => sections.push(Section { name, table: Some(table), span: entry.span() }),
                None => {
                    let sentence = format!("this entry of `{name}` is {}, not a table", kind(entry.get_ref()));
                    self.push(MistakeCode::SpecType, entry.span(), sentence, hint());
                }
            }
        }
        for section in &sections {
            self.audit(section);
        }
        sections
    }

    /// Keys that nobody knows.
    fn audit(&mut self, section: &Section<'_>) {
        for (name, value) in section.table.into_iter().flat_map(|table| table.iter()) {
            let text = name.get_ref().as_ref();
            let is_table = section.name.is_empty() && key::SECTIONS.iter().any(|(section, _)| *section == text);
            match key::find(section.name, text) {
                Some(_) => {}
                None if is_table => {}
                None => {
                    self.hide(value);
                    self.unknown(section.name, name);
                }
            }
        }
    }

    /// Nobody knows what an unknown key holds: it may be a password.
    fn hide(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => table.values().for_each(|value| self.hide(value)),
            DeValue::Array(list) => list.iter().for_each(|value| self.hide(value)),
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                self.mistakes.hide(value.span());
            }
        }
    }

    fn unknown(&mut self, section: &str, name: &Spanned<toml::de::DeString<'_>>) {
        let text = name.get_ref().as_ref();
        let mut here: Vec<&str> = key::KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
        if section.is_empty() {
            here.extend(key::SECTIONS.iter().map(|(section, _)| *section));
        }
        let elsewhere = key::KEYS.iter().find(|key| key.name == text);
        let hint = match (nearest(text, &here), elsewhere) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(key)) => format!("`{text}` belongs under {}", key::heading(key.section)),
            (None, None) => format!("known here are {}", here.join(", ")),
        };
        let place = if section.is_empty() { "at" } else { "of" };
        let sentence = format!("`{}` is not a key {place} {}", shown(text), key::heading(section));
        self.push(MistakeCode::SpecUnknownKey, name.span(), sentence, hint);
    }

    // --- values

    /// The value of a key; its default, with the place of the table, where the file has none.
    pub(super) fn value<'d>(&mut self, section: &Section<'d>, name: &str) -> Option<(&'static Key, Placed<Value<'d>>)> {
        let key = key::find(section.name, name).expect("every key that is read stands in the table");
        if let Some(value) = section.table.and_then(|table| table.get(name)) {
            return Some((key, Spanned::new(value.span(), Value::Given(value.get_ref()))));
        }
        match key.presence {
            Presence::Default(text) => Some((key, Spanned::new(section.span.clone(), Value::Default(text.trim_matches('"'))))),
            Presence::Optional(_) => None,
            Presence::Required(example) => {
                let sentence = match section.name {
                    "" => format!("the key `{name}` is missing"),
                    table => format!("the key `{name}` of {} is missing", key::heading(table)),
                };
                let hint = match (section.name, section.table) {
                    ("", _) => format!("add `{name} = {example}` before the first table"),
                    (_, Some(_)) => format!("add `{name} = {example}` below its heading"),
                    (table, None) => format!("add `{}`, and `{name} = {example}` below it", key::heading(table)),
                };
                self.push(MistakeCode::SpecMissingKey, section.span.clone(), sentence, hint);
                None
            }
        }
    }

    fn text<'d>(&mut self, section: &Section<'d>, name: &str) -> Option<(&'static Key, Placed<&'d str>)> {
        let (key, value) = self.value(section, name)?;
        let span = value.span();
        let given = match value.into_inner() {
            Value::Default(text) => return Some((key, Spanned::new(span, text))),
            Value::Given(value) => value,
        };
        if let Some(text) = given.as_str() {
            return Some((key, Spanned::new(span, text)));
        }
        let example = key.presence.example();
        if let Form::Quantity { unit, .. } | Form::Limit { unit, .. } = key.form
            && (given.is_integer() || given.is_float())
        {
            let hint = format!("write a {} in quotes, with its unit ({}), such as {example}", unit.name(), unit.units());
            self.push(MistakeCode::SpecNoUnit, span, format!("`{name}` is a bare number"), hint);
        } else if let Form::Only = key.form {
            self.not_built(key, span, &kind(given));
        } else {
            let sentence = format!("`{name}` is {}, not text", kind(given));
            self.push(MistakeCode::SpecType, span, sentence, format!("write it in double quotes, such as `{name} = {example}`"));
        }
        None
    }

    /// A name or number that its own type checks.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, section: &Section<'_>, name: &str) -> Option<Placed<T>> {
        let (key, text) = self.text(section, name)?;
        match text.get_ref().parse() {
            Ok(value) => Some(Spanned::new(text.span(), value)),
            Err(error) => {
                if let Form::Path = key.form {
                    // The likely mistake is the secret itself in place of the path to it.
                    self.mistakes.hide(text.span());
                }
                let hint = format!("write it like `{name} = {}`", key.presence.example());
                self.push(MistakeCode::SpecValue, text.span(), format!("`{name}`: {error}"), hint);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, section: &Section<'_>, name: &str, words: &[(&str, T)]) -> Option<T> {
        let (key, text) = self.text(section, name)?;
        let span = text.span();
        let text = text.into_inner();
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let planned: &[&str] = if let Form::Word { planned, .. } = key.form { planned } else { &[] };
        if matches!(key.form, Form::Only) || planned.contains(&text) {
            self.not_built(key, span, &quoted(text));
            return None;
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let all: Vec<&str> = words.iter().chain(planned).copied().collect();
        let hint = match nearest(text, &all) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {}", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")),
        };
        self.push(MistakeCode::SpecValue, span, format!("`{name}` cannot be {}", quoted(text)), hint);
        None
    }

    fn not_built(&mut self, key: &Key, span: Range<usize>, value: &str) {
        let sentence = format!("`{}` as {value} is known, but not built yet in this version", key.name);
        let hint = match (key.presence, key.form) {
            (Presence::Default(text), _) => format!("remove the key, or write {text}"),
            (Presence::Required(_) | Presence::Optional(_), Form::Word { built, .. }) => {
                format!("write \"{}\"", built.join("\" or \""))
            }
            (Presence::Required(_) | Presence::Optional(_), _) => "remove the key".into(),
        };
        self.push(MistakeCode::SpecNotBuilt, span, sentence, hint);
    }

    /// A duration in milliseconds, a size in bytes, a rate in bytes a second; `None` inside where "none" lifts a limit.
    pub(super) fn quantity(&mut self, section: &Section<'_>, name: &str) -> Option<Placed<Option<u64>>> {
        let (key, text) = self.text(section, name)?;
        let (Form::Quantity { unit, least, most } | Form::Limit { unit, least, most }) = key.form else {
            unreachable!("`{name}` is read as a quantity and stands as one in the table")
        };
        let span = text.span();
        let text = text.into_inner();
        if matches!(key.form, Form::Limit { .. }) && text == "none" {
            return Some(Spanned::new(span, None));
        }
        let end = |text: &str| unit.parse(text).expect("the bounds in the table are quantities, which a test reads");
        let example = key.presence.example();
        let hint = format!("write a {} from {least} to {most}, such as {example}", unit.name());
        let (code, sentence) = match unit.parse(text) {
            Ok(value) if (end(least)..=end(most)).contains(&value) => return Some(Spanned::new(span, Some(value))),
            Ok(value) if value < end(least) => (MistakeCode::SpecRange, format!("`{name}` is below {least}")),
            Ok(_) => (MistakeCode::SpecRange, format!("`{name}` is above {most}")),
            Err(Bad::Negative) => (MistakeCode::SpecRange, format!("`{name}` is below zero")),
            Err(Bad::NoUnit) => (MistakeCode::SpecNoUnit, format!("`{name}` is a number without a unit")),
            Err(Bad::Form) => (MistakeCode::SpecValue, format!("`{name}` is {}, not a {}", quoted(text), unit.name())),
        };
        let hint = if code == MistakeCode::SpecRange { hint } else { format!("{hint}; the units are {}", unit.units()) };
        self.push(code, span, sentence, hint);
        None
    }
}

/// What stands for a key: in the file, or in the table of defaults.
#[derive(Debug)]
pub(super) enum Value<'d> {
    Given(&'d DeValue<'d>),
    Default(&'static str),
}

pub(super) fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "text".into(),
        DeValue::Integer(number) => format!("the number {}", shown(number.as_str())),
        DeValue::Float(number) => format!("the number {}", shown(number.as_str())),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A value of the file inside a sentence: short, and nothing in it can steer a terminal.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}
