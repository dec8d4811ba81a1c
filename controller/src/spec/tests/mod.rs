//! Good files and bad files.

use std::{io::Write as _, path::PathBuf};

use super::*;

mod hostile;
mod reference;

const SHORT: &str = r#"
name = "shop"
engine = "postgres"
[source]
host = "db-old"
[target]
host = "db-new"
[[router]]
kind = "haproxy"
host = "lb-1"
backend = "database_back"
source = "db_old"
target = "db_new"
"#;

/// Every key that is built.
const WHOLE: &str = r#"
name = "shop"
engine = "postgres"
transport = "direct"
[source]
host = "db-old"
[target]
host = "db-new"
replace = "7438912345678901234"
[seed]
way = "physical"
jobs = "auto"
compress = "none"
max_rate = "none"
checkpoint = "fast"
[gates]
lag = "250ms"
lag_bytes = "1MiB"
iops_headroom = 2
await = "25ms"
steal = "2.5%"
block = ["commit", "steal"]
[probe]
seconds = 3
file = "64MiB"
[cutover]
max_outage = "10s"
drain = "0ms"
lease = "4s"
fence = "in_place"
long_transaction = "2s"
verified = "48h"
[[router]]
kind = "haproxy"
host = "lb-1"
backend = "database_back"
source = "db_old"
target = "db_new"
[[router]]
kind = "haproxy"
host = "lb-2"
backend = "database_back"
source = "db-old:5432"
target = "db-new:5432"
[canary]
connection = "/etc/flytt/canary"
clients = 8
"#;

fn parse(text: &str) -> Result<Spec, Mistakes> {
    Spec::parse(Path::new("shop.toml"), text)
}

/// Code and line of each mistake.
fn places(text: &str) -> Vec<(&'static str, usize)> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(|mistake| (mistake.code.as_str(), mistake.line)).collect(),
    }
}

/// The one mistake in the short file with `line` put under `heading` (at the top: "").
fn mistake(heading: &str, line: &str) -> Mistake {
    let text = with(heading, line);
    let mistakes = parse(&text).expect_err(line);
    assert_eq!(mistakes.len(), 1, "{line}: {mistakes}");
    mistakes.iter().next().expect("one").clone()
}

/// The short file with a line of its own, in place of one with the same key.
fn with(heading: &str, line: &str) -> String {
    let name = line.split(['=', '.']).next().expect("a key").trim();
    let mut text = String::new();
    let mut here = "";
    let mut done = false;
    for old in SHORT.lines().skip(1) {
        if old.starts_with('[') {
            if here == heading && !done {
                text += &format!("{line}\n");
                done = true;
            }
            here = old.trim_matches(['[', ']']);
        }
        if here == heading && old.split('=').next().is_some_and(|key| key.trim() == name) {
            text += &format!("{line}\n");
            done = true;
        } else {
            text += &format!("{old}\n");
        }
    }
    if here == heading && !done {
        text += &format!("{line}\n");
        done = true;
    }
    if done { text } else { format!("{text}[{heading}]\n{line}\n") }
}

#[test]
fn the_defaults() {
    let spec = parse(SHORT).expect("a good file");
    assert_eq!(spec.name.as_str(), "shop");
    assert_eq!((spec.engine, spec.transport), (Engine::Postgres, Transport::Tunnel));
    assert_eq!((spec.source.as_str(), spec.target.as_str()), ("db-old", "db-new"));
    assert_eq!(spec.replace_system, None);
    assert_eq!(
        spec.seed,
        Seed {
            way: Way::Auto,
            jobs: Jobs::Auto,
            compress: Compress::None,
            max_rate: Some(200 << 20),
            checkpoint: Checkpoint::Spread,
        }
    );
    assert_eq!(
        spec.gates,
        Gates {
            lag: Duration::from_secs(1),
            lag_bytes: 16 << 20,
            iops_headroom: 1_300,
            await_limit: Duration::from_millis(10),
            steal: 5_000,
            block: vec![Gate::Iops, Gate::Converge],
        }
    );
    assert_eq!(spec.probe, Probe::default());
    assert_eq!(
        spec.cutover,
        Cutover {
            max_outage: Duration::from_secs(5),
            drain: Duration::from_millis(500),
            lease: Duration::from_secs(3),
            fence: Fence::InPlace,
            long_transaction: Duration::from_secs(1),
            verified: None,
        }
    );
    assert_eq!(spec.canary, None);
    assert_eq!(parse(&with("canary", "connection = \"/c\"")).expect("good").canary.expect("one").clients, 4);
    assert_eq!(spec.text, SHORT);
}

