//! All figures, a row for each chain and verb.

use std::time::Duration;

use super::Cost;
use crate::by_hand::say;

/// A chain, and what was asked of it.
pub(super) type Row = (&'static str, &'static str);

/// What a row is to be, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Below(f64),
    /// No more than that above another row.
    Above(Row, f64),
}

/// Filled in any order.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<(Row, Vec<Cost>)>,
}

/// A processor is busy no longer than this for a call.
const CPU: f64 = 3.0;

impl Table {
    pub(super) fn add(&mut self, row: Row, cost: Cost) {
        match self.rows.iter_mut().find(|(known, _costs)| *known == row) {
            Some((_known, costs)) => costs.push(cost),
            None => self.rows.push((row, vec![cost])),
        }
    }

    /// Nothing here can fail: what was wanted stands beside what was measured.
    pub(super) fn print(&self, wanted: &[(Row, Wanted)]) {
        say(&format!(
            "{:<36} {:<4} {:>8} {:>8} {:>8} {:>8}   wanted",
            "milliseconds", "", "median", "min", "p95", "CPU"
        ));
        for (row, costs) in &self.rows {
            let walls = sorted(costs, |cost| cost.wall);
            let cpu = at(&sorted(costs, |cost| cost.cpu), 50);
            let limit = wanted.iter().find(|(of, _wanted)| of == row).map(|(_of, wanted)| {
                let (below, how) = match wanted {
                    Wanted::Below(limit) => (*limit, String::new()),
                    Wanted::Above(floor, more) => {
                        (self.median(*floor) + more, format!("floor + {more}: "))
                    }
                };
                format!("{how}{below:.1}, CPU {CPU:.1}")
            });
            say(&format!(
                "{:<36} {:<4} {:>8.2} {:>8.2} {:>8.2} {cpu:>8.2}   {}",
                row.0,
                row.1,
                at(&walls, 50),
                at(&walls, 0),
                at(&walls, 95),
                limit.unwrap_or_default()
            ));
        }
    }

    fn median(&self, row: Row) -> f64 {
        let found = self.rows.iter().find(|(known, _costs)| *known == row);
        found.map_or(f64::NAN, |(_row, costs)| at(&sorted(costs, |cost| cost.wall), 50))
    }
}

fn sorted(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> Vec<f64> {
    let mut all: Vec<f64> = costs.iter().map(|cost| of(cost).as_secs_f64() * 1e3).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// What so many of a hundred are not above.
fn at(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
