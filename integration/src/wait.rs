//! The only place that waits, and the only waiting: for a condition, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks at a condition; short beside anything the lab measures in milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// Waits until `condition` holds and answers how long that took.
///
/// # Errors
/// When `limit` has passed; the message names `what`.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<Duration> {
    probe(what, limit, || condition().then_some(())).map(|((), took)| took)
}

/// Waits until `look` finds something and answers it, with the time that took.
///
/// # Errors
/// When `limit` has passed; the message names `what`.
pub fn probe<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    let limit = limit * patience();
    loop {
        if let Some(found) = look() {
            return Ok((found, start.elapsed()));
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain: {what}");
        }
        pace(TICK);
    }
}

/// How many times longer than on a machine of its own anything may take: `TWILL_PATIENCE`, for one that is
/// emulated.
fn patience() -> u32 {
    std::env::var("TWILL_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Lets some time pass between two steps of something that repeats: never for luck.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks of wait_until")]
pub fn pace(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_holds_is_not_waited_for_and_one_that_never_does_is_named() {
        let took = wait_until("true", Duration::from_secs(5), || true).unwrap();
        assert!(took < Duration::from_secs(1), "{took:?}");
        let error = wait_until("pigs fly", Duration::from_millis(10), || false).unwrap_err();
        assert!(error.to_string().contains("pigs fly"), "{error}");
    }
}
