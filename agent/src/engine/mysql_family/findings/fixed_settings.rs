//! What cannot change after a server is made is the same on both sides, as far as a copy depends on it.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    // How names are told apart counts for replication, too; how files are laid out, for a copy of files alone.
    let of_files: &[&str] = if sides.by_dump { &[] } else { &["innodb_page_size", "innodb_data_file_path"] };
    let differ = ["lower_case_table_names"].iter().chain(of_files).filter_map(|name| {
        let (source, target) = (sides.source.setting(name), sides.target.setting(name));
        (source != target).then(|| {
            block(
                "FIXED_SETTING_DIFFERS",
                format!("{name} is {source} on the source and {target} on the target"),
                "set the source's value in the target's option file: it cannot be changed once there is data",
            )
        })
    });
    differ.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::{
        facts::Common,
        findings::sample::{codes, codes_of_dump},
    };

    #[test]
    fn fixed_settings_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let page = |_: &mut Common, target: &mut Common| {
            target.settings.insert("innodb_page_size".into(), "4096".into());
        };
        assert_eq!(codes(look, page), ["FIXED_SETTING_DIFFERS"]);
        assert_eq!(codes_of_dump(look, page), [""; 0], "pages are made anew");
        let case = |_: &mut Common, target: &mut Common| {
            target.settings.insert("lower_case_table_names".into(), "1".into());
        };
        assert_eq!(codes_of_dump(look, case), ["FIXED_SETTING_DIFFERS"]);
    }
}
