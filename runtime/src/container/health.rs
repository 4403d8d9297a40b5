//! Whether a container does its work: what is asked of it, and what it answered. Pure, but for one small file.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Paths;
use crate::durable;
use crate::error::{Error, FileContext as _, Result};

/// As many answers as are kept.
const KEPT: usize = 5;
/// As much of each.
pub const OUTPUT: usize = 4096;

/// How a container is asked. A time of nothing means Docker's own.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Check {
    /// `CMD` and words, `CMD-SHELL` and a line, `NONE`; empty for the image's.
    pub test: Vec<String>,
    /// Between two questions, in nanoseconds.
    pub interval: u64,
    /// For an answer.
    pub timeout: u64,
    /// At the beginning, when no failure counts.
    pub start_period: u64,
    /// Between two questions then.
    pub start_interval: u64,
    /// As many failures in a row are too many.
    pub retries: u32,
}

impl Check {
    /// As Docker shows it: what was not said is left out.
    #[must_use]
    pub fn configured(&self) -> Value {
        let mut shown = serde_json::json!({"Test": self.test});
        for (name, value) in [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
            ("Retries", self.retries.into()),
        ] {
            if value > 0 {
                shown[name] = value.into();
            }
        }
        shown
    }

    /// That of an image's configuration.
    #[must_use]
    pub fn of_image(configuration: &[u8]) -> Option<Self> {
        let whole: Value = serde_json::from_slice(configuration).ok()?;
        serde_json::from_value(whole.pointer("/config/Healthcheck")?.clone()).ok()
    }

    /// The user's over the image's; `None` if there is nothing to be asked.
    #[must_use]
    pub fn merge(user: Option<Self>, image: Option<Self>) -> Option<Self> {
        let (user, image) = (user.unwrap_or_default(), image.unwrap_or_default());
        let or = |own: u64, other: u64| if own == 0 { other } else { own };
        let merged = Self {
            test: if user.test.is_empty() { image.test } else { user.test },
            interval: or(user.interval, image.interval),
            timeout: or(user.timeout, image.timeout),
            start_period: or(user.start_period, image.start_period),
            start_interval: or(user.start_interval, image.start_interval),
            retries: if user.retries == 0 { image.retries } else { user.retries },
        };
        merged.command().is_some().then_some(merged)
    }

    /// What is run in the container.
    #[must_use]
    pub fn command(&self) -> Option<Vec<String>> {
        match self.test.split_first() {
            Some((kind, words)) if kind == "CMD" && !words.is_empty() => Some(words.to_vec()),
            Some((kind, [line])) if kind == "CMD-SHELL" => {
                Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec())
            }
            _ => None,
        }
    }

    /// How long to wait before the next question.
    #[must_use]
    pub fn pause(&self, ran: Duration, status: Status) -> Duration {
        if status == Status::Starting && ran < Duration::from_nanos(self.start_period) {
            return time(self.start_interval, 5);
        }
        time(self.interval, 30)
    }

    /// For an answer.
    #[must_use]
    pub fn patience(&self) -> Duration {
        time(self.timeout, 30)
    }
}

fn time(nanoseconds: u64, seconds: u64) -> Duration {
    if nanoseconds == 0 { Duration::from_secs(seconds) } else { Duration::from_nanos(nanoseconds) }
}

/// What the answers say.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing yet.
    #[default]
    Starting,
    /// The last one was good.
    Healthy,
    /// Too many were not.
    Unhealthy,
}

impl Status {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One answer, in Docker's fields.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Answer {
    /// When it was asked.
    pub start: Timestamp,
    /// When it had answered.
    pub end: Timestamp,
    /// 0 is good; -1 if it took too long.
    pub exit_code: i32,
    /// What it said.
    pub output: String,
}

/// All that is known, in Docker's fields.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// In a word.
    pub status: Status,
    /// How many failures in a row.
    pub failing_streak: u32,
    /// The last answers, oldest first.
    pub log: Vec<Answer>,
}

impl Health {
    /// After one more answer, `ran` after the start.
    #[must_use]
    pub fn after(mut self, answer: Answer, check: &Check, ran: Duration) -> Self {
        let counts =
            self.status != Status::Starting || ran >= Duration::from_nanos(check.start_period);
        if answer.exit_code == 0 {
            self.status = Status::Healthy;
            self.failing_streak = 0;
        } else if counts {
            self.failing_streak += 1;
            let retries = if check.retries == 0 { 3 } else { check.retries };
            if self.failing_streak >= retries {
                self.status = Status::Unhealthy;
            }
        }
        self.log.push(answer);
        let surplus = self.log.len().saturating_sub(KEPT);
        self.log.drain(..surplus);
        self
    }

