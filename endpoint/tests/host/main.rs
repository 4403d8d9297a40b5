//! Containers join and leave a host that is a network namespace of the test.

#[cfg(test)]
mod attach;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod renumber;
#[cfg(test)]
mod spoof;
#[cfg(test)]
mod world;
