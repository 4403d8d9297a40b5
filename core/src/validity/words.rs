//! What is said about times.

use std::fmt;
use std::time::Duration;

use super::Uncertain;

/// A time in two units at most: `59s`, `1m05s`, `23h59m`, `1d01h`.
#[must_use]
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// The same words for as long as it is so, and so without times.
impl fmt::Display for Uncertain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsure => {
                "nothing vouches for this host's clock: no time server has set it since the start, and \
                 there is no real-time clock that agrees with it"
            }
            Self::WasUnsure => "before this host was restarted nothing vouched for its clock",
            Self::Behind(_) => "this host's clock shows a time before it was kept",
            Self::Contradiction { .. } => {
                "by this host's clock less time has passed since it was kept than since the host was \
                 started after that"
            }
            Self::Backwards => "this host was started after the moment at which it was kept",
        })
    }
}