    /// For `inspect`.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!(self)
    }

    /// What the monitor wrote last.
    #[must_use]
    pub fn read(paths: &Paths, id: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(file(paths, id)).ok()?).ok()
    }

    /// For others to see while the container runs.
    pub fn write(&self, paths: &Paths, id: &str) -> Result<()> {
        let path = file(paths, id);
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::other).file("write", &path)?;
        durable::write(&path, &bytes, 0o600).file("write", &path)
    }
}

fn file(paths: &Paths, id: &str) -> std::path::PathBuf {
    paths.run_container(id).join("health.json")
}

/// A span as in `1m30s`, in nanoseconds.
pub fn span(text: &str) -> Result<u64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let span = crate::when::span(text).ok_or_else(invalid)?;
    let nanoseconds = u64::try_from(span.as_nanos()).map_err(|_too_long| invalid())?;
    match nanoseconds {
        0 | 1_000_000.. => Ok(nanoseconds),
        _ => Err("cannot be less than 1ms".into()),
    }
}

/// Refuses wishes that exclude each other.
pub fn check(none: bool, wishes: Check) -> Result<Option<Check>> {
    match (none, wishes == Check::default()) {
        (true, true) => Ok(Some(Check { test: vec!["NONE".into()], ..Check::default() })),
        (true, false) => {
            Err(Error::BadFlag("--no-healthcheck conflicts with --health-* options".into()))
        }
        (false, true) => Ok(None),
        (false, false) => Ok(Some(wishes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Check {
        Check { test: vec!["CMD-SHELL".into(), line.into()], ..Check::default() }
    }

    fn answer(exit_code: i32) -> Answer {
        let now = Timestamp::UNIX_EPOCH;
        Answer { start: now, end: now, exit_code, output: String::new() }
    }

    #[test]
    fn failures_count_in_a_row_and_after_the_start() {
        let check = Check { retries: 2, start_period: 10_000_000_000, ..shell("x") };
        let mut health = Health::default();
        let mut tell = |code, second| {
            health = std::mem::take(&mut health).after(
                answer(code),
                &check,
                Duration::from_secs(second),
            );
            (health.status, health.failing_streak)
        };
        assert_eq!(tell(1, 1), (Status::Starting, 0));
        assert_eq!(tell(1, 11), (Status::Starting, 1));
        assert_eq!(tell(0, 12), (Status::Healthy, 0));
        assert_eq!(tell(1, 13), (Status::Healthy, 1));
        assert_eq!(tell(-1, 14), (Status::Unhealthy, 2));
        assert_eq!(tell(0, 15), (Status::Healthy, 0));
        assert_eq!(health.log.len(), 5);
    }

    #[test]
    fn the_users_wishes_come_before_the_images() {
        let image = br#"{"config": {"Healthcheck": {"Test": ["CMD", "curl", "x"], "Interval": 5, "Retries": 7}}}"#;
        let image = Check::of_image(image).unwrap();
        let merged =
            Check::merge(Some(Check { interval: 9, ..Check::default() }), Some(image.clone()));
        assert_eq!(merged, Some(Check { interval: 9, ..image.clone() }));
        let none = check(true, Check::default()).unwrap();
        assert_eq!(Check::merge(none, Some(image.clone())), None);
        assert_eq!(Check::merge(None, None), None);
        assert_eq!(Check::merge(Some(shell("y")), Some(image)).unwrap().command().unwrap()[2], "y");
        assert!(check(true, shell("x")).is_err());
        assert_eq!(Check::of_image(b"{}"), None);
    }

    #[test]
    fn pauses_are_shorter_at_the_start() {
        let check = Check { start_period: 10_000_000_000, interval: 60_000_000_000, ..shell("x") };
        let pause = |second, status| check.pause(Duration::from_secs(second), status).as_secs();
        assert_eq!(pause(1, Status::Starting), 5);
        assert_eq!(pause(1, Status::Healthy), 60);
        assert_eq!(pause(11, Status::Starting), 60);
        assert_eq!(shell("x").pause(Duration::ZERO, Status::Starting).as_secs(), 30);
    }

    #[test]
    fn spans() {
        for (text, want) in [
            ("30s", Some(30_000_000_000)),
            ("0s", Some(0)),
            ("1us", None),
            ("x", None),
            ("-1s", None),
        ] {
            assert_eq!(span(text).ok(), want, "{text}");
        }
    }
}