#[test]
fn every_value_arrives() {
    let spec = parse(WHOLE).expect("a good file");
    assert_eq!(spec.transport, Transport::Direct);
    assert_eq!(spec.replace_system.as_ref().expect("given").to_string(), "7438912345678901234");
    assert_eq!((spec.seed.max_rate, spec.seed.checkpoint), (None, Checkpoint::Fast));
    assert_eq!(
        spec.gates,
        Gates {
            lag: Duration::from_millis(250),
            lag_bytes: 1 << 20,
            iops_headroom: 2_000,
            await_limit: Duration::from_millis(25),
            steal: 2_500,
            block: vec![Gate::Commit, Gate::Steal],
        }
    );
    assert_eq!(spec.probe, Probe { seconds: Some(3), file_bytes: Some(64 << 20) });
    assert_eq!((spec.cutover.max_outage, spec.cutover.drain), (Duration::from_secs(10), Duration::ZERO));
    assert_eq!((spec.cutover.lease, spec.cutover.long_transaction), (Duration::from_secs(4), Duration::from_secs(2)));
    assert_eq!(spec.cutover.verified, Some(Duration::from_secs(172_800)));
    let names: Vec<_> = spec.routers.iter().map(|router| (router.host.as_str(), router.target.as_str())).collect();
    assert_eq!(names, [("lb-1", "db_new"), ("lb-2", "db-new:5432")]);
    assert_eq!(spec.routers[0].backend.as_str(), "database_back");
    assert_eq!(spec.canary, Some(Canary { connection: "/etc/flytt/canary".into(), clients: 8 }));
    assert_ne!(spec.digest(), parse(SHORT).expect("a good file").digest());
    assert_eq!(spec.digest().len(), 64);
}

#[test]
fn what_means_nothing_to_an_engine_is_a_mistake_and_its_default_is_none() {
    let of = |engine: &str, rest: &str| {
        let text = with("", &format!("engine = \"{engine}\"{rest}"));
        places(&text).into_iter().map(|(code, _)| code).collect::<Vec<_>>()
    };
    let uuid = "replace = \"2A1E535F-e557-11f1-9fbf-0242ac120002\"";
    let number = "replace = \"7438912345678901234\"";
    for engine in Engine::ALL {
        let name = engine.name();
        let spec = parse(&with("", &format!("engine = \"{name}\""))).expect("the same keys are enough");
        assert_eq!((spec.engine, spec.transport), (engine, Transport::Tunnel));
        let wrong: &[&str] = if engine == Engine::Postgres { &[] } else { &["SPEC_CONFLICT"] };
        assert_eq!(of(name, "\ntransport = \"direct\""), wrong, "{name}");
        assert_eq!(of(name, "\n[seed]\ncheckpoint = \"fast\""), wrong, "{name}");
        assert_eq!(of(name, "\ntransport = \"tunnel\"\n[seed]\nmax_rate = \"none\""), [""; 0], "{name}");
        let text = |replace: &str| {
            SHORT.replace("postgres", name).replace("host = \"db-new\"", &format!("host = \"db-new\"\n{replace}"))
        };
        let (by_uuid, by_number) = (parse(&text(uuid)), parse(&text(number)));
        let (good, bad) = if engine == Engine::Mysql { (by_uuid, by_number) } else { (by_number, by_uuid) };
        assert_eq!(bad.expect_err(name).iter().map(|mistake| mistake.code).collect::<Vec<_>>(), [MistakeCode::SpecConflict]);
        let system = good.expect(name).replace_system.expect("given").to_string();
        let wanted = if engine == Engine::Mysql { "2a1e535f-e557-11f1-9fbf-0242ac120002" } else { "7438912345678901234" };
        assert_eq!(system, wanted);
    }
}

