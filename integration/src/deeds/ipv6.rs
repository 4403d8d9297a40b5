//! The same deeds to IPv6.

use super::Deed;

/// What is said of IPv4, and how the same is said of IPv6.
const WORDS: [(&str, &str); 21] = [
    ("ip route ", "ip -6 route "),
    ("ip neigh ", "ip -6 neigh "),
    ("ip addr ", "ip -6 addr "),
    ("iptables ", "ip6tables "),
    (" ip twill-peers", " ip6 twill-peers"),
    ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"),
    // Ours have the kernel's usual metric, 1024, and a smaller one would be in front of them.
    ("metric 7", "metric 2000"),
    // Nobody asks whether an address is another's.
    ("172.31.0.1/24 dev DEVICE", "fd00:31::1/64 dev DEVICE nodad"),
    ("10.88.77.0/32 dev DEVICE", "fd00:88:0:4d::/128 dev DEVICE nodad"),
    ("10.88.11.0", "fd00:88:0:b::"),
    ("10.88.12.0", "fd00:88:0:c::"),
    ("10.88.77.0", "fd00:88:0:4d::"),
    ("10.99.0.0/16", "fd00:99::/48"),
    ("10.99.1.0", "fd00:99:0:1::"),
    ("10.99.2.0", "fd00:99:0:2::"),
    ("192.0.2.66", "2001:db8::66"),
    ("192.0.2.77", "2001:db8::77"),
    ("192.0.2.95", "2001:db8::95"),
    ("192.0.2.96", "2001:db8::96"),
    ("/24", "/64"),
    ("/32", "/128"),
];

/// The line about IPv6; one that is about no family is the same.
pub(crate) fn in_ipv6(line: &str) -> String {
    WORDS.iter().fold(line.to_owned(), |line, (before, now)| line.replace(before, now))
}

/// Can the same be done to IPv6? Its switches are others.
pub(crate) fn is_of_ipv6(deed: &Deed) -> bool {
    !deed.types.iter().any(|line| line.contains("net/ipv4/conf/"))
}
