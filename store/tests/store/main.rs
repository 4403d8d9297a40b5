//! The store's promises and its troubles, against the twin in memory and real throwaway etcds.

#![expect(clippy::unwrap_used, reason = "a test says so by failing")]

mod access;
mod certificates;
mod contract;
mod discovery;
mod failover;
mod ownership;
mod renewal;
mod roles;
mod support;
mod trouble;
mod users;
mod world;
