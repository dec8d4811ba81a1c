//! A minute of samples, summed up column by column: the most, the median and the 99th percentile.

use std::{collections::BTreeMap, sync::Arc};

use flytt_proto::v1::{
    Sample,
    sample::{Disk, Memory, Net},
};

use super::columns;

/// The most of each column, with `p50` and `p99` inside. `None` where there is nothing to sum up.
pub(super) fn sum_up(samples: &[Arc<Sample>]) -> Option<Sample> {
    let last = samples.last()?;
    let seconds = samples.iter().map(|sample| sample.seconds).sum();
    let own = samples.iter().any(|sample| sample.own);
    let of = || Sample { at_ms: last.at_ms, seconds, own, ..Sample::default() };
    let mut three = [of(), of(), of()];

    let cpus: Vec<_> = samples.iter().filter_map(|sample| sample.cpu).collect();
    let pressures: Vec<_> = samples.iter().filter_map(|sample| sample.pressure).collect();
    for (sample, cpu) in three.iter_mut().zip(spread(&cpus, columns::cpu)) {
        sample.cpu = (!cpus.is_empty()).then_some(cpu);
    }
    for (sample, pressure) in three.iter_mut().zip(spread(&pressures, columns::pressure)) {
        sample.pressure = (!pressures.is_empty()).then_some(pressure);
    }
    for (name, disks) in by_name(samples.iter().flat_map(|sample| &sample.disks), |disk| &disk.name) {
        let data = disks.iter().any(|disk| disk.data);
        for (sample, disk) in three.iter_mut().zip(spread(&disks, columns::disk)) {
            sample.disks.push(Disk { name: name.to_owned(), data, ..disk });
        }
    }
    for (name, nets) in by_name(samples.iter().flat_map(|sample| &sample.nets), |net| &net.name) {
        for (sample, net) in three.iter_mut().zip(spread(&nets, columns::net)) {
            sample.nets.push(Net { name: name.to_owned(), ..net });
        }
    }
    let [most, p50, p99] = three;
    Some(Sample { memory: memory(samples), p50: Some(p50.into()), p99: Some(p99.into()), ..most })
}

fn by_name<'a, T: Clone + 'a>(all: impl Iterator<Item = &'a T>, name: fn(&T) -> &String) -> BTreeMap<&'a str, Vec<T>> {
    let mut found: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    for one in all {
        found.entry(name(one)).or_default().push(one.clone());
    }
    found
}

/// [most, p50, p99] of each number, by nearest rank: always a value that was seen.
fn spread<T: Clone + Default, const N: usize>(seen: &[T], numbers: fn(&mut T) -> [&mut f64; N]) -> [T; 3] {
    let mut three = [T::default(), T::default(), T::default()];
    let rows: Vec<[f64; N]> = seen.iter().map(|one| numbers(&mut one.clone()).map(|number| *number)).collect();
    for column in 0..N {
        let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        values.sort_unstable_by(f64::total_cmp);
        for (into, share) in three.iter_mut().zip([1.0, 0.5, 0.99]) {
            *numbers(into)[column] = rank(&values, share).unwrap_or_default();
        }
    }
    three
}

/// The value at this share of an ordered list.
pub(super) fn rank(ordered: &[f64], share: f64) -> Option<f64> {
    let at = (ordered.len() as f64 * share).ceil() as usize;
    ordered.get(at.saturating_sub(1)).copied()
}

fn memory(samples: &[Arc<Sample>]) -> Option<Memory> {
    let all = samples.iter().filter_map(|sample| sample.memory);
    all.reduce(|one, other| Memory {
        total: one.total.max(other.total),
        available: one.available.min(other.available),
        dirty: one.dirty.max(other.dirty),
        writeback: one.writeback.max(other.writeback),
        swap_used: one.swap_used.max(other.swap_used),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: i64, w_s: f64, available: u64) -> Arc<Sample> {
        Arc::new(Sample {
            at_ms: at * 1000,
            seconds: 1.0,
            memory: Some(Memory { available, ..Memory::default() }),
            disks: vec![Disk { name: "sda".into(), w_s, util: 100.0 - w_s, ..Disk::default() }],
            ..Sample::default()
        })
    }

    #[test]
    fn each_column_has_its_own_most_median_and_percentile() {
        let mut samples: Vec<_> = (1..=59).map(|at| second(at, at as f64, 1_000 + at as u64)).collect();
        samples.push(Arc::new(Sample { at_ms: 60_000, seconds: 1.0, ..Sample::default() }));
        let minute = sum_up(&samples).unwrap();
        assert_eq!((minute.at_ms, minute.seconds), (60_000, 60.0));
        let (p50, p99) = (minute.p50.unwrap(), minute.p99.unwrap());
        let of = |disks: &[Disk]| (disks[0].w_s, disks[0].util);
        // Of 59 seconds in which the device was there: ranks 30 and 59.
        assert_eq!([of(&minute.disks), of(&p50.disks), of(&p99.disks)], [(59.0, 99.0), (30.0, 70.0), (59.0, 99.0)]);
        assert_eq!(minute.memory.unwrap().available, 1_001, "the least is the worst");
        assert_eq!(minute.cpu, None, "nothing was seen of it");
    }

    #[test]
    fn nothing_sums_up_to_nothing() {
        assert_eq!(sum_up(&[]), None);
    }
}
