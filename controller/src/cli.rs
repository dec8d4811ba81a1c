//! The command line: one declaration for parser, help and man page; each command is a few lines in `verb.rs`.

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use flytt_proto::{
    code::Code,
    failure::Failure,
    name::{Deployment, HostName, Migration},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    accept, bench, demo, enrol,
    halt::{Exit, Halt},
    home::{self, Home},
    session::Session,
    verb::{self, Answer, answer},
    view::{Human, Json, Line, View},
};

/// Move a live PostgreSQL or MariaDB server to another machine while the application keeps running.
#[derive(Debug, Parser)]
#[command(name = "flytt", version, about, max_term_width = 100)]
pub struct Arguments {
    /// The operator's directory [default: ~/.local/state/flytt].
    #[arg(long, global = true)]
    home: Option<PathBuf>,
    /// One JSON object a line, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Found a deployment: the operator's own certificate authority. Once.
    Init {
        /// A name for it; it stands in every certificate.
        #[arg(default_value = "flytt")]
        deployment: Deployment,
    },
    /// The hosts of this deployment.
    #[command(subcommand)]
    Host(HostCommand),
    /// What would be done, host by host; changes nothing.
    Plan { file: PathBuf },
    /// What forbids or endangers this move; changes nothing.
    Check {
        file: PathBuf,
        /// Take a gate that blocks as accepted, by its code; may be given several times.
        #[arg(long, value_name = "CODE")]
        accept: Vec<String>,
    },
    /// Measure what a host's storage sustains, in a file that leaves nothing behind.
    Probe(verb::ProbeOptions),
    /// Check, copy and follow; ends ready to cut over. The source keeps serving.
    Start {
        file: PathBuf,
        /// Go on although this gate does not hold, by its code; it goes on record. May be given several times.
        #[arg(long, value_name = "CODE")]
        accept: Vec<String>,
    },
    /// Where a migration stands, by its journal and by its hosts.
    Status { migration: Option<Migration> },
    /// Whether both sides hold the same, table by table, while the application writes on.
    Verify(verb::VerifyOptions),
    /// Hold, fence, catch up, promote behind a gate, surrender, open, release.
    Cutover {
        migration: Migration,
        /// Go on although this gate does not hold, by its code; it goes on record. May be given several times.
        #[arg(long, value_name = "CODE")]
        accept: Vec<String>,
    },
    /// Carry on, or take everything back, after a controller has died.
    Resume {
        migration: Migration,
        /// Go on although this gate does not hold, by its code; it goes on record. May be given several times.
        #[arg(long, value_name = "CODE")]
        accept: Vec<String>,
    },
    /// Before the point of no return: undo everything. After it: move back, with all that was written since.
    Rollback { migration: Migration },
    /// Break-glass: one side is lost for good between surrender and opening, and the other is to serve.
    Recover(verb::RecoverOptions),
    /// After the move: remove everything that flytt left on any host.
    Finish {
        migration: Migration,
        /// Kernel settings, too; without this they stay as the move set them.
        #[arg(long)]
        revert_tuning: bool,
    },
    /// What flytt has on a host, by the host's own record, and how to take it back there without a controller.
    Doctor { host: HostName },
    /// What a host's disks, processors, memory and network are doing, as `iostat -mx` would show it; until Ctrl-C.
    Samples(verb::SamplesOptions),
    /// The whole of it on this machine: throw-away servers, a workload, the move, what was measured.
    Demo(demo::Options),
    /// Measure on this machine: one JSON line per comparison.
    #[command(hide = true)]
    Bench(bench::Options),
}

#[derive(Debug, Subcommand)]
enum HostCommand {
    /// Enrol a host that runs `flytt-agent join`; reads its one-time code from standard input.
    Add {
        name: HostName,
        /// host:port of its agent
        address: String,
    },
    /// The hosts that are known.
    List,
    /// Forget a host.
    Remove { name: HostName },
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        // It would say so on the same stream, and panic: a disk that is full of logs must end no work.
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a thread can be started");
    let json = arguments.json;
    let mut view: Box<dyn View> = if json { Box::new(Json) } else { Box::<Human>::default() };
    match runtime.block_on(run(arguments, view.as_mut())) {
        Ok(answer) if answer.is_nothing() => Exit::Ok.into(),
        Ok(mut answer) => {
            if let Some(object) = answer.value.as_object_mut() {
                object.entry("code").or_insert_with(|| answer.exit.code().into());
                object.entry("name").or_insert_with(|| answer.exit.name().into());
            }
            view.show(Line::Answer { text: &answer.text, value: &answer.value });
            answer.exit.into()
        }
        Err(halt) => {
            if json {
                let value = serde_json::to_value(&*halt).unwrap_or_default();
                view.show(Line::Answer { text: "", value: &value });
            } else {
                use std::io::Write as _;
                let _ = writeln!(anstream::stderr(), "{halt}");
            }
            halt.exit().into()
        }
    }
}

