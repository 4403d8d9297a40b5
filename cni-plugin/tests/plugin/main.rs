//! The real binary, called as runtimes call it, on a host that is a network namespace of the test.

#[cfg(test)]
mod bandwidth;
#[cfg(test)]
mod call;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod removal;
#[cfg(test)]
mod status;
#[cfg(test)]
mod table;
#[cfg(test)]
mod verbs;
