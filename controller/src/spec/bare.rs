//! Values that stand without quotes: numbers and lists. The rest of the reader is `read.rs`.

use super::{
    key::Form,
    mistake::MistakeCode,
    nearest::nearest,
    read::{Reader, Section, Value, kind, quoted},
};

impl Reader {
    pub(super) fn count(&mut self, section: &Section<'_>, name: &str) -> Option<u64> {
        let (key, value) = self.value(section, name)?;
        let Form::Count { least, most } = key.form else {
            unreachable!("`{name}` is read as a count and stands as one in the table")
        };
        let span = value.span();
        let hint = format!("write a whole number from {least} to {most}, without quotes, such as {}", key.presence.example());
        let number = match value.into_inner() {
            Value::Default(text) => text.parse::<i128>().ok(),
            Value::Given(value) => match value.as_integer() {
                // A number that does not fit is out of range whatever it is.
                Some(number) => Some(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX)),
                None => {
                    let sentence = format!("`{name}` is {}, not a whole number", kind(value));
                    self.push(MistakeCode::SpecType, span, sentence, hint);
                    return None;
                }
            },
        };
        let fits = number.and_then(|number| u64::try_from(number).ok()).filter(|number| (least..=most).contains(number));
        if fits.is_none() {
            self.push(MistakeCode::SpecRange, span, format!("`{name}` is not from {least} to {most}"), hint);
        }
        fits
    }

    /// A number with a fraction, in thousandths.
    pub(super) fn factor(&mut self, section: &Section<'_>, name: &str) -> Option<u64> {
        let (key, value) = self.value(section, name)?;
        let Form::Factor { least, most } = key.form else {
            unreachable!("`{name}` is read as a factor and stands as one in the table")
        };
        let span = value.span();
        let hint = format!("write a number from {least} to {most}, without quotes, such as {}", key.presence.example());
        let text = match value.into_inner() {
            Value::Default(text) => text.to_owned(),
            Value::Given(value) => match (value.as_float(), value.as_integer()) {
                (Some(number), _) => number.as_str().to_owned(),
                (None, Some(number)) if number.radix() == 10 => number.as_str().to_owned(),
                (None, _) => {
                    self.push(MistakeCode::SpecType, span, format!("`{name}` is {}, not a number", kind(value)), hint);
                    return None;
                }
            },
        };
        let bound = |text: &str| text.parse::<f64>().expect("the bounds in the table are numbers, which a test reads");
        match text.parse::<f64>() {
            // What is not a number is within no bounds.
            Ok(number) if (bound(least)..=bound(most)).contains(&number) => Some((number * 1_000.0).round() as u64),
            Ok(_) | Err(_) => {
                self.push(MistakeCode::SpecRange, span, format!("`{name}` is not from {least} to {most}"), hint);
                None
            }
        }
    }

    /// A list of words, each of which stands for something.
    pub(super) fn words<T: Copy>(&mut self, section: &Section<'_>, name: &str, words: &[(&str, T)]) -> Option<Vec<T>> {
        let (key, value) = self.value(section, name)?;
        let Form::Words(all) = key.form else { unreachable!("`{name}` is read as a list and stands as one in the table") };
        let span = value.span();
        let hint = format!("write a list such as {}", key.presence.example());
        let given = match value.into_inner() {
            // As it would be written: ["iops", "storage"]
            Value::Default(text) => {
                let known = words.iter().filter(|(word, _)| text.contains(&format!("\"{word}\"")));
                return Some(known.map(|(_, value)| *value).collect());
            }
            Value::Given(given) => given,
        };
        let Some(list) = given.as_array() else {
            self.push(MistakeCode::SpecType, span, format!("`{name}` is {}, not a list", kind(given)), hint);
            return None;
        };
        let mut found = Some(Vec::new());
        for entry in list.iter() {
            let text = entry.get_ref().as_str();
            match text.and_then(|text| words.iter().find(|(word, _)| *word == text)) {
                Some((_, value)) => {
                    if let Some(found) = &mut found {
                        found.push(*value);
                    }
                }
                None => {
                    let sentence = match text {
                        Some(text) => format!("`{name}` cannot hold {}", quoted(text)),
                        None => format!("`{name}` cannot hold {}", kind(entry.get_ref())),
                    };
                    let hint = match text.and_then(|text| nearest(text, all)) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!("it can hold {}", all.join(", ")),
                    };
                    self.push(MistakeCode::SpecValue, entry.span(), sentence, hint);
                    found = None;
                }
            }
        }
        found
    }
}
