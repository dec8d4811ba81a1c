//! How many appliers a replica has while it catches up, and how they work: raised before it begins, and put back once it follows no
//! more. SET GLOBAL alone, so nothing of it outlives the server's process.

use flytt_proto::failure::Failure;

use super::{facts::ask, quote::literal, session::Session};
use crate::change::Raised;

/// One setting, and what will do for it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// As many as there are processors, within reason, and at least so many: an applier waits for the disk most of the time.
    Many(&'static str, usize),
    /// One of these; the first is what is set otherwise.
    OneOf(&'static str, &'static [&'static str]),
}

const MOST: usize = 16;

impl Wish {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Many(name, _) | Self::OneOf(name, _) => name,
        }
    }

    /// `None`: what there is will do.
    fn over(self, had: &str) -> Option<Raised> {
        let want = match self {
            Self::Many(_, fewest) => {
                let many = std::thread::available_parallelism().map_or(fewest, |count| count.get().clamp(fewest, MOST));
                (had.parse::<usize>().is_ok_and(|had| had < many)).then(|| many.to_string())
            }
            Self::OneOf(_, good) => (!good.iter().any(|good| good.eq_ignore_ascii_case(had))).then(|| good[0].to_owned()),
        };
        want.map(|want| Raised { name: self.name().to_owned(), had: had.to_owned(), want })
    }
}

/// What is to be raised on a server that has these values. One that it does not name is left alone.
pub(crate) fn missing(wishes: &[Wish], now: impl Fn(&str) -> String) -> Vec<Raised> {
    let had = |wish: &Wish| Some(plain(&now(wish.name()))).filter(|had| !had.is_empty());
    wishes.iter().filter_map(|wish| wish.over(&had(wish)?)).collect()
}

/// Those that a server does not have as wanted.
pub(crate) async fn unraised(session: &Session, all: &[Raised]) -> Result<Vec<Raised>, Failure> {
    having(session, all, |raised| &raised.had).await
}

pub(crate) async fn raise(session: &Session, all: &[Raised]) -> Result<(), Failure> {
    for raised in unraised(session, all).await? {
        session.run(&set(&raised.name, &raised.want)).await?;
    }
    Ok(())
}

/// Back to what was, where it still is what we made it.
pub(crate) async fn lower(session: &Session, all: &[Raised]) -> Result<(), Failure> {
    for raised in having(session, all, |raised| &raised.want).await? {
        session.run(&set(&raised.name, &raised.had)).await?;
    }
    Ok(())
}

async fn having(session: &Session, all: &[Raised], what: impl Fn(&Raised) -> &String) -> Result<Vec<Raised>, Failure> {
    let names: Vec<&str> = all.iter().map(|raised| raised.name.as_str()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let now = ask::settings(session, &names).await?;
    let is = |raised: &&Raised| now.get(&raised.name).is_some_and(|now| plain(now).eq_ignore_ascii_case(what(raised)));
    Ok(all.iter().filter(is).cloned().collect())
}

/// A server says ON of itself what its binary, asked for its options, says by the word true.
fn plain(value: &str) -> String {
    match value.to_ascii_lowercase().as_str() {
        "true" => "ON".to_owned(),
        "false" => "OFF".to_owned(),
        _ => value.to_owned(),
    }
}

fn set(name: &str, value: &str) -> String {
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    let value = if is_number { value.to_owned() } else { literal(value) };
    format!("set global {name} = {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lowered_and_what_will_do_stays() {
        const WISHES: &[Wish] = &[Wish::Many("threads", 4), Wish::OneOf("mode", &["optimistic", "aggressive"])];
        let raised = |threads: &'static str, mode: &'static str| {
            let all = missing(WISHES, |name| if name == "threads" { threads.to_owned() } else { mode.to_owned() });
            all.into_iter()
                .map(|one| format!("{} {} {}", one.name, one.had, one.want.parse::<u8>().map_or(one.want, |_| "n".into())))
                .collect::<Vec<_>>()
        };
        assert_eq!(raised("0", "conservative"), ["threads 0 n", "mode conservative optimistic"]);
        assert_eq!(raised("64", "Aggressive"), [""; 0]);
        assert_eq!(raised("", "optimistic"), [""; 0], "a server without it");
        assert_eq!((set("a", "4"), set("a", "ON")), ("set global a = 4".into(), "set global a = 'ON'".into()));
        assert_eq!((plain("True"), plain("4")), ("ON".into(), "4".into()));
    }
}
