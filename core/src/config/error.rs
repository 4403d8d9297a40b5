//! Why a configuration cannot be used, with a way out.

/// Why a configuration cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON, or not an object.
    #[error("the network configuration is not a JSON object: {reason}")]
    NotAnObject {
        /// What the JSON parser met.
        reason: String,
    },
    /// A member that must be there is not.
    #[error("the network configuration has no {member}")]
    Missing {
        /// The member.
        member: &'static str,
    },
    /// A member holds something of another kind than it should.
    #[error("{member} is {found}, which is not {wanted}")]
    Kind {
        /// The member.
        member: &'static str,
        /// What it holds, as JSON.
        found: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A member breaks a rule.
    #[error("{member} is {found}, but it must {rule}")]
    Rule {
        /// The member.
        member: &'static str,
        /// What it holds.
        found: String,
        /// What it must do instead.
        rule: String,
    },
    /// A backend of flannel that this version lacks.
    #[error("Backend.Type is \"{name}\", which is not built into this version: it lacks {lacks}")]
    NotBuilt {
        /// The backend.
        name: &'static str,
        /// What would have to be there.
        lacks: &'static str,
    },
    /// A backend that nobody has.
    #[error("Backend.Type is \"{name}\", which is not a backend")]
    UnknownBackend {
        /// What it is called.
        name: String,
    },
}

impl Error {
    /// A way out, for a `hint:` line.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotAnObject { .. } | Self::Kind { .. } => {
                "write the configuration with `twillctl network init`, which checks it first"
            }
            Self::Missing { member: "Network" } => {
                "give the address range of the whole network, as in {\"Network\":\"10.88.0.0/16\"}"
            }
            Self::Missing { member: "IPv6Network" } => {
                "give the address range of the whole network, as in {\"IPv6Network\":\"fd00:88::/48\"}"
            }
            Self::Missing { .. } => {
                "name the backend, as in {\"Backend\":{\"Type\":\"vxlan\"}}, or leave Backend out for udp"
            }
            Self::Rule { member: "EnableIPv4" | "EnableIPv6", .. } => {
                "leave both out for IPv4, or say {\"EnableIPv4\":false,\"EnableIPv6\":true} for IPv6 alone"
            }
            Self::Rule { member: "Network" | "SubnetLen", .. } => {
                "choose a wider Network, or leave SubnetLen out: it follows from Network"
            }
            Self::Rule { member: "IPv6Network" | "IPv6SubnetLen", .. } => {
                "choose a wider IPv6Network, or leave IPv6SubnetLen out: it follows from IPv6Network"
            }
            Self::Rule { member: "SubnetMin" | "SubnetMax", .. } => {
                "give the first address of a subnet inside Network, or leave the member out"
            }
            Self::Rule { member: "IPv6SubnetMin" | "IPv6SubnetMax", .. } => {
                "give the first address of a subnet inside IPv6Network, or leave the member out"
            }
            Self::Rule { member: "Backend.Type", .. } => {
                "choose another Backend.Type, or a network of IPv4"
            }
            Self::Rule { .. } => "leave the member out for its default",
            Self::NotBuilt { name: "ipsec", .. } => {
                "set Backend.Type to \"wireguard\", which encrypts as well"
            }
            Self::NotBuilt { .. } | Self::UnknownBackend { .. } => {
                "set Backend.Type to \"vxlan\", \"udp\", \"wireguard\" or \"host-gw\""
            }
        }
    }
}
