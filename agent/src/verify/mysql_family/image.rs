//! A row as one text of bytes: different for rows that differ, and the same whatever the session's settings were before.
//!
//! `CONCAT_WS('#', values, trailers)`, columns in their own order. It leaves NULLs out; the trailers say which, and how long each
//! character value is, in a fixed number of fields without a `#`, so that no two rows have one image.
//!
//! It does not see what no plain SELECT shows: the sign of MariaDB's zero, the type of a MySQL JSON value whose text is the same,
//! and blanks at the end of a CHAR, which are never stored.

use crate::engine::mysql_family::quote::identifier;

/// A column, as far as its value's text and its order depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

/// How values become texts, and texts literals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Integers and DECIMAL.
    Exact,
    /// Shown with six digits, unless as a DOUBLE.
    Float,
    /// Shown in the shortest text that is read back as the same number.
    Double,
    Bit,
    /// ENUM and SET, by number: only so the error value differs from a member ''. They do not sort as they compare.
    Member,
    /// What has one text of its own: dates and times, addresses, UUIDs.
    Plain,
    Characters {
        charset: String,
        collation: String,
    },
    Bytes,
    /// What may be larger than a packet: only a digest of it goes into the image.
    Large,
}

impl Kind {
    /// `data_type` is as information_schema has it; `None` is a type that was never tried.
    pub(super) fn of(data_type: &str, charset: Option<String>, collation: Option<String>) -> Option<Self> {
        Some(match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" => Self::Exact,
            "float" => Self::Float,
            "double" => Self::Double,
            "bit" => Self::Bit,
            "enum" | "set" => Self::Member,
            "date" | "datetime" | "timestamp" | "time" | "year" | "uuid" | "inet4" | "inet6" => Self::Plain,
            "char" | "varchar" => Self::Characters { charset: charset?, collation: collation? },
            "binary" | "varbinary" => Self::Bytes,
            "tinyblob" | "blob" | "mediumblob" | "longblob" | "tinytext" | "text" | "mediumtext" | "longtext" | "json"
            | "vector" | "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection" => Self::Large,
            _ => return None,
        })
    }

    /// Whether rows can be read in the order of such a column, and compared with its literals by the index.
    pub(super) fn has_ranges(&self) -> bool {
        !matches!(self, Self::Member | Self::Large)
    }
}

impl Column {
    fn value(&self) -> String {
        let name = identifier(&self.name);
        match self.kind {
            Kind::Exact | Kind::Double | Kind::Plain | Kind::Characters { .. } | Kind::Bytes => name,
            Kind::Float => format!("cast({name} as double)"),
            Kind::Bit | Kind::Member => format!("{name} + 0"),
            Kind::Large => format!("sha2({name}, 256)"),
        }
    }

    /// As a person reads it: the first thousand characters of what is large, bytes in hexadecimal.
    pub(super) fn shown(&self) -> String {
        let name = identifier(&self.name);
        match self.kind {
            Kind::Bytes => format!("hex({name})"),
            Kind::Large => format!("left({name}, 1000)"),
            Kind::Bit => format!("bin({name} + 0)"),
            Kind::Exact | Kind::Float | Kind::Double | Kind::Plain | Kind::Member | Kind::Characters { .. } => name,
        }
    }

    fn trailer(&self) -> Option<String> {
        let name = identifier(&self.name);
        match (&self.kind, self.nullable) {
            // Bytes: the same in every session.
            (Kind::Characters { .. } | Kind::Bytes, false) => Some(format!("length({name})")),
            (Kind::Characters { .. } | Kind::Bytes, true) => Some(format!("ifnull(length({name}), '-')")),
            (_, true) => Some(format!("isnull({name})")),
            (_, false) => None,
        }
    }
}

/// The expression. Its separator is binary: so all is, and no two collations clash and no character set is converted.
pub(super) fn of(columns: &[Column]) -> String {
    let fields: Vec<_> = columns.iter().map(Column::value).chain(columns.iter().filter_map(Column::trailer)).collect();
    format!("concat_ws(cast('#' as binary), {})", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_first_and_say_at_the_end_what_they_are() {
        let column = |name: &str, data_type: &str, nullable| Column {
            name: name.to_owned(),
            kind: Kind::of(data_type, Some("latin1".to_owned()), Some("latin1_bin".to_owned())).unwrap(),
            nullable,
        };
        let columns =
            [column("i", "INT", false), column("f`", "float", true), column("v", "varchar", true), column("b", "blob", false)];
        assert_eq!(
            of(&columns),
            "concat_ws(cast('#' as binary), `i`, cast(`f``` as double), `v`, sha2(`b`, 256), isnull(`f```), ifnull(length(`v`), '-'))"
        );
        assert_eq!(Kind::of("xmltype", None, None), None);
    }
}
