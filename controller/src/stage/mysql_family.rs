//! What MariaDB's and MySQL's servers have in common on the stage: how they are started and asked, and their files' names.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use tokio::net::UnixStream;

use super::{
    not_up, processes,
    server::{Layout, START, STATEMENT},
};

pub(super) const OPTIONS: &str = "my.cnf";
/// A server of which nothing is to be seen by then has ended.
const APPEARS: Duration = Duration::from_secs(5);

pub(super) fn socket(at: &Layout) -> PathBuf {
    at.run().join("s")
}

pub(super) fn option(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// In a session of its own, as an agent starts it: it outlives whoever started it. Returns when it lets in by its socket.
pub(super) async fn start(at: &Layout, server: &Path) -> Result<(), Failure> {
    let (options, log) = (option("defaults-file", &at.etc().join(OPTIONS)), option("log-error", &at.log()));
    let server = server.display().to_string();
    at.program("/usr/bin/setsid".into(), &["--fork", &server, &options, &log]).run("", START).await?;
    let begun = Instant::now();
    while UnixStream::connect(socket(at)).await.is_err() {
        let has_ended = begun.elapsed() > APPEARS && !processes::any(&at.data());
        if has_ended || begun.elapsed() > START {
            return Err(not_up(&format!("the server {} does not start", at.name), &at.log()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A server that was told to shut down has ended.
pub(super) async fn ended(at: &Layout) -> Result<(), Failure> {
    let begun = Instant::now();
    while processes::any(&at.data()) {
        if begun.elapsed() > START {
            return Err(not_up(&format!("the server {} does not end", at.name), &at.log()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// As the account that the socket vouches for; `|` between columns.
pub(super) async fn sql(at: &Layout, client: PathBuf, database: &str, statements: &str) -> Result<String, Failure> {
    let (socket, user) = (option("socket", &socket(at)), format!("--user={}", at.account.name));
    let database = format!("--database={database}");
    let arguments = ["--no-defaults", "--batch", "--raw", "--skip-column-names", &socket, &user, &database];
    let said = at.program(client, &arguments).run(statements, STATEMENT).await?;
    Ok(said.replace('\t', "|"))
}

/// An option file for clients.
pub(super) fn way_in(port: u16, password: &str) -> String {
    format!("[client]\nhost = 127.0.0.1\nport = {port}\nuser = app\npassword = {password}\n")
}

/// A section of `agent.toml`; `more` are paths that only this engine has.
pub(super) fn agent(section: &str, at: &Layout, server: &Path, bin: &Path, more: &[(&str, PathBuf)]) -> Result<String, Failure> {
    let (data, config, socket, log) = (at.data(), at.etc().join(OPTIONS), socket(at), at.log());
    let paths: [(&str, &Path); 6] = [
        ("data_directory", &data),
        ("config_file", &config),
        ("server", server),
        ("bin", bin),
        ("socket", &socket),
        ("log", &log),
    ];
    let mut text = format!("\n[{section}]\n");
    for (key, path) in paths.into_iter().chain(more.iter().map(|(key, path)| (*key, path.as_path()))) {
        let _ = writeln!(text, "{key} = \"{}\"", path.display());
    }
    let _ = writeln!(text, "port = {}\ntunnel_port = {}\naccount = \"{}\"", at.port, at.tunnel_port, at.account.name);
    Ok(text)
}
