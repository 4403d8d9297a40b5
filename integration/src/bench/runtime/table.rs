//! All figures, a row for each measure and a column for each runtime.

use std::collections::BTreeMap;
use std::time::Duration;

use super::engine::Engine;
use crate::by_hand::say;

/// Filled in any order.
#[derive(Debug)]
pub(super) struct Table {
    engines: Vec<&'static str>,
    /// In the order in which they were first met.
    rows: Vec<String>,
    times: BTreeMap<(usize, usize), Vec<Duration>>,
    sizes: BTreeMap<(usize, usize), u64>,
}

impl Table {
    pub(super) fn new(engines: &[Engine]) -> Self {
        let engines = engines.iter().map(|engine| engine.kind().name()).collect();
        Self { engines, rows: Vec::new(), times: BTreeMap::new(), sizes: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, name: &str, engine: usize, took: Duration) {
        let row = self.row(name);
        self.times.entry((row, engine)).or_default().push(took);
    }

    pub(super) fn add_kib(&mut self, name: &str, engine: usize, size: u64) {
        let row = self.row(name);
        self.sizes.insert((row, engine), size);
    }

    fn row(&mut self, name: &str) -> usize {
        let known = self.rows.iter().position(|row| row == name);
        known.unwrap_or_else(|| {
            self.rows.push(name.to_owned());
            self.rows.len() - 1
        })
    }

    /// Medians, and below each how many times ours that is.
    pub(super) fn print(mut self) {
        self.times.values_mut().for_each(|taken| taken.sort());
        let cells = |cell: &dyn Fn(usize) -> Option<String>| -> String {
            let cells = (0..self.engines.len()).map(|engine| cell(engine).unwrap_or_default());
            cells.map(|cell| format!(" {cell:>13}")).collect::<Vec<_>>().concat()
        };
        say(&format!(
            "{:<30}{}",
            "medians",
            cells(&|engine| Some(self.engines[engine].to_owned()))
        ));
        for (row, name) in self.rows.iter().enumerate() {
            let value = |engine| self.milliseconds(row, engine).or_else(|| self.kib(row, engine));
            let unit = if self.kib(row, 0).is_some() { "KiB" } else { "ms" };
            say(&format!(
                "{name:<30}{}",
                cells(&|engine| value(engine).map(|value| format!("{value:.1} {unit}")))
            ));
            let Some(ours) = value(0) else { continue };
            let ratio = |engine| value(engine).map(|value| format!("{:.2} ×", value / ours));
            say(&format!("{:<30}{}", "", cells(&ratio)));
        }
    }

    fn milliseconds(&self, row: usize, engine: usize) -> Option<f64> {
        let taken = self.times.get(&(row, engine))?;
        Some(taken.get(taken.len() / 2)?.as_secs_f64() * 1e3)
    }

    #[expect(clippy::cast_precision_loss, reason = "KiB of memory are far fewer than 2^53")]
    fn kib(&self, row: usize, engine: usize) -> Option<f64> {
        self.sizes.get(&(row, engine)).map(|size| *size as f64)
    }
}
