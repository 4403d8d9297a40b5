//! The files that tell a container how to find names. Pure: text in, text out.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use twill_core::ids::Family;

/// Where systemd-resolved writes the nameservers that it asks itself.
pub const RESOLVED_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// Google's public resolvers, which Docker falls back on too.
fn fallback(family: Family) -> [&'static str; 2] {
    match family {
        Family::V4 => ["8.8.8.8", "8.8.4.4"],
        Family::V6 => ["2001:4860:4860::8888", "2001:4860:4860::8844"],
    }
}

/// What a user wants differently from the host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResolverOptions {
    /// Nameservers in place of the host's. These are not filtered: the user knows best.
    pub servers: Vec<IpAddr>,
    /// Search domains in place of the host's; a lone `.` is none at all.
    pub search: Vec<String>,
    /// Options (`ndots:2`, …) in place of the host's.
    pub options: Vec<String>,
}

/// A line of a container's hosts file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Its names, the canonical one first.
    pub names: Vec<String>,
}

/// Does this `resolv.conf` of a host name systemd-resolved's stub and nobody else? Then
/// [`RESOLVED_RESOLV_CONF`] holds what a container can use.
#[must_use]
pub fn is_resolved_stub(host: &str) -> bool {
    let servers: Vec<IpAddr> = servers(host).collect();
    servers == [IpAddr::from(Ipv4Addr::new(127, 0, 0, 53))]
}

/// A container's `resolv.conf`, made of the text of the host's and the user's wishes.
///
/// A container cannot reach the host's loopback, nor servers of a family that it has no address of;
/// `families` are those that it has. If the host names no other server, two public ones are named, as Docker
/// does.
#[must_use]
pub fn resolv_conf(host: &str, wanted: &ResolverOptions, families: &[Family]) -> String {
    let mut text = String::new();
    let reached = |server: &IpAddr| families.contains(&Family::of(*server));
    let usable = servers(host).filter(|server| reached(server) && !server.is_loopback());
    let mut servers: Vec<String> = if wanted.servers.is_empty() {
        usable.map(|server| server.to_string()).collect()
    } else {
        wanted.servers.iter().map(IpAddr::to_string).collect()
    };
    if servers.is_empty() {
        let family = families.first().copied().unwrap_or(Family::V4);
        servers = fallback(family).map(str::to_owned).to_vec();
    }
    for server in servers {
        // Writing to a string cannot fail, here and below.
        _ = writeln!(text, "nameserver {server}");
    }
    let search = choose(&wanted.search, host, &["search", "domain"]);
    if !search.is_empty() && search != ["."] {
        _ = writeln!(text, "search {}", search.join(" "));
    }
    let options = choose(&wanted.options, host, &["options"]);
    if !options.is_empty() {
        _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// A container's hosts file: loopback as in Docker's containers, then the entries.
#[must_use]
pub fn hosts(entries: &[HostEntry]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    ff00::0\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    for HostEntry { address, names } in entries {
        _ = writeln!(text, "{address}\t{}", names.join(" "));
    }
    text
}

fn servers(host: &str) -> impl Iterator<Item = IpAddr> {
    // A zone (`fe80::1%eth0`) means nothing in another namespace, so that it need not parse.
    values(host, &["nameserver"]).filter_map(|values| values.first()?.parse().ok())
}

/// The user's words, or those of the host's last line of that kind (`resolv.conf(5)`).
fn choose<'a>(wanted: &'a [String], host: &'a str, keywords: &[&str]) -> Vec<&'a str> {
    if wanted.is_empty() {
        values(host, keywords).last().unwrap_or_default()
    } else {
        wanted.iter().map(String::as_str).collect()
    }
}

fn values<'a>(host: &'a str, keywords: &[&str]) -> impl Iterator<Item = Vec<&'a str>> {
    host.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let keyword = words.next()?;
        keywords.contains(&keyword).then(|| words.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers() {
        let host = ResolverOptions::default();
        check(
            "the host's servers, domains and options are taken over",
            "# comment\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\n\
             options ndots:2 rotate\n",
            &host,
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\n\
             options ndots:2 rotate\n",
        );
        check(
            "the host's loopback is not the container's",
            "nameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\n",
            &host,
            "nameserver 192.0.2.1\n",
        );
        check(
            "with nothing left, public servers are named",
            "nameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n",
            &host,
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
        );
        check("so are they without a file", "", &host, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        check(
            "the last of several search lines holds",
            "nameserver 192.0.2.1\ndomain old.example\nsearch new.example\n",
            &host,
            "nameserver 192.0.2.1\nsearch new.example\n",
        );
        let wanted = ResolverOptions {
            servers: vec![[127, 0, 0, 1].into()],
            search: vec![".".to_owned()],
            options: vec!["ndots:0".to_owned()],
        };
        check(
            "the user's wishes replace each kind of line, even by loopback",
            "nameserver 192.0.2.1\nsearch a.example\noptions rotate\n",
            &wanted,
            "nameserver 127.0.0.1\noptions ndots:0\n",
        );
    }

    #[test]
    fn resolvers_of_the_containers_families() {
        let host = "nameserver ::1\nnameserver 2001:db8::1\nnameserver 192.0.2.1\n";
        let usual = ResolverOptions::default();
        for (families, text) in [
            (&[Family::V6][..], "nameserver 2001:db8::1\n"),
            (&[Family::V4, Family::V6], "nameserver 2001:db8::1\nnameserver 192.0.2.1\n"),
            (&[Family::V4], "nameserver 192.0.2.1\n"),
        ] {
            assert_eq!(resolv_conf(host, &usual, families), text, "{families:?}");
        }
        let public = "nameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n";
        assert_eq!(resolv_conf("nameserver 192.0.2.1\n", &usual, &[Family::V6]), public);
    }

    #[test]
    fn stubs() {
        assert!(is_resolved_stub("nameserver 127.0.0.53\noptions edns0\n"));
        assert!(!is_resolved_stub("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"));
        assert!(!is_resolved_stub(""));
    }

    #[test]
    fn hosts_end_with_the_entries() {
        let entry = HostEntry {
            address: [10, 5, 2, 7].into(),
            names: vec!["web.example".to_owned(), "web".to_owned()],
        };
        let text = hosts(&[entry]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("\n10.5.2.7\tweb.example web\n"));
    }

    #[track_caller]
    fn check(name: &str, host: &str, wanted: &ResolverOptions, text: &str) {
        assert_eq!(resolv_conf(host, wanted, &[Family::V4]), text, "{name}");
    }
}
