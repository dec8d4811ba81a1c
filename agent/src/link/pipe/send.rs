//! The source's end: a program of this host is run, and what it writes goes out in frames. Which program is the engine's to say,
//! who may have it the service's.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use flytt_proto::{failure::Failure, v1};
use tokio::{
    io::AsyncReadExt as _,
    process::ChildStdout,
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    frame::{Encoder, Exit},
    pace::Pace,
};
use crate::{
    command::{CommandError, Running},
    engine::{Source, Stage},
    link::{broken, frame, splice::DEPTH},
};

/// Runs `producer` and gives its output as the call's answer, at most `max_rate` bytes a second (0 = no limit). The program ends,
/// with whatever it started, when the answer is dropped, when `until` comes true, and when the server's clients wait too long.
pub fn send(
    producer: Source,
    max_rate: u64,
    until: impl Future<Output = ()> + Send + 'static,
) -> ReceiverStream<Result<v1::Frame, tonic::Status>> {
    let (out, answer) = mpsc::channel(DEPTH);
    tokio::spawn(async move {
        let sent = tokio::select! {
            sent = pour(&producer, max_rate, &out) => sent,
            () = out.closed() => Err(broken("the other agent is gone")),
            () = until => Err(broken("the source's agent ends it")),
        };
        if let Err(failure) = sent {
            tracing::warn!(code = failure.code, producer = %producer.program, "{failure}");
            let _ = out.send(Err(failure.into())).await;
        }
    });
    ReceiverStream::new(answer)
}

async fn pour(producer: &Source, max_rate: u64, out: &mpsc::Sender<Result<v1::Frame, tonic::Status>>) -> Result<(), Failure> {
    let (mut running, stdout) = producer.program.start_reading().map_err(|error| {
        let remedy = "install MariaDB's own backup program on the source, and see `bin` in its agent.toml";
        Failure::refused("PRODUCER_FAILED", error.to_string(), remedy)
    })?;
    let pace = Pace::new(max_rate);
    let (encoder, ()) = tokio::try_join!(press(stdout, &pace, out), hear(&mut running, producer.stage, &pace))?;
    let end = encoder.end(&exit(running).await);
    for last in [v1::frame::Kind::Data(end), v1::frame::Kind::End(v1::frame::End {})] {
        out.send(Ok(frame(last))).await.map_err(|_| broken("the other agent is gone"))?;
    }
    Ok(())
}

/// Whoever does not hear a program out stops it: its stderr is a pipe, too. A network or a target that is slow must not stop the
/// source's server, which is why a copy that holds up its clients is given up rather than they.
async fn hear(running: &mut Running, stage: fn(&str) -> Option<Stage>, pace: &Pace) -> Result<(), Failure> {
    let mut deadline: Option<(Instant, Duration)> = None;
    loop {
        let line = match deadline {
            None => running.line().await,
            Some((at, limit)) => timeout_at(at, running.line()).await.map_err(|_| held_up(limit))?,
        };
        let Some(line) = line else { return Ok(()) };
        match stage(&line) {
            Some(Stage::Hurry) => pace.lift(),
            Some(Stage::Hold(limit)) => deadline = Some((Instant::now() + limit, limit)),
            Some(Stage::Release) => deadline = None,
            None => {}
        }
    }
}

fn held_up(limit: Duration) -> Failure {
    Failure::refused(
        "COPY_HOLDS_UP",
        format!("the copy was ended, because commits on the source have waited {} s for it", limit.as_secs()),
        "see what is slow, the target's disk or the network, then start the copy again at a quieter hour",
    )
}

/// While one block is pressed and sent, the next is read. A network or a target that is slower than the program holds it up.
async fn press(
    mut stdout: ChildStdout,
    pace: &Pace,
    out: &mpsc::Sender<Result<v1::Frame, tonic::Status>>,
) -> Result<Encoder, Failure> {
    let mut encoder = Encoder::new().map_err(broken)?;
    let mut block = fill(&mut stdout, pace.piece()).await?;
    let mut due = Instant::now();
    while !block.is_empty() {
        due = pace.next(due.max(Instant::now()), block.len());
        let pressed = tokio::task::spawn_blocking(move || encoder.block(&block).map(|data| (encoder, data)));
        let send = async {
            let (encoder, data) = pressed.await.map_err(broken)?.map_err(broken)?;
            out.send(Ok(frame(v1::frame::Kind::Data(data)))).await.map_err(|_| broken("the other agent is gone"))?;
            pace.until(due).await;
            Ok(encoder)
        };
        (encoder, block) = tokio::try_join!(send, fill(&mut stdout, pace.piece()))?;
    }
    Ok(encoder)
}

/// `size` bytes, or what there is until the end of file.
async fn fill(stdout: &mut ChildStdout, size: usize) -> Result<Vec<u8>, Failure> {
    let mut block = Vec::with_capacity(size);
    stdout.take(size as u64).read_to_end(&mut block).await.map_err(broken)?;
    Ok(block)
}

async fn exit(running: Running) -> Exit {
    match running.wait().await {
        Ok(()) => Exit { status: 0, words: String::new() },
        Err(error) => {
            let status = match &error {
                CommandError::Exit { status, .. } => status.code().or(status.signal().map(|signal| -signal)).unwrap_or(1),
                CommandError::Spawn { .. } | CommandError::Late { .. } => 1,
            };
            Exit { status, words: error.to_string() }
        }
    }
}
