//! The store's promises and its troubles, against the twin in memory and real throwaway etcds.

#![expect(clippy::unwrap_used, reason = "a test says so by failing")]

mod contract;
mod support;
mod trouble;
