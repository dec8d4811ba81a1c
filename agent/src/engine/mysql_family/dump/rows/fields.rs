//! How each type is read and written so that what arrives is what was there. Most are copied as the bytes that the server keeps;
//! the others are listed here with the reason.

use super::super::schema::{Column, Table, Vendor};
use crate::engine::mysql_family::quote::identifier;

/// The columns of a table that carry values, in one order on both sides.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// The list of a SELECT.
    pub(super) select: String,
    /// Whether the last of them is no column: true where a value would not be the same once it was read from its text.
    pub(super) has_doubt: bool,
    /// The list of columns and variables of a LOAD DATA, and its SET clause.
    pub(super) load: String,
    /// An ENUM may hold the index 0, the server's mark of a value that it once refused; written again, it warns again.
    pub(super) enums: Vec<String>,
}

/// What a column's value goes through.
enum Way {
    /// As it is.
    Plain,
    /// The text of a FLOAT has six digits; as a DOUBLE it has as many as it takes. Times one, since a sum would lose the sign of zero.
    Number,
    /// By its number: as text an ENUM's empty member and its error value look alike, and a BIT is not printable.
    Index,
    /// The server takes binary bytes for such a value's internal form, or takes none: it must be told that this is text.
    Text,
}

fn way(column: &Column, vendor: Vendor) -> Way {
    match (column.data_type.as_str(), vendor) {
        ("float" | "double", _) => Way::Number,
        ("bit" | "enum" | "set", _) => Way::Index,
        ("uuid" | "inet4" | "inet6", _) | ("json", Vendor::Mysql) => Way::Text,
        _ => Way::Plain,
    }
}

/// Whether it may be the AUTO_INCREMENT column: by its line in the table's text. One that is not does not mind.
fn counts(table: &Table, name: &str) -> bool {
    let start = format!("{name} ");
    let mut lines = table.create.split(&start).skip(1).filter_map(|rest| rest.lines().next());
    lines.any(|line| line.contains(" AUTO_INCREMENT"))
}

pub(super) fn fields(table: &Table, vendor: Vendor) -> Fields {
    let (mut select, mut targets, mut sets) = (Vec::new(), Vec::new(), Vec::new());
    let stored: Vec<&Column> = table.columns.iter().filter(|column| !column.is_generated).collect();
    let has_set = stored.iter().any(|column| matches!(way(column, vendor), Way::Index | Way::Text));
    for (at, column) in stored.into_iter().enumerate() {
        let name = identifier(&column.name);
        let (read, write) = match way(column, vendor) {
            // Beside a SET clause MariaDB forgets that a counter was given a value, and a zero becomes the next one.
            Way::Plain if has_set && counts(table, &name) => (name.clone(), Some(format!("@f{at}"))),
            Way::Plain => (name.clone(), None),
            Way::Number if has_set && counts(table, &name) => (format!("{name} * 1e0"), Some(format!("@f{at}"))),
            Way::Number => (format!("{name} * 1e0"), None),
            // Not by adding zero: the 64th member of a SET would come out negative.
            Way::Index => (format!("cast({name} as unsigned)"), Some(format!("cast(@f{at} as unsigned)"))),
            Way::Text => (name.clone(), Some(format!("convert(@f{at} using utf8mb4)"))),
        };
        select.push(read);
        match write {
            None => targets.push(name),
            Some(value) => {
                targets.push(format!("@f{at}"));
                sets.push(format!("{name} = {value}"));
            }
        }
    }
    if let Some((begin, end)) = &table.versions {
        for name in [begin, end].into_iter().filter(|name| !table.columns.iter().any(|column| column.name == **name)) {
            select.push(identifier(name));
            targets.push(identifier(name));
        }
    }
    // The JSON of MySQL may hold dates, binary strings and other values that a text does not tell from strings.
    let json =
        table.columns.iter().filter(|column| !column.is_generated && column.data_type == "json" && vendor == Vendor::Mysql);
    let doubts: Vec<String> = json
        .map(|column| {
            let name = identifier(&column.name);
            format!("coalesce(cast(convert({name} using utf8mb4) as json) <> {name}, 0)")
        })
        .collect();
    let has_doubt = !doubts.is_empty();
    select.extend(has_doubt.then(|| doubts.join(" or ")));
    let set = if sets.is_empty() { String::new() } else { format!(" set {}", sets.join(", ")) };
    Fields {
        select: select.join(", "),
        has_doubt,
        load: format!("({}){set}", targets.join(", ")),
        enums: table.columns.iter().filter(|column| column.data_type == "enum").map(|column| column.name.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, data_type: &str, is_generated: bool) -> Column {
        Column {
            name: name.into(),
            kind: data_type.into(),
            data_type: data_type.into(),
            character_set: None,
            collation: None,
            is_nullable: true,
            is_generated,
            is_invisible: false,
        }
    }

    #[test]
    fn what_the_server_computes_is_left_to_it_and_names_stay_names() {
        let columns = vec![
            column("i`d", "int", false),
            column("sum", "int", true),
            column("f", "float", false),
            column("e", "enum", false),
        ];
        let table = Table {
            database: "d".into(),
            name: "t".into(),
            create: "CREATE TABLE `t` (\n  `i``d` int NOT NULL AUTO_INCREMENT,\n  `f` float".into(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            columns,
            key: None,
            engine: "InnoDB".into(),
            versions: Some(("row_start".into(), "row_end".into())),
            rows_estimate: 0,
            bytes_estimate: 0,
            histograms: Vec::new(),
        };
        let fields = fields(&table, Vendor::Mariadb);
        assert_eq!(fields.select, "`i``d`, `f` * 1e0, cast(`e` as unsigned), `row_start`, `row_end`");
        assert_eq!(fields.load, "(@f0, `f`, @f2, `row_start`, `row_end`) set `i``d` = @f0, `e` = cast(@f2 as unsigned)");
        assert_eq!((fields.enums, fields.has_doubt), (vec!["e".to_owned()], false));
    }
}
