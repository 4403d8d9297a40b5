//! `twillctl doctor`: what the agent of this host finds, and what is to be seen of etcd from here.

use std::path::Path;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use twill_core::config::NetworkConfig;
use twill_core::doctor::{self, Finding, Verdict};
use twill_core::ids::NetworkName;
use twill_store::Store;

use crate::agent::{self, ALIVE, Told};
use crate::args;
use crate::args::Output;
use crate::failure::{Failure, chain};
use crate::report::{self, Report};
use crate::table;
use crate::twilld::{self, Refused};

/// The exit code when something is broken.
pub(crate) const BROKEN: u8 = 6;

/// Hosts that are off are waited for, so that the agent needs longer than for other questions.
const LOOKING: Duration = Duration::from_secs(40);

/// Asks both sides, the agent first: it knows of which networks to ask. Renders. Nothing that is missing is an error of this command: to say so
/// is what it is for.
pub(crate) async fn examine<S: Store>(
    open: impl Fn(Option<&NetworkName>) -> Result<S, Failure>,
    (args, network): (&args::Doctor, Option<&NetworkName>),
    (output, timeout): (Output, Duration),
) -> Result<Report, Failure> {
    let mut findings = host(args, timeout.max(LOOKING)).await;
    findings.extend(configurations(open, (args, network), timeout).await?);
    // The worst comes last, where people look.
    findings.sort_by_key(|finding| finding.verdict);
    let broken = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    let data = match output {
        Output::Json => report::json(&findings),
        Output::Table => text(&findings),
    };
    Ok(Report { data, code: if broken { BROKEN } else { 0 }, ..Report::default() })
}

/// etcd, and each network in it.
async fn configurations<S: Store>(
    open: impl Fn(Option<&NetworkName>) -> Result<S, Failure>,
    (args, network): (&args::Doctor, Option<&NetworkName>),
    timeout: Duration,
) -> Result<Vec<Finding>, Failure> {
    let networks = networks(args, network).await;
    let mut findings = Vec::new();
    for network in &networks {
        let found = etcd(&open(network.as_ref())?, timeout).await;
        // One alone needs no name.
        let several = networks.len() > 1;
        let named = |finding: Finding| match network {
            Some(name) if several => {
                Finding { check: format!("{name}: {}", finding.check), ..finding }
            }
            _one => finding,
        };
        findings.extend(found.into_iter().map(named));
    }
    Ok(findings)
}

/// Which networks to ask etcd for: the one that is named, or those that the agent is in.
async fn networks(args: &args::Doctor, network: Option<&NetworkName>) -> Vec<Option<NetworkName>> {
    if network.is_some() || args.by_itself {
        return vec![network.cloned()];
    }
    let told = tokio::time::timeout(ALIVE, agent::status(&args.agent.socket, None)).await;
    match told {
        Ok(Ok(Told::Several(several, _answer))) => {
            several.networks.into_iter().map(|network| Some(network.name)).collect()
        }
        _one => vec![None],
    }
}

/// What the agent finds; without one, what its program finds by itself.
async fn host(args: &args::Doctor, timeout: Duration) -> Vec<Finding> {
    if args.by_itself {
        return by_itself();
    }
    match with_agent(&args.agent.socket, timeout).await {
        Ok(findings) => findings,
        Err((what, hint)) => {
            let mut findings = vec![Finding::fail("agent", what, hint)];
            findings.extend(by_itself());
            findings
        }
    }
}

fn by_itself() -> Vec<Finding> {
    let nobody = |what: &str, hint: &str| {
        let what = format!("nobody could look at the kernel and at the peers: {what}");
        vec![Finding::fail("kernel", what, hint)]
    };
    match twilld::ask("doctor", &[""; 0]) {
        Err(failure) => {
            let (what, hint) = failure.parts();
            nobody(&what, &hint)
        }
        Ok(Err(Refused { what, hint, .. })) => nobody(&what, &hint),
        Ok(Ok(document)) => serde_json::from_slice(&document).unwrap_or_else(|error| {
            let what = format!("twilld answers in another form: {error}");
            nobody(&what, "are twilld and twillctl of one version?")
        }),
    }
}

/// What is wrong with the agent, and the way out, if it finds nothing.
async fn with_agent(socket: &Path, timeout: Duration) -> Result<Vec<Finding>, (String, String)> {
    let silent = |what: &str| {
        let hint = "`systemctl status twilld`, `journalctl -u twilld`".to_owned();
        (format!("{what}; below is what its program finds by itself"), hint)
    };
    let told = |failure: Failure| {
        let (what, hint) = failure.parts();
        (format!("{what}; below is what its program finds by itself"), hint)
    };
    let alive = tokio::time::timeout(ALIVE, agent::ask(socket, "/healthz")).await;
    alive.map_err(|_elapsed| silent("the agent runs and does not answer"))?.map_err(told)?;
    let answer = tokio::time::timeout(timeout, agent::ask(socket, "/doctor")).await;
    let late = || silent(&format!("the agent did not answer within {} s", timeout.as_secs()));
    let answer = answer.map_err(|_elapsed| late())?.map_err(told)?;
    if answer.status != StatusCode::OK {
        return Err(silent(&format!("the agent knows no /doctor ({})", answer.status)));
    }
    agent::read(socket, &answer).map_err(told)
}

async fn etcd<S: Store>(store: &S, timeout: Duration) -> Vec<Finding> {
    let begun = Instant::now();
    let hint =
        "--etcd-endpoints; this host lives on what it knows for as long as its lease is valid";
    match tokio::time::timeout(timeout, store.config()).await {
        Ok(Ok(found)) => {
            let config = match found.map(|found| NetworkConfig::parse(&found.text)) {
                Some(Ok(config)) => {
                    let what = format!("{} by {}", config.network, config.backend.name());
                    Finding::ok("configuration", what)
                }
                Some(Err(error)) => {
                    Finding::fail("configuration", chain(&error), "`twillctl network set`")
                }
                None => Finding::fail(
                    "configuration",
                    "there is no network under this prefix of etcd",
                    "`twillctl network init`, or correct --etcd-prefix; one of several networks is named \
                     with --network-name",
                ),
            };
            vec![doctor::etcd(begun.elapsed()), config]
        }
        Ok(Err(error)) => vec![Finding::fail("etcd", chain(&error), hint)],
        Err(_elapsed) => {
            let what = format!("etcd did not answer within {} s", timeout.as_secs_f64());
            vec![Finding::fail("etcd", what, hint)]
        }
    }
}

/// One line each, and the way out below what needs one.
pub(crate) fn text(findings: &[Finding]) -> String {
    let rows = findings.iter().flat_map(|finding| {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let row = [verdict.to_owned(), finding.check.clone(), finding.what.clone()];
        let hint =
            finding.hint.iter().map(|hint| [String::new(), String::new(), format!("hint: {hint}")]);
        std::iter::once(row).chain(hint).collect::<Vec<_>>()
    });
    table::columns(["", "CHECK", "FOUND"], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn findings_of_every_kind() {
        let findings = [
            doctor::forwarding(twill_core::ids::Family::V4, "1"),
            doctor::clock(false),
            doctor::forward_chain("-P FORWARD DROP\n"),
        ];
        golden::check("doctor.txt", &text(&findings));
        golden::check("doctor.json", &report::json(&findings));
    }
}
