//! `flytt samples`: what a host is doing, as `iostat -mx` would show it; live, out of its agent's history, or the peak alone.

use flytt_proto::{
    name::HostName,
    v1::{Peak, Sample, SamplesRequest, sample::Disk},
};
use jiff::{Timestamp, tz::TimeZone};

use super::*;
use crate::{spec::milliseconds, view};

/// How to look.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    pub host: HostName,
    /// What was, instead of what is.
    #[arg(long)]
    history: bool,
    /// How far back: 90s, 30m, 2h, 7d.
    #[arg(long, default_value = "2h", value_parser = milliseconds, requires = "history")]
    since: u64,
    /// 1s, or 1m for the most of each minute, which reaches back a month [default: what suits the time].
    #[arg(long, value_parser = resolution, requires = "history")]
    resolution: Option<u32>,
    /// Only the most that the data directory's device was seen to do, and over which time.
    #[arg(long, conflicts_with = "history")]
    peak: bool,
}

fn resolution(text: &str) -> Result<u32, String> {
    match text {
        "1s" => Ok(1),
        "1m" => Ok(60),
        _ => Err("1s or 1m".into()),
    }
}

/// Shows until there is no more, or the operator has seen enough: that is no failure.
pub async fn samples(session: &Session, options: &Options, view: &mut dyn View) -> Result<Answer, Halt> {
    if options.peak {
        let facts = session.observer.facts(&options.host).await?;
        return match facts.peak {
            Some(peak) => Ok(answer(describe(&options.host, &peak), json!({ "host": options.host, "peak": peak }))),
            None => Err(Failure::refused(
                "NO_PEAK",
                format!("{} has seen nothing of a data directory's device yet", options.host),
                "see that its agent.toml has a [postgres], [mariadb] or [mysql] section and that `data_directory` lies on a local disk",
            )
            .into()),
        };
    }
    let from_ms = Timestamp::now().as_millisecond().saturating_sub(i64::try_from(options.since).unwrap_or(i64::MAX));
    let request = SamplesRequest {
        live: !options.history,
        from_ms: if options.history { from_ms.max(0) } else { 0 },
        to_ms: 0,
        resolution_s: options.resolution.unwrap_or(0),
    };
    let shown = async {
        let mut samples = session.observer.samples(&options.host, request).await?;
        while let Some(sample) = samples.next().await? {
            let value = serde_json::to_value(&sample).unwrap_or_default();
            view.show(Line::Answer { text: &table(&sample), value: &value });
            if view::is_closed() {
                break;
            }
        }
        Ok::<_, Failure>(())
    };
    tokio::select! {
        shown = shown => shown?,
        () = session.stop.cancelled() => {}
    }
    Ok(Answer::nothing())
}

/// Loads have a day: what happened at night or at noon is not in less.
const DAY: u64 = 86_400;

fn describe(host: &HostName, peak: &Peak) -> String {
    let commit = match peak.commit_await_ms {
        wait if wait < 0.0 => "what a commit waits is not known yet".to_owned(),
        wait => format!("a commit waits {wait:.2} ms"),
    };
    let seconds = peak.observed_s as u64;
    let watched = match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    };
    let short = if seconds < DAY { "\nthat is less than a day: the load of a whole day may be higher" } else { "" };
    format!(
        "{host}: {} wrote {:.0} times in its busiest second, {}; read {:.0} times and wrote {:.1} MiB at most; {commit}\n\
         seen second by second for {watched} since {}{short}",
        peak.device,
        peak.write_iops,
        time(peak.at_ms),
        peak.read_iops,
        peak.write_mb_s,
        time(peak.since_ms),
    )
}

