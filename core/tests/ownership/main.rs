//! Explores every order of events of small worlds, in which the hosts run the real
//! [`decide`](twill_core::ownership::decide).
//!
//! A host reads a picture of etcd, decides, and later its transaction arrives, or does not, or its
//! answer does not. In between anything may happen: time, expiry, deaths, moves, copies, an
//! administrator. There is no picture that is too old and no host that is too slow, so partitions
//! and compactions need no event of their own.
//!
//! What is bounded: the number of machines, subnets and addresses; an etcd lease lives for two ticks and
//! clocks lose at most one in a term; a host waits for one request at a time, and one more may be on its
//! way that it gave up; and how many misfortunes of a scenario's list happen in one course of
//! events. Everything else, time above all, goes on without limit. States are told apart by 64 bits of
//! hash: among ten million of them, two are taken for one with a probability of 1 in 400,000.
//!
//! "Ends with a subnet" is checked in every state by going on from there without misfortunes, in every
//! order of the hosts' own steps: none of them may come back to where it was, and each must end well.

#![expect(clippy::print_stdout, reason = "what was visited is part of the answer")]

mod asking;
mod befall;
mod etcd;
mod events;
mod explore;
mod host;
mod normal;
mod scenario;
mod settle;
mod slips;
mod world;
mod worlds;
