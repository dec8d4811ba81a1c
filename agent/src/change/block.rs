//! Managed blocks: lines of ours at the head of a file that belongs to somebody else.
//!
//! Only the lines between our markers are ever touched, whoever edited the rest. Taking a block out works on a full disk.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
};

use flytt_proto::durable;

fn begin(name: &str) -> String {
    format!("# >>> {name} (managed, do not edit)\n")
}

fn end(name: &str) -> String {
    format!("# <<< {name}\n")
}

/// Where the block with its markers stands in `text`, and where what is between them stands.
fn find(text: &str, name: &str) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let (first, last) = (begin(name), end(name));
    let start = text.find(&first)?;
    let inner = start + first.len();
    let stop = inner + text[inner..].find(&last)?;
    Some((start..stop + last.len(), inner..stop))
}

/// Every block in `text`, by name, with its lines.
pub(crate) fn all(text: &str) -> Vec<(String, String)> {
    let begins = |line: &str| Some(line.strip_prefix("# >>> ")?.strip_suffix(" (managed, do not edit)")?.to_owned());
    let block = |name: String| {
        let (_, inner) = find(text, &name)?;
        Some((name, text[inner].to_owned()))
    };
    text.lines().filter_map(begins).filter_map(block).collect()
}

/// The block's lines, or `None` where there is no such block.
#[cfg(test)]
fn read(path: &Path, name: &str) -> io::Result<Option<String>> {
    let text = fs::read_to_string(path)?;
    Ok(find(&text, name).map(|(_, inner)| text[inner].to_owned()))
}

/// Puts the block at the head of the file with these lines, or takes it out. Durable when it returns.
pub(super) fn write(path: &Path, name: &str, want: Option<&str>) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let text = fs::read_to_string(&path)?;
    let mode = fs::metadata(&path)?.permissions().mode() & 0o7777;
    let rest = match find(&text, name) {
        Some((whole, inner)) => {
            if want == Some(&text[inner]) {
                return Ok(());
            }
            format!("{}{}", &text[..whole.start], &text[whole.end..])
        }
        None if want.is_none() => return Ok(()),
        None => text.clone(),
    };
    let Some(lines) = want else {
        return match durable::write(&path, rest.as_bytes(), mode) {
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                comment_out(&path, &text, name)
            }
            done => done,
        };
    };
    let newline = if lines.is_empty() || lines.ends_with('\n') { "" } else { "\n" };
    durable::write(&path, format!("{}{lines}{newline}{}{rest}", begin(name), end(name)).as_bytes(), mode)
}

/// Makes every line of the block a comment by overwriting its first byte in place: needs no new space, and each line
/// counts or does not, whenever the host dies in between.
fn comment_out(path: &Path, text: &str, name: &str) -> io::Result<()> {
    let Some((_, inner)) = find(text, name) else { return Ok(()) };
    let file = OpenOptions::new().write(true).open(path)?;
    let mut at = inner.start;
    for line in text[inner].split_inclusive('\n') {
        if line != "\n" {
            file.write_all_at(b"#", at as u64)?;
        }
        at += line.len();
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HBA: &str = "# a comment of the owner\nlocal all all peer\n";

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pg_hba.conf");
        durable::write(&path, text.as_bytes(), 0o640).expect("written");
        (dir, path)
    }

    #[test]
    fn a_block_comes_and_goes_and_leaves_the_rest_alone() {
        let (_dir, path) = file(HBA);
        for _ in 0..2 {
            write(&path, "flytt shop fence", Some("local all all reject\n")).expect("written");
        }
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.starts_with("# >>> flytt shop fence"), "{text}");
        assert_eq!(text.matches("reject").count(), 1);
        assert_eq!(read(&path, "flytt shop fence").expect("read").as_deref(), Some("local all all reject\n"));

        let edited = text.replace("local all all peer", "local all all scram-sha-256");
        durable::write(&path, edited.as_bytes(), 0o640).expect("somebody edits the file meanwhile");
        for _ in 0..2 {
            write(&path, "flytt shop fence", None).expect("removed");
        }
        assert_eq!(fs::read_to_string(&path).expect("read"), HBA.replace("peer", "scram-sha-256"));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o640);
    }

    #[test]
    fn blocks_of_two_purposes_do_not_meet() {
        let (_dir, path) = file(HBA);
        write(&path, "flytt shop admit", Some("local a a peer")).expect("written");
        write(&path, "flytt shop fence", Some("local all all reject")).expect("written");
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.find("reject") < text.find("local a a peer"), "the newer block stands in front:\n{text}");
        write(&path, "flytt shop admit", None).expect("removed");
        assert_eq!(read(&path, "flytt shop admit").expect("read"), None);
        assert!(read(&path, "flytt shop fence").expect("read").is_some());
    }

    #[test]
    fn all_blocks_are_found_by_name_and_half_ones_are_none() {
        let text = format!("{}x reject\n{}{HBA}{}half\n", begin("flytt a fence"), end("flytt a fence"), begin("flytt b gate"));
        assert_eq!(all(&text), [("flytt a fence".to_owned(), "x reject\n".to_owned())]);
        assert_eq!(all(HBA), []);
    }

    #[test]
    fn commenting_out_changes_no_length_and_leaves_no_rule() {
        let (_dir, path) = file(HBA);
        write(&path, "flytt shop fence", Some("local all all reject\nhost all all all reject\n")).expect("written");
        let before = fs::read_to_string(&path).expect("read");
        comment_out(&path, &before, "flytt shop fence").expect("in place");
        let after = fs::read_to_string(&path).expect("read");
        assert_eq!(before.len(), after.len());
        let rules: Vec<_> = after.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rules, ["local all all peer"]);
        write(&path, "flytt shop fence", None).expect("space is back");
        assert_eq!(fs::read_to_string(&path).expect("read"), HBA);
    }
}