async fn run(arguments: Arguments, view: &mut dyn View) -> Result<Answer, Box<Halt>> {
    let stop = CancellationToken::new();
    // Where nothing is under way, there is nothing to say of stopping it.
    let only_looks = matches!(arguments.command, Command::Samples(_));
    tokio::spawn(interrupts(stop.clone(), only_looks));
    let home = match arguments.home {
        Some(path) => path,
        None => home::default_path().map_err(Halt::from)?,
    };
    let session = || Session::open(&home, stop.clone()).map_err(Halt::from);
    let answer = match arguments.command {
        Command::Init { deployment } => init(&home, deployment),
        Command::Host(HostCommand::Add { name, address }) => add(&home, &name, &address).await,
        Command::Host(HostCommand::List) => list(&home),
        Command::Host(HostCommand::Remove { name }) => remove(&home, &name),
        Command::Plan { file } => verb::plan(&session()?, &file, view).await,
        Command::Check { file, accept } => {
            let accepted = accept::parse(&accept)?;
            verb::check(&session()?, &file, accepted, view).await
        }
        Command::Probe(options) => verb::probe(&session()?, options, view).await,
        Command::Start { file, accept } => {
            let accepted = accept::parse(&accept)?;
            verb::start(&session()?, &file, accepted, view).await
        }
        Command::Status { migration } => verb::status(&session()?, migration.as_ref()).await,
        Command::Verify(options) => Box::pin(verb::verify(&session()?, options, view)).await,
        Command::Cutover { migration, accept } => {
            let accepted = accept::parse(&accept)?;
            verb::cutover(&session()?, &migration, accepted, view).await
        }
        Command::Resume { migration, accept } => {
            let accepted = accept::parse(&accept)?;
            verb::resume(&session()?, &migration, accepted, view).await
        }
        Command::Rollback { migration } => verb::rollback(&session()?, &migration, view).await,
        Command::Recover(options) => verb::recover(&session()?, options, view).await,
        Command::Finish { migration, revert_tuning } => {
            let settings = if revert_tuning { verb::Settings::Revert } else { verb::Settings::Keep };
            verb::finish(&session()?, &migration, settings, view).await
        }
        Command::Doctor { host } => verb::doctor(&session()?, &host).await,
        Command::Samples(options) => verb::samples(&session()?, &options, view).await,
        Command::Bench(options) => Box::pin(bench::run(options, stop.clone(), view)).await,
        Command::Demo(options) => Box::pin(demo::run(options, stop.clone(), view)).await,
    };
    Ok(answer?)
}

fn init(path: &Path, deployment: Deployment) -> Result<Answer, Halt> {
    let home = Home::init(path, deployment)?;
    let deployment = home.authority().deployment();
    Ok(answer(
        format!(
            "{deployment} is founded in {}; whoever has that directory is its operator\nnext:  flytt-agent join on each host, then flytt host add NAME ADDRESS",
            path.display()
        ),
        json!({ "deployment": deployment.to_string(), "home": path }),
    ))
}

async fn add(path: &Path, name: &HostName, address: &str) -> Result<Answer, Halt> {
    let home = Home::load(path)?;
    if home.hosts()?.contains_key(name) {
        return Err(Failure::refused(
            "HOST_KNOWN",
            format!("a host {name} is known already"),
            "choose another name, or remove it with `flytt host remove`",
        )
        .into());
    }
    let code = read_code()?;
    let host = enrol::add_host(home.authority(), name, address, &code).await?;
    let key = host.key.clone();
    home.add(name, host)?;
    Ok(answer(
        format!("{name} has joined, key {key}\nnext:  start its agent: flytt-agent run"),
        json!({ "host": name, "address": address, "key": key }),
    ))
}

/// From standard input, never from an argument: arguments are seen by every user of this machine.
fn read_code() -> Result<Code, Failure> {
    let mut text = String::new();
    let failed = |error: std::io::Error| {
        Failure::refused("NO_CODE", format!("no code on standard input: {error}"), "type the code that `flytt-agent join` shows")
    };
    if std::io::stdin().is_terminal() {
        use std::io::Write as _;
        let _ = write!(anstream::stderr(), "one-time code (shown by `flytt-agent join`): ");
        std::io::stdin().read_line(&mut text).map_err(failed)?;
    } else {
        std::io::stdin().take(1024).read_to_string(&mut text).map_err(failed)?;
    }
    text.trim().parse()
}

fn list(path: &Path) -> Result<Answer, Halt> {
    let hosts = Home::load(path)?.hosts()?;
    let lines: Vec<String> = hosts.iter().map(|(name, host)| format!("{name:<20} {:<25} {}", host.address, host.key)).collect();
    let text = if lines.is_empty() { "no hosts; add one with `flytt host add`".to_owned() } else { lines.join("\n") };
    Ok(answer(text, json!({ "hosts": hosts })))
}

fn remove(path: &Path, name: &HostName) -> Result<Answer, Halt> {
    let host = Home::load(path)?.remove(name)?;
    Ok(answer(format!("{name} at {} is forgotten", host.address), json!({ "removed": name })))
}

/// The first Ctrl-C asks to stop in order; what is under way is taken back (or finished, past the point of no return).
async fn interrupts(stop: CancellationToken, quiet: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        use std::io::Write as _;
        let text = if stop.is_cancelled() { "still at it: hosts are being left in order" } else { "stopping in order" };
        if !quiet {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
        stop.cancel();
    }
}
