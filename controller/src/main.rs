//! `flytt`: the operator's command.

fn main() -> std::process::ExitCode {
    flytt::cli::main()
}
