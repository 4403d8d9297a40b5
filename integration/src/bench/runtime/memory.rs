//! What a container that does nothing costs in memory.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::engine::Engine;
use super::table::Table;
use crate::host::Host;

/// By so many the difference is divided.
const MORE: u32 = 10;

/// Memory that belongs to nobody else, of all processes of the host but for the containers' own: how much
/// more it is with each container that idles.
pub(super) fn of_one(engines: &[Engine], table: &mut Table) -> Result<()> {
    for (index, engine) in engines.iter().enumerate() {
        if engine.is_alone() {
            continue;
        }
        engine.start("idle0")?;
        let one = private(engine.host())?;
        for number in 1..=MORE {
            engine.start(&format!("idle{number}"))?;
        }
        let all = private(engine.host())?;
        table.add_kib(
            "memory of an idle container",
            index,
            all.saturating_sub(one) / u64::from(MORE),
        );
        for number in 0..=MORE {
            engine.remove(&format!("idle{number}"))?;
        }
    }
    Ok(())
}

/// In KiB (proc(5): `smaps_rollup`).
fn private(host: &Host) -> Result<u64> {
    let mut sum = 0;
    for process in fs::read_dir(host.path("/proc"))?.flatten() {
        let place = process.path();
        let command = fs::read(place.join("comm")).unwrap_or_default();
        if command.trim_ascii() != b"sleep" {
            sum += private_of(&place);
        }
    }
    Ok(sum)
}

/// Nothing of a process that has just ended.
fn private_of(process: &Path) -> u64 {
    let text = fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    let sizes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    sizes.sum()
}
