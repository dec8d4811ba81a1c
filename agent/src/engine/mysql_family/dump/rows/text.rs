//! Rows as LOAD DATA reads them: fields by tabs, rows by newlines, both escaped inside a value, `\N` for null (MySQL manual,
//! "LOAD DATA Statement", field and line handling). Bytes are bytes here: no character set is looked at.

use mysql_async::Value;

/// What `LOAD DATA` must be told so that it reads this.
pub(super) const FORMAT: &str = r"character set binary fields terminated by '\t' escaped by '\\' lines terminated by '\n'";

/// Appends one row.
pub(super) fn row(into: &mut Vec<u8>, values: impl IntoIterator<Item = Value>) {
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            into.push(b'\t');
        }
        match value {
            Value::NULL => into.extend_from_slice(b"\\N"),
            Value::Bytes(bytes) => field(into, &bytes),
            // The text protocol, in which all is read, has none but the two above.
            other @ (Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..)) => {
                field(into, other.as_sql(true).trim_matches('\'').as_bytes());
            }
        }
    }
    into.push(b'\n');
}

fn field(into: &mut Vec<u8>, bytes: &[u8]) {
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped = match byte {
            b'\t' => b't',
            b'\n' => b'n',
            b'\\' => b'\\',
            0 => b'0',
            _ => continue,
        };
        into.extend_from_slice(&bytes[from..at]);
        into.extend_from_slice(&[b'\\', escaped]);
        from = at + 1;
    }
    into.extend_from_slice(&bytes[from..]);
}

/// How many rows end in these bytes: a newline inside a value is escaped.
pub(super) fn ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_never_stands_in_a_value_and_null_is_no_text() {
        let mut rows = Vec::new();
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        row(&mut rows, [bytes("a\tb\nc\\\0"), Value::NULL, bytes(""), bytes("\\N"), bytes("NULL")]);
        assert_eq!(String::from_utf8(rows.clone()).unwrap(), "a\\tb\\nc\\\\\\0\t\\N\t\t\\\\N\tNULL\n");
        row(&mut rows, [Value::Bytes((0..=255).collect())]);
        assert_eq!(ends(&rows), 2);
    }
}
