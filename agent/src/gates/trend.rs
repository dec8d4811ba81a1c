//! Where a number goes: its slope over a window, and whether it rises throughout, so that a burst or a pause is not a trend.

use std::collections::VecDeque;

/// Points of (seconds, value), oldest first, of one window.
#[derive(Debug)]
pub(super) struct Trend {
    window: f64,
    points: VecDeque<(f64, f64)>,
}

impl Trend {
    pub(super) fn over(seconds: f64) -> Self {
        Self { window: seconds, points: VecDeque::new() }
    }

    pub(super) fn push(&mut self, at: f64, value: f64) {
        self.points.push_back((at, value));
        while self.points.front().is_some_and(|(first, _)| at - first > self.window) {
            self.points.pop_front();
        }
    }

    /// Whether the window is full enough to speak of a trend: nine tenths of it, ten points at least.
    pub(super) fn is_known(&self) -> bool {
        self.points.len() >= 10 && self.span() >= self.window * 0.9
    }

    fn span(&self) -> f64 {
        match (self.points.front(), self.points.back()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0.0,
        }
    }

    /// From the first point to the last, per second: right for counters, whose ends are exact.
    pub(super) fn rate(&self) -> f64 {
        match (self.points.front(), self.points.back()) {
            (Some((first, from)), Some((last, to))) if last > first => (to - from) / (last - first),
            _ => 0.0,
        }
    }

    /// By least squares, per second: right for what is noisy.
    pub(super) fn slope(&self) -> f64 {
        let count = self.points.len() as f64;
        if count < 2.0 {
            return 0.0;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).sum::<f64>() / count;
        let (at, value) = (mean(|point| point.0), mean(|point| point.1));
        let products: f64 = self.points.iter().map(|point| (point.0 - at) * (point.1 - value)).sum();
        let squares: f64 = self.points.iter().map(|point| (point.0 - at).powi(2)).sum();
        if squares > 0.0 { products / squares } else { 0.0 }
    }

    /// The median of each sixth of the window is above that of the one before: what lasts for less than four of them is a burst.
    pub(super) fn rises_throughout(&self) -> bool {
        let Some((first, _)) = self.points.front() else { return false };
        let sixth = (self.span() / 6.0).max(f64::MIN_POSITIVE);
        let mut parts: [Vec<f64>; 6] = Default::default();
        for (at, value) in &self.points {
            parts[(((at - first) / sixth) as usize).min(5)].push(*value);
        }
        let medians = parts.map(|mut values| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        });
        medians.windows(2).all(|pair| matches!(pair, [Some(before), Some(after)] if after > before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: impl Fn(f64) -> f64) -> Trend {
        let mut trend = Trend::over(120.0);
        for second in 0..400 {
            trend.push(f64::from(second), value(f64::from(second)));
        }
        trend
    }

    #[test]
    fn a_line_is_a_line() {
        let line = of(|at| 100.0 + 7.0 * at);
        assert!(line.is_known() && line.rises_throughout());
        assert!((line.slope() - 7.0).abs() < 1e-9 && (line.rate() - 7.0).abs() < 1e-9);
        assert!(!of(|at| -at).rises_throughout());
        assert!(!of(|_| 5.0).rises_throughout());
    }

    #[test]
    fn noise_bursts_and_steps_do_not_rise_throughout() {
        assert!(!of(|at| (at * 12.9898).sin() * 1e6).rises_throughout());
        assert!(!of(|at| if at > 370.0 { 1e9 } else { 0.0 }).rises_throughout(), "a burst at the end");
        assert!(!of(|at| if at > 330.0 { 1e9 } else { 0.0 }).rises_throughout(), "a step");
        assert!(!of(|at| at % 60.0).rises_throughout(), "a saw: it is caught up again and again");
        assert!(of(|at| at * 10.0 + (at * 12.9898).sin() * 50.0).rises_throughout(), "noise on a trend does not hide it");
    }

    #[test]
    fn little_is_not_known() {
        let mut trend = Trend::over(120.0);
        assert!(!trend.is_known() && !trend.rises_throughout());
        assert_eq!((trend.slope(), trend.rate()), (0.0, 0.0));
        for second in 0..=107 {
            trend.push(f64::from(second), 1.0);
        }
        assert!(!trend.is_known());
        trend.push(108.0, 1.0);
        assert!(trend.is_known());
        let mut sparse = Trend::over(120.0);
        sparse.push(0.0, 0.0);
        sparse.push(119.0, 1.0);
        assert!(!sparse.is_known(), "two points are no trend");
    }
}
