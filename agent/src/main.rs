//! `flytt-agent`: arguments, log, and off it goes.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use flytt_agent::{
    config::Config,
    host::Host,
    join,
    probe::{self, Ask, Job, Place},
    revert, run,
};
use flytt_proto::{failure::Failure, name::Migration};
use tokio_util::sync::CancellationToken;

/// flytt's agent: serves one database or router host to its operator's controller.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// This host's configuration.
    #[arg(long, default_value = "/etc/flytt/agent.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve. Needs to have joined.
    Run,
    /// Open the port for enrolment only, for ten minutes, and show a one-time code for `flytt host add`.
    Join {
        /// Join a (new) deployment although this host has joined one.
        #[arg(long)]
        again: bool,
    },
    /// What flytt has on this host; with a migration's name, take it back without a controller. The agent must be stopped.
    Revert { migration: Option<Migration> },
    /// Measure the disk under a directory of this host, without agent or controller; one line of JSON.
    #[command(hide = true)]
    Probe {
        directory: PathBuf,
        /// Seconds of each job.
        #[arg(long, default_value_t = 0)]
        seconds: u32,
        /// Bytes of the file [default: min(1 GiB, 5 % of what is free)].
        #[arg(long, default_value_t = 0)]
        bytes: u64,
        /// As in randwrite-4k-qd32 [default: the usual ones].
        #[arg(long = "job")]
        jobs: Vec<Job>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // It would say so on the same stream, and panic: a disk that is full of logs must end no work.
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .expect("a thread can be started");
    match runtime.block_on(serve(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            if let Some(failure) = error.downcast_ref::<Failure>() {
                tracing::error!("what to do: {}", failure.remedy);
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    tokio::spawn(signals(stop.clone()));
    let config = || Config::read(&arguments.config);
    match arguments.command {
        Command::Run => run::run(config()?, stop).await?,
        Command::Join { again } => {
            use std::io::Write as _;
            let show = |code: &flytt_proto::code::Code| {
                // The one place that shows the code: the terminal (or pipe) of whoever runs `join` on this host.
                let _ = writeln!(anstream::stdout(), "code: {}", code.reveal());
                let _ = anstream::stdout().flush();
            };
            let identity = join::join(&config()?, join::LIFETIME, again, show).await?;
            tracing::info!("joined {} as {}", identity.deployment, identity.host);
        }
        Command::Revert { migration } => {
            let config = config()?;
            revert::is_owner(&config.state)?;
            let host = run::open(config).await?;
            let done = tokio::select! {
                done = take_back(&host, migration.as_ref()) => done,
                () = stop.cancelled() => Ok(()),
            };
            host.close().await;
            done?;
        }
        Command::Probe { directory, seconds, bytes, jobs } => {
            use std::io::Write as _;
            let place = Place::Under { directory, state: None };
            let ask = Ask { place, file_bytes: bytes, seconds, jobs, serving: None, gently: false };
            let report = tokio::select! {
                report = probe::run(ask, (), |_| {}) => report?,
                () = stop.cancelled() => return Ok(()),
            };
            writeln!(anstream::stdout(), "{}", serde_json::to_string(&report)?)?;
        }
    }
    Ok(())
}

async fn take_back(host: &Arc<Host>, migration: Option<&Migration>) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = anstream::stdout();
    if let Some(migration) = migration {
        revert::revert(host, migration, |text| _ = writeln!(anstream::stdout(), "{text}")).await?;
        writeln!(out, "nothing of {migration} is left on {}", host.name)?;
        return Ok(());
    }
    write!(out, "{}", revert::standing(host))?;
    Ok(())
}

async fn signals(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
}
