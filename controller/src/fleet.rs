//! The agents as the controller reaches them: mutual TLS, and the end of wire types that need care.
//!
//! Looking and changing are two types: a command that only looks has no means to change.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use flytt_proto::{
    PROTOCOL,
    failure::{Effect, Failure},
    identity::{Credentials, dial},
    name::{Epoch, HostName, Migration, OperationId},
    v1,
};
use tokio::sync::Mutex;
use tonic::transport::Channel;

/// How long an agent may take to say something when it is only asked.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to say that it is taking something back; the work itself may take longer.
const TAKES_ORDERS: Duration = Duration::from_secs(1);
/// The longest answer: the keys and hashes of a few thousand rows.
const MANY: usize = 64 << 20;

/// Looks at hosts.
#[derive(Clone, Debug)]
pub struct Observer {
    credentials: Arc<Credentials>,
    addresses: Arc<BTreeMap<HostName, String>>,
    channels: Arc<Mutex<BTreeMap<HostName, Channel>>>,
}

/// Changes hosts, too.
#[derive(Clone, Debug)]
pub struct Operator {
    pub observer: Observer,
}

/// Whatever became of an answer, who only looks has changed nothing.
fn looked(failure: Failure) -> Failure {
    failure.with_effect(Effect::None)
}

impl Observer {
    pub fn new(credentials: Arc<Credentials>, addresses: BTreeMap<HostName, String>) -> Self {
        Self { credentials, addresses: Arc::new(addresses), channels: Arc::default() }
    }

    pub fn addresses(&self) -> BTreeMap<HostName, String> {
        self.addresses.as_ref().clone()
    }

    async fn channel(&self, host: &HostName) -> Result<Channel, Failure> {
        if let Some(channel) = self.channels.lock().await.get(host) {
            return Ok(channel.clone());
        }
        let address = self.addresses.get(host).ok_or_else(|| {
            Failure::refused(
                "HOST_UNKNOWN",
                format!("there is no host {host}"),
                "run `flytt host add` for it, or correct migration.toml",
            )
        })?;
        let channel = dial(&self.credentials, host, address).await?;
        self.channels.lock().await.insert(host.clone(), channel.clone());
        Ok(channel)
    }

    /// A connection that failed is dialled anew the next time, so that its error has its whole chain.
    async fn settle<T>(&self, host: &HostName, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &result
            && failure.code == "UNREACHABLE"
        {
            self.channels.lock().await.remove(host);
        }
        result.map_err(|failure| Failure { sentence: format!("{host}: {}", failure.sentence), ..failure })
    }

    /// An agent of another protocol is refused here, before it is asked for anything else.
    pub async fn facts(&self, host: &HostName) -> Result<v1::FactsReply, Failure> {
        let call = async {
            let mut client = v1::observe_client::ObserveClient::new(self.channel(host).await?);
            within(ANSWER, client.facts(v1::FactsRequest {})).await
        };
        let facts = self.settle(host, call.await).await.map_err(looked)?;
        if facts.protocol != PROTOCOL {
            return Err(Failure::refused(
                "PROTOCOL",
                format!(
                    "{host}: its agent {} speaks protocol {}, this controller speaks {PROTOCOL}",
                    facts.version, facts.protocol
                ),
                "install the same version of flytt and flytt-agent everywhere; nothing was changed",
            ));
        }
        Ok(facts)
    }

    pub async fn survey(&self, host: &HostName, migration: &Migration, action: v1::Action) -> Result<v1::SurveyReply, Failure> {
        let call = async {
            let mut client = v1::observe_client::ObserveClient::new(self.channel(host).await?);
            let request = v1::SurveyRequest { migration: migration.to_string(), action: Some(action) };
            within(ANSWER, client.survey(request)).await
        };
        self.settle(host, call.await).await.map_err(looked)
    }

