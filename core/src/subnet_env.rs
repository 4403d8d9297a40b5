//! The two files through which a host tells container runtimes about its subnet.
//!
//! The formats are flannel's `subnet.env` and the output of its `mk-docker-opts.sh`, byte for byte,
//! because Docker units and CNI configurations in the field read them.

use std::fmt::Write as _;

use crate::ids::{Family, Ipv4Subnet, Mtu, Subnet};

/// What `subnet.env` says. Of a file with both families only IPv4 is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubnetEnv<Block = Subnet> {
    /// The whole overlay network.
    pub network: Block,
    /// This host's block of it.
    pub subnet: Block,
    /// What a container's interface may carry.
    pub mtu: Mtu,
    /// Does the agent masquerade what leaves the overlay? If not, Docker shall.
    pub ip_masq: bool,
}

/// One that is of IPv4, for whatever IPv6 does not go into.
pub type Ipv4Env = SubnetEnv<Ipv4Subnet>;

/// Why a `subnet.env` cannot be used.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
pub enum Error {
    /// A line is neither empty, nor a comment, nor an assignment.
    #[error("line {line} has no `=`")]
    NotAnAssignment {
        /// Counted from one.
        line: usize,
    },
    /// A variable that every reader needs is not there.
    #[error("{name} is missing")]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// The network is of IPv6 alone.
    #[error("FLANNEL_SUBNET is missing: the network {network} is of IPv6 alone")]
    NoIpv4 {
        /// The network.
        network: Subnet,
    },
    /// A variable holds something else than it should.
    #[error("{name} is `{value}`, which is not {wanted}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        wanted: &'static str,
    },
}

impl SubnetEnv {
    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let Self { network, subnet, mtu, ip_masq } = self;
        let bridge = subnet.first_host();
        let (whole, own) = names(subnet.family());
        // Writing to a string cannot fail.
        _ = writeln!(text, "{whole}={network}");
        _ = writeln!(text, "{own}={bridge}/{}", subnet.len());
        _ = writeln!(text, "FLANNEL_MTU={mtu}");
        _ = writeln!(text, "FLANNEL_IPMASQ={ip_masq}");
        text
    }

    /// Reads what we, or a flanneld on this host, wrote. Unknown variables are ignored.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let variables = Variables::parse(text)?;
        let family = [Family::V4, Family::V6].into_iter().find(|family| {
            let (whole, own) = names(*family);
            variables.need(whole).is_ok() || variables.need(own).is_ok()
        });
        let family = family.unwrap_or(Family::V4);
        let (whole, own) = names(family);
        let network = variables.block(whole, family)?;
        let subnet = variables.block(own, family)?;
        let mtu = variables.need("FLANNEL_MTU")?;
        let mtu =
            mtu.parse().ok().and_then(Mtu::new).ok_or_else(|| {
                malformed("FLANNEL_MTU", mtu, "a number of bytes from 68 to 65535")
            })?;
        let ip_masq = variables.need("FLANNEL_IPMASQ")?;
        let ip_masq = ip_masq
            .parse()
            .map_err(|_not_a_bool| malformed("FLANNEL_IPMASQ", ip_masq, "true or false"))?;
        Ok(Self { network, subnet, mtu, ip_masq })
    }

    /// The options that make dockerd use this subnet, as `mk-docker-opts.sh` writes them, with the
    /// combined options in the variable named `key`. It knows no option for a subnet of IPv6.
    #[must_use]
    pub fn docker_options(&self, key: &str) -> String {
        let bip = (self.subnet.family() == Family::V4)
            .then(|| format!("--bip={}/{}", self.subnet.first_host(), self.subnet.len()));
        let options = [
            ("BIP", bip),
            ("IPMASQ", Some(format!("--ip-masq={}", !self.ip_masq))),
            ("MTU", Some(format!("--mtu={}", self.mtu))),
        ];
        let (mut text, mut all) = (String::new(), String::new());
        for (name, option) in options {
            let Some(option) = option else { continue };
            // Writing to a string cannot fail.
            _ = writeln!(text, "DOCKER_OPT_{name}=\"{option}\"");
            _ = write!(all, " {option}");
        }
        _ = writeln!(text, "{key}=\"{all}\"");
        text
    }
}

