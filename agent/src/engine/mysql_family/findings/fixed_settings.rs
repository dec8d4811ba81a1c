//! What cannot change after a server is made is the same on both sides.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let differ = ["lower_case_table_names", "innodb_page_size", "innodb_data_file_path"].into_iter().filter_map(|name| {
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
    use crate::engine::mysql_family::{facts::Common, findings::sample::codes};

    #[test]
    fn fixed_settings_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let page = |_: &mut Common, target: &mut Common| {
            target.settings.insert("innodb_page_size".into(), "4096".into());
        };
        assert_eq!(codes(look, page), ["FIXED_SETTING_DIFFERS"]);
    }
}
