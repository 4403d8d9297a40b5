//! systemd understands the unit, with the example of credentials beside it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use twill_integration::{Programs, rights};

/// In tenths of systemd's measure: 2.5 of 10.
const MOST_EXPOSED: &str = "25";

#[test]
fn systemd_finds_no_fault_with_the_unit_and_its_credentials() -> Result<()> {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unit-{}", std::process::id()));
    let drop_ins = directory.join("twilld.service.d");
    fs::create_dir_all(&drop_ins)?;
    let unit = fs::read_to_string(packaging.join("twilld.service"))?;
    let twilld = Programs::find()?.path("twilld")?;
    // systemd wants the program to be there.
    let unit = unit.replace("/usr/sbin/twilld", twilld.to_str().context("a path in UTF-8")?);
    fs::write(directory.join("twilld.service"), unit)?;
    let example = fs::read_to_string(packaging.join("examples/credentials.conf"))?;
    fs::write(drop_ins.join("credentials.conf"), &example)?;
    fs::copy(packaging.join("examples/shortcut.conf"), drop_ins.join("shortcut.conf"))?;
    faults(&directory).and_then(|faults| {
        ensure!(faults.is_empty(), "{faults}");
        Ok(())
    })?;
    // It looks at both files, and at what they say.
    fs::write(
        drop_ins.join("credentials.conf"),
        example.replace("LoadCredential=", "LoadSecret="),
    )?;
    let faults = faults(&directory)?;
    ensure!(faults.contains("LoadSecret"), "{faults}");
    fs::remove_dir_all(directory)?;
    Ok(())
}

/// What an attacker who has taken over the agent could still do to the host.
#[test]
fn the_units_exposure_is_low() -> Result<()> {
    let unit = Path::new(rights::AGENT);
    let judged = |threshold: &str| -> Result<_> {
        let mut systemd = Command::new("systemd-analyze");
        systemd.args(["security", "--no-pager", "--offline=yes"]);
        let output = systemd.arg(format!("--threshold={threshold}")).arg(unit).output();
        let output = output.context("is systemd installed?")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let overall = said.lines().find(|line| line.contains("Overall exposure level"));
        Ok((output.status.success(), overall.context("no verdict")?.to_owned()))
    };
    let (low, verdict) = judged(MOST_EXPOSED)?;
    ensure!(low, "{verdict}");
    // It would say so.
    let (low, verdict) = judged("1")?;
    ensure!(!low, "{verdict}");
    Ok(())
}

/// What systemd says about the unit, and about none of those that it knows from elsewhere.
fn faults(directory: &Path) -> Result<String> {
    let unit = directory.join("twilld.service");
    let mut systemd = Command::new("systemd-analyze");
    let output = systemd.args(["verify", "--man=no"]).arg(&unit).output();
    let said = String::from_utf8(output.context("is systemd installed?")?.stderr)?;
    let ours = |line: &&str| line.contains("twilld");
    Ok(said.lines().filter(ours).collect::<Vec<_>>().join("\n"))
}
