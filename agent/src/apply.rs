//! One operation on this host: survey, ledger, do, read the outcome. And the same backwards.
//!
//! An operation goes on when whoever asked for it goes away; asking again re-attaches. One at a time per host.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use flytt_proto::{
    failure::{Effect, Failure},
    name::{Epoch, OperationId},
    v1,
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    action::{self, At},
    baton::Phase,
    change::Change,
    engine::Progress,
    host::Host,
    import,
    ledger::{self, Entry, State},
    recovery,
};

/// What an operation says while it is at work.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<v1::Event>,
    began: Instant,
    copied: Arc<AtomicU64>,
    expected: Arc<AtomicU64>,
    copied_ms: Arc<AtomicU64>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::channel(256).0,
            began: Instant::now(),
            copied: Arc::default(),
            expected: Arc::default(),
            copied_ms: Arc::default(),
        }
    }

    fn doing(&self, text: String) {
        tracing::info!("{text}");
        self.send(v1::event::Kind::Doing(text));
    }

    pub(crate) fn say(&self, progress: v1::Progress) {
        self.send(v1::event::Kind::Progress(progress));
    }

    /// Something was noticed meanwhile.
    pub(crate) fn found(&self, finding: v1::Finding) {
        tracing::warn!(code = finding.code, "{}", finding.sentence);
        self.send(v1::event::Kind::Finding(finding));
    }

    /// When the operation began, on this host's monotonic clock.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Bytes copied so far.
    pub(crate) fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Bytes to be copied in all, as far as is known.
    pub(crate) fn expected(&self) -> u64 {
        self.expected.load(Ordering::Relaxed)
    }

    /// When the last byte was, in milliseconds since the beginning.
    pub(crate) fn copied_ms(&self) -> u64 {
        self.copied_ms.load(Ordering::Relaxed)
    }

    fn send(&self, kind: v1::event::Kind) {
        // Nobody listening is fine: the ledger has what matters.
        let _ = self.sender.send(v1::Event { kind: Some(kind) });
    }

    /// Turns an engine's byte counts into progress with rate and ETA.
    fn follow(&self, sign_of_life: impl Fn() + Send + 'static) -> mpsc::Sender<Progress> {
        let (sender, mut receiver) = mpsc::channel::<Progress>(16);
        let (events, began) = (self.clone(), Instant::now());
        tokio::spawn(async move {
            // What an earlier try has left was not copied at this one's rate.
            let mut first: Option<(Instant, u64)> = None;
            while let Some(Progress { done, total, rows }) = receiver.recv().await {
                sign_of_life();
                events.copied.store(done, Ordering::Relaxed);
                events.expected.store(total, Ordering::Relaxed);
                let since = events.began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
                events.copied_ms.store(since, Ordering::Relaxed);
                let (since, before) = *first.get_or_insert((Instant::now(), done));
                let rate = match since.elapsed().as_secs_f64() {
                    young if young < 1.0 => done as f64 / began.elapsed().as_secs_f64().max(0.001),
                    seconds => done.saturating_sub(before) as f64 / seconds,
                };
                let eta_seconds = if total >= done && rate > 0.0 { (total - done) as f64 / rate } else { -1.0 };
                events.say(v1::Progress { done, total, rate, eta_seconds, text: String::new(), rows });
            }
        });
        sender
    }
}

/// An operation at work.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
    /// The point of no return is not interrupted by anyone.
    pub(crate) uninterruptible: bool,
}

/// What an asker reads: events, then the end.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) receiver: broadcast::Receiver<v1::Event>,
    pub(crate) end: tokio::sync::oneshot::Receiver<Result<v1::Outcome, Failure>>,
}

/// Starts the operation, or attaches to it where it is at work, or answers what it came to.
pub(crate) fn start(host: &Arc<Host>, id: OperationId, epoch: Epoch, action: v1::Action) -> Feed {
    let work = {
        let (host, id) = (host.clone(), id.clone());
        move |events, cancel| async move { forward(&host, id, epoch, action, events, cancel).await }
    };
    spawn(host, id, work)
}

