//! What the agent of a host says of itself, asked on its socket as `twillctl` does, but without a
//! process for each question.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twill_core::status::Status;

use crate::host::Host;
use crate::http;

/// Longer than any answer of an agent that is not stopped.
const DEADLINE: Duration = Duration::from_secs(1);

/// Asks the agent of `host`.
///
/// # Errors
/// When none answers, or it has no subnet yet.
pub fn status(host: &Host) -> Result<Status> {
    let stream = UnixStream::connect(host.path("/run/twill/agent.sock"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let (code, body) = http::get(stream, "/status")?;
    ensure!(code == 200, "{}: {code}: {body}", host.name());
    serde_json::from_str(&body).with_context(|| format!("{}: no status: {body}", host.name()))
}