impl TryFrom<SubnetEnv> for Ipv4Env {
    type Error = Error;

    fn try_from(env: SubnetEnv) -> Result<Self, Error> {
        let SubnetEnv { network, subnet, mtu, ip_masq } = env;
        let none = |_ipv6| Error::NoIpv4 { network };
        let (network, subnet) =
            (network.try_into().map_err(none)?, subnet.try_into().map_err(none)?);
        Ok(Self { network, subnet, mtu, ip_masq })
    }
}

/// The variables of the whole network and of the host's block.
fn names(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("FLANNEL_NETWORK", "FLANNEL_SUBNET"),
        Family::V6 => ("FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET"),
    }
}

struct Variables<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Variables<'a> {
    fn parse(text: &'a str) -> Result<Self, Error> {
        let mut variables = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or(Error::NotAnAssignment { line: index + 1 })?;
            variables.push((name.trim(), value.trim().trim_matches('"')));
        }
        Ok(Self(variables))
    }

    fn need(&self, name: &'static str) -> Result<&'a str, Error> {
        // As in a shell that sources the file, the last assignment holds.
        let found = self.0.iter().rev().find(|(known, _value)| *known == name);
        found.map(|(_name, value)| *value).ok_or(Error::Missing { name })
    }

    fn block(&self, name: &'static str, family: Family) -> Result<Subnet, Error> {
        let value = self.need(name)?;
        let block = value.split_once('/').and_then(|(address, len)| {
            Subnet::containing(address.parse().ok()?, len.parse().ok()?)
        });
        let wanted = match family {
            Family::V4 => "a block of addresses such as 10.5.2.0/24",
            Family::V6 => "a block of addresses such as fd00:5::/64",
        };
        let block = block.filter(|block| block.family() == family);
        block.ok_or_else(|| malformed(name, value, wanted))
    }
}

