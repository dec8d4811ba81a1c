//! Numbers as an operator reads them and pastes them: counts, bytes, rates, spans, moments.

/// `1,223`; small ones with a decimal.
pub(super) fn count(value: f64) -> String {
    if value.is_nan() || value < 0.0 {
        return "?".into();
    }
    if value < 10.0 && value.fract() > 0.05 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

fn unit(bytes: f64) -> (f64, usize) {
    let (mut value, mut unit) = (bytes.max(0.0), 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    (value, unit)
}

fn short(value: f64) -> String {
    if value < 10.0 && (value - value.round()).abs() > 0.05 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// `12 GiB`
pub(super) fn bytes(bytes: f64) -> String {
    let (value, unit) = unit(bytes);
    format!("{} {}", short(value), UNITS[unit])
}

/// Two rates in one unit, so that they can be compared: `42 MiB/s` and `31`.
pub(super) fn rates(first: f64, second: f64) -> (String, String) {
    let (value, at) = unit(first);
    let other = second.max(0.0) / 1024_f64.powi(i32::try_from(at).unwrap_or(0));
    (format!("{} {}/s", short(value), UNITS[at]), short(other))
}

/// `31 MiB/s`
pub(super) fn rate(bytes_a_second: f64) -> String {
    format!("{}/s", bytes(bytes_a_second))
}

/// `3 d 4 h`, `25 min`, `40 s`
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let two = |first: u64, one: &str, second: u64, other: &str| match second {
        0 => format!("{first} {one}"),
        second => format!("{first} {one} {second} {other}"),
    };
    match whole {
        0..=119 => format!("{whole} s"),
        120..=7_199 => format!("{} min", whole / 60),
        7_200..=172_799 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// A latency: `0.45 ms`, `310 ms`.
pub(super) fn latency(us: f64) -> String {
    let ms = us / 1_000.0;
    if ms < 1.0 {
        format!("{ms:.2} ms")
    } else if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// Unix milliseconds: `2026-07-02 23:00:05 UTC`.
pub(super) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) if ms > 0 => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Ok(_) | Err(_) => "an unknown time".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([0.0, 9.94, 98.4, 1_223.0, 54_000_000.0].map(count), ["0", "9.9", "98", "1,223", "54,000,000"]);
        assert_eq!([0.0, 1536.0, 12.0 * 1024_f64.powi(3), -5.0].map(bytes), ["0 B", "1.5 KiB", "12 GiB", "0 B"]);
        assert_eq!(rates(42.0 * 1_048_576.0, 31.0 * 1_048_576.0), ("42 MiB/s".into(), "31".into()));
        assert_eq!([0.4, 90.0, 150.0, 7_260.0, 273_700.0].map(span), ["0 s", "90 s", "2 min", "2 h 1 min", "3 d 4 h"]);
        assert_eq!([450.0, 2_500.0, 310_000.0].map(latency), ["0.45 ms", "2.5 ms", "310 ms"]);
        assert_eq!(time(1_782_946_805_000), "2026-07-01 23:00:05 UTC");
        assert_eq!([time(0), time(i64::MAX)], ["an unknown time"; 2]);
        assert_eq!(count(f64::NAN), "?");
    }
}
