//! `twillctl network set`: changes the configuration of a network that runs.

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use twill_core::config::{NetworkConfig, changes};
use twill_core::lease::{Lease, Listing};
use twill_core::node::NodeRecord;
use twill_store::{ConfigText, Expected, Store, Written};

use super::edit::{dropped, edit};
use super::render::{Change, Document, Outgrown};
use crate::args::{self, Output, Wish};
use crate::failure::{Failure, Kind};
use crate::leases::no_network;
use crate::names;
use crate::report::Report;
use crate::run::store_failure;

/// The options, with what they point to read.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    wish: Wish,
    whole: Option<String>,
    dry_run: bool,
    yes: bool,
}

impl Order {
    /// Reads the file, if one is named.
    pub(super) fn of(set: args::Set) -> Result<Self, Failure> {
        let args::Set { wish, dry_run, yes } = set;
        let whole = match (&wish.file, &wish.json) {
            (Some(path), _) => Some(read(path)?),
            (None, text) => text.clone(),
        };
        Ok(Self { wish, whole, dry_run, yes })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_bytes| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| {
        let message = format!("cannot read the configuration in {}: {error}", path.display());
        Failure::new(Kind::Failed, message).hint("check --file")
    })
}

/// Shows what changes, asks, and writes if the configuration still is the one that was shown.
pub(crate) async fn set<S: Store>(
    store: &S,
    order: &Order,
    output: Output,
    ask: impl AsyncFnOnce(&str) -> Result<bool, Failure>,
) -> Result<Report, Failure> {
    let found = store.config().await.map_err(|error| store_failure(&error))?;
    let found = found.ok_or_else(no_network)?;
    let text = edit(&found.text, &order.wish, order.whole.as_deref())?;
    let config = NetworkConfig::parse(text.as_bytes())
        .map_err(|error| Failure::from_error(Kind::Usage, &error).hint(error.hint()))?;
    let listing = store.leases().await.map_err(|error| store_failure(&error))?;
    let nodes = store.nodes().await.map_err(|error| store_failure(&error))?.records;
    let mut document = compare(&found, (&text, &config), (&listing, &nodes));
    let mut words = super::warnings(text.as_bytes());
    if same(&found.text, text.as_bytes()) {
        words.push("the network is configured so already".to_owned());
        return Ok(Report { data: document.render(output), notes: words, code: 0 });
    }
    let gone = dropped(&found.text, text.as_bytes());
    if !gone.is_empty() {
        words.push(format!("this is taken out of Backend: {}", gone.join(", ")));
    }
    words.extend(remarks(&document, &listing, &nodes));
    if order.dry_run {
        return Ok(Report { data: document.render(output), notes: words, code: 0 });
    }
    let question = || {
        let table = document.render(Output::Table);
        let lines = std::iter::once(table.trim_end().to_owned()).chain(words.clone());
        let lines = lines.chain(["write this configuration?".to_owned()]);
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    if !order.yes && !ask(&question()).await? {
        return Err(Failure::new(Kind::Failed, "the configuration stays as it is"));
    }
    let written = store.write_config(&text, Expected::At(found.revision)).await;
    match written.map_err(|error| store_failure(&error))? {
        Written::Done(revision) => {
            document.written = Some(revision);
            words.push(format!("written, at revision {revision}"));
            Ok(Report { data: document.render(output), notes: words, code: 0 })
        }
        Written::Changed => {
            let message = "somebody else wrote the configuration meanwhile, and it stays so";
            Err(Failure::new(Kind::Failed, message).hint("look at it: twillctl network show"))
        }
    }
}

fn compare(
    found: &ConfigText,
    (text, config): (&str, &NetworkConfig),
    (listing, nodes): (&Listing, &[NodeRecord]),
) -> Document {
    let old = NetworkConfig::parse(&found.text);
    let changes = match &old {
        Ok(old) => changes(old, config).into_iter().map(Change::from).collect(),
        Err(error) => vec![Change::of_broken(&error.to_string())],
    };
    let had = |lease: &Lease| old.as_ref().is_ok_and(|old| old.admits(lease.key));
    let mut outgrown: Vec<&Lease> = listing
        .leases
        .iter()
        .filter(|lease| !config.admits(lease.key) && (had(lease) || old.is_err()))
        .collect();
    outgrown.sort_by_key(|lease| lease.key);
    Document {
        changes,
        outgrown: outgrown.into_iter().map(|lease| Outgrown::new(lease, nodes)).collect(),
        config: serde_json::from_str(text).unwrap_or(Value::Null),
        written: None,
    }
}

/// Is there nothing to write? Blanks between members do not count.
fn same(before: &[u8], text: &[u8]) -> bool {
    let [before, text] = [before, text].map(serde_json::from_slice::<Value>);
    matches!((before, text), (Ok(before), Ok(text)) if before == text)
}

fn remarks(document: &Document, listing: &Listing, nodes: &[NodeRecord]) -> Vec<String> {
    let mut words = Vec::new();
    if document.changes.is_empty() {
        words.push("hosts that run twilld notice nothing of it".to_owned());
    }
    let flannel: Vec<String> = listing
        .leases
        .iter()
        .filter(|lease| lease.value.node.is_none() && lease.lease_id.is_some())
        .map(|lease| names::owner(lease, nodes))
        .collect();
    if !flannel.is_empty() {
        words.push(format!(
            "these have no node id, and flanneld takes a configuration only at its start: {}",
            flannel.join(", ")
        ));
    }
    words
}

#[cfg(test)]
mod tests;
