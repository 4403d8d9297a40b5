//! All samples, and what can be said about them.

use std::collections::BTreeMap;

use super::lane::Path;
use super::measure::{Measure, Sample};

/// Of each measure and path, one sample or none for each round.
#[derive(Debug, Default)]
pub(super) struct Results {
    samples: BTreeMap<(Measure, Path), Vec<Option<Sample>>>,
    /// What went wrong, in words.
    pub(super) failures: Vec<String>,
}

/// What is looked at of a sample.
pub(super) type Key = fn(&Sample) -> f64;

/// The middle of some numbers, and how far they are from each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

impl Results {
    /// The next round of that measure on that path.
    pub(super) fn add(&mut self, (measure, path): (Measure, Path), sample: anyhow::Result<Sample>) {
        let sample = sample.map_err(|error| {
            let (title, name) = (measure.meaning().title, path.name());
            self.failures.push(format!("{title} over {name}: {error:#}"));
        });
        self.samples.entry((measure, path)).or_default().push(sample.ok());
    }

    /// Over all rounds; `None` if there is not one.
    pub(super) fn spread(&self, of: (Measure, Path), key: Key) -> Option<Spread> {
        Spread::of(self.samples.get(&of)?.iter().flatten().map(key).collect())
    }

    /// How many times as much as that of `other`: the middle of what each round says by itself, for what
    /// disturbs a round disturbs both.
    pub(super) fn ratio(&self, of: (Measure, Path), (other, key): (Path, Key)) -> Option<f64> {
        let theirs = self.samples.get(&(of.0, other))?;
        let rounds = self.samples.get(&of)?.iter().zip(theirs);
        let both =
            rounds.filter_map(|(ours, theirs)| Some((key(ours.as_ref()?), key(theirs.as_ref()?))));
        let ratios = both.filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs);
        Some(Spread::of(ratios.collect())?.median)
    }

    /// The part of the machine that others used, in the middle of all samples of a measure, or of all.
    pub(super) fn others(&self, measure: Option<Measure>) -> Option<Spread> {
        let wanted = |(of, _path): &(Measure, Path)| measure.is_none_or(|measure| measure == *of);
        let samples = self.samples.iter().filter(|(of, _)| wanted(of));
        let samples = samples.flat_map(|(_, samples)| samples.iter().flatten());
        Spread::of(samples.map(|sample| sample.others).collect())
    }

    /// Everything, for machines.
    pub(super) fn json(&self) -> serde_json::Value {
        let rows = self.samples.iter().flat_map(|((measure, path), samples)| {
            samples.iter().enumerate().map(move |(round, sample)| {
                let meaning = measure.meaning();
                serde_json::json!({
                    "measure": meaning.title,
                    "unit": meaning.unit,
                    "path": path.name(),
                    "round": round + 1,
                    "value": sample.map(|sample| sample.value),
                    "second": sample.map(|sample| sample.second),
                    "cost": sample.map(|sample| sample.cost),
                    "cost_of_path": sample.map(|sample| sample.of_path),
                    "others": sample.map(|sample| sample.others),
                    "events": sample.map(|sample| sample.events),
                })
            })
        });
        rows.collect()
    }
}

impl Spread {
    fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let (least, most) = (*numbers.first()?, *numbers.last()?);
        let upper = numbers.len() / 2;
        let lower = (numbers.len() - 1) / 2;
        Some(Self { least, median: f64::midpoint(numbers[lower], numbers[upper]), most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_compared_with_themselves() {
        let sample = |value| {
            let (others, events) = (value / 100.0, [0.0; 3]);
            Sample { value, second: 0.0, cost: 1.0, of_path: 0.5, others, events }
        };
        let mut results = Results::default();
        // The machine is slow in one of three rounds, and something fails in another one.
        for (ours, theirs) in [(4.0, 8.0), (1.0, 2.0), (5.0, 9.0)] {
            results.add((Measure::Tcp1, Path::Twill), Ok(sample(ours)));
            results.add((Measure::Tcp1, Path::Vxlan), Ok(sample(theirs)));
        }
        results.add((Measure::Tcp1, Path::Twill), Err(anyhow::anyhow!("it broke")));
        results.add((Measure::Tcp1, Path::Vxlan), Ok(sample(8.0)));
        let key: Key = |sample| sample.value;
        let ratio = results.ratio((Measure::Tcp1, Path::Twill), (Path::Vxlan, key));
        assert_eq!(ratio, Some(0.5));
        let spread = results.spread((Measure::Tcp1, Path::Vxlan), key);
        assert_eq!(spread, Some(Spread { least: 2.0, median: 8.0, most: 9.0 }));
        assert_eq!(results.failures, ["TCP, 1 stream over twill udp: it broke"]);
        assert_eq!(results.ratio((Measure::Tcp1, Path::Twill), (Path::Naive, key)), None);
        assert_eq!(results.others(None).map(|others| others.most), Some(0.09));
    }
}
