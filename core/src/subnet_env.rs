//! The two files through which a host tells container runtimes about its subnet.
//!
//! The formats are flannel's `subnet.env` and the output of its `mk-docker-opts.sh`, byte for byte,
//! because Docker units and CNI configurations in the field read them.

use std::fmt::Write as _;

use crate::ids::{Family, Mtu, Subnet};

/// What `subnet.env` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubnetEnv {
    /// The whole overlay network; that of IPv4, if there are two.
    pub network: Subnet,
    /// This host's block of it.
    pub subnet: Subnet,
    /// The same of IPv6, beside IPv4. A network of IPv6 alone has none.
    pub ipv6: Option<Ipv6Blocks>,
    /// What a container's interface may carry.
    pub mtu: Mtu,
    /// Does the agent masquerade what leaves the overlay? If not, Docker shall.
    pub ip_masq: bool,
}

/// The network and the host's block of it, of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Blocks {
    /// The whole overlay network.
    pub network: Subnet,
    /// The host's block of it.
    pub subnet: Subnet,
}

/// [`Blocks`] of IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ipv6Blocks(Blocks);

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

impl Ipv6Blocks {
    /// `None` unless both are of IPv6.
    #[must_use]
    pub fn new(network: Subnet, subnet: Subnet) -> Option<Self> {
        let of_ipv6 = [network, subnet].into_iter().all(|block| block.family() == Family::V6);
        of_ipv6.then_some(Self(Blocks { network, subnet }))
    }

    /// The host's block of it.
    #[must_use]
    pub fn subnet(self) -> Subnet {
        self.0.subnet
    }
}

