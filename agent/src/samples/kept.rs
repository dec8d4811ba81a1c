//! Samples as the history keeps them: numbers in hundredths, which is what `iostat` shows, and names. A day of them is small.

use flytt_proto::v1::{
    Sample,
    sample::{Cpu, Disk, Memory, Net, Pressure},
};
use prost::Message;

use super::columns;

/// One sample. Fields are only ever added, so that what an older agent kept still reads.
#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(int64, tag = "1")]
    at_ms: i64,
    #[prost(uint64, tag = "2")]
    length_ms: u64,
    /// Of processors, pressure, each disk and each interface, in the order of [`columns`]; an absent part has none.
    #[prost(sint64, repeated, tag = "3")]
    hundredths: Vec<i64>,
    #[prost(bool, tag = "4")]
    has_cpu: bool,
    #[prost(bool, tag = "5")]
    has_pressure: bool,
    #[prost(uint64, repeated, tag = "6")]
    memory: Vec<u64>,
    #[prost(string, repeated, tag = "7")]
    disks: Vec<String>,
    #[prost(string, repeated, tag = "8")]
    nets: Vec<String>,
    /// Which of the disks hold the data directory.
    #[prost(uint32, repeated, tag = "9")]
    data: Vec<u32>,
    #[prost(bool, tag = "10")]
    own: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(message, repeated, tag = "1")]
    samples: Vec<Kept>,
}

/// Devices and interfaces that did nothing are not kept, the data directory's apart.
pub(super) fn encode<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<u8> {
    Row { samples: samples.map(keep).collect() }.encode_to_vec()
}

/// `None`: nothing that [`encode`] wrote.
pub(super) fn decode(row: &[u8]) -> Option<Vec<Sample>> {
    Row::decode(row).ok()?.samples.into_iter().map(recall).collect()
}

fn keep(sample: &Sample) -> Kept {
    let mut kept =
        Kept { at_ms: sample.at_ms, length_ms: (sample.seconds * 1000.0).round() as u64, own: sample.own, ..Kept::default() };
    if let Some(mut cpu) = sample.cpu {
        kept.has_cpu = true;
        kept.hundredths.extend(columns::cpu(&mut cpu).map(hundredths));
    }
    if let Some(mut pressure) = sample.pressure {
        kept.has_pressure = true;
        kept.hundredths.extend(columns::pressure(&mut pressure).map(hundredths));
    }
    for disk in &sample.disks {
        let mut disk = disk.clone();
        let numbers = columns::disk(&mut disk).map(hundredths);
        if disk.data || numbers != [0; 16] {
            if disk.data {
                kept.data.push(kept.disks.len() as u32);
            }
            kept.disks.push(disk.name);
            kept.hundredths.extend(numbers);
        }
    }
    for net in &sample.nets {
        let mut net = net.clone();
        let numbers = columns::net(&mut net).map(hundredths);
        if numbers != [0; 3] {
            kept.nets.push(net.name);
            kept.hundredths.extend(numbers);
        }
    }
    if let Some(of) = sample.memory {
        kept.memory = [of.total, of.available, of.dirty, of.writeback, of.swap_used].into();
    }
    kept
}

fn recall(kept: Kept) -> Option<Sample> {
    let mut left = kept.hundredths.as_slice();
    let cpu = if kept.has_cpu { Some(part::<Cpu, 6>(&mut left, columns::cpu)?) } else { None };
    let pressure = if kept.has_pressure { Some(part::<Pressure, 5>(&mut left, columns::pressure)?) } else { None };
    let mut disks = Vec::with_capacity(kept.disks.len());
    for (at, name) in (0_u32..).zip(kept.disks) {
        let numbers = part::<Disk, 16>(&mut left, columns::disk)?;
        disks.push(Disk { name, data: kept.data.contains(&at), ..numbers });
    }
    let mut nets = Vec::with_capacity(kept.nets.len());
    for name in kept.nets {
        nets.push(Net { name, ..part::<Net, 3>(&mut left, columns::net)? });
    }
    let memory = match kept.memory[..] {
        [total, available, dirty, writeback, swap_used] => Some(Memory { total, available, dirty, writeback, swap_used }),
        _ => None,
    };
    let seconds = kept.length_ms as f64 / 1000.0;
    Some(Sample { at_ms: kept.at_ms, seconds, cpu, memory, pressure, disks, nets, own: kept.own, p50: None, p99: None })
}

fn hundredths(number: &mut f64) -> i64 {
    (*number * 100.0).round() as i64
}

fn part<T: Default, const N: usize>(left: &mut &[i64], numbers: fn(&mut T) -> [&mut f64; N]) -> Option<T> {
    let (own, rest) = left.split_first_chunk::<N>()?;
    *left = rest;
    let mut part = T::default();
    for (into, hundredths) in numbers(&mut part).into_iter().zip(own) {
        *into = *hundredths as f64 / 100.0;
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_to_the_hundredth() {
        let busy = Disk { name: "sda".into(), w_s: 12.345, d_await: 7.0, ..Disk::default() };
        let sample = Sample {
            at_ms: 1_700_000_000_123,
            seconds: 1.0004,
            cpu: Some(Cpu { steal: 99.996, ..Cpu::default() }),
            memory: Some(Memory { total: 1 << 40, swap_used: 3, ..Memory::default() }),
            pressure: Some(Pressure { cpu_some: -1.0, memory_full: 0.5, ..Pressure::default() }),
            disks: vec![
                Disk { name: "idle".into(), ..Disk::default() },
                busy.clone(),
                Disk { name: "dm-1".into(), data: true, ..Disk::default() },
            ],
            nets: vec![Net { name: "eth0".into(), rx_bytes_s: 1.25e10, ..Net::default() }],
            own: true,
            ..Sample::default()
        };
        let mut expected = sample.clone();
        expected.seconds = 1.0;
        expected.cpu = Some(Cpu { steal: 100.0, ..Cpu::default() });
        expected.disks.remove(0);
        expected.disks[0].w_s = 12.35;
        let row = encode([&sample, &Sample::default()].into_iter());
        assert_eq!(decode(&row), Some(vec![expected, Sample::default()]));
    }

    #[test]
    fn what_somebody_else_wrote_is_told_from_it() {
        assert_eq!(decode(b"\xff\xff\xff"), None);
        let short = Row { samples: vec![Kept { has_cpu: true, hundredths: vec![1, 2], ..Kept::default() }] };
        assert_eq!(decode(&short.encode_to_vec()), None);
    }
}
