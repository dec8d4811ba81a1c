//! `flytt probe`: what a host's storage sustains, measured now and outside of any move.

use bytesize::ByteSize;
use flytt_proto::name::HostName;

use super::*;
use crate::fleet::Operator;

#[derive(Debug, clap::Args)]
pub struct ProbeOptions {
    pub(crate) host: HostName,
    /// Of the file that is written [default: 1 GiB, or 5 % of what is free].
    #[arg(long)]
    size: Option<ByteSize>,
    /// Seconds of each job [default: 5].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// As in randwrite-4k-qd32, randrw-8k-qd16, read-1m-qd4, commit-8k; may be given several times [default: a usual set].
    #[arg(long = "job")]
    jobs: Vec<String>,
    /// A whole, empty, unused disk (as /dev/nvme1n1) instead of the data directory's file system. It is written over.
    #[arg(long, requires = "again")]
    device: Option<String>,
    /// The same disk once more.
    #[arg(long, requires = "device")]
    again: Option<String>,
}

/// Runs the probe and shows what it measured. Interrupted, it ends on the host, too.
pub async fn probe(session: &Session, options: ProbeOptions, view: &mut dyn View) -> Result<Answer, Halt> {
    let host = options.host;
    let request = v1::ProbeRequest {
        device: options.device.unwrap_or_default(),
        again: options.again.unwrap_or_default(),
        file_bytes: options.size.unwrap_or_default().0,
        seconds: options.seconds.unwrap_or_default(),
        jobs: options.jobs,
    };
    let fleet = Operator { observer: session.observer.clone() };
    let mut on = |kind| {
        if let v1::event::Kind::Progress(progress) = kind {
            view.show(Line::Note(&progress.text));
        }
    };
    let report = tokio::select! {
        report = fleet.probe(&host, request, &mut on) => report?,
        () = session.stop.cancelled() => {
            return Err(Halt::new(Exit::Interrupted, []).now(format!("the probe ends on {host}, and nothing is left of it")));
        }
    };
    let text = table(&host, &report);
    Ok(answer(text, json!({ "host": host, "report": report })))
}

fn table(host: &HostName, report: &v1::ProbeReport) -> String {
    let device = report.device.clone().unwrap_or_default();
    let place = device.through.iter().rev().fold(device.name.clone(), |below, through| format!("{through} on {below}"));
    let kind = [device.model.as_str(), device.transport.as_str(), device.file_system.as_str()];
    let kind: Vec<&str> = kind.into_iter().filter(|word| !word.is_empty()).collect();
    let rotates = if device.rotational { "rotating (as it says)" } else { "not rotating" };
    let mut lines = vec![
        format!("{host}: {} lies on {place} ({})", device.path, kind.join(", ")),
        format!(
            "{rotates}, scheduler {}, {} requests, write cache {}, {} of {} free",
            device.scheduler,
            device.queue_depth,
            device.write_cache,
            ByteSize(device.free_bytes),
            ByteSize(device.size_bytes),
        ),
        format!("by {}, in {}", report.way, ByteSize(report.file_bytes)),
        format!(
            "{:<20} {:>9} {:>9} {:>10} {:>10} {:>10} {:>10} {:>8}",
            "job", "IOPS", "MiB/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "CPU µs"
        ),
    ];
    let ms = |us: u64| us as f64 / 1e3;
    lines.extend(report.results.iter().map(|result| {
        format!(
            "{:<20} {:>9.0} {:>9.1} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>8.1}",
            result.job,
            result.iops,
            result.mib_s,
            ms(result.p50_us),
            ms(result.p99_us),
            ms(result.p999_us),
            ms(result.max_us),
            result.cpu_us_per_io,
        )
    }));
    if !report.stopped.is_empty() {
        lines.push(format!("stopped early: {}", report.stopped));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table() {
        let device = v1::Device {
            name: "nvme0n1".into(),
            path: "/srv/data".into(),
            through: vec!["dm-1".into(), "nvme0n1p2".into()],
            transport: "nvme".into(),
            file_system: "xfs".into(),
            ..Default::default()
        };
        let job = |name: &str| v1::ProbeResult { job: name.into(), iops: 1234.5, p99_us: 2500, ..Default::default() };
        let report = v1::ProbeReport {
            device: Some(device),
            way: "io_uring".into(),
            results: vec![job("randwrite-4k-qd32"), job("commit-8k")],
            stopped: "the host comes first".into(),
            ..Default::default()
        };
        let text = table(&"db-new".parse().expect("a name"), &report);
        assert!(text.starts_with("db-new: /srv/data lies on dm-1 on nvme0n1p2 on nvme0n1 (nvme, xfs)\n"), "{text}");
        assert!(
            text.contains("\nrandwrite-4k-qd32") && text.contains("2.50") && text.ends_with("the host comes first"),
            "{text}"
        );
        let widths: Vec<usize> = text.lines().skip(3).take(3).map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "columns stand under each other: {text}");
    }
}