fn time(at_ms: i64) -> String {
    let Ok(at) = Timestamp::from_millisecond(at_ms) else { return format!("{at_ms} ms") };
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// One interval, in the columns of `iostat -mx`; the data directory's devices have a star.
fn table(sample: &Sample) -> String {
    let mut head = format!("{}  {:.2} s", time(sample.at_ms), sample.seconds);
    if sample.p50.is_some() {
        head.push_str("  the most of each column");
    }
    if sample.own {
        head.push_str("  flytt itself kept the disks busy: no part of the peak");
    }
    let mut lines = vec![head];
    if let Some(cpu) = &sample.cpu {
        lines.push(format!(
            "  cpu  user {:.1} %  nice {:.1} %  system {:.1} %  iowait {:.1} %  steal {:.1} %  idle {:.1} %",
            cpu.user, cpu.nice, cpu.system, cpu.iowait, cpu.steal, cpu.idle
        ));
    }
    if let Some(memory) = &sample.memory {
        let mib = |bytes: u64| bytes >> 20;
        lines.push(format!(
            "  memory  {} of {} MiB available  dirty {}  writeback {}  swap used {}",
            mib(memory.available),
            mib(memory.total),
            mib(memory.dirty),
            mib(memory.writeback),
            mib(memory.swap_used)
        ));
    }
    if let Some(pressure) = sample.pressure.filter(|pressure| pressure.io_some >= 0.0) {
        lines.push(format!(
            "  waiting  for cpu {:.1} %  io {:.1} % (all {:.1} %)  memory {:.1} % (all {:.1} %)",
            pressure.cpu_some.max(0.0),
            pressure.io_some,
            pressure.io_full.max(0.0),
            pressure.memory_some.max(0.0),
            pressure.memory_full.max(0.0)
        ));
    }
    for net in &sample.nets {
        lines.push(format!(
            "  {:<12} in {:.2} MiB/s  out {:.2} MiB/s  dropped {:.0}/s",
            net.name,
            net.rx_bytes_s / 1_048_576.0,
            net.tx_bytes_s / 1_048_576.0,
            net.drops_s
        ));
    }
    lines.push(format!(
        "  {:<12} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>6}",
        "device",
        "r/s",
        "w/s",
        "rMB/s",
        "wMB/s",
        "rrqm/s",
        "wrqm/s",
        "r_await",
        "w_await",
        "f/s",
        "f_await",
        "d/s",
        "aqu-sz",
        "%util"
    ));
    lines.extend(sample.disks.iter().map(row));
    lines.push(String::new());
    lines.join("\n")
}

fn row(disk: &Disk) -> String {
    format!(
        "{} {:<12} {:>9.2} {:>9.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>7.2} {:>6.2}",
        if disk.data { '*' } else { ' ' },
        disk.name,
        disk.r_s,
        disk.w_s,
        disk.r_mb_s,
        disk.w_mb_s,
        disk.rrqm_s,
        disk.wrqm_s,
        disk.r_await,
        disk.w_await,
        disk.f_s,
        disk.f_await,
        disk.d_s,
        disk.aqu_sz,
        disk.util
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_marks_the_data_device_and_shows_steal() {
        let sample = Sample {
            at_ms: 1_700_000_000_000,
            seconds: 1.0,
            cpu: Some(v1::sample::Cpu { steal: 12.34, ..Default::default() }),
            disks: vec![
                Disk { name: "vda".into(), w_s: 1.0, ..Disk::default() },
                Disk { name: "vdb".into(), w_s: 2_345.678, data: true, ..Disk::default() },
            ],
            ..Sample::default()
        };
        let text = table(&sample);
        assert!(text.contains("steal 12.3 %"), "{text}");
        let starts = |start: &str| text.lines().any(|line| line.starts_with(start));
        assert!(starts("  vda ") && starts("* vdb "), "{text}");
        assert!(text.contains(" 2345.68 "), "{text}");
        let widths: Vec<usize> = text.lines().rev().filter(|line| !line.is_empty()).take(3).map(str::len).collect();
        assert_eq!(widths, [widths[0]; 3], "columns stand below each other:\n{text}");
        assert!(!text.contains("flytt itself") && table(&Sample { own: true, ..sample }).contains("flytt itself"), "{text}");
    }

    #[test]
    fn a_peak_says_over_which_time_it_was_seen() {
        let peak =
            Peak { device: "vdb".into(), write_iops: 812.4, observed_s: 7_320.0, commit_await_ms: -1.0, ..Peak::default() };
        let of = |observed_s| describe(&"db-old".parse().unwrap(), &Peak { observed_s, ..peak.clone() });
        let text = of(7_320.0);
        assert!(text.contains("db-old: vdb wrote 812 times") && text.contains("for 2 h 02 min"), "{text}");
        assert!(text.contains("a commit waits is not known yet") && text.contains("less than a day"), "{text}");
        assert!(of(9.4).contains("for 9 s since") && !of(86_400.0).contains("less than a day"), "{text}");
    }
}
