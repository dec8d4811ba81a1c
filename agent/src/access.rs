//! Who may call what: one table, deny by default, asked before anything of a message is read. Who somebody is, the connection
//! has established; which host, epoch or move a call concerns is the services' own check.

use axum::{
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use flytt_proto::{
    identity::Role::{self, Agent, Operator},
    name::Deployment,
};
use tonic::{Status, service::Routes};
use tracing::debug;

use crate::serve::Caller;

/// Every method of the wire. One that is missing here may be called by nobody.
const TABLE: &[(&str, &[Role])] = &[
    ("/flytt.v1.Observe/Facts", &[Operator]),
    ("/flytt.v1.Observe/Survey", &[Operator]),
    ("/flytt.v1.Observe/Operation", &[Operator]),
    ("/flytt.v1.Observe/Replication", &[Operator]),
    ("/flytt.v1.Observe/Samples", &[Operator]),
    ("/flytt.v1.Observe/Ledger", &[Operator]),
    ("/flytt.v1.Verify/Survey", &[Operator]),
    ("/flytt.v1.Verify/Tables", &[Operator]),
    ("/flytt.v1.Verify/Digests", &[Operator]),
    ("/flytt.v1.Verify/Cuts", &[Operator]),
    ("/flytt.v1.Verify/Rows", &[Operator]),
    ("/flytt.v1.Verify/Image", &[Operator]),
    ("/flytt.v1.Verify/Position", &[Operator]),
    ("/flytt.v1.Verify/Objects", &[Operator]),
    ("/flytt.v1.Operate/Apply", &[Operator]),
    ("/flytt.v1.Operate/Undo", &[Operator]),
    ("/flytt.v1.Operate/Renew", &[Operator]),
    ("/flytt.v1.Operate/Probe", &[Operator]),
    ("/flytt.v1.Link/Open", &[Agent]),
    ("/flytt.v1.Link/Draw", &[Agent]),
    ("/flytt.v1.Peer/Hand", &[Agent, Operator]),
    ("/flytt.v1.Peer/Baton", &[Agent, Operator]),
    ("/flytt.v1.Peer/Vitals", &[Agent]),
    // Only `join` serves these, on a door of its own.
    ("/flytt.v1.Enrol/Ask", &[]),
    ("/flytt.v1.Enrol/Install", &[]),
];

/// Puts the table in front of the services of a host in `deployment`.
pub fn guard(routes: Routes, deployment: Deployment) -> Routes {
    let check = move |request: Request, next: Next| {
        let verdict = decide(&deployment, request.uri().path(), request.extensions().get());
        async move {
            match verdict {
                Ok(()) => next.run(request).await,
                Err(status) => {
                    debug!(path = request.uri().path(), caller = ?request.extensions().get::<Caller>(), "denied");
                    refusal(&status)
                }
            }
        }
    };
    Routes::from(routes.prepare().into_axum_router().layer(from_fn(check)))
}

fn decide(deployment: &Deployment, path: &str, caller: Option<&Caller>) -> Result<(), Status> {
    let Some(identity) = caller.and_then(|caller| caller.identity.as_ref()) else {
        return Err(Status::unauthenticated("this call needs a certificate"));
    };
    if identity.deployment != *deployment {
        return Err(Status::permission_denied("the caller belongs to another deployment"));
    }
    let allowed = TABLE.iter().find(|(method, _)| *method == path).map_or(&[][..], |(_, roles)| roles);
    if allowed.contains(&identity.role) {
        Ok(())
    } else {
        Err(Status::permission_denied(format!("an {} may not call this", identity.role)))
    }
}

fn refusal(status: &Status) -> Response {
    status.clone().into_http::<Body>()
}
