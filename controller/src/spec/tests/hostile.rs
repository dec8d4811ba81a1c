//! Every small change of a good file, many changes at once, and files made to be expensive.

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike as _},
};

use super::*;

/// What every text must come to: a spec that reads the same again, or mistakes with places inside the text that print.
fn judge(text: &str) -> bool {
    match parse(text) {
        Ok(spec) => {
            assert_eq!(parse(&spec.text).as_ref(), Ok(&spec));
            assert!(spec.cutover.lease < spec.cutover.max_outage && spec.cutover.drain < spec.cutover.max_outage, "{text}");
            assert!(spec.source != spec.target && !spec.routers.is_empty(), "{text}");
            true
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "{text}");
            for mistake in &mistakes {
                let line = text.split('\n').nth(mistake.line - 1).unwrap_or_else(|| panic!("{mistake:?} in {text:?}"));
                assert!((1..=line.chars().count() + 1).contains(&mistake.column), "{mistake:?} in {text:?}");
            }
            assert!(!mistakes.to_string().contains(['\u{1b}', '\0']));
            false
        }
    }
}

#[test]
fn every_small_change_of_a_good_file_is_read_or_reported() {
    let mut good = 0;
    let mut all = 0;
    let mut try_one = |text: &str| {
        all += 1;
        good += usize::from(judge(text));
    };
    let puts =
        ["", "\"", "\"\"\"", "[", "]", "=", "\n", ".", "-", "9", "x", "é", "\u{1b}", "\0", "\u{feff}", "#", "{", ",", "nan"];
    for (at, c) in WHOLE.char_indices() {
        let (before, after) = (&WHOLE[..at], &WHOLE[at + c.len_utf8()..]);
        for put in puts {
            try_one(&format!("{before}{put}{after}"));
        }
        try_one(before);
        try_one(after);
    }
    let lines: Vec<&str> = WHOLE.lines().collect();
    for from in 0..lines.len() {
        for to in 0..lines.len() {
            let mut moved = lines.clone();
            let line = moved.remove(from);
            moved.insert(to, line);
            try_one(&moved.join("\n"));
            moved.insert(from, line);
            try_one(&moved.join("\n"));
        }
    }
    assert!(good > all / 50 && good < all, "{good} of {all} are good: the changes are too wild or too tame");
}

#[test]
fn changes_on_top_of_changes_are_read_or_reported() {
    // Marsaglia's xorshift64: the same texts in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % end as u64).expect("below a usize")
    };
    for _ in 0..10_000 {
        let mut bytes = WHOLE.as_bytes().to_vec();
        for _ in 0..=below(8) {
            let at = below(bytes.len());
            let end = (at + below(30)).min(bytes.len());
            match below(4) {
                0 => bytes[at] = u8::try_from(below(256)).expect("a byte"),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.splice(at..at, WHOLE.bytes().skip(below(WHOLE.len())).take(30)).for_each(drop),
                _ => bytes[at..end].reverse(),
            }
            if bytes.is_empty() {
                break;
            }
        }
        judge(&String::from_utf8_lossy(&bytes));
    }
}

/// Processor time of this thread.
fn used() -> TimeVal {
    getrusage(UsageWho::RUSAGE_THREAD).expect("it is told").user_time()
}

#[test]
fn a_hostile_file_costs_little() {
    let most = 256 << 10;
    let fill = |piece: &str| piece.repeat(most / piece.len());
    let many: String = (0..).map(|i| format!("k{i}=1\n")).take(most / 9).collect();
    for text in [fill("a."), fill("["), fill("[["), fill("{a="), fill("x=["), fill("\""), fill("[[router]]\n"), many] {
        let before = used();
        judge(&text);
        // Seconds where it was minutes: slow and busy machines pass, a cost that grows with the square of the file does not.
        let used = used() - before;
        assert!(used < TimeVal::seconds(10), "{} took {used}", &text[..20]);
        let mistakes = parse(&text).expect_err("hostile");
        let first = mistakes.iter().next().expect("one");
        assert!(mistakes.len() <= 100);
        assert!(mistakes.to_string().contains(&format!("shop.toml:{}:{}", first.line, first.column)));
    }
}
