//! All of the source's data lies in its data directory, and the target's server will look for it in its own.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    if sides.by_dump {
        return Vec::new();
    }
    let mut found = Vec::new();
    let outside = &sides.source.own.outside;
    if !outside.is_empty() {
        found.push(block(
            "OUTSIDE_FILES",
            format!("the source has data files outside its data directory: {}", outside.join(", ")),
            "move their tables in (ALTER TABLE … TABLESPACE = innodb_file_per_table): a copy would put them at the same paths",
        ));
    }
    for name in ["innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory", "innodb_doublewrite_dir"] {
        let value = sides.target.setting(name);
        let own = sides.target.common.data_directory.trim_end_matches('/');
        if !matches!(value, "" | "." | "./") && value.trim_end_matches('/') != own {
            found.push(block(
                "OUTSIDE_FILES",
                format!("{name} of the target is {value}, outside its data directory"),
                "remove it from the target's option file: a copy is made whole in the data directory",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn outside_files_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.own.outside = vec!["/disk2/app/t.ibd".into()]), ["OUTSIDE_FILES"]);
        let set = |value: &'static str| {
            codes(look, move |_, target| drop(target.common.settings.insert("innodb_undo_directory".into(), value.into())))
        };
        assert_eq!(set("/var/lib/mysql/"), [""; 0]);
        assert_eq!(set("/fast"), ["OUTSIDE_FILES"]);
    }
}
