//! This host, as its agent knows it: what it can touch, what it has on record, and what is at work.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use flytt_proto::{
    artefact::{self, Claim, Kind as ClaimKind},
    failure::Failure,
    identity::{Credentials, verify_signed},
    name::{
        Epoch, HostName, Migration, OperationId,
        step::{OPEN, RETIRE, SURRENDER},
    },
    v1,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    action::At,
    apply::{self, Events, Running},
    baton::{Command, Phase, Stance},
    change::{Change, Hands},
    config::Config,
    engine::{Engine, Serving},
    import::Imports,
    lease::{self, Leases},
    ledger::{Entry, Ledger, State, no_part},
    link::Tunnel,
    peers::{Peers, silent},
    recovery,
    router::Router,
    samples::Samples,
};

type End = oneshot::Sender<Result<v1::Outcome, Failure>>;

/// One agent's world. Everything that changes the host goes through `hands`, and is in the `ledger` before.
#[derive(Debug)]
pub struct Host {
    pub name: HostName,
    pub config: Config,
    pub credentials: Arc<Credentials>,
    pub ledger: Ledger,
    pub hands: Hands,
    pub leases: Leases,
    pub(crate) imports: Imports,
    pub samples: Samples,
    /// One operation at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// One probe at a time, until nothing is left of it.
    pub(crate) probing: Arc<tokio::sync::Mutex<()>>,
    running: Mutex<HashMap<OperationId, (Running, Vec<End>)>>,
    tunnels: tokio::sync::Mutex<BTreeMap<Migration, Tunnel>>,
    peers: Arc<Peers>,
    /// The agent is going away.
    pub ended: CancellationToken,
}

impl Host {
    /// Opens the ledger and takes up what an earlier process left. Nothing is served yet.
    pub async fn open(config: Config, credentials: Arc<Credentials>, hands: Hands) -> Result<Arc<Self>, Failure> {
        let name = credentials.identity().host.clone();
        let ledger = Ledger::open(&config.state.join("ledger.db"), hands.fuse.clone())?;
        let data = config.data_directory().map(Path::to_owned);
        let samples = Samples::start(&config.state, data)?;
        let host = Arc::new(Self {
            name,
            config,
            ledger,
            hands,
            leases: Leases::default(),
            imports: Imports::default(),
            samples,
            turn: tokio::sync::Mutex::default(),
            probing: Arc::default(),
            running: Mutex::default(),
            tunnels: tokio::sync::Mutex::default(),
            credentials: credentials.clone(),
            peers: Arc::new(Peers::new(credentials.clone())),
            ended: CancellationToken::new(),
        });
        recovery::take_up(&host).await;
        Ok(host)
    }

    pub(crate) fn action_of(&self, migration: &Migration, step: &str) -> Option<v1::action::Kind> {
        self.ledger.operation(&self.id(migration, step))?.action.kind
    }

    pub(crate) fn id(&self, migration: &Migration, step: &str) -> OperationId {
        OperationId { migration: migration.clone(), step: step.parse().expect("a literal of the right form") }
    }

    pub(crate) fn engine(&self) -> Result<&Arc<dyn Engine>, Failure> {
        self.hands.engine.as_ref().ok_or_else(|| {
            Failure::refused(
                "NO_ENGINE",
                "this host serves no database",
                "add a [postgres], [mariadb] or [mysql] section to its agent.toml",
            )
        })
    }

    pub(crate) fn router(&self) -> Result<&Arc<dyn Router>, Failure> {
        self.hands
            .router
            .as_ref()
            .ok_or_else(|| Failure::refused("NO_ROUTER", "this host has no router", "add a [haproxy] section to its agent.toml"))
    }

    // --- operations at work

    /// Joins the operation at work under this key, or makes it the one.
    pub(crate) fn enter(&self, key: &OperationId, end: End) -> (Running, bool) {
        let mut running = self.running.lock().expect("no panic while held");
        if let Some((found, ends)) = running.get_mut(key) {
            ends.push(end);
            return (found.clone(), false);
        }
        let new = Running {
            events: Events::new(),
            cancel: CancellationToken::new(),
            uninterruptible: key.step.as_str() == SURRENDER || key.step.as_str().starts_with("undo-"),
        };
        running.insert(key.clone(), (new.clone(), vec![end]));
        (new, true)
    }

