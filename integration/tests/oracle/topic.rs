//! A file of cases, from its text to the verdict.

use std::fmt::Write as _;
use std::thread;

use anyhow::{Result, anyhow, bail};
use twill_integration::may_build_labs;

use crate::cases::{self, Case};
use crate::differences::{Differences, between};
use crate::docker::Pair;
use crate::plain::Plain;
use crate::script::{Engine, Said};

/// Runs all cases of a file on both sides.
pub(crate) fn check(name: &str) -> Result<()> {
    let cases = cases::of(name)?;
    let known = Differences::known()?;
    if !may_build_labs() {
        return Ok(());
    }
    let Some(pair) = Pair::start()? else { return Ok(()) };
    let mut complaints = String::new();
    for case in chosen(&cases) {
        let (docker, twill) = both(&pair, case)?;
        let found = between(case, &docker, &twill);
        if let Some(complaint) = known.judge(case, &found) {
            writeln!(complaints, "{complaint}")?;
        }
    }
    pair.finish()?;
    if !complaints.is_empty() {
        bail!("{name}: not as in differences.txt:\n\n{complaints}");
    }
    Ok(())
}

/// All, or those whose names have `ORACLE_CASE` in them.
fn chosen(cases: &[Case]) -> impl Iterator<Item = &Case> {
    let wanted = std::env::var("ORACLE_CASE").unwrap_or_default();
    cases.iter().filter(move |case| case.name.contains(&wanted))
}

/// At once, for they have nothing in common.
fn both(pair: &Pair, case: &Case) -> Result<(Vec<Said>, Vec<Said>)> {
    let run = |engine: &Engine| -> Result<Vec<Said>> {
        let said = engine.run(case)?;
        let plain = Plain::new(case);
        Ok(said
            .into_iter()
            .zip(&case.lines)
            .map(|(said, line)| plain.said(said, line.view))
            .collect())
    };
    let (docker, twill) = thread::scope(|scope| {
        let docker = scope.spawn(|| run(&pair.docker));
        let twill = scope.spawn(|| run(&pair.twill));
        (docker.join(), twill.join())
    });
    let joined = |result: thread::Result<_>| result.map_err(|panic| anyhow!("{panic:?}"))?;
    Ok((joined(docker)?, joined(twill)?))
}
