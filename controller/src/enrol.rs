//! `flytt host add`: gives a waiting host its certificate. Who the host is, the code's pin says; who we are, the proof.

use flytt_proto::{
    code::{Claim, Code},
    failure::{Effect, Failure},
    identity::{self, Authority},
    name::HostName,
    v1::{AskRequest, InstallRequest, enrol_client::EnrolClient},
};

use crate::home::Host;

/// Enrols the host that waits at `address` (`host:port`) and shows `code`, as `name`.
pub async fn add_host(authority: &Authority, name: &HostName, address: &str, code: &Code) -> Result<Host, Failure> {
    let ours = identity::certificate_from_pem(authority.certificate_pem())?;
    let (channel, exporter) = identity::dial_pinned(code.pin(), address, &ours).await.map_err(waiting)?;
    let mut host = EnrolClient::new(channel);

    let proof = code.prove(Claim::Ask, &exporter);
    let reply = host.ask(AskRequest { proof }).await?.into_inner();
    if !code.accepts(Claim::Answer, &exporter, &reply.proof) {
        let sentence = format!("{address} has the right key but does not know the code");
        return Err(Failure::refused("WRONG_CODE", sentence, "read the code from the host once more"));
    }
    let certificate = authority.sign_agent(&reply.request, name)?;
    let der = identity::certificate_from_pem(&certificate)?;
    // The key that is signed is the key that is pinned: nobody's else, whatever the request says.
    if identity::pin_of_certificate(&der)? != code.pin() {
        let sentence = format!("{address} asks for a certificate of another key than the one it shows");
        return Err(Failure::refused("PIN_MISMATCH", sentence, "do not trust this host before it is known why"));
    }
    let install = InstallRequest {
        proof: code.prove(Claim::Install, &exporter),
        certificate,
        authority: authority.certificate_pem().to_owned(),
    };
    host.install(install).await.map_err(Failure::from).map_err(|failure| match failure.effect {
        Effect::None => failure,
        Effect::Done | Effect::Unknown => {
            let sentence = format!("whether {name} has taken its certificate is not known: {}", failure.sentence);
            let remedy = "run `flytt-agent join` on it again (with --again if it says that it has joined), then add it again";
            Failure::unknown("ENROLMENT_UNKNOWN", sentence, remedy)
        }
    })?;
    Ok(Host { address: address.to_owned(), key: identity::fingerprint(&identity::key_of_certificate(&der)?) })
}

/// Nobody at the door: the likeliest reason here is that the host does not wait any more.
fn waiting(failure: Failure) -> Failure {
    if failure.code != "UNREACHABLE" {
        return failure;
    }
    let remedy =
        "see that `flytt-agent join` still waits there (it ends after ten minutes or three wrong codes), and the address";
    Failure { remedy: remedy.into(), ..failure }
}
