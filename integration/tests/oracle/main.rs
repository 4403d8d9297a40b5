//! Docker as the oracle: the same lines of shell, once with Docker on a host of its own and once with
//! `twill` on another, and what they say has to be the same.
//!
//! The cases are the files in `cases/`, the deliberate differences are all in `differences.txt`. A
//! difference that is not there fails the test, and so does one that is there and no longer occurs. What
//! differs by nature (ids, times, addresses) or by house style is evened out first: see `plain`. Archives that
//! one of the two writes, the other reads: see `archives`.

mod archives;
mod cases;
mod differences;
mod docker;
mod plain;
mod script;
mod topic;

use anyhow::Result;

#[test]
fn life() -> Result<()> {
    topic::check("life")
}

#[test]
fn inside() -> Result<()> {
    topic::check("inside")
}

#[test]
fn talk() -> Result<()> {
    topic::check("talk")
}

#[test]
fn files() -> Result<()> {
    topic::check("files")
}

#[test]
fn lists() -> Result<()> {
    topic::check("lists")
}

#[test]
fn network() -> Result<()> {
    topic::check("network")
}

#[test]
fn archives() -> Result<()> {
    archives::check()
}
