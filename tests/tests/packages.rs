//! What is packaged beside the programs: manual pages, completions, units, maintainer scripts. The packages themselves, installed on
//! hosts of their own, are `real_packages.rs`'s.
#![allow(clippy::disallowed_methods, reason = "a test starts a program, and writes generated files where it is told to")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::CommandFactory as _;
use clap_complete::aot::{Generator as _, Shell};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn packaged(name: &str) -> String {
    let path = root().join("packaging").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Of both programs: pages of `man` by their names, and completions.
fn generated() -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = BTreeMap::new();
    for program in [flytt::cli::Arguments::command(), flytt_agent::cli::Arguments::command()] {
        clap_mangen::generate_to(program.clone(), directory.path()).expect("pages");
        let name = program.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut program.clone(), &name, &mut text);
            files.insert(format!("completions/{}", shell.file_name(&name)), String::from_utf8(text).expect("text"));
        }
    }
    for page in fs::read_dir(directory.path()).expect("pages").flatten() {
        let name = page.file_name().into_string().expect("a name");
        files.insert(format!("man/{name}"), fs::read_to_string(page.path()).expect("text"));
    }
    files
}

/// They are kept, so that no program carries what makes them; `REGENERATE=1 cargo test --workspace --test packages` writes them anew.
#[test]
fn manual_pages_and_completions_are_what_the_commands_say() {
    let wanted = generated();
    if std::env::var_os("REGENERATE").is_some() {
        for directory in ["man", "completions"] {
            let _ = fs::remove_dir_all(root().join("packaging").join(directory));
            fs::create_dir(root().join("packaging").join(directory)).expect("a directory");
        }
        for (name, text) in &wanted {
            fs::write(root().join("packaging").join(name), text).expect("written");
        }
    }
    let kept = ["man", "completions"].iter().flat_map(|directory| {
        let entries = fs::read_dir(root().join("packaging").join(directory)).expect("a directory").flatten();
        entries.map(move |entry| format!("{directory}/{}", entry.file_name().to_string_lossy()))
    });
    let kept: BTreeMap<String, String> = kept.map(|name| (name.clone(), packaged(&name))).collect();
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kept), names(&wanted), "REGENERATE=1 writes them anew");
    for (name, text) in &wanted {
        assert!(kept[name] == *text, "packaging/{name} is not what the commands say: REGENERATE=1 writes it anew");
    }
}

/// Every command and option that `--help` shows has its place in a page.
#[test]
fn every_option_of_help_stands_in_its_manual_page() {
    fn look(command: &clap::Command, page: &str) {
        let text = packaged(&format!("man/{page}.1")).replace("\\-", "-");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            if let Some(long) = argument.get_long() {
                assert!(text.contains(&format!("--{long}")), "{page}.1 lacks --{long}");
            }
        }
        for command in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
            assert!(text.contains(&format!("{page}-{}(1)", command.get_name())), "{page}.1 lacks {}", command.get_name());
            look(command, &format!("{page}-{}", command.get_name()));
        }
    }
    for mut program in [flytt::cli::Arguments::command(), flytt_agent::cli::Arguments::command()] {
        program.build();
        let name = program.get_name().to_owned();
        look(&program, &name);
    }
}

/// The maintainer scripts read what the agent says, and are given the forms that it reads.
#[test]
fn the_maintainer_scripts_know_the_agents_words() {
    let nothing = flytt_proto::v1::LedgerReply::default().to_string();
    assert!(packaged("debian/flytt-agent/prerm").contains(&format!("= \"{}\"", nothing.trim())), "{nothing}");
    let agent = flytt_agent::cli::Arguments::command();
    let may_stop = agent.find_subcommand("may-stop").expect("a command");
    let has = |name: &str| may_stop.get_arguments().any(|argument| argument.get_long() == Some(name));
    assert!(packaged("debian/flytt-agent/preinst").contains("may-stop --reads @ledger@") && has("reads"));
    assert!(packaged("debian/flytt-agent/postinst").contains("may-stop --copies") && has("copies"));
    assert!(agent.find_subcommand("revert").is_some());
    let ledger = fs::read_to_string(root().join("agent/src/ledger.rs")).expect("text");
    assert!(ledger.lines().any(|line| line.starts_with("const VERSION: u32 = ")), "packaging/deb.sh looks for it");
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let path = root().join("packaging/debian/flytt-agent").join(script);
        assert!(Command::new("sh").arg("-n").arg(&path).status().expect("a shell").success(), "{script}");
    }
}

