//! Whether and when a container starts again after its end. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::Wish;

/// The first wait.
const SHORTEST: Duration = Duration::from_millis(100);
/// However often it fails.
const LONGEST: Duration = Duration::from_mins(1);
/// Whoever ran so long has recovered.
const RECOVERED: Duration = Duration::from_secs(10);

/// When it starts again without anybody asking.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Never.
    #[default]
    No,
    /// If it failed; at most so many times, 0 for any number.
    OnFailure(u32),
    /// Always, unless a person stopped it.
    Always,
    /// The same, and not after a reboot if a person had stopped it.
    UnlessStopped,
}

impl Policy {
    /// Docker's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// Of `on-failure:N`, the number.
    #[must_use]
    pub fn maximum(self) -> u32 {
        if let Self::OnFailure(maximum) = self { maximum } else { 0 }
    }

    /// After an end with this code, and so many restarts?
    #[must_use]
    pub fn restarts(self, code: u8, restarts: u32, wish: Wish) -> bool {
        wish == Wish::Run
            && match self {
                Self::No => false,
                Self::OnFailure(maximum) => code != 0 && (maximum == 0 || restarts < maximum),
                Self::Always | Self::UnlessStopped => true,
            }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, maximum) = match text.split_once(':') {
            Some((name, maximum)) => (name, Some(maximum)),
            None => (text, None),
        };
        let policy = match name {
            "" | "no" => Self::No,
            "on-failure" => Self::OnFailure(0),
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            _ => return Err(format!("invalid restart policy '{text}'")),
        };
        match (policy, maximum) {
            (policy, None) => Ok(policy),
            (Self::OnFailure(_), Some(maximum)) if matches!(maximum.parse::<i64>(), Ok(..0)) => {
                Err("maximum retry count cannot be negative".into())
            }
            (Self::OnFailure(_), Some(maximum)) => maximum
                .parse()
                .map(Self::OnFailure)
                .map_err(|_not_a_number| "maximum retry count must be an integer".to_owned()),
            (policy, Some(_)) => Err(format!(
                "maximum retry count cannot be used with restart policy '{}'",
                policy.name()
            )),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(maximum @ 1..) => write!(f, "{}:{maximum}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

/// How long to wait before the next start: twice as long each time, until one run goes well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff(Duration);

impl Backoff {
    /// After a run of this length.
    pub fn after(&mut self, ran: Duration) -> Duration {
        self.0 =
            if ran >= RECOVERED || self.0.is_zero() { SHORTEST } else { (self.0 * 2).min(LONGEST) };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (text, want) in [
            ("no", Ok(Policy::No)),
            ("", Ok(Policy::No)),
            ("on-failure", Ok(Policy::OnFailure(0))),
            ("on-failure:3", Ok(Policy::OnFailure(3))),
            ("always", Ok(Policy::Always)),
            ("unless-stopped", Ok(Policy::UnlessStopped)),
            ("bogus", Err("invalid restart policy 'bogus'")),
            ("always:3", Err("maximum retry count cannot be used with restart policy 'always'")),
            ("on-failure:x", Err("maximum retry count must be an integer")),
            ("on-failure:-1", Err("maximum retry count cannot be negative")),
        ] {
            let got: Result<Policy, String> = text.parse();
            assert_eq!(got, want.map_err(str::to_owned), "{text}");
        }
        assert_eq!(Policy::OnFailure(2).to_string(), "on-failure:2");
        assert_eq!(Policy::OnFailure(0).to_string(), "on-failure");
    }

    #[test]
    fn who_starts_again() {
        let check = |policy: Policy, code, restarts, wish, want: bool| {
            assert_eq!(
                policy.restarts(code, restarts, wish),
                want,
                "{policy} {code} {restarts} {wish:?}"
            );
        };
        check(Policy::No, 1, 0, Wish::Run, false);
        check(Policy::Always, 0, 99, Wish::Run, true);
        check(Policy::Always, 0, 0, Wish::Rest, false);
        check(Policy::Always, 0, 0, Wish::Again, false);
        check(Policy::UnlessStopped, 137, 0, Wish::Run, true);
        check(Policy::OnFailure(0), 0, 0, Wish::Run, false);
        check(Policy::OnFailure(0), 1, 1000, Wish::Run, true);
        check(Policy::OnFailure(2), 1, 1, Wish::Run, true);
        check(Policy::OnFailure(2), 1, 2, Wish::Run, false);
    }

    #[test]
    fn waits_double_until_a_run_goes_well() {
        let mut backoff = Backoff::default();
        let mut after = |seconds| backoff.after(Duration::from_secs(seconds)).as_millis();
        let waits: Vec<u128> = (0..12).map(|_| after(1)).collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]
        );
        assert_eq!((after(10), after(9)), (100, 200));
    }
}