    pub async fn operation(&self, host: &HostName, id: &OperationId) -> Result<v1::OperationState, Failure> {
        let call = async {
            let mut client = v1::observe_client::ObserveClient::new(self.channel(host).await?);
            within(Duration::from_secs(5), client.operation(v1::OperationRequest { id: id.to_string() })).await
        };
        self.settle(host, call.await).await
    }

    pub async fn baton(&self, host: &HostName, migration: &Migration) -> Result<v1::BatonState, Failure> {
        let call = async {
            let mut client = v1::peer_client::PeerClient::new(self.channel(host).await?);
            within(Duration::from_secs(5), client.baton(v1::BatonRequest { migration: migration.to_string() })).await
        };
        self.settle(host, call.await).await
    }

    /// What flytt has on the host, by the host's own record.
    pub async fn ledger(&self, host: &HostName) -> Result<v1::LedgerReply, Failure> {
        let call = async {
            let mut client = v1::observe_client::ObserveClient::new(self.channel(host).await?);
            within(ANSWER, client.ledger(v1::LedgerRequest {})).await
        };
        self.settle(host, call.await).await
    }

    /// What the host is doing, live or from its history, as it comes.
    pub async fn samples(&self, host: &HostName, request: v1::SamplesRequest) -> Result<Samples, Failure> {
        let call = async {
            let mut client = v1::observe_client::ObserveClient::new(self.channel(host).await?);
            within(ANSWER, client.samples(request)).await
        };
        Ok(Samples { host: host.clone(), stream: self.settle(host, call.await).await? })
    }

    /// The newest sample of replication.
    pub async fn replication(&self, host: &HostName, migration: &Migration) -> Result<v1::ReplicationSample, Failure> {
        self.replication_after(0, host, migration).await
    }

    /// The same after so many that are let pass, a second apart, where what is asked for is a rate.
    pub async fn replication_after(
        &self,
        passed: usize,
        host: &HostName,
        migration: &Migration,
    ) -> Result<v1::ReplicationSample, Failure> {
        let call = async {
            let mut client = v1::observe_client::ObserveClient::new(self.channel(host).await?);
            let request = v1::ReplicationRequest { migration: migration.to_string() };
            let mut samples = within(ANSWER, client.replication(request)).await?;
            let mut newest = None;
            for _ in 0..=passed {
                newest = tokio::time::timeout(Duration::from_secs(5), samples.message()).await.map_err(|_| silent())??;
            }
            newest.ok_or_else(silent)
        };
        self.settle(host, call.await).await
    }
}

impl Observer {
    /// A question to the host's `Verify` service.
    async fn verify<T, F: Future<Output = Result<tonic::Response<T>, tonic::Status>>>(
        &self,
        host: &HostName,
        ask: impl FnOnce(v1::verify_client::VerifyClient<Channel>) -> F,
    ) -> Result<T, Failure> {
        let call = async {
            let client = v1::verify_client::VerifyClient::new(self.channel(host).await?);
            // What is asked may take long; a host that is gone ends the connection by its keep-alive.
            Ok(ask(client.max_decoding_message_size(MANY)).await?.into_inner())
        };
        self.settle(host, call.await).await.map_err(looked)
    }

    pub async fn verify_survey(&self, host: &HostName, request: v1::VerifyRequest) -> Result<v1::VerifyReply, Failure> {
        self.verify(host, |mut client| async move { client.survey(request).await }).await
    }

    pub async fn tables(&self, host: &HostName, request: v1::TablesRequest) -> Result<Vec<v1::Table>, Failure> {
        let stream = self.verify(host, |mut client| async move { client.tables(request).await }).await?;
        self.collect(host, stream).await
    }

    pub async fn digests(&self, host: &HostName, request: v1::DigestsRequest) -> Result<v1::DigestsReply, Failure> {
        self.verify(host, |mut client| async move { client.digests(request).await }).await
    }

    pub async fn cuts(&self, host: &HostName, request: v1::CutsRequest) -> Result<v1::CutsReply, Failure> {
        self.verify(host, |mut client| async move { client.cuts(request).await }).await
    }

