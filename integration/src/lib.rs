//! Many hosts on one machine: the lab, the demo, the whole-system tests.
