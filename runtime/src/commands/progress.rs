//! A bar for each thing that is read, where a person looks on.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::image::{Source, Step};
use crate::terminal::is_terminal;

/// As Docker shows it.
const BAR: &str = "{prefix}: Loading [{bar:30}] {decimal_bytes}/{decimal_total_bytes}";
/// Nobody knows how much it will be.
const COUNT: &str = "{prefix}: Loading {decimal_bytes}";

/// Shows on standard error, if that is a terminal, how far a source has been read.
pub fn show(source: Source) -> Source {
    if !is_terminal(io::stderr()) {
        return source;
    }
    let bars = Bars::default();
    source.watched(move |step| bars.show(step))
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    known: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn show(&self, step: Step<'_>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = match known.get(step.what) {
            Some(bar) => bar.clone(),
            None => known.entry(step.what.to_owned()).or_insert(self.add(step)).clone(),
        };
        drop(known);
        bar.set_position(step.done);
        if step.ended {
            bar.finish();
        }
    }

    fn add(&self, step: Step<'_>) -> ProgressBar {
        let template = if step.of.is_some() { BAR } else { COUNT };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = step.of.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let bar = self.all.add(bar.with_style(style));
        bar.set_prefix(step.what.to_owned());
        bar
    }
}
