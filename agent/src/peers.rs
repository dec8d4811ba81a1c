//! The other agents of a move, as this one reaches them. What is said to them is the host's.

use std::{collections::BTreeMap, sync::Arc};

use flytt_proto::{
    failure::Failure,
    identity::{Credentials, dial},
    name::HostName,
};

/// Channels to other agents; kept, since they reconnect by themselves.
#[derive(Debug)]
pub(crate) struct Peers {
    credentials: Arc<Credentials>,
    open: tokio::sync::Mutex<BTreeMap<HostName, (String, tonic::transport::Channel)>>,
}

impl Peers {
    pub(crate) fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials, open: tokio::sync::Mutex::default() }
    }

    /// A channel to that peer at that address.
    pub(crate) async fn channel(&self, peer: &(HostName, String)) -> Result<tonic::transport::Channel, Failure> {
        let mut open = self.open.lock().await;
        if let Some((address, channel)) = open.get(&peer.0)
            && *address == peer.1
        {
            return Ok(channel.clone());
        }
        let channel = dial(&self.credentials, &peer.0, &peer.1).await?;
        open.insert(peer.0.clone(), (peer.1.clone(), channel.clone()));
        Ok(channel)
    }
}

pub(crate) fn silent(peer: &HostName) -> Failure {
    Failure::unknown("UNREACHABLE", format!("{peer} does not answer"), "look at that host and its agent")
}
