//! What a run has shown: on the terminal, as Markdown, as HTML, and every sample as JSON.

use std::fs;
use std::path::Path as FilePath;
use std::process::Command;

use anyhow::{Context, Result};

use super::events::{self, Kind};
use super::lane::{Lane, Path};
use super::measure::{Meaning, Measure, Sample};
use super::memory::Memory;
use super::results::{Key, Results, Spread};
use super::table::{Table, escaped, number};
use super::{plot, targets};
use crate::by_hand::say;

/// Everything that is told.
pub(super) struct Report<'a> {
    pub(super) results: &'a Results,
    pub(super) lanes: &'a [Lane],
    pub(super) measures: &'a [Measure],
    /// What the machine counted by itself.
    pub(super) counted: &'a [Kind],
    /// How it was run, in words.
    pub(super) run: String,
}

const VALUE: Key = |sample: &Sample| sample.value;
const SECOND: Key = |sample: &Sample| sample.second;

impl Report<'_> {
    /// Prints it and writes it into `directory`.
    pub(super) fn tell(&self, directory: &FilePath) -> Result<()> {
        let tables = self.tables()?;
        say(&self.about());
        for table in &tables {
            say(&table.text());
        }
        say(&self.failed());
        let write = |name: &str, text: String| {
            let file = directory.join(name);
            fs::create_dir_all(directory)
                .and_then(|()| fs::write(&file, text))
                .with_context(|| format!("cannot write {}", file.display()))
        };
        write("report.md", self.markdown(&tables))?;
        write("report.html", self.html(&tables))?;
        write("samples.json", self.results.json().to_string())?;
        say(&format!(
            "written: {0}/report.md, {0}/report.html, {0}/samples.json",
            directory.display()
        ));
        Ok(())
    }

    fn tables(&self) -> Result<Vec<Table>> {
        let (memory, of_data_path) = self.memory()?;
        let wanted = targets::table(self.results, of_data_path);
        let mut tables = vec![self.rates(), self.ratios(), self.seconds(), self.costs()];
        tables.extend(self.events());
        tables.extend([memory, wanted]);
        Ok(tables)
    }

    fn about(&self) -> String {
        let others = self.results.others(None).map_or(0.0, |others| others.median * 100.0);
        let missing = events::missing(self.counted).map_or_else(String::new, |text| text + "\n");
        format!(
            "{}\n{}\nOthers used {others:.0} % of the machine meanwhile (median of all samples).\n{missing}",
            machine(),
            self.run
        )
    }

    fn rates(&self) -> Table {
        self.by_path("Rates: median [least, most]", ("unit", |meaning| meaning.unit), |of| {
            self.results.spread(of, VALUE).map(|spread| spread.to_string())
        })
    }

    fn seconds(&self) -> Table {
        let mut table =
            self.by_path("Loss and late ones: median", ("", |m| m.second.unwrap_or("")), |of| {
                of.0.meaning().second?;
                self.results.spread(of, SECOND).map(|spread| number(spread.median))
            });
        table.keep(|row| !row[1].is_empty());
        table
    }

    fn costs(&self) -> Table {
        let title = "Processor time for each, of all (of these, the programs on the way)";
        self.by_path(title, ("unit", |meaning| meaning.cost), |of| {
            let all = self.results.spread(of, |sample| sample.cost)?;
            let path = self.results.spread(of, |sample| sample.of_path)?;
            Some(format!("{} ({})", number(all.median), number(path.median)))
        })
    }

    /// A table for each kind that is counted.
    fn events(&self) -> impl Iterator<Item = Table> {
        let keys: [Key; Kind::ALL.len()] =
            [|sample| sample.events[0], |sample| sample.events[1], |sample| sample.events[2]];
        let kinds = Kind::ALL.into_iter().zip(keys);
        kinds.filter(|(kind, _key)| self.counted.contains(kind)).map(|(kind, key)| {
            let title = format!("{} of the whole machine: median", kind.title());
            self.by_path(&title, ("", |meaning| meaning.events.0), |of| {
                self.results.spread(of, key).map(|spread| number(spread.median))
            })
        })
    }

    /// A row for each measure, a column for each path.
    fn by_path(
        &self,
        title: &str,
        (name, unit): (&'static str, fn(Meaning) -> &'static str),
        cell: impl Fn((Measure, Path)) -> Option<String>,
    ) -> Table {
        let paths = || self.lanes.iter().map(|lane| lane.path);
        let header = ["", name].into_iter().chain(paths().map(Path::name));
        let mut table = Table::new(title, header.map(str::to_owned).collect());
        for measure in self.measures {
            let meaning = measure.meaning();
            let cells =
                paths().map(|path| cell((*measure, path)).unwrap_or_else(|| "-".to_owned()));
            table
                .row([meaning.title.to_owned(), unit(meaning).to_owned()].into_iter().chain(cells));
        }
        table
    }

    /// Twill's `udp` beside each other path, round by round.
    fn ratios(&self) -> Table {
        let others: Vec<Path> =
            self.lanes.iter().map(|lane| lane.path).filter(|path| *path != Path::Twill).collect();
        let names = others
            .iter()
            .flat_map(|path| [format!("× {}", path.name()), format!("CPU × {}", path.name())]);
        let header = std::iter::once(String::new()).chain(names).chain(["others used".to_owned()]);
        let mut table = Table::new("twill udp, how many times as much as", header.collect());
        for measure in self.measures {
            let keys: [Key; 2] = [VALUE, |sample| sample.cost];
            let ratio = |path: Path, key: Key| {
                let ratio = self.results.ratio((*measure, Path::Twill), (path, key));
                ratio.map_or_else(|| "-".to_owned(), number)
            };
            let meaning = measure.meaning();
            let note = if meaning.less_is_better { " (less is better)" } else { "" };
            let used = self.results.others(Some(*measure));
            let used =
                used.map_or_else(String::new, |used| format!("{:.0} %", used.median * 100.0));
            let cells = others.iter().flat_map(|path| keys.map(|key| ratio(*path, key)));
            let first = format!("{}{note}", meaning.title);
            table.row(std::iter::once(first).chain(cells).chain([used]));
        }
        table
    }

    /// Also answers what the data path takes, in MiB: all of an agent with it, less an agent without
    /// one that has carried the same traffic, or else less what it had itself before the first packet.
    fn memory(&self) -> Result<(Table, Option<f64>)> {
        let header = ["MiB", "ready", "at the end", "of it anonymous", "most"];
        let mut table =
            Table::new("Memory of a program on the way", header.map(str::to_owned).to_vec());
        let (mut ours, mut before, mut without) = (None, 0.0, None);
        for lane in self.lanes {
            let (Some(pid), Some(ready)) = (lane.programs.first(), lane.before.first()) else {
                continue;
            };
            let end = Memory::of(*pid)?;
            let cells = [ready.resident, end.resident, end.anonymous, end.peak].map(mebibytes);
            let name = std::iter::once(lane.path.name().to_owned());
            table.row(name.chain(cells.map(|cell| format!("{cell:.1}"))));
            match lane.path {
                Path::Twill => {
                    (ours, before) = (Some(mebibytes(end.peak)), mebibytes(ready.resident));
                }
                Path::Vxlan => without = Some(mebibytes(end.peak)),
                Path::Raw | Path::Routed | Path::Naive | Path::Tinc | Path::TwillUser => {}
            }
        }
        let of_data_path = ours.map(|ours| ours - without.unwrap_or(before));
        Ok((table, of_data_path))
    }

    fn markdown(&self, tables: &[Table]) -> String {
        let tables: String = tables.iter().map(Table::markdown).collect();
        format!("# Data path\n\n{}\n{tables}{}", self.about(), self.failed())
    }

    fn failed(&self) -> String {
        let failures = self.results.failures.iter().map(|failure| format!("FAILED: {failure}"));
        failures.collect::<Vec<_>>().join("\n")
    }

    fn html(&self, tables: &[Table]) -> String {
        let plots = self.measures.iter().map(|measure| {
            let meaning = measure.meaning();
            let rows = self.lanes.iter().filter_map(|lane| {
                Some((lane.path.name(), self.results.spread((*measure, lane.path), VALUE)?))
            });
            let note = if meaning.less_is_better { ", less is better" } else { "" };
            let title = format!("{}, {}{note}", meaning.title, meaning.unit);
            plot::bars(&title, &rows.collect::<Vec<_>>(), Path::Twill.name())
        });
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Data path</title>\n{STYLE}\
             <h1>Data path</h1>\n<pre>{}</pre>\n<div class=\"plots\">\n{}</div>\n{}<pre>{}</pre></html>\n",
            escaped(&self.about()),
            plots.collect::<String>(),
            tables.iter().map(Table::html).collect::<String>(),
            escaped(&self.failed())
        )
    }
}

const STYLE: &str = "<style>body{font:15px sans-serif;margin:2em;color:#0f172a}\
    .plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:1.5em}\
    svg{width:100%;font-size:12px}.t{font-weight:bold;font-size:14px}table{border-collapse:collapse}\
    td,th{border-bottom:1px solid #cbd5e1;padding:.25em .7em;text-align:right}\
    td:first-child,th:first-child{text-align:left}</style>\n";

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [least, median, most] = [self.least, self.median, self.most].map(number);
        write!(f, "{median} [{least}, {most}]")
    }
}

fn mebibytes(kibibytes: u32) -> f64 {
    f64::from(kibibytes) / 1024.0
}

/// Processor, cores and kernel.
fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = Command::new("uname").arg("-r").output().map(|output| output.stdout);
    let kernel = String::from_utf8_lossy(&kernel.unwrap_or_default()).trim().to_owned();
    format!("{cores} processors ({model}), Linux {kernel}.")
}