    pub(crate) fn leave(&self, key: &OperationId, result: &Result<v1::Outcome, Failure>) {
        let left = self.running.lock().expect("no panic while held").remove(key);
        for end in left.into_iter().flat_map(|(_, ends)| ends) {
            let _ = end.send(result.clone());
        }
    }

    pub(crate) fn is_running(&self, key: &OperationId) -> bool {
        self.running.lock().expect("no panic while held").contains_key(key)
    }

    /// Where an operation with this record stands.
    pub(crate) fn becomes(&self, id: &OperationId, recorded: Option<&State>) -> v1::operation_state::State {
        use v1::operation_state::State as Wire;
        if self.is_running(id) { Wire::Running } else { recorded.map_or(Wire::Never, State::at_rest) }
    }

    pub(crate) fn interrupt_all(&self, migration: &Migration) {
        for (id, (running, _)) in self.running.lock().expect("no panic while held").iter() {
            if id.migration == *migration && !running.uninterruptible {
                running.cancel.cancel();
            }
        }
    }

    // --- the baton

    /// Notes that this controller is in charge; one that has been superseded is refused.
    pub(crate) async fn take_charge(&self, migration: &Migration, epoch: Epoch, role: v1::Role) -> Result<(), Failure> {
        self.ledger.take_charge(migration, epoch, role).await
    }

    /// Asks the baton, and writes down what it answers.
    pub(crate) async fn baton(&self, migration: &Migration, command: &Command) -> Result<(), Failure> {
        self.ledger.decide(migration, command).await
    }

    /// Whether the baton would allow it, without asking for it yet.
    pub(crate) fn would(&self, migration: &Migration, command: &Command) -> Result<(), Failure> {
        self.ledger.baton(migration).ok_or_else(no_part)?.decide(command).map(drop)
    }

    pub(crate) fn phase(&self, migration: &Migration) -> Option<Phase> {
        self.ledger.baton(migration).map(|baton| baton.phase())
    }

    pub(crate) fn not_surrendered(&self, migration: &Migration) -> Result<(), Failure> {
        match self.phase(migration) {
            Some(Phase::Surrendered | Phase::Retired) => Err(crate::action::past_the_point()),
            _ => Ok(()),
        }
    }

    /// The newest claim of this host in this move, signed.
    pub(crate) fn sign_newest(&self, migration: &Migration) -> Result<v1::Artefact, Failure> {
        let baton = self.ledger.baton(migration).ok_or_else(no_part)?;
        let claim = baton.statement(&self.name).ok_or_else(|| {
            Failure::refused("NOTHING_TO_SIGN", "this host has nothing to state in that move now", "run `flytt status`")
        })?;
        Ok(artefact::sign(&claim, self.credentials.certificate(), |bytes| self.credentials.sign(bytes)))
    }

    /// An artefact of this move and kind, by the host that plays the other part here.
    pub(crate) fn verify(&self, migration: &Migration, artefact: &v1::Artefact, kind: ClaimKind) -> Result<Claim, Failure> {
        let other = self.other_side(migration).ok_or_else(no_part)?;
        let claim = artefact::verify(artefact, &other, |certificate, message, signature| {
            Ok(verify_signed(self.credentials.authority(), certificate, message, signature)?.host)
        })?;
        if claim.kind == kind && claim.migration == *migration {
            return Ok(claim);
        }
        Err(Failure::refused(
            "WRONG_ARTEFACT",
            format!(
                "a {:?} of {} by {} is not the {kind:?} of {migration} that is needed",
                claim.kind, claim.migration, claim.signer
            ),
            "run `flytt status`",
        ))
    }

