//! Rules that may stop packets of the overlay, and rules of ours that should keep the way open.

use twill_core::doctor::{self, Finding};
use twill_core::firewall::choose::Wish;
use twill_core::firewall::{Engine, Policy};
use twill_core::ids::Family;
use twill_net::firewall::{Firewall, Programs};
use twill_net::survey;

use super::unknown;
use crate::blueprint::Blueprint;
use crate::gate::gate;

/// More lines say nothing more.
const MOST_LINES: usize = 4;

/// Everything that was looked at, good or bad.
pub(crate) async fn firewall(blueprint: &Blueprint) -> Vec<Finding> {
    let family = blueprint.setup.family();
    let mut findings = Vec::new();
    match Programs::probe().await {
        Ok(programs) => {
            findings.push(ours(&programs, blueprint).await);
            findings.extend(peers(&programs, blueprint).await);
        }
        Err(error) => findings.push(unknown("rules", error)),
    }
    findings.extend([forward_chain(family).await, raw(blueprint, family).await]);
    let entrances = blueprint.setup.entrances();
    let devices: Vec<String> =
        entrances.iter().map(|entrance| entrance.interface().to_owned()).collect();
    match survey::ruleset().await {
        Ok(None) => {}
        Ok(Some(ruleset)) => {
            let network = blueprint.setup.config.network;
            findings.extend(doctor::foreign_tables(&ruleset, network, &devices));
        }
        Err(error) => findings.push(unknown("nftables", error)),
    }
    findings
}

async fn ours(programs: &Programs, blueprint: &Blueprint) -> Finding {
    match lacks(programs, &blueprint.policies, blueprint.engine).await {
        Ok(mut lacks) => {
            let more = lacks.len().saturating_sub(MOST_LINES);
            lacks.truncate(MOST_LINES);
            lacks.extend((more > 0).then(|| format!("and {more} lines more")));
            doctor::rules(&lacks)
        }
        Err(error) => unknown("rules", error),
    }
}

/// With the engine that is in use; nobody knows which one that is if no agent runs, but for what is
/// there.
async fn lacks(
    programs: &Programs,
    policies: &[Policy],
    engine: Option<Engine>,
) -> Result<Vec<String>, twill_net::Error> {
    let engine = engine.map_or(programs.present().await?, Some);
    let engine = if let Some(engine) = engine {
        engine
    } else {
        let nftables = policies.iter().any(|policy| policy.nftables);
        programs.choose(Wish::Auto, nftables).await?
    };
    Firewall::new(programs.clone(), engine).lacks(policies).await
}

/// Whose packets come in. Without the program `nft` there is no such table, and the agent says so.
async fn peers(programs: &Programs, blueprint: &Blueprint) -> Vec<Finding> {
    let Blueprint { setup, view, table, .. } = blueprint;
    let Some(keeper) = programs.gatekeeper(table) else { return Vec::new() };
    let wanted = gate(setup, &view.peers);
    let family = setup.family();
    match keeper.lacks(family, wanted.as_ref()).await {
        // Some ways are not ours to judge.
        Ok(lacks) if wanted.is_none() && lacks.is_empty() => Vec::new(),
        Ok(lacks) => doctor::gate(&table.over(family), &lacks),
        Err(error) => vec![unknown("table of peers", error)],
    }
}

async fn forward_chain(family: Family) -> Finding {
    match survey::rules(family, "filter", None).await {
        Ok(rules) => doctor::forward_chain(&rules.unwrap_or_default()),
        Err(error) => unknown("FORWARD", error),
    }
}

async fn raw(blueprint: &Blueprint, family: Family) -> Finding {
    match survey::rules(family, "raw", Some("PREROUTING")).await {
        Ok(rules) => doctor::raw_chain(&rules.unwrap_or_default(), blueprint.setup.subnet),
        Err(error) => unknown("raw PREROUTING", error),
    }
}