    pub async fn rows(&self, host: &HostName, request: v1::RowsRequest) -> Result<v1::RowsReply, Failure> {
        self.verify(host, |mut client| async move { client.rows(request).await }).await
    }

    pub async fn image(&self, host: &HostName, request: v1::ImageRequest) -> Result<v1::ImageReply, Failure> {
        self.verify(host, |mut client| async move { client.image(request).await }).await
    }

    pub async fn position(&self, host: &HostName, request: v1::PositionRequest) -> Result<v1::PositionReply, Failure> {
        self.verify(host, |mut client| async move { client.position(request).await }).await
    }

    pub async fn objects(&self, host: &HostName, request: v1::ObjectsRequest) -> Result<Vec<v1::Object>, Failure> {
        let stream = self.verify(host, |mut client| async move { client.objects(request).await }).await?;
        self.collect(host, stream).await
    }

    async fn collect<T>(&self, host: &HostName, mut stream: tonic::Streaming<T>) -> Result<Vec<T>, Failure> {
        let read = async {
            let mut all = Vec::new();
            while let Some(one) = stream.message().await? {
                all.push(one);
            }
            Ok(all)
        };
        self.settle(host, read.await).await.map_err(looked)
    }
}

/// Samples as they come.
#[derive(Debug)]
pub struct Samples {
    host: HostName,
    stream: tonic::Streaming<v1::Sample>,
}

impl Samples {
    /// The next one; `None` = there is no more. Live ones come each second, so silence is a broken connection.
    pub async fn next(&mut self) -> Result<Option<v1::Sample>, Failure> {
        let next = tokio::time::timeout(ANSWER, self.stream.message()).await;
        let next = next.map_err(|_| silent()).and_then(|next| Ok(next?));
        next.map_err(|failure| Failure { sentence: format!("{}: {}", self.host, failure.sentence), ..failure })
    }
}

impl Operator {
    /// Has the operation done, and calls `on` with each event. What becomes of it when the connection breaks is asked, not
    /// guessed: it goes on at the agent, so we attach again until `limit`.
    pub async fn apply(
        &self,
        host: &HostName,
        id: &OperationId,
        epoch: Epoch,
        action: &v1::Action,
        limit: Duration,
        on: &mut (dyn FnMut(v1::event::Kind) + Send),
    ) -> Result<v1::event::Done, Failure> {
        let until = Instant::now() + limit;
        let mut broken: Option<Failure> = None;
        let mut first = true;
        loop {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Err(broken.unwrap_or_else(|| late(id, limit)));
            };
            let request = v1::ApplyRequest { id: id.to_string(), epoch: epoch.0, action: Some(action.clone()) };
            let call = async {
                let mut client = v1::operate_client::OperateClient::new(self.observer.channel(host).await?);
                let mut events = client.apply(request).await?.into_inner();
                read(&mut events, on).await
            };
            let result = tokio::time::timeout(left, call).await.unwrap_or_else(|_| Err(late(id, limit)));
            match self.observer.settle(host, result).await {
                Err(failure) if failure.code == "UNREACHABLE" || failure.code == "STOPPED" => {
                    broken = Some(failure);
                    if let Some(end) = self.learn(host, id).await {
                        return end;
                    }
                    if std::mem::take(&mut first) {
                        on(v1::event::Kind::Doing(format!("{host} does not answer: asking again")));
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                result => return result,
            }
        }
    }

    /// What the agent says of an operation whose answer was lost; `None` = ask for it again.
    async fn learn(&self, host: &HostName, id: &OperationId) -> Option<Result<v1::event::Done, Failure>> {
        use v1::operation_state::State;
        let state = self.observer.operation(host, id).await.ok()?;
        match state.state() {
            State::Done => Some(Ok(v1::event::Done { outcome: state.outcome, elapsed_us: 0 })),
            State::Failed => state.error.map(|error| Err(error.into())),
            State::Undone => Some(Err(Failure::refused(
                "TAKEN_BACK",
                format!("{host}: {id} was taken back by its own agent"),
                "nobody renewed its lease: try again",
            ))),
            State::Never | State::Running | State::Interrupted | State::Unspecified => None,
        }
    }

    /// Has the operation taken back. A host that does not take the order at once counts as away: the caller asks again, which
    /// is safe, when nobody else waits.
    pub async fn undo(
        &self,
        host: &HostName,
        id: &OperationId,
        epoch: Epoch,
        limit: Duration,
        on: &mut (dyn FnMut(v1::event::Kind) + Send),
    ) -> Result<v1::event::Done, Failure> {
        let order = async {
            let mut client = v1::operate_client::OperateClient::new(self.observer.channel(host).await?);
            let request = v1::UndoRequest { id: id.to_string(), epoch: epoch.0 };
            Ok::<_, Failure>(client.undo(request).await?.into_inner())
        };
        let call = async {
            let mut events = tokio::time::timeout(TAKES_ORDERS, order).await.map_err(|_| silent())??;
            read(&mut events, on).await
        };
        let result = tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(late(id, limit)));
        self.observer.settle(host, result).await
    }

