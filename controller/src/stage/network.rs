//! What the agents of a stage were told and have said.

use std::{path::PathBuf, time::Duration};

use flytt_proto::failure::Failure;

use super::{Stage, programs};

const LIMIT: Duration = Duration::from_secs(10);
const SS: [&str; 3] = ["/usr/bin/ss", "/bin/ss", "/usr/sbin/ss"];

impl Stage {
    /// Bytes that the open connections of source's and target's agent have carried both ways, as the kernel counts them (ss(8)).
    ///
    /// # Errors
    /// `PROGRAM_MISSING`; `STAGE_PROGRAM` with what it says.
    pub async fn carried(&self) -> Result<u64, Failure> {
        let agents = self.agents.iter().flat_map(|agents| [&agents.source, &agents.target]);
        let ports: Vec<String> = agents.map(|agent| format!("dport = :{}", agent.address.port())).collect();
        let program = SS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
            .ok_or_else(|| programs::missing("iproute2", SS[0].as_ref()))?;
        let which = format!("( {} )", ports.join(" or "));
        let told = self.source.at.program(program, &["-tinHO", "state", "established", &which]).run("", LIMIT).await?;
        Ok(carried(&told))
    }
}

fn carried(text: &str) -> u64 {
    let fields = text.split_whitespace().filter_map(|field| {
        field.strip_prefix("bytes_acked:").or_else(|| field.strip_prefix("bytes_received:"))?.parse::<u64>().ok()
    });
    fields.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_carried_is_read_from_the_kernels_table() {
        let text = "0 0 127.0.0.1:4 127.0.0.1:5 cubic bytes_sent:9 bytes_acked:900 bytes_received:100 send 1Gbps\n0 0 a b bytes_acked:1\n";
        assert_eq!(carried(text), 1_001);
    }
}