    /// Source: whom we admitted. Target: whom we copy from.
    fn other_side(&self, migration: &Migration) -> Option<HostName> {
        if let Some(peer) = self.ledger.book().grants.get(&migration.there()) {
            return Some(peer.clone());
        }
        self.upstream_of(migration).map(|(name, _)| name)
    }

    /// Whom this host follows on that leg: there, by its tunnel; back, by what was armed.
    pub(crate) fn upstream_of(&self, migration: &Migration) -> Option<(HostName, String)> {
        let there = migration.there();
        let book = self.ledger.book();
        let mut kinds =
            book.operations.iter().filter(|(id, _)| id.migration == there).filter_map(|(_, it)| it.action.kind.as_ref());
        kinds.find_map(|kind| {
            if let (v1::action::Kind::Tunnel(tunnel), false) = (kind, migration.is_back()) {
                return crate::action::peer(tunnel.source.as_ref()).ok();
            }
            let (v1::action::Kind::Arm(arm), true) = (kind, migration.is_back()) else { return None };
            crate::action::peer(arm.target.as_ref()).ok()
        })
    }

    /// The holds of this move on this router that have not ended: neither taken back nor released.
    pub(crate) fn holds(&self, migration: &Migration) -> Vec<(OperationId, v1::Hold)> {
        let (mut holds, mut released) = (Vec::new(), Vec::new());
        for (id, operation) in self.ledger.book().operations.into_iter().filter(|(id, _)| id.migration == *migration) {
            match operation.action.kind {
                Some(v1::action::Kind::Hold(hold)) if operation.state != State::Undone => holds.push((id, hold)),
                Some(v1::action::Kind::Release(release)) if matches!(operation.state, State::Done(_)) => {
                    released.push(release.route)
                }
                _ => {}
            }
        }
        holds.retain(|(_, hold)| !released.contains(&hold.route));
        holds
    }

    /// The lease ends with the last hold: one router may have several routes of one move.
    pub(crate) fn hold_ended(&self, migration: &Migration, route: Option<&v1::Route>) {
        if self.holds(migration).iter().all(|(_, hold)| hold.route.as_ref() == route) {
            self.leases.disarm(migration);
        }
    }

    /// What an artefact that somebody brings comes to. Each is checked as if an enemy had brought it.
    pub(crate) async fn receive(self: &Arc<Self>, artefact: v1::Artefact) -> Result<v1::Outcome, Failure> {
        let (migration, kind) = artefact::about(&artefact)?;
        let claim = self.verify(&migration, &artefact, kind)?;
        let action = match kind {
            ClaimKind::Permit => (OPEN, v1::action::Kind::Open(v1::Open { permit: Some(artefact) })),
            ClaimKind::OpenReceipt => (RETIRE, v1::action::Kind::Retire(v1::Retire { open: Some(artefact) })),
            ClaimKind::BurnReceipt => {
                let _turn = self.turn.lock().await;
                self.baton(&migration, &Command::Return { receipt: claim }).await?;
                let reopened = lease::reopen(self, &migration).await;
                if reopened.is_err() {
                    recovery::complete_reopen(self, &migration);
                }
                return reopened.map(|()| v1::Outcome::default());
            }
            ClaimKind::FenceProof | ClaimKind::ClosedProof => {
                return Err(Failure::refused("WRONG_ARTEFACT", "this is not for this host to act on", "run `flytt status`"));
            }
        };
        let epoch = self.ledger.command_epoch(&migration);
        let feed = apply::start(self, self.id(&migration, action.0), epoch, v1::Action { kind: Some(action.1) });
        feed.end.await.unwrap_or_else(|_| Err(Failure::unknown("STOPPED", "the agent is stopping", "run `flytt resume`")))
    }

