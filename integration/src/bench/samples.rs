//! Durations of one kind.

use std::time::Duration;

use crate::by_hand::say;

/// As many as were taken.
#[derive(Debug, Default)]
pub(super) struct Samples {
    taken: Vec<Duration>,
}

impl Samples {
    pub(super) fn add(&mut self, sample: Duration) {
        self.taken.push(sample);
    }

    /// One line: median and fastest. Without a sample, nothing.
    pub(super) fn print(mut self, name: &str, wanted: &str) {
        self.taken.sort();
        let (Some(fastest), Some(median)) =
            (self.taken.first(), self.taken.get(self.taken.len() / 2))
        else {
            return;
        };
        let milliseconds = |duration: &Duration| duration.as_secs_f64() * 1e3;
        say(&format!(
            "{name:<44} {:>7.1} ms {:>7.1} ms   {wanted}",
            milliseconds(median),
            milliseconds(fastest)
        ));
    }
}
