//! The only service of a host that has not joined: gives its request to who proves to know the code, and takes the certificate
//! from the same. What becomes of the certificate, `join` decides.

use std::sync::{Mutex, MutexGuard, PoisonError};

use flytt_proto::{
    code::{Claim, Code},
    failure::Failure,
    identity::Identity,
    v1::{AskReply, AskRequest, InstallReply, InstallRequest, enrol_server::Enrol},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::serve::Caller;

/// As many proofs may be wrong until the door closes.
const TRIES: u8 = 3;

/// Checks a certificate and keeps it: `(certificate, authority)`, PEM.
pub(crate) type Install = Box<dyn Fn(&str, &str) -> Result<Identity, Failure> + Send + Sync>;

/// One enrolment: it succeeds once, or closes.
pub(crate) struct Enrolment {
    code: Code,
    request: String,
    install: Install,
    state: Mutex<State>,
    /// Cancelled when there is nothing left to ask of this service.
    ended: CancellationToken,
}

enum State {
    Open { wrong: u8 },
    Closed(Failure),
    Joined(Identity),
}

impl Enrolment {
    pub(crate) fn new(code: Code, request: String, install: Install, ended: CancellationToken) -> Self {
        Self { code, request, install, state: Mutex::new(State::Open { wrong: 0 }), ended }
    }

    /// Ends it, and says what came of it. Nobody is let in afterwards, not even on a connection that is still there.
    pub(crate) fn finish(&self, unfinished: Failure) -> Result<Identity, Failure> {
        let mut state = self.state();
        match &*state {
            State::Joined(identity) => Ok(identity.clone()),
            State::Closed(failure) => Err(failure.clone()),
            State::Open { .. } => {
                *state = State::Closed(unfinished.clone());
                Err(unfinished)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets through who knows the code, as long as the door is open. The guard makes calls wait for each other: of two
    /// installations at once, the second finds the host joined.
    fn admit(&self, claim: Claim, caller: &Caller, proof: &[u8]) -> Result<MutexGuard<'_, State>, Failure> {
        let mut state = self.state();
        match &mut *state {
            State::Joined(identity) => Err(joined(identity)),
            State::Closed(failure) => Err(failure.clone()),
            State::Open { .. } if self.code.accepts(claim, &caller.exporter, proof) => Ok(state),
            State::Open { wrong } => {
                *wrong += 1;
                let left = TRIES - *wrong;
                warn!(peer = %caller.peer, left, "a wrong code");
                if left > 0 {
                    return Err(wrong_code(left));
                }
                *state = State::Closed(closed());
                self.ended.cancel();
                Err(closed())
            }
        }
    }
}

#[tonic::async_trait]
impl Enrol for Enrolment {
    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<AskReply>, Status> {
        let caller = Caller::of(&request)?;
        drop(self.admit(Claim::Ask, caller, &request.get_ref().proof)?);
        let proof = self.code.prove(Claim::Answer, &caller.exporter);
        Ok(Response::new(AskReply { request: self.request.clone(), proof }))
    }

    async fn install(&self, request: Request<InstallRequest>) -> Result<Response<InstallReply>, Status> {
        let caller = Caller::of(&request)?;
        let InstallRequest { proof, certificate, authority } = request.get_ref();
        let mut state = self.admit(Claim::Install, caller, proof)?;
        let identity = (self.install)(certificate, authority)?;
        info!(peer = %caller.peer, %identity, "joined");
        *state = State::Joined(identity);
        self.ended.cancel();
        Ok(Response::new(InstallReply {}))
    }
}

fn wrong_code(left: u8) -> Failure {
    let sentence = format!("the code is not the one that this host shows; {left} more tries");
    Failure::refused("WRONG_CODE", sentence, "read the code from the host once more")
}

fn closed() -> Failure {
    let sentence = format!("the enrolment is closed after {TRIES} wrong codes");
    Failure::refused("ENROLMENT_CLOSED", sentence, "find out who tried, then run `flytt-agent join` on the host again")
}

fn joined(identity: &Identity) -> Failure {
    let sentence = format!("this host has joined as {} already", identity.host);
    Failure::refused("ALREADY_ENROLLED", sentence, "if that was not you, run `flytt-agent join --again` on the host")
}