/// Takes the operation back. Whatever of this move is at work here is interrupted first: it came later, or only waits, and
/// would keep the way back waiting for its turn.
pub(crate) fn start_undo(host: &Arc<Host>, id: OperationId, epoch: Epoch) -> Feed {
    if epoch >= host.ledger.command_epoch(&id.migration) {
        host.interrupt_all(&id.migration);
    }
    let mut key = id.clone();
    key.step = format!("undo-{}", id.step).chars().take(40).collect::<String>().parse().unwrap_or(key.step);
    let work = {
        let host = host.clone();
        move |events, _cancel| async move { back(&host, &id, epoch, events).await }
    };
    spawn(host, key, work)
}

fn spawn<W, F>(host: &Arc<Host>, key: OperationId, work: W) -> Feed
where
    W: FnOnce(Events, CancellationToken) -> F,
    F: Future<Output = Result<v1::Outcome, Failure>> + Send + 'static,
{
    let (end_sender, end) = tokio::sync::oneshot::channel();
    let (running, is_new) = host.enter(&key, end_sender);
    let receiver = running.events.sender.subscribe();
    if is_new {
        let work = work(running.events.clone(), running.cancel.clone());
        let host = host.clone();
        tokio::spawn(async move {
            let ended = host.ended.clone();
            let result = tokio::select! {
                result = work => result,
                () = ended.cancelled() => Err(Failure::unknown("STOPPED", "the agent is stopping", "run `flytt resume`")),
            };
            if let Err(failure) = &result {
                tracing::warn!(operation = %key, code = failure.code, "{failure}");
            }
            host.leave(&key, &result);
        });
    }
    Feed { receiver, end }
}

/// Work outside of any move: it stands on no record, and ends when nobody listens any more.
pub(crate) fn beside<W, F>(host: &Arc<Host>, work: W) -> Feed
where
    W: FnOnce(Events) -> F,
    F: Future<Output = Result<v1::Outcome, Failure>> + Send + 'static,
{
    let (mut end_sender, end) = tokio::sync::oneshot::channel();
    let events = Events::new();
    let receiver = events.sender.subscribe();
    let (work, ended) = (work(events), host.ended.clone());
    tokio::spawn(async move {
        let result = tokio::select! {
            result = work => result,
            () = end_sender.closed() => return,
            () = ended.cancelled() => Err(Failure::refused("STOPPED", "the agent is stopping", "try again when it is up")),
        };
        let _ = end_sender.send(result);
    });
    Feed { receiver, end }
}

async fn forward(
    host: &Arc<Host>,
    id: OperationId,
    epoch: Epoch,
    action: v1::Action,
    events: Events,
    cancel: CancellationToken,
) -> Result<v1::Outcome, Failure> {
    let _turn = host.turn.lock().await;
    let intent = action::intent(&action)?;
    let at = At { host: host.clone(), migration: id.migration.clone(), epoch, events };
    host.take_charge(&id.migration, epoch, intent.role()).await?;

    let recorded = match host.ledger.operation(&id) {
        Some(operation) => match operation.state {
            State::Done(outcome) if intent.stays() => return Ok(outcome),
            State::Done(_) => None,
            State::Began | State::Failed(_) => Some(operation.changes),
            State::Undoing => {
                return Err(Failure::refused("BEING_UNDONE", format!("{id} is being taken back"), "run `flytt rollback`"));
            }
            State::Undone => None,
        },
        None => None,
    };
    if host.ledger.book().is_over(&id.migration) && !intent.ends() {
        return Err(ledger::over(&id.migration));
    }
    let changes = match recorded {
        Some(changes) => changes,
        None => {
            let survey = intent.survey(&at).await?;
            refuse_blocked(&survey.findings)?;
            survey.changes
        }
    };
    let work = async {
        host.ledger.write(Entry::Began { id: id.clone(), epoch, action, changes: changes.clone() }).await?;
        intent.begin(&at).await?;
        let progress = {
            let (host, id) = (host.clone(), id.clone());
            at.events.follow(move || host.imports.renew(&id))
        };
        for change in &changes {
            at.events.doing(change.to_string());
            if let Change::ImportSettings(import) = change {
                host.imports.arm(host, &id, import);
            }
            for note in host.hands.apply(&id.migration, change, progress.clone()).await? {
                at.events.doing(note);
            }
            if let Change::ImportOver(_) = change {
                host.imports.disarm(&id);
            }
        }
        intent.conclude(&at).await
    };
    let result = tokio::select! {
        result = work => result,
        failure = intent.watch(&at) => Err(failure),
        () = cancel.cancelled() => Err(Failure::unknown("INTERRUPTED", format!("{id} is interrupted"), "run `flytt rollback` or `flytt resume`")),
    };
    if result.is_err() {
        import::end(host, &id, &changes).await;
    }
    let began = host.ledger.operation(&id).is_some_and(|operation| operation.state == State::Began);
    match result {
        Ok(outcome) => {
            let migration = id.migration.clone();
            host.ledger.write(Entry::Done { id, outcome: outcome.clone() }).await?;
            if intent.ends() {
                host.ledger.write(Entry::Finished { migration: migration.clone() }).await?;
                host.end_pouring(&migration).await;
            }
            Ok(outcome)
        }
        Err(failure) if began => {
            let failure = if changes.is_empty() { failure } else { failure.with_effect(Effect::Unknown) };
            host.ledger.write(Entry::Failed { id, failure: failure.clone() }).await?;
            Err(failure)
        }
        Err(failure) => Err(failure),
    }
}

