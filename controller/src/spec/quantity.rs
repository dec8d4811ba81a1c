//! Durations, sizes, rates and percentages as people write them: a number with its unit, checked exactly. Which values make sense for a
//! key stands in the table of keys.

/// What a quantity measures, and so which units it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Counted in milliseconds.
    Duration,
    /// Counted in bytes.
    Size,
    /// Counted in bytes a second.
    Rate,
    /// Counted in thousandths of a percent.
    Percent,
}

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not a number in front, or something that is none of the units behind it.
    Form,
    /// A number alone.
    NoUnit,
    /// Below zero.
    Negative,
}

const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

const PERCENT: &[(&str, u64)] = &[("%", 1_000)];

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Rate => "rate",
            Self::Percent => "percentage",
        }
    }

    /// The units as a sentence lists them.
    pub(super) fn units(self) -> String {
        let (table, each) = self.table();
        table.iter().map(|(unit, _)| format!("{unit}{each}")).collect::<Vec<_>>().join(", ")
    }

    fn table(self) -> (&'static [(&'static str, u64)], &'static str) {
        match self {
            Self::Duration => (DURATIONS, ""),
            Self::Size => (SIZES, ""),
            Self::Rate => (SIZES, "/s"),
            Self::Percent => (PERCENT, ""),
        }
    }

    /// The value in this unit's own count; what does not fit is `u64::MAX`, which every range refuses. Parts of a
    /// millisecond or byte are dropped.
    pub(super) fn parse(self, text: &str) -> Result<u64, Bad> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || part.is_empty() || part.contains('.') || part.len() > 9 {
            return Err(Bad::Form);
        }
        if unit.is_empty() {
            return Err(Bad::NoUnit);
        }
        let (table, each) = self.table();
        let factor = unit
            .strip_suffix(each)
            .and_then(|unit| table.iter().find(|(name, _)| *name == unit))
            .map(|(_, factor)| u128::from(*factor))
            .ok_or(Bad::Form)?;
        if negative {
            return Err(Bad::Negative);
        }
        // Digits only are left, so the one way to fail is a number too great, which is out of every range all the same.
        let whole = whole.parse::<u64>().map_or(u128::from(u64::MAX), u128::from);
        let tenths = 10_u128.pow(part.len() as u32);
        let part = part.parse::<u64>().map_or(0, u128::from);
        let value = whole.saturating_mul(factor).saturating_add(part * factor / tenths);
        Ok(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact() {
        for (unit, text, value) in [
            (Unit::Duration, "500ms", 500),
            (Unit::Duration, "5s", 5_000),
            (Unit::Duration, "1.5s", 1_500),
            (Unit::Duration, "2m", 120_000),
            (Unit::Duration, "24h", 86_400_000),
            (Unit::Duration, "1d", 86_400_000),
            (Unit::Duration, "0s", 0),
            (Unit::Duration, "0.0005s", 0),
            (Unit::Size, "1B", 1),
            (Unit::Size, "1kB", 1_000),
            (Unit::Size, "0.5KiB", 512),
            (Unit::Size, "200MiB", 209_715_200),
            (Unit::Size, "1TiB", 1 << 40),
            (Unit::Rate, "200MiB/s", 209_715_200),
            (Unit::Rate, "1GB/s", 1_000_000_000),
            (Unit::Percent, "5%", 5_000),
            (Unit::Percent, "0.25%", 250),
            (Unit::Duration, "99999999999999999999999999h", u64::MAX),
            (Unit::Size, "18446744073709551615TiB", u64::MAX),
        ] {
            assert_eq!(unit.parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn whatever_is_not_a_number_with_a_unit_is_refused() {
        for text in
            ["", "s", ".5s", "5.s", "1.2.3s", "NaNs", "infs", "1e3s", "+5s", "5 s", " 5s", "5s ", "5S", "5us", "٣s", "--5s"]
        {
            assert_eq!(Unit::Duration.parse(text), Err(Bad::Form), "{text:?}");
        }
        for text in ["5", "5.0", "-5"] {
            assert_eq!(Unit::Duration.parse(text), Err(Bad::NoUnit), "{text:?}");
        }
        assert_eq!(Unit::Duration.parse("-5s"), Err(Bad::Negative));
        assert_eq!(Unit::Rate.parse("200MiB"), Err(Bad::Form));
        assert_eq!(Unit::Size.parse("200MiB/s"), Err(Bad::Form));
        assert_eq!(Unit::Size.parse("200mb"), Err(Bad::Form));
        assert_eq!(Unit::Rate.parse("/s"), Err(Bad::Form));
    }
}
