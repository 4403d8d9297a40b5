//! Looks whether a runtime that is asked for a pod now would get one.

use std::fs;
use std::path::{Path, PathBuf};

use twill_core::doctor::{Finding, Verdict};
use twill_core::ids::NetworkName;
use twill_core::subnet_env::SubnetEnv;

use super::install::{others_before, text_of};
use super::list::{self, Plugins, TYPE, is_too_new};
use super::{place, plugin};
use crate::args::{CniCheck, Output};
use crate::doctor;
use crate::failure::chain;
use crate::report::{self, Report};

/// All that is to be seen; nothing that is missing is an error of this command.
pub(super) fn check(args: &CniCheck, network: Option<&NetworkName>, output: Output) -> Report {
    let (file, path) = place(&args.place, network);
    let mut findings = Vec::new();
    let plugins = configuration(&path, &mut findings);
    findings.push(order(&args.place.directory, (&file, network.is_some())));
    findings.push(program(&args.cni_path));
    if let Some(plugins) = &plugins {
        findings.extend(others(plugins, &args.cni_path));
        findings.push(subnet(plugins));
        findings.extend(status(plugins, &args.cni_path));
    }
    let broken = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    let data = match output {
        Output::Json => report::json(&findings),
        Output::Table => doctor::text(&findings),
    };
    Report { data, code: if broken { doctor::BROKEN } else { 0 }, ..Report::default() }
}

fn configuration(path: &Path, findings: &mut Vec<Finding>) -> Option<Plugins> {
    let (about, shown) = ("configuration", path.display());
    let text = match text_of(path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read {shown}: {error}");
            findings.push(Finding::fail(about, what, "`twillctl cni install` writes it"));
            return None;
        }
    };
    match list::read(&text) {
        Ok(plugins) => {
            let what = format!("network {} of {shown}", plugins.name);
            findings.push(if is_too_new(&text) {
                let hint = "let `cniVersion` be 1.0.0, and list later ones in `cniVersions`";
                Finding::warn(
                    about,
                    format!("{what} asks for a CNI that runtimes may not know"),
                    hint,
                )
            } else {
                Finding::ok(about, what)
            });
            Some(plugins)
        }
        Err(why) => {
            let hint = "correct it, or `twillctl cni install --force` overwrites it";
            findings.push(Finding::fail(about, format!("{shown} {why}"), hint));
            None
        }
    }
}

fn order(directory: &Path, (file, of_several): (&str, bool)) -> Finding {
    let about = "order";
    match others_before(directory, (file, of_several)) {
        Err(error) => {
            let what = format!("cannot list {}: {error}", directory.display());
            Finding::fail(about, what, "be root")
        }
        Ok(before) if before.is_empty() => {
            Finding::ok(about, "no other configuration comes before")
        }
        Ok(before) => {
            let what = format!(
                "{} comes before, and most runtimes take the first configuration by name",
                before.join(", ")
            );
            Finding::fail(
                about,
                what,
                "remove it, or install under a name that comes before with --file",
            )
        }
    }
}

fn program(path: &[PathBuf]) -> Finding {
    let found = plugin::find(TYPE, path);
    let Some(first) = found.first() else { return missing(TYPE, path) };
    let (ours, shown) = (env!("CARGO_PKG_VERSION"), first.display());
    let hint = "install all programs of one version";
    match plugin::version(first) {
        Err(error) => Finding::fail("plugin", format!("cannot run {shown}: {error}"), hint),
        Ok(Some(version)) if version == ours => {
            Finding::ok("plugin", format!("{shown}, version {version}"))
        }
        Ok(version) => {
            let version = version.unwrap_or_else(|| "unknown".to_owned());
            let what = format!("{shown} is of version {version}, and twillctl of {ours}");
            Finding::fail("plugin", what, hint)
        }
    }
}

/// Those that come before ours and after it.
fn others(plugins: &Plugins, path: &[PathBuf]) -> Vec<Finding> {
    let others = plugins.types.iter().filter(|it| *it != TYPE);
    let look = |it: &String| match plugin::find(it, path).first() {
        Some(found) => Finding::ok("plugin", found.display().to_string()),
        None => missing(it, path),
    };
    others.map(look).collect()
}

fn missing(name: &str, path: &[PathBuf]) -> Finding {
    let path: Vec<String> = path.iter().map(|it| it.display().to_string()).collect();
    let what = format!("no program `{name}` is in {}", path.join(", "));
    Finding::fail("plugin", what, "put it where the runtime looks, or name that with --cni-path")
}

fn subnet(plugins: &Plugins) -> Finding {
    let path = plugins.ours["subnetFile"].as_str().unwrap_or("/run/flannel/subnet.env");
    let hint =
        "twilld.service writes it as soon as the host holds a subnet: `systemctl status twilld`";
    match fs::read_to_string(path) {
        Err(error) => Finding::fail("subnet", format!("cannot read {path}: {error}"), hint),
        Ok(text) => match SubnetEnv::parse(&text) {
            Ok(env) => {
                let blocks: Vec<String> =
                    env.blocks().map(|blocks| blocks.subnet.to_string()).collect();
                Finding::ok("subnet", format!("{} by {path}", blocks.join(" and ")))
            }
            Err(error) => Finding::fail("subnet", format!("{path}: {}", chain(&error)), hint),
        },
    }
}

/// What the plugin itself says; nothing if there is none to say it.
fn status(plugins: &Plugins, path: &[PathBuf]) -> Option<Finding> {
    let program = plugin::find(TYPE, path).into_iter().next()?;
    Some(match plugin::status(&program, (&plugins.ours, path)) {
        Err(error) => {
            let what = format!("cannot run {}: {error}", program.display());
            Finding::fail("status", what, "is it a program for this machine?")
        }
        Ok(Ok(())) => Finding::ok("status", "the next pod would come up"),
        Ok(Err((what, hint))) => {
            let hint = hint.unwrap_or_else(|| "`twillctl doctor` looks at the host".to_owned());
            Finding::fail("status", what, hint)
        }
    })
}