fn refuse_blocked(findings: &[v1::Finding]) -> Result<(), Failure> {
    let blocks: Vec<_> = findings.iter().filter(|finding| finding.level() == v1::finding::Level::Block).collect();
    let Some(first) = blocks.first() else { return Ok(()) };
    let more = if blocks.len() > 1 { format!(" (and {} more)", blocks.len() - 1) } else { String::new() };
    Err(Failure::refused(&first.code, format!("{}{more}", first.sentence), first.remedy.clone()))
}

async fn back(host: &Arc<Host>, id: &OperationId, epoch: Epoch, events: Events) -> Result<v1::Outcome, Failure> {
    let _turn = host.turn.lock().await;
    let Some(operation) = host.ledger.operation(id) else { return Ok(v1::Outcome::default()) };
    if operation.state == State::Undone {
        return Ok(v1::Outcome::default());
    }
    let intent = action::intent(&operation.action)?;
    host.take_charge(&id.migration, epoch, intent.role()).await?;
    if host.ledger.book().is_over(&id.migration) && !operation.action.kind.as_ref().is_some_and(action::tune::is_tune) {
        return Err(ledger::over(&id.migration));
    }
    let at = At { host: host.clone(), migration: id.migration.clone(), epoch, events };
    intent.before_undo(&at).await?;
    let taken_back = take_back(&at, id).await;
    if taken_back.is_err() {
        // Whoever asked may never come again, and the lease has gone with the right to it.
        recovery::complete_reopen(host, &id.migration);
    }
    taken_back
}

/// The changes of an operation undone, once the baton allows it. Also what leases and receipts end in.
pub(crate) async fn take_back(at: &At, id: &OperationId) -> Result<v1::Outcome, Failure> {
    let host = &at.host;
    let Some(operation) = host.ledger.operation(id) else { return Ok(v1::Outcome::default()) };
    if operation.state == State::Undone {
        return Ok(v1::Outcome::default());
    }
    let intent = action::intent(&operation.action)?;
    host.ledger.write(Entry::Undoing { id: id.clone() }).await?;
    match intent.reversal() {
        None => {
            // A burned server is down, and stays so until a new copy is in its place: what stands in it goes with its data.
            let burned = host.phase(&id.migration) == Some(Phase::Burned);
            let moot = |change: &&Change| burned && matches!(change, Change::Server(_) | Change::Statement(_));
            for change in operation.changes.iter().rev().filter(|change| !moot(change)) {
                at.events.doing(format!("take back: {change}"));
                if let Some(note) = host.hands.undo(&id.migration, change).await? {
                    at.events.doing(note);
                }
            }
        }
        Some(recipe) => {
            let changes: Vec<Change> = host.engine()?.recipe(&id.migration, &recipe).await?;
            let progress = at.events.follow(|| ());
            for change in &changes {
                at.events.doing(change.to_string());
                host.hands.apply(&id.migration, change, progress.clone()).await?;
            }
        }
    }
    let outcome = intent.after_undo(at).await?;
    host.ledger.write(Entry::Undone { id: id.clone() }).await?;
    Ok(outcome)
}
