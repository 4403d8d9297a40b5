//! The options of `run` and `create` about a container's health.

use crate::container::health::{self, Check};
use crate::error::Result;

/// What is left out comes from the image.
#[derive(Clone, Debug, Default, clap::Args)]
// `run` has a group of this name, too.
#[group(skip)]
pub struct Args {
    /// Command that is run in it, by its shell, to find out whether it does its work
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between two of them, as in `1m30s`; 30s if not given
    #[arg(long, value_name = "SPAN", value_parser = health::span)]
    pub health_interval: Option<u64>,
    /// As many failures in a row make it unhealthy; 3 if not given
    #[arg(long, value_name = "NUMBER", value_parser = retries, allow_negative_numbers = true)]
    pub health_retries: Option<u32>,
    /// Most time that one may take; 30s if not given
    #[arg(long, value_name = "SPAN", value_parser = health::span)]
    pub health_timeout: Option<u64>,
    /// Time after the start in which failures do not count
    #[arg(long, value_name = "SPAN", value_parser = health::span)]
    pub health_start_period: Option<u64>,
    /// Time between two of them then; 5s if not given
    #[arg(long, value_name = "SPAN", value_parser = health::span)]
    pub health_start_interval: Option<u64>,
    /// Ask for nothing, whatever the image says
    #[arg(long)]
    pub no_healthcheck: bool,
}

fn retries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_unlike| match text.parse::<i64>() {
        Ok(..0) => "--health-retries cannot be negative".to_owned(),
        _ => format!("strconv.ParseInt: parsing {text:?}: invalid syntax"),
    })
}

impl Args {
    /// For the library.
    pub fn check(&self) -> Result<Option<Check>> {
        let test = self.health_cmd.iter().filter(|line| !line.is_empty());
        let wishes = Check {
            test: test.flat_map(|line| ["CMD-SHELL".to_owned(), line.clone()]).collect(),
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        };
        health::check(self.no_healthcheck, wishes)
    }
}
