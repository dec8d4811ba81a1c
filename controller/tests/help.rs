//! The program itself: what it says of itself, and what it makes of a mistake. (Tests of a package also build its program, with which
//! those of the whole work.)
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test runs the program under test, and ends where it cannot"
)]

use std::process::{Command, Output};

fn flytt(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_flytt")).args(arguments).env_clear().output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn every_command_says_what_it_does() {
    let (code, all) = flytt(&["--help"]);
    assert_eq!(code, Some(0), "{all}");
    let lines = all.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.trim().is_empty());
    // What goes on in the next line is further in.
    let own = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: Vec<&str> = own.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"cutover") && commands.contains(&"recover"), "{all}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let (code, text) = flytt(&[command, "--help"]);
        assert!(code == Some(0) && text.contains("Usage: flytt"), "{command}: {text}");
        assert!(text.lines().next().is_some_and(|line| line.len() > 15), "{command} says nothing of itself: {text}");
    }
}

#[test]
fn a_mistyped_command_is_told_with_the_one_that_was_meant() {
    let (code, text) = flytt(&["cutovr"]);
    assert!(code == Some(2) && text.contains("cutover"), "{code:?} {text}");
}