#[test]
fn ten_mistakes_are_ten_reports() {
    let text = r#"name = "Shop!"
engine = "mysqll"
transport = "tunel"
[source]
host = "db-old"
host = "db-older"
[target]
hots = "db-new"
[seed]
compress = "zstd:3"
max_rate = "200MiB"
[gates]
lag = 1
steal = 5
[cutover]
drain = true
lease = "9s"
[[router]]
kind = "haproxy"
host = "lb-1"
backend = "database back; shutdown"
source = "db_old"
target = "db_old"
"#;
    let mistakes = parse(text).expect_err("full of mistakes");
    let found: Vec<_> = mistakes.iter().map(|mistake| (mistake.code.as_str(), mistake.line, mistake.column)).collect();
    assert_eq!(
        found,
        [
            ("SPEC_VALUE", 1, 8),
            ("SPEC_VALUE", 2, 10),
            ("SPEC_VALUE", 3, 13),
            ("SPEC_DUPLICATE_KEY", 6, 1),
            ("SPEC_MISSING_KEY", 7, 1),
            ("SPEC_UNKNOWN_KEY", 8, 1),
            ("SPEC_NOT_BUILT", 10, 12),
            ("SPEC_VALUE", 11, 12),
            ("SPEC_NO_UNIT", 13, 7),
            ("SPEC_NO_UNIT", 14, 9),
            ("SPEC_TYPE", 16, 9),
            ("SPEC_CONFLICT", 17, 9),
            ("SPEC_VALUE", 21, 11),
            ("SPEC_CONFLICT", 23, 10),
        ],
        "{mistakes}"
    );
    let text = mistakes.to_string();
    assert!(text.ends_with("14 mistakes in shop.toml"), "{text}");
    for mistake in &mistakes {
        assert!(text.contains(&format!("shop.toml:{}:{}", mistake.line, mistake.column)), "{mistake:?}\n{text}");
        assert!(text.contains(&mistake.hint), "{mistake:?}\n{text}");
        assert!(!mistake.hint.is_empty() && !mistake.sentence.is_empty());
    }
}

#[test]
fn a_mistake_shows_its_line_a_caret_and_what_to_write() {
    let text = with("cutover", "leese = \"4s\"");
    let mistakes = parse(&text).expect_err("a misspelt key");
    assert_eq!(
        mistakes.to_string(),
        "error[SPEC_UNKNOWN_KEY]: `leese` is not a key of [cutover]
  --> shop.toml:14:1
   |
14 | leese = ****
   | ^^^^^
   |
   = help: did you mean `lease`?

1 mistake in shop.toml"
    );
    assert_eq!(
        serde_json::to_value(&mistakes).expect("a list"),
        serde_json::json!([{
            "code": "SPEC_UNKNOWN_KEY", "line": 14, "column": 1,
            "sentence": "`leese` is not a key of [cutover]", "hint": "did you mean `lease`?"
        }])
    );
}

