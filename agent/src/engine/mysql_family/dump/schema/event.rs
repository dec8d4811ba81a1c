//! An event as it stands on a replica: there, and asleep until the server is promoted.

use super::{Vendor, text};

/// The same event, asleep if it was awake. `None`: its state is not where it is expected.
pub(super) fn asleep(create: &str, vendor: Vendor) -> Option<String> {
    let tokens = text::head(create);
    let on_completion = text::phrase(create, &tokens, &["on", "completion"])?;
    let mut after = tokens.iter().skip_while(|token| token.at.start < on_completion.end).peekable();
    after.next_if(|token| token.is(create, "not"));
    after.next_if(|token| token.is(create, "preserve"))?;
    let state = after.next()?;
    if state.is(create, "enable") {
        let asleep = if vendor == Vendor::Mariadb { "DISABLE ON SLAVE" } else { "DISABLE ON REPLICA" };
        return Some(format!("{}{asleep}{}", &create[..state.at.start], &create[state.at.end..]));
    }
    state.is(create, "disable").then(|| create.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_sleeps_and_its_words_stay() {
        let create = "CREATE DEFINER=`root`@`ON COMPLETION PRESERVE ENABLE` EVENT `e` ON SCHEDULE EVERY 1 HOUR \
                      ON COMPLETION NOT PRESERVE ENABLE COMMENT 'ENABLE' DO set @x = 'ENABLE \\'";
        let slept = asleep(create, Vendor::Mariadb).unwrap();
        assert_eq!(slept, create.replace(" PRESERVE ENABLE COMMENT", " PRESERVE DISABLE ON SLAVE COMMENT"));
        assert_eq!(asleep(&slept, Vendor::Mysql).unwrap(), slept);
        assert!(asleep(create, Vendor::Mysql).unwrap().contains("DISABLE ON REPLICA COMMENT"));
        assert_eq!(asleep("CREATE EVENT `e` DO 1", Vendor::Mariadb), None);
    }
}
