//! What the data path of `udp` shall reach beside others. Told, and no reason to fail: a figure belongs to
//! the machine and the hour.

use super::lane::Path;
use super::measure::Measure;
use super::results::{Key, Results};
use super::table::{Table, number};

/// How much of the machine's memory the data path may take, in MiB.
pub(super) const MEMORY: f64 = 16.0;

/// One wish.
struct Target {
    measure: Measure,
    of: Of,
    against: Path,
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum Of {
    Value,
    Cost,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

const fn target(measure: Measure, of: Of, against: Path, wanted: Wanted) -> Target {
    Target { measure, of, against, wanted }
}

const TARGETS: [Target; 10] = {
    use Measure::{Ping, Rr1, Rr16, Tcp1, Tcp4, Udp64};
    use Of::{Cost, Value};
    use Path::{Naive, Vxlan};
    use Wanted::{AtLeast, AtMost};
    [
        target(Tcp1, Value, Naive, AtLeast(15.0)),
        target(Tcp4, Value, Naive, AtLeast(15.0)),
        target(Tcp1, Value, Vxlan, AtLeast(0.9)),
        target(Tcp4, Value, Vxlan, AtLeast(0.75)),
        target(Udp64, Value, Vxlan, AtLeast(2.0)),
        target(Rr1, Value, Vxlan, AtLeast(0.8)),
        target(Rr16, Value, Vxlan, AtLeast(0.8)),
        target(Tcp1, Cost, Vxlan, AtMost(1.5)),
        target(Tcp4, Cost, Vxlan, AtMost(1.5)),
        target(Ping, Value, Naive, AtMost(1.0)),
    ]
};

/// What is wanted, what is so. `memory` is that of the data path, in MiB.
pub(super) fn table(results: &Results, memory: Option<f64>) -> Table {
    let mut table = Table::new(
        "Wanted",
        ["twill udp", "is, times", "of", "wanted", ""].map(str::to_owned).to_vec(),
    );
    for Target { measure, of, against, wanted } in &TARGETS {
        let (key, what): (Key, _) = match of {
            Of::Value => (|sample| sample.value, ""),
            Of::Cost => (|sample| sample.cost, ", CPU for a byte"),
        };
        let Some(ratio) = results.ratio((*measure, Path::Twill), (*against, key)) else { continue };
        table.row([
            format!("{}{what}", measure.meaning().title),
            number(ratio),
            against.name().to_owned(),
            wanted.to_string(),
            wanted.judges(ratio).to_owned(),
        ]);
    }
    if let Some(memory) = memory {
        let wanted = Wanted::AtMost(MEMORY);
        table.row([
            "memory of the data path, MiB".to_owned(),
            number(memory),
            "-".to_owned(),
            wanted.to_string(),
            wanted.judges(memory).to_owned(),
        ]);
    }
    table
}

impl Wanted {
    fn judges(self, is: f64) -> &'static str {
        let so = match self {
            Self::AtLeast(least) => is >= least,
            Self::AtMost(most) => is <= most,
        };
        if so { "reached" } else { "not reached" }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}