impl SubnetEnv {
    /// One for each family that the network has, IPv4 first.
    pub fn blocks(&self) -> impl Iterator<Item = Blocks> {
        let first = Blocks { network: self.network, subnet: self.subnet };
        let beside = self.ipv6.filter(|_| self.subnet.family() == Family::V4);
        [first].into_iter().chain(beside.map(|Ipv6Blocks(blocks)| blocks))
    }

    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let Self { mtu, ip_masq, .. } = self;
        for Blocks { network, subnet } in self.blocks() {
            let bridge = subnet.first_host();
            let (whole, own) = names(subnet.family());
            // Writing to a string cannot fail, here and below.
            _ = writeln!(text, "{whole}={network}");
            _ = writeln!(text, "{own}={bridge}/{}", subnet.len());
        }
        _ = writeln!(text, "FLANNEL_MTU={mtu}");
        _ = writeln!(text, "FLANNEL_IPMASQ={ip_masq}");
        text
    }

    /// Reads what we, or a flanneld on this host, wrote. Unknown variables are ignored.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let variables = Variables::parse(text)?;
        let (network, subnet, ipv6) =
            match (variables.blocks(Family::V4)?, variables.blocks(Family::V6)?) {
                (Some(Blocks { network, subnet }), ipv6) => (network, subnet, ipv6.map(Ipv6Blocks)),
                (None, Some(Blocks { network, subnet })) => (network, subnet, None),
                (None, None) => return Err(Error::Missing { name: names(Family::V4).0 }),
            };
        let mtu = variables.need("FLANNEL_MTU")?;
        let mtu =
            mtu.parse().ok().and_then(Mtu::new).ok_or_else(|| {
                malformed("FLANNEL_MTU", mtu, "a number of bytes from 68 to 65535")
            })?;
        let ip_masq = variables.need("FLANNEL_IPMASQ")?;
        let ip_masq = ip_masq
            .parse()
            .map_err(|_not_a_bool| malformed("FLANNEL_IPMASQ", ip_masq, "true or false"))?;
        Ok(Self { network, subnet, ipv6, mtu, ip_masq })
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

    /// `None` if nothing is said about the family.
    fn blocks(&self, family: Family) -> Result<Option<Blocks>, Error> {
        let (whole, own) = names(family);
        if self.need(whole).is_err() && self.need(own).is_err() {
            return Ok(None);
        }
        let (network, subnet) = (self.block(whole, family)?, self.block(own, family)?);
        Ok(Some(Blocks { network, subnet }))
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
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::golden;

    fn env() -> SubnetEnv {
        SubnetEnv {
            network: "10.88.0.0/16".parse().expect("a network"),
            subnet: "10.88.86.0/24".parse().expect("a subnet"),
            ipv6: None,
            mtu: Mtu::new(1450).expect("in range"),
            ip_masq: false,
        }
    }

    fn ipv6() -> Ipv6Blocks {
        let block = |text: &str| text.parse().expect("a block");
        Ipv6Blocks::new(block("fd00:88::/48"), block("fd00:88:0:5e::/64")).expect("of IPv6")
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
            ipv6: None,
            mtu: Mtu::new(1430).expect("in range"),
            ip_masq: true,
        };
        let text = ipv6.render();
        golden::check("subnet-ipv6.env", &text);
        assert_eq!(SubnetEnv::parse(&text), Ok(ipv6));
        golden::check("docker-ipv6", &ipv6.docker_options("DOCKER_NETWORK_OPTIONS"));
        let without = text.replace("FLANNEL_IPV6_NETWORK", "X");
        let missing = SubnetEnv::parse(&without).expect_err("half of it").to_string();
        assert_eq!(missing, "FLANNEL_IPV6_NETWORK is missing");
    }

    /// The lines and their order are those of a real flanneld.
    #[test]
    fn writes_both_families() {
        let both = SubnetEnv { ipv6: Some(ipv6()), ..env() };
        let text = both.render();
        golden::check("subnet-dual.env", &text);
        assert_eq!(SubnetEnv::parse(&text), Ok(both));
        let key = "DOCKER_NETWORK_OPTIONS";
        assert_eq!(both.docker_options(key), env().docker_options(key), "as `mk-docker-opts.sh`");
        let without = text.replace("FLANNEL_IPV6_SUBNET", "X");
        let missing = SubnetEnv::parse(&without).expect_err("half of it").to_string();
        assert_eq!(missing, "FLANNEL_IPV6_SUBNET is missing");
        let swapped = Ipv6Blocks::new(both.network, ipv6().subnet());
        assert_eq!(swapped, None, "the pair is of IPv6");
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
            (with("FLANNEL_IPV6_NETWORK=fd00:88::/48"), "FLANNEL_IPV6_SUBNET is missing"),
            (
                with("FLANNEL_IPV6_NETWORK=10.88.0.0/16\nFLANNEL_IPV6_SUBNET=fd00:88::1/64"),
                "FLANNEL_IPV6_NETWORK is `10.88.0.0/16`, which is not a block of addresses such as \
                 fd00:5::/64",
            ),
            (
                with("FLANNEL_SUBNET=10.88.86.1"),
                "FLANNEL_SUBNET is `10.88.86.1`, which is not a block of addresses such as 10.5.2.0/24",
            ),
        ];
        for (text, words) in rows {
            assert_eq!(SubnetEnv::parse(&text).expect_err(words).to_string(), words);
        }
    }

    /// Blocks of one family: a network, and one in it.
    fn blocks(family: Family) -> impl Strategy<Value = Blocks> {
        (any::<u128>(), 1..family.bits() - 2, 0_u8..=8).prop_map(move |(base, len, more)| {
            let base: IpAddr = match family {
                Family::V4 => Ipv4Addr::from((base >> 96) as u32).into(),
                Family::V6 => Ipv6Addr::from(base).into(),
            };
            let block = |len: u8| Subnet::containing(base, len).expect("short enough");
            Blocks { network: block(len), subnet: block((len + more).min(family.bits() - 2)) }
        })
    }

    fn envs() -> impl Strategy<Value = SubnetEnv> {
        let (ipv4, ipv6) = (blocks(Family::V4), proptest::option::of(blocks(Family::V6)));
        let first = prop_oneof![(ipv4, ipv6), (blocks(Family::V6), Just(None))];
        (first, 68_u32..=65535, any::<bool>()).prop_map(|((first, beside), mtu, ip_masq)| {
            let Blocks { network, subnet } = first;
            let (ipv6, mtu) = (beside.map(Ipv6Blocks), Mtu::new(mtu).expect("in range"));
            SubnetEnv { network, subnet, ipv6, mtu, ip_masq }
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in "(FLANNEL_(NETWORK|SUBNET|IPV6_NETWORK|IPV6_SUBNET|MTU|IPMASQ)=\\PC{0,20}\n)*|\\PC*"
        ) {
            drop(SubnetEnv::parse(&text));
        }

        #[test]
        fn everything_reads_back(env in envs()) {
            prop_assert_eq!(SubnetEnv::parse(&env.render()), Ok(env));
            let families: Vec<Family> = env.blocks().map(|blocks| blocks.subnet.family()).collect();
            prop_assert_eq!(families.len(), 1 + usize::from(env.ipv6.is_some()));
            prop_assert!(families.is_sorted());
        }
    }
}
