//! `flytt-agent`: arguments, log, and off it goes.

use std::{process::ExitCode, sync::Arc};

use clap::Parser as _;
use flytt_agent::{
    cli::{Arguments, Command},
    config::Config,
    host::Host,
    join, package,
    probe::{self, Ask, Place},
    revert, run,
};
use flytt_proto::{failure::Failure, name::Migration};
use tokio_util::sync::CancellationToken;

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
        Command::Run { confined } => {
            let config = config()?;
            if confined {
                run::must_be_started_elsewhere(&config)?;
            }
            run::run(config, stop).await?;
        }
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
        Command::Revert { migration: None } => {
            use std::io::Write as _;
            let config = config()?;
            revert::is_owner(&config.state)?;
            write!(anstream::stdout(), "{}", revert::recorded(&package::look(&config)?.book))?;
        }
        Command::Revert { migration: Some(migration) } => {
            let config = config()?;
            revert::is_owner(&config.state)?;
            let host = run::open(config).await?;
            let done = tokio::select! {
                done = take_back(&host, &migration) => done,
                () = stop.cancelled() => Ok(()),
            };
            host.close().await;
            done?;
        }
        Command::MayStop(stop) => {
            let config = config()?;
            // Of an agent that has never been here there is nothing to lose.
            if config.state.exists() {
                revert::is_owner(&config.state)?;
                package::may_stop(&config, stop)?;
            }
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

async fn take_back(host: &Arc<Host>, migration: &Migration) -> anyhow::Result<()> {
    use std::io::Write as _;
    revert::revert(host, migration, |text| _ = writeln!(anstream::stdout(), "{text}")).await?;
    writeln!(anstream::stdout(), "nothing of {migration} is left on {}", host.name)?;
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