/// A host with files of agents, of an operator and of a server, below a directory; purged by the package's own script.
struct Purged {
    at: tempfile::TempDir,
    said: String,
}

impl Purged {
    fn new(files: &[(&str, &str)]) -> Self {
        let at = tempfile::tempdir().expect("a directory");
        let place = at.path().to_str().expect("a path of letters");
        let below = |text: &str| {
            ["/etc/", "/var/", "/run/"].iter().fold(text.to_owned(), |text, top| text.replace(top, &format!("{place}{top}")))
        };
        for (name, text) in files {
            let path = at.path().join(name.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a file's")).expect("a directory");
            fs::write(path, below(text)).expect("written");
        }
        let script = at.path().join("postrm");
        fs::write(&script, below(&packaged("debian/flytt-agent/postrm"))).expect("written");
        let ended = Command::new("sh").arg(&script).arg("purge").output().expect("a shell");
        assert!(ended.status.success(), "{ended:?}");
        Self { at, said: String::from_utf8_lossy(&ended.stdout).into_owned() }
    }

    fn has(&self, name: &str) -> bool {
        self.at.path().join(name.trim_start_matches('/')).exists()
    }
}

const STATE: &str = "/var/lib/flytt/daemon/ledger.db";
const OPTIONS: &str = "/var/lib/flytt/mysql-options/flytt.cnf";
const CONFIG: &str = "/etc/flytt/daemon.toml";

#[test]
fn a_purge_takes_what_is_the_agents_and_nothing_else() {
    let all = Purged::new(&[(STATE, ""), (OPTIONS, ""), (CONFIG, "")]);
    assert!(["/var/lib/flytt", "/etc/flytt"].iter().all(|name| !all.has(name)), "{}", all.said);
    let operators = "/etc/flytt/canary";
    let both = Purged::new(&[(STATE, ""), (CONFIG, ""), (operators, "")]);
    assert!(both.has(operators) && !both.has(CONFIG) && !both.has("/var/lib/flytt"));
}

/// MariaDB ends at once where a directory that it is to include is not there.
#[test]
fn a_purge_leaves_what_a_server_needs_to_start() {
    let read =
        [(STATE, ""), (OPTIONS, ""), (CONFIG, ""), ("/etc/mysql/my.cnf", "[mysqld]\n!includedir /var/lib/flytt/mysql-options\n")];
    let purged = Purged::new(&read);
    assert!(purged.has(OPTIONS) && !purged.has(STATE), "{}", purged.said);
    assert!(purged.said.contains("mysql-options is kept"), "{}", purged.said);
}

/// The fence of a source that was retired is a file beside its agent's state.
#[test]
fn a_purge_leaves_the_fence_of_whoever_is_still_owed_something() {
    let purged = Purged::new(&[(STATE, ""), ("/var/lib/flytt/daemon/owed", "shop: retired"), (OPTIONS, ""), (CONFIG, "")]);
    assert!([STATE, OPTIONS, CONFIG].iter().all(|name| purged.has(name)), "{}", purged.said);
    assert!(purged.said.contains("shop: retired"), "{}", purged.said);
}

/// As `systemd-analyze` sees it, where it is there and new enough to look at a file that is not installed.
#[test]
fn the_unit_is_right_and_confines_the_agent() {
    let analyze = |arguments: &[&str], unit: &Path| Command::new("systemd-analyze").args(arguments).arg(unit).output();
    let version = Command::new("systemd-analyze").arg("--version").output().ok();
    let version = version.and_then(|said| String::from_utf8(said.stdout).ok()?.split_whitespace().nth(1)?.parse::<u32>().ok());
    if version.is_none_or(|version| version < 250) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let unit = directory.path().join("flytt-agent@.service");
    let text = packaged("flytt-agent@.service");
    assert!(text.contains("run --confined"), "a server must not be started in there");
    fs::write(&unit, text.replace("/usr/bin/flytt-agent", "/bin/true")).expect("written");
    let verified = analyze(&["verify", "--man=no"], &unit).expect("it runs");
    // It ends well whatever it finds.
    let said = String::from_utf8_lossy(&verified.stderr).into_owned() + &String::from_utf8_lossy(&verified.stdout);
    assert!(said.trim().is_empty(), "{said}");
    let judged = analyze(&["security", "--offline=true", "--no-pager", "--threshold=15"], &unit).expect("it runs");
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.status.success(), "above 1.5: {said}");
}