#[test]
fn hints_name_what_was_meant() {
    for (heading, line, code, hint) in [
        ("", "nmae = 1", "SPEC_UNKNOWN_KEY", "did you mean `name`?"),
        ("", "lease = \"3s\"", "SPEC_UNKNOWN_KEY", "`lease` belongs under [cutover]"),
        ("", "zzz = 1", "SPEC_UNKNOWN_KEY", "known here are name, engine, transport, source,"),
        ("seed", "password = \"x\"", "SPEC_UNKNOWN_KEY", "known here are way, jobs, compress, max_rate, checkpoint"),
        ("cuttover", "lease = \"3s\"", "SPEC_UNKNOWN_KEY", "did you mean `cutover`?"),
        ("", "engine = \"postgresql\"", "SPEC_VALUE", "did you mean \"postgres\"?"),
        ("", "engine = \"maridb\"", "SPEC_VALUE", "did you mean \"mariadb\"?"),
        ("", "engine = \"oracle\"", "SPEC_VALUE", "write \"postgres\" or \"mariadb\" or \"mysql\""),
        ("", "transport = \"\"", "SPEC_VALUE", "write \"tunnel\" or \"direct\""),
        ("", "transport.x = 1", "SPEC_TYPE", "write it in double quotes, such as `transport = \"tunnel\"`"),
        ("seed", "way = \"dumb\"", "SPEC_VALUE", "did you mean \"dump\"?"),
        ("seed", "way = \"dump\"", "SPEC_CONFLICT", "write `way = \"physical\"`, or remove the key"),
        ("seed", "way = \"cold\"", "SPEC_NOT_BUILT", "remove the key, or write \"auto\""),
        ("seed", "jobs = 4", "SPEC_NOT_BUILT", "remove the key, or write \"auto\""),
        ("seed", "compress = \"zstd:3\"", "SPEC_NOT_BUILT", "remove the key, or write \"none\""),
        ("seed", "max_rate = 200", "SPEC_NO_UNIT", "such as \"200MiB/s\""),
        ("seed", "max_rate = \"200\"", "SPEC_NO_UNIT", "the units are B/s, kB/s, KiB/s, MB/s, MiB/s"),
        ("gates", "iops_headroom = \"1.3\"", "SPEC_TYPE", "write a number from 0 to 100, without quotes, such as 1.3"),
        ("gates", "await = 10", "SPEC_NO_UNIT", "such as \"10ms\""),
        ("gates", "steal = 5", "SPEC_NO_UNIT", "(%), such as \"5%\""),
        ("gates", "steal = \"0.05%\"", "SPEC_RANGE", "from 0.1% to 100%"),
        ("gates", "block = \"iops\"", "SPEC_TYPE", "write a list such as [\"iops\", \"converge\"]"),
        ("gates", "block = [\"iop\"]", "SPEC_VALUE", "did you mean \"iops\"?"),
        ("gates", "block = [\"SAME_SERVER\"]", "SPEC_VALUE", "it can hold iops, commit, storage, steal, converge"),
        ("gates", "block = [3]", "SPEC_VALUE", "it can hold iops, commit, storage, steal, converge"),
        ("probe", "seconds = 0", "SPEC_RANGE", "from 1 to 600"),
        ("probe", "file = \"100GiB\"", "SPEC_RANGE", "from 1MiB to 64GiB"),
        ("cutover", "verified = \"31d\"", "SPEC_RANGE", "from 1m to 30d"),
        ("cutover", "fence = \"stop\"", "SPEC_NOT_BUILT", "remove the key, or write \"in_place\""),
        ("cutover", "lease = 3", "SPEC_NO_UNIT", "(ms, s, m, h, d), such as \"3s\""),
        ("router", "kind = \"pgbouncer\"", "SPEC_NOT_BUILT", "write \"haproxy\""),
        ("router", "kind = \"floating_ip\"", "SPEC_NOT_BUILT", "write \"haproxy\""),
        ("router", "kind = \"hook\"", "SPEC_NOT_BUILT", "write \"haproxy\""),
        ("target", "replace = 7438912345678901234", "SPEC_TYPE", "write it in double quotes"),
        ("target", "replace = \"0\"", "SPEC_VALUE", "write it like `replace = \"74"),
        ("target", "replace = \"99999999999999999999\"", "SPEC_VALUE", "write it like `replace = \"74"),
        ("target", "replace = \"\"", "SPEC_VALUE", "write it like `replace = \"74"),
        ("target", "replace = \"2a1e535f-e557-11f1-9fbf\"", "SPEC_VALUE", "write it like `replace = \"74"),
        ("target", "host = \"db-old\"", "SPEC_CONFLICT", "two different hosts"),
        ("source", "host = \"DB_old\"", "SPEC_VALUE", "write it like `host = \"db-old\"`"),
        ("cutover", "drain = \"5s\"", "SPEC_CONFLICT", "choose a shorter `drain` or a longer `max_outage`"),
        ("cutover", "lease = \"5s\"", "SPEC_CONFLICT", "choose a shorter `lease` or a longer `max_outage`"),
        ("cutover", "max_outage = \"3s\"", "SPEC_CONFLICT", "choose a shorter `lease` or a longer `max_outage`"),
        ("router", "target = \"db_old\"", "SPEC_CONFLICT", "the two servers of the backend"),
    ] {
        let mistake = mistake(heading, line);
        assert_eq!(mistake.code.as_str(), code, "{line}: {mistake:?}");
        assert!(mistake.hint.contains(hint), "{line}: {mistake:?}");
    }
}