    /// Brings the permit to the target ourselves, until it says OPEN: the controller may be gone.
    pub(crate) fn hand_on(self: &Arc<Self>, migration: &Migration, peer: (HostName, String), permit: v1::Artefact) {
        let (host, migration) = (self.clone(), migration.clone());
        tokio::spawn(async move {
            loop {
                if host.phase(&migration) != Some(Phase::Surrendered) {
                    return;
                }
                let said = async {
                    let mut client = v1::peer_client::PeerClient::new(host.peers.channel(&peer).await?);
                    let reply = client.hand(v1::HandRequest { artefact: Some(permit.clone()) }).await?.into_inner();
                    Ok::<_, Failure>(reply.outcome)
                };
                match said.await {
                    Ok(Some(v1::Outcome { kind: Some(v1::outcome::Kind::Artefact(receipt)) })) => {
                        // The target's receipt ends our part even if the controller never comes back.
                        let host = host.clone();
                        tokio::spawn(async move {
                            if let Err(failure) = host.receive(receipt).await {
                                tracing::warn!(code = failure.code, "{failure}");
                            }
                        });
                        return;
                    }
                    Ok(_) => tracing::warn!(%migration, "the target took the permit and gave no receipt"),
                    // It was given up before the permit came: its receipt for that gives the right back.
                    Err(failure) if failure.code == "BURNED" => {
                        let said = host.ask_baton(&migration, &peer).await.map(|state| state.artefact);
                        if let Ok(Some(receipt)) = said
                            && let Err(failure) = host.receive(receipt).await
                        {
                            tracing::warn!(%migration, code = failure.code, "the target's burn receipt: {failure}");
                        }
                    }
                    Err(failure) => tracing::warn!(%migration, code = failure.code, "handing on the permit: {failure}"),
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                    () = host.ended.cancelled() => return,
                }
            }
        });
    }

    /// Whether the gate is gone and a durable write went through: on record as open, it may still be gated.
    pub(crate) fn has_opened(&self, migration: &Migration) -> bool {
        let opening = self.ledger.operation(&self.id(migration, OPEN));
        opening.is_some_and(|operation| matches!(operation.state, State::Done(_)))
    }

    /// Where the baton stands on another agent.
    pub(crate) async fn ask_baton(&self, migration: &Migration, peer: &(HostName, String)) -> Result<v1::BatonState, Failure> {
        let mut client = v1::peer_client::PeerClient::new(self.peers.channel(peer).await?);
        let ask = client.baton(v1::BatonRequest { migration: migration.to_string() });
        Ok(tokio::time::timeout(Duration::from_secs(2), ask).await.map_err(|_| silent(&peer.0))??.into_inner())
    }

    /// How the source of this move does, asked of its agent.
    pub(crate) async fn ask_vitals(&self, migration: &Migration) -> Result<v1::Vitals, Failure> {
        let peer = self.upstream_of(migration).ok_or_else(no_part)?;
        let mut client = v1::peer_client::PeerClient::new(self.peers.channel(&peer).await?);
        let ask = client.vitals(v1::VitalsRequest { migration: migration.to_string() });
        let reply = tokio::time::timeout(Duration::from_secs(2), ask).await.map_err(|_| silent(&peer.0))??;
        Ok(reply.into_inner())
    }

    /// The last minute of samples of this host, oldest first.
    pub(crate) fn recent(&self) -> Vec<Arc<v1::Sample>> {
        self.samples.recent()
    }

    // --- links

    pub(crate) fn tunnel_directory(&self, migration: &Migration) -> PathBuf {
        self.config.runtime.join(migration.name())
    }

    pub(crate) async fn open_tunnel(&self, migration: &Migration, peer: HostName, address: String) -> Result<(), Failure> {
        let mut tunnels = self.tunnels.lock().await;
        if !tunnels.contains_key(migration) {
            let peers = self.peers.clone();
            let open = move |frames| {
                let (peers, peer) = (peers.clone(), (peer.clone(), address.clone()));
                async move {
                    let channel = peers.channel(&peer).await?;
                    let mut client = v1::link_client::LinkClient::new(channel).max_decoding_message_size(4 << 20);
                    Ok(client.open(frames).await?.into_inner())
                }
            };
            let tunnel = match self.engine()?.tunnel_port() {
                Some(port) => Tunnel::listen_on_loopback(port, migration, open).await?,
                None => Tunnel::listen(&self.tunnel_directory(migration), crate::link::PORT, migration, open).await?,
            };
            tunnels.insert(migration.clone(), tunnel);
        }
        Ok(())
    }

