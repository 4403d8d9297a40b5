//! Log lines on stderr.

use std::io::{IsTerminal, stderr};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::flags::LogFormat;

/// Our own programs speak at `verbosity`, the crates below us two steps more quietly.
pub(crate) fn start(format: LogFormat, verbosity: u8) {
    let (ours, others) = match verbosity {
        0 => (Level::INFO, Level::ERROR),
        1 => (Level::DEBUG, Level::WARN),
        _more => (Level::TRACE, Level::DEBUG),
    };
    let filter =
        Targets::new().with_default(others).with_target("twilld", ours).with_target("twill_", ours);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr).with_target(false);
    match format {
        LogFormat::Text => registry.with(lines.with_ansi(stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
}
