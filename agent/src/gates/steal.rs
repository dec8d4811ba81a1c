//! Processor time that the hypervisor gives to others: a neighbour who takes it makes lag grow whatever the rest does.

use flytt_proto::{
    gate::Gate,
    v1::{self, Finding},
};

use super::{Reading, fails, sustained::Sustained};

/// One host's.
#[derive(Debug, Default)]
pub(crate) struct Steal(Sustained);

impl Steal {
    /// The finding, once each time that it becomes true.
    pub(crate) fn look(&mut self, readings: &[Reading], host: &str, gates: &v1::Gates) -> Option<Finding> {
        let bad = |reading: &Reading| reading.steal > gates.steal_percent;
        if gates.steal_percent <= 0.0 || !self.0.rises(readings, bad) {
            return None;
        }
        let sentence = format!(
            "its hypervisor takes processor time away: {:.1} % of it in {} ({} % at most is asked for)",
            self.0.mean(bad, |reading| reading.steal),
            self.0.how_long(bad),
            gates.steal_percent
        );
        let remedy = format!(
            "ask its provider for processors that are not shared, or move at a quieter hour; go on with `--accept {}` where this \
             blocks",
            Gate::Steal
        );
        Some(fails(gates, Gate::Steal, host, sentence, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    fn said(steal: f64) -> Option<String> {
        let reading = |second: i64| Reading { at_ms: second * 1_000, seconds: 1.0, steal, disk: None };
        let readings: Vec<Reading> = (1..16).map(reading).collect();
        Steal::default().look(&readings, "db-old", &sample::gates()).map(|finding| finding.sentence)
    }

    #[test]
    fn more_than_the_threshold_for_ten_seconds() {
        assert_eq!(said(5.0), None);
        assert!(said(12.34).expect("too much").contains("12.3 % of it in 15 of the last 15 s (5 % at most"));
    }
}