    pub(crate) async fn close_tunnel(&self, migration: &Migration) {
        self.tunnels.lock().await.remove(migration);
        let _ = std::fs::remove_dir(self.tunnel_directory(migration));
    }

    /// Who may open links for this move.
    pub(crate) fn granted(&self, migration: &Migration, peer: &HostName) -> Result<(), Failure> {
        match self.ledger.book().grants.get(&migration.there()) {
            Some(granted) if granted == peer => Ok(()),
            Some(_) | None => Err(Failure::refused(
                "NOT_GRANTED",
                format!("{peer} was not admitted to links of {migration} on this host"),
                "start the move from its controller",
            )),
        }
    }

    /// The trash directory of this move, where there is one.
    pub(crate) fn trash(&self, migration: &Migration) -> Option<PathBuf> {
        self.ledger.book().operations.iter().filter(|(id, _)| id.migration == *migration).find_map(|(_, operation)| {
            operation.changes.iter().find_map(
                |change| {
                    if let Change::DataDir(moved) = change { Some(moved.trash.clone()) } else { None }
                },
            )
        })
    }

    /// The recorded changes of this move's operations of one kind.
    pub(crate) fn changes_of(&self, migration: &Migration, of: impl Fn(&v1::action::Kind) -> bool) -> Vec<Change> {
        let book = self.ledger.book();
        let found = book.operations.iter().filter(|(id, operation)| {
            id.migration == *migration && operation.state != State::Undone && operation.action.kind.as_ref().is_some_and(&of)
        });
        found.flat_map(|(_, operation)| operation.changes.clone()).collect()
    }

    /// The guard gave up this move's slot to protect the disk.
    pub(crate) async fn guarded(&self, migration: &Migration, reason: String) -> Result<(), Failure> {
        self.ledger.write(Entry::Guarded { migration: migration.clone(), reason }).await
    }

    /// What `/primary` and friends say.
    pub async fn standing(&self) -> Result<crate::status::Standing, Failure> {
        let (serving, follows) = match &self.hands.engine {
            Some(engine) => match engine.serving().await? {
                Serving::Standby => (Serving::Standby, engine.follows().await?),
                other @ (Serving::Writable | Serving::Down) => (other, false),
            },
            None => (Serving::Down, false),
        };
        Ok(crate::status::Standing { serving, fenced: self.is_shut(), follows })
    }

    /// Whether a fence or a gate of ours stands here, as far as is on record.
    pub fn is_shut(&self) -> bool {
        let book = self.ledger.book();
        let shut = book.stances().any(|stance| match stance {
            Stance::Shut | Stance::ShutForGood | Stance::Down => true,
            Stance::Any | Stance::Open => false,
        });
        // The gate stands before the baton asks for it, and a moment longer.
        let gated = book.operations.iter().any(|(id, operation)| {
            matches!(operation.action.kind, Some(v1::action::Kind::Gate(_)))
                && operation.state != State::Undone
                && !self.has_opened(&id.migration)
        });
        shut || gated
    }

    /// What the target of this move was lent of this host's server. Whoever may ask no more is to be on record first.
    pub(crate) async fn end_pouring(&self, migration: &Migration) {
        if let Some(engine) = &self.hands.engine {
            engine.end_pouring(migration).await;
        }
    }

    /// Ends what is at work and lets go of files and sockets.
    pub async fn close(&self) {
        self.ended.cancel();
        if let Some(engine) = &self.hands.engine {
            engine.end_all_pouring().await;
        }
        crate::import::take_back_all(self).await;
        self.tunnels.lock().await.clear();
        self.samples.end().await;
    }

    pub(crate) fn at(self: &Arc<Self>, migration: &Migration, epoch: Epoch) -> At {
        At { host: self.clone(), migration: migration.clone(), epoch, events: Events::new() }
    }
}
