//! What a soak has shown, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::ledger::Ledger;
use super::{Length, Soak};

/// One fault that was undone.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// What somebody did.
    pub(super) says: String,
    /// Has it to be undone within a second?
    pub(super) at_once: bool,
    /// From its end until the host's kernel was as it had to be.
    pub(super) healed: Duration,
    /// From the moment in which all hosts' kernels were, until something was sent that came through, on
    /// the last of the ways that were hit.
    pub(super) flows: Duration,
    /// From its end until all agents said that all is well.
    pub(super) well: Duration,
}

/// Numbers of one soak.
#[derive(Clone, Debug)]
pub struct Report {
    soak: Soak,
    sent: usize,
    rows: Vec<Row>,
}

/// All that is of one kind.
#[derive(Clone, Debug)]
struct Row {
    says: String,
    at_once: bool,
    healed: Vec<Duration>,
    flows: Duration,
    well: Duration,
    lost: usize,
}

impl Report {
    pub(super) fn new(soak: Soak, events: Vec<Event>, ledger: &Ledger) -> Self {
        let lost = ledger.explained();
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for (number, event) in events.into_iter().enumerate() {
            let Event { says, at_once, healed, flows, well } = event;
            let row = rows.entry(says.clone()).or_insert_with(|| Row {
                says,
                at_once,
                healed: Vec::new(),
                flows: Duration::ZERO,
                well: Duration::ZERO,
                lost: 0,
            });
            row.healed.push(healed);
            row.flows = row.flows.max(flows);
            row.well = row.well.max(well);
            row.lost += lost.get(&number).copied().unwrap_or_default();
        }
        let mut rows: Vec<Row> = rows.into_values().collect();
        for row in &mut rows {
            row.healed.sort();
        }
        Self { soak, sent: ledger.sent(), rows }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { says, healed, flows, well, .. } = self;
        let [healed, flows, well] = [healed, flows, well].map(Duration::as_millis);
        write!(
            f,
            "somebody {says}: undone in {healed} ms, flows {flows} ms later, well after {well} ms"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { soak: Soak { setting, length, seed }, sent, rows } = self;
        let length = match length {
            Length::EachOnce => "each fault once".to_owned(),
            Length::Lasting(time) => format!("{time:.0?}"),
        };
        let faults: usize = rows.iter().map(|row| row.healed.len()).sum();
        let lost: usize = rows.iter().map(|row| row.lost).sum();
        writeln!(f, "soak {seed} with {setting}, {length}: {faults} faults")?;
        writeln!(
            f,
            "{sent} datagrams sent, {lost} lost while a fault explained it, none without, nothing left behind"
        )?;
        writeln!(
            f,
            "| somebody | times | undone after, median | longest | all well, longest | lost |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for row in rows {
            let Row { says, healed, well, lost, .. } = row;
            let [median, longest] = [healed[healed.len() / 2], healed[healed.len() - 1]];
            let [median, longest, well] = [median, longest, *well].map(|time| time.as_millis());
            let note = if row.at_once { "" } else { " (no limit)" };
            let times = healed.len();
            writeln!(
                f,
                "| {says}{note} | {times} | {median} ms | {longest} ms | {well} ms | {lost} |"
            )?;
        }
        Ok(())
    }
}