fn malformed(name: &'static str, value: &str, wanted: &'static str) -> Error {
    Error::Malformed { name, value: value.to_owned(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn env() -> SubnetEnv {
        SubnetEnv {
            network: "10.88.0.0/16".parse().expect("a network"),
            subnet: "10.88.86.0/24".parse().expect("a subnet"),
            mtu: Mtu::new(1450).expect("in range"),
            ip_masq: false,
        }
    }

    /// The golden is the file of a real flanneld.
    #[test]
    fn writes_flannels_file() {
        let text = env().render();
        golden::check("subnet.env", &text);
        assert_eq!(text.len(), 96);
        assert_eq!(SubnetEnv::parse(&text), Ok(env()));
    }

    /// By what a real flanneld wrote for IPv6 alone, but for the MTU, which it has too large.
    #[test]
    fn writes_ipv6_alone() {
        let ipv6 = SubnetEnv {
            network: "fd00:88::/48".parse().expect("a network"),
            subnet: "fd00:88:0:5e::/64".parse().expect("a subnet"),
            mtu: Mtu::new(1430).expect("in range"),
            ip_masq: true,
        };
        let text = ipv6.render();
        golden::check("subnet-ipv6.env", &text);
        assert_eq!(SubnetEnv::parse(&text), Ok(ipv6));
        golden::check("docker-ipv6", &ipv6.docker_options("DOCKER_NETWORK_OPTIONS"));
        let refused = Ipv4Env::try_from(ipv6).expect_err("no IPv4").to_string();
        assert_eq!(refused, "FLANNEL_SUBNET is missing: the network fd00:88::/48 is of IPv6 alone");
        let without = text.replace("FLANNEL_IPV6_NETWORK", "X");
        let missing = SubnetEnv::parse(&without).expect_err("half of it").to_string();
        assert_eq!(missing, "FLANNEL_IPV6_NETWORK is missing");
    }

    /// The goldens are the output of flannel's `mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS`.
    #[test]
    fn writes_dockers_options() {
        golden::check("docker", &env().docker_options("DOCKER_NETWORK_OPTIONS"));
        let masq = SubnetEnv { ip_masq: true, ..env() };
        golden::check("docker-ip-masq", &masq.docker_options("DOCKER_NETWORK_OPTIONS"));
    }

    #[test]
    fn reads_what_a_shell_would() {
        let rows = [
            (
                "blanks, comments, quotes",
                "\n# made by hand\n FLANNEL_NETWORK=\"10.88.0.0/16\" \n\
              FLANNEL_SUBNET=10.88.86.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false",
            ),
            (
                "the last assignment",
                "FLANNEL_MTU=9000\nFLANNEL_NETWORK=10.88.0.0/16\n\
              FLANNEL_SUBNET=10.88.86.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
            ),
            (
                "both families",
                "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.86.1/24\n\
              FLANNEL_IPV6_NETWORK=fd00:88::/48\nFLANNEL_IPV6_SUBNET=fd00:88:0:5e::1/64\n\
              FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
            ),
            (
                "line ends of Windows",
                "FLANNEL_NETWORK=10.88.0.0/16\r\nFLANNEL_SUBNET=10.88.86.1/24\r\n\
              FLANNEL_MTU=1450\r\nFLANNEL_IPMASQ=false\r\n",
            ),
        ];
        for (name, text) in rows {
            assert_eq!(SubnetEnv::parse(text), Ok(env()), "{name}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let without = |name: &str| -> String {
            env()
                .render()
                .lines()
                .filter(|line| !line.starts_with(name))
                .fold(String::new(), |text, line| text + line + "\n")
        };
        let with = |line: &str| env().render() + line + "\n";
        let rows = [
            (String::new(), "FLANNEL_NETWORK is missing"),
            (without("FLANNEL_SUBNET"), "FLANNEL_SUBNET is missing"),
            (without("FLANNEL_MTU"), "FLANNEL_MTU is missing"),
            (without("FLANNEL_IPMASQ"), "FLANNEL_IPMASQ is missing"),
            (with("nonsense"), "line 5 has no `=`"),
            (
                with("FLANNEL_MTU=big"),
                "FLANNEL_MTU is `big`, which is not a number of bytes from 68 to 65535",
            ),
            (
                with("FLANNEL_MTU=67"),
                "FLANNEL_MTU is `67`, which is not a number of bytes from 68 to 65535",
            ),
            (with("FLANNEL_IPMASQ=yes"), "FLANNEL_IPMASQ is `yes`, which is not true or false"),
            (
                with("FLANNEL_SUBNET=10.88.86.1"),
                "FLANNEL_SUBNET is `10.88.86.1`, which is not a block of addresses such as 10.5.2.0/24",
            ),
        ];
        for (text, words) in rows {
            assert_eq!(SubnetEnv::parse(&text).expect_err(words).to_string(), words);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(FLANNEL_(NETWORK|SUBNET|MTU|IPMASQ)=\\PC{0,20}\n)*|\\PC*") {
            drop(SubnetEnv::parse(&text));
        }

        #[test]
        fn everything_reads_back(base: u32, len in 1_u8..=30, more in 0_u8..=8, mtu in 68_u32..=65535, ip_masq: bool) {
            let network = Ipv4Subnet::containing(base.into(), len).expect("short enough");
            let subnet = Ipv4Subnet::containing(base.into(), (len + more).min(30)).expect("short enough");
            let mtu = Mtu::new(mtu).expect("in range");
            let env = SubnetEnv { network: network.into(), subnet: subnet.into(), mtu, ip_masq };
            proptest::prop_assert_eq!(SubnetEnv::parse(&env.render()), Ok(env));
        }
    }
}
