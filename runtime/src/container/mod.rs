//! One container on disk: its record, its state, its name.

/// How a container meets the network.
#[derive(
    Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// On the host's subnet of the overlay.
    Bridge,
    /// With a loopback interface only.
    None,
    /// In the host's own network.
    Host,
}
