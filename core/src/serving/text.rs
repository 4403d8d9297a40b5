//! What is served as a text: a host that starts again must know what its peers may still use.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Served, Serving};
use crate::config;
use crate::ids::Revision;

/// Why a text says nothing about what was served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not of this form.
    #[error("not a list of backends")]
    Form(#[from] serde_json::Error),
    /// A backend in it keeps no rule.
    #[error("not a backend that can be served")]
    Backend(#[from] config::Error),
    /// There is nothing in it.
    #[error("no backend in it")]
    Empty,
}

#[derive(Serialize, Deserialize)]
struct Row {
    backend: Value,
    since: Revision,
    device: Option<String>,
}

impl Serving {
    /// As a JSON array, the oldest first.
    #[must_use]
    pub fn to_json(&self) -> String {
        let row = |served: &Served| {
            let Served { backend, since, device } = served;
            let (backend, device) = (config::backend_to_json(backend), device.clone());
            Row { backend, since: *since, device }
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_string(&self.all().map(row).collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Reads what [`Self::to_json`] wrote.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let rows: Vec<Row> = serde_json::from_slice(text)?;
        let mut all = Vec::with_capacity(rows.len());
        for Row { backend, since, device } in rows {
            all.push(Served { backend: config::backend_from_json(&backend)?, since, device });
        }
        let current = all.pop().ok_or(Error::Empty)?;
        Ok(Self { earlier: all, current })
    }
}