#[test]
fn no_value_escapes_its_range() {
    for line in ["lease = nan", "lease = inf", "lease = -inf", "lease = -3", "lease = \"3\"", "lease = \"-3\""] {
        assert_eq!(mistake("cutover", line).code, MistakeCode::SpecNoUnit, "{line}");
    }
    for value in ["0s", "999ms", "-3s", "61s", "99999999999999999999999999d"] {
        assert_eq!(mistake("cutover", &format!("lease = \"{value}\"")).code, MistakeCode::SpecRange, "{value}");
    }
    for value in ["", "NaNs", "infs", "3 s", "3s ", "1e3s", "3S", "three", "3s; rm", "٣s"] {
        assert_eq!(mistake("cutover", &format!("lease = \"{value}\"")).code, MistakeCode::SpecValue, "{value}");
    }
    for value in ["0B/s", "31KiB/s", "2GiB/s", "-1MiB/s"] {
        assert_eq!(mistake("seed", &format!("max_rate = \"{value}\"")).code, MistakeCode::SpecRange, "{value}");
    }
    for value in ["-0.1", "100.5", "nan", "inf", "-inf", "1e9"] {
        assert_eq!(mistake("gates", &format!("iops_headroom = {value}")).code, MistakeCode::SpecRange, "{value}");
    }
    for (value, thousandths) in [("0", 0), ("1", 1_000), ("1.25", 1_250), ("1_0.5", 10_500), ("100", 100_000)] {
        let spec = parse(&with("gates", &format!("iops_headroom = {value}"))).expect(value);
        assert_eq!(spec.gates.iops_headroom, thousandths, "{value}");
    }
    assert_eq!(parse(&with("gates", "block = []")).expect("none blocks").gates.block, []);
    let canary = |clients: &str| format!("{SHORT}[canary]\nconnection = \"/c\"\nclients = {clients}\n");
    for clients in ["0", "-1", "65", "99999999999999999999999999999999999999999999", "0xffff"] {
        assert_eq!(places(&canary(clients)), [("SPEC_RANGE", 16)], "{clients}");
    }
    for clients in ["1.0", "nan", "\"4\"", "true", "[4]", "1979-05-27"] {
        assert_eq!(places(&canary(clients)), [("SPEC_TYPE", 16)], "{clients}");
    }
    assert_eq!(parse(&canary("0x10")).expect("sixteen").canary.expect("one").clients, 16);
}