    /// Has the host's storage measured, and calls `on` with each event. Dropping the future ends the probe on the host.
    pub async fn probe(
        &self,
        host: &HostName,
        request: v1::ProbeRequest,
        on: &mut (dyn FnMut(v1::event::Kind) + Send),
    ) -> Result<v1::ProbeReport, Failure> {
        let call = async {
            let mut client = v1::operate_client::OperateClient::new(self.observer.channel(host).await?);
            let mut events = client.probe(request).await?.into_inner();
            let done = read(&mut events, on).await?;
            match done.outcome.and_then(|outcome| outcome.kind) {
                Some(v1::outcome::Kind::Probed(report)) => Ok(*report),
                _ => Err(silent()),
            }
        };
        // Whatever became of the connection, a probe changes nothing.
        let unharmed = |failure: Failure| match failure.code.as_str() {
            "UNREACHABLE" | "STOPPED" => {
                let remedy = "look at the host and its agent, then probe again".to_owned();
                Failure { remedy, ..failure }.with_effect(flytt_proto::failure::Effect::None)
            }
            _ => failure,
        };
        self.observer.settle(host, call.await).await.map_err(unharmed)
    }

    pub async fn renew(&self, host: &HostName, migration: &Migration, epoch: Epoch) -> Result<(), Failure> {
        let call = async {
            let mut client = v1::operate_client::OperateClient::new(self.observer.channel(host).await?);
            let request = v1::RenewRequest { migration: migration.to_string(), epoch: epoch.0 };
            within(Duration::from_secs(1), client.renew(request)).await.map(drop)
        };
        self.observer.settle(host, call.await).await
    }
}

/// Reads events to the end. A stream that goes silent for ten seconds (there is a beat every second) is a broken one.
async fn read(
    events: &mut tonic::Streaming<v1::Event>,
    on: &mut (dyn FnMut(v1::event::Kind) + Send),
) -> Result<v1::event::Done, Failure> {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), events.message()).await.map_err(|_| silent())??;
        match event.and_then(|event| event.kind) {
            Some(v1::event::Kind::Done(done)) => return Ok(done),
            Some(v1::event::Kind::Failed(error)) => return Err(error.into()),
            Some(kind) => on(kind),
            None => return Err(silent()),
        }
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, Failure> {
    Ok(tokio::time::timeout(limit, call).await.map_err(|_| silent())??.into_inner())
}

fn silent() -> Failure {
    Failure::unknown("UNREACHABLE", "its agent does not answer", "look at the host and its agent, then run `flytt resume`")
}

fn late(id: &OperationId, limit: Duration) -> Failure {
    Failure::unknown(
        "TOO_LATE",
        format!("{id} is not done after {} ms", limit.as_millis()),
        "look at the host; flytt takes back what can be taken back",
    )
}
