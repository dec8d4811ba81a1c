//! From row images to a count and two sums.
//!
//! Both sums come out of one aggregate, as one number: the image is made once per row, and the variable that holds it, or its hash,
//! is written and read within one expression. Another aggregate may see another row's value there (tried on both engines).

use flytt_proto::failure::Failure;

use super::super::Digest;
use crate::engine::mysql_family::dump::schema::Vendor;

/// The second sum has so many of the number's digits, the first the rest: below 10^65, what a DECIMAL holds, for 5 * 10^12 rows.
const LOW: usize = 32;

/// A variable has its type from the statement before.
pub(super) fn variable(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Mariadb => "set @flytt_row := cast('' as binary)",
        Vendor::Mysql => "set @flytt_row := ''",
    }
}

/// The rows of `from`, each as `image`.
///
/// MariaDB: CRC-32 and CRC-32C of the image are together a 64-bit code, so one changed row is always seen; their product is not
/// linear, so values that change places between rows do not cancel as they do in any XOR of CRCs. MySQL has no CRC-32C, and no MD5
/// or SHA-1 since 9: there it is the first and the last 64 bits of the image's SHA-256.
pub(super) fn statement(vendor: Vendor, image: &str, from: &str) -> String {
    let (first, second) = hashes(vendor, image);
    let shift = "0".repeat(LOW);
    format!("select count(*), coalesce(sum(cast({first} as decimal(20)) * 1{shift} + {second}), 0) from {from}")
}

/// A row's two numbers as one text.
pub(super) fn of_row(vendor: Vendor, image: &str) -> String {
    let (first, second) = hashes(vendor, image);
    format!("concat({first}, '.', {second})")
}

/// The second is to be computed after the first.
fn hashes(vendor: Vendor, image: &str) -> (String, &'static str) {
    match vendor {
        Vendor::Mariadb => {
            (format!("crc32(@flytt_row := {image}) * crc32c(@flytt_row)"), "(crc32(@flytt_row) << 32 | crc32c(@flytt_row))")
        }
        // CONV gives a text, and sums of texts are floating-point numbers.
        Vendor::Mysql => (
            format!("conv(left(@flytt_row := sha2({image}, 256), 16), 16, 10)"),
            "cast(conv(right(@flytt_row, 16), 16, 10) as unsigned)",
        ),
    }
}

/// The answer to such a statement.
pub(super) fn read(rows: &[Vec<Option<String>>]) -> Result<Digest, Failure> {
    let digest = match rows {
        [row] => match row.as_slice() {
            [Some(rows), Some(sum)] if sum.bytes().all(|digit| digit.is_ascii_digit()) => {
                rows.parse().ok().map(|rows| Digest { rows, sums: split(sum) })
            }
            _ => None,
        },
        _ => None,
    };
    digest.ok_or_else(|| Failure::refused("UNREADABLE", "the server gives something else than a digest", "report this"))
}

fn split(sum: &str) -> [String; 2] {
    let (first, second) = sum.split_at(sum.len().saturating_sub(LOW));
    [first, second].map(|part| {
        let part = part.trim_start_matches('0');
        if part.is_empty() { "0".to_owned() } else { part.to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_taken_apart() {
        assert_eq!(split("0"), ["0", "0"]);
        assert_eq!(split(&format!("12{}7", "0".repeat(31))), ["12", "7"]);
        assert_eq!(split(&"9".repeat(32)), ["0".to_owned(), "9".repeat(32)]);
        assert_eq!(split(&format!("5{}", "0".repeat(32))), ["5", "0"]);
    }

    #[test]
    fn only_a_count_and_a_number_are_a_digest() {
        let row = |sum: &str| vec![vec![Some("3".to_owned()), Some(sum.to_owned())]];
        assert_eq!(read(&row("4")).unwrap(), Digest { rows: 3, sums: ["0".to_owned(), "4".to_owned()] });
        for odd in [row("1.8e56"), row("-1"), Vec::new(), vec![vec![Some("3".to_owned()), None]]] {
            assert_eq!(read(&odd).unwrap_err().code, "UNREADABLE");
        }
    }
}