#[test]
fn nothing_reaches_the_routers_socket_but_names() {
    for name in ["a b", "a;b", "a\\nshow", "", "a/b", "é", "a\\u0000", "a'b", &"a".repeat(101)] {
        for key in ["backend", "source", "target"] {
            assert_eq!(mistake("router", &format!("{key} = \"{name}\"")).code, MistakeCode::SpecValue, "{key} {name}");
        }
    }
    for name in ["db_new2", "db-new.example.org:5432", "A", &"a".repeat(100)] {
        assert!(parse(&with("router", &format!("target = \"{name}\""))).is_ok(), "{name}");
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for path in ["canary", "./canary", "~/canary", "", "/dir/", "/a\\nb"] {
        assert_eq!(mistake("canary", &format!("connection = \"{path}\"")).code, MistakeCode::SpecValue, "{path}");
    }
    for (heading, line) in [
        ("canary", "connection = \"postgres://me:hunter2@db/shop\""),
        ("canary", "password = \"é hunter2\" # é"),
        ("source", "auth = { password = [\"hunter2\"] }"),
        ("source", "auth.password = \"hunter2\""),
    ] {
        let text = with(heading, line);
        let mistakes = parse(&text).expect_err(line);
        let shown = mistakes.to_string();
        assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
        assert!(!serde_json::to_string(&mistakes).expect("a list").contains("hunter2"));
        for mistake in &mistakes {
            assert!(shown.contains(&format!("shop.toml:{}:{}", mistake.line, mistake.column)), "{shown}");
        }
    }
}

#[test]
fn routers_are_many_and_each_another() {
    let router = &SHORT[SHORT.find("[[router]]").expect("one")..];
    assert_eq!(places(&format!("{SHORT}{router}")), [("SPEC_CONFLICT", 17)]);
    let other = router.replace("lb-1", "lb-2");
    assert_eq!(parse(&format!("{SHORT}{other}")).expect("two routers").routers.len(), 2);
    // A pair is seen even where the first of it has another mistake.
    let bad = SHORT.replace("db_old", "db old");
    assert_eq!(places(&format!("{bad}{router}")), [("SPEC_VALUE", 12), ("SPEC_CONFLICT", 17)]);

    let none = SHORT.replace(router, "");
    assert_eq!(places(&none), [("SPEC_MISSING_KEY", 1)]);
    assert_eq!(places(&SHORT.replace("[[router]]", "[router]")), [("SPEC_TYPE", 8)]);
    assert_eq!(places(&format!("router = []{none}")), [("SPEC_MISSING_KEY", 1)]);
    assert_eq!(places(&format!("router = [1, \"x\"]{none}")), [("SPEC_TYPE", 1), ("SPEC_TYPE", 1)]);
    assert_eq!(places(&format!("router = 5{none}")), [("SPEC_TYPE", 1)]);
    assert_eq!(places("source = 1\ntarget = []\n")[..2], [("SPEC_MISSING_KEY", 1), ("SPEC_MISSING_KEY", 1)]);
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let mistakes = parse("").expect_err("an empty file");
    let sentences: Vec<_> = mistakes.iter().map(|mistake| mistake.sentence.as_str()).collect();
    assert_eq!(
        sentences,
        [
            "the key `name` is missing",
            "the key `engine` is missing",
            "the key `host` of [source] is missing",
            "the key `host` of [target] is missing",
            "a [[router]] is missing",
        ]
    );
    assert!(mistakes.to_string().contains("--> shop.toml"), "{mistakes}");
    assert!(mistakes.to_string().contains("add `[source]`, and `host = \"db-old\"` below it"), "{mistakes}");
}

#[test]
fn a_broken_line_hides_no_other_mistake_and_brings_no_echo() {
    let text = SHORT.replace("host = \"db-old\"", "host = db-old").replace("kind = \"haproxy\"", "kind = \"hook\"");
    assert_eq!(places(&text), [("SPEC_SYNTAX", 5), ("SPEC_NOT_BUILT", 9)]);
    assert_eq!(places("name = \"shop\nengine = \"postgres\"\n"), [("SPEC_SYNTAX", 1)]);
    assert_eq!(places("[source\nhost = \"a\"\n")[0], ("SPEC_SYNTAX", 1));
    assert_eq!(places(&format!("{SHORT}[source]\n")), [("SPEC_DUPLICATE_KEY", 14)]);
}

#[test]
fn columns_count_characters() {
    let mistakes = parse(&with("", "engine = { \"ééé\" = 1, x = 2 }")).expect_err("a table");
    assert_eq!(mistakes.iter().map(|mistake| (mistake.line, mistake.column)).collect::<Vec<_>>(), [(2, 10)]);
    let mistakes = parse(&format!("\"é\" = 1\n{SHORT}")).expect_err("unknown");
    assert!(mistakes.to_string().contains("^^^\n"), "{mistakes}");
}

#[test]
fn files_that_are_none_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("written");
        path
    };
    let code = |path: &Path| {
        let mistakes = Spec::read(path).expect_err("refused");
        assert!(mistakes.to_string().contains(&path.display().to_string()), "{mistakes}");
        assert_eq!(mistakes.path(), path);
        mistakes.iter().next().map(|mistake| (mistake.code, mistake.line)).expect("one")
    };
    assert!(Spec::read(&file("good", SHORT.as_bytes())).is_ok());
    assert_eq!(code(&dir.path().join("none")), (MistakeCode::SpecUnreadable, 1));
    assert_eq!(code(dir.path()), (MistakeCode::SpecUnreadable, 1));
    assert_eq!(code(&file("bom", format!("\u{feff}{SHORT}").as_bytes())), (MistakeCode::SpecEncoding, 1));
    assert_eq!(code(&file("latin1", b"name = \"shop\"\n# caf\xe9\n")), (MistakeCode::SpecEncoding, 2));
    let utf16: Vec<u8> = SHORT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(code(&file("utf16", &[b"\xff\xfe".to_vec(), utf16].concat())), (MistakeCode::SpecEncoding, 1));
    let filled = |size: usize| format!("{SHORT}#{}", "x".repeat(size - SHORT.len() - 1));
    assert!(Spec::read(&file("full", filled(256 << 10).as_bytes())).is_ok());
    assert_eq!(code(&file("large", filled((256 << 10) + 1).as_bytes())), (MistakeCode::SpecTooLarge, 1));
    assert_eq!(code(Path::new("/dev/zero")), (MistakeCode::SpecTooLarge, 1));
}
