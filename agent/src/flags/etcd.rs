//! How etcd is reached, and which networks in it are this host's.

use std::path::PathBuf;

use twill_core::networks::Networks;

use super::value::{List, Secret, go_bool};

/// Where the network's configuration and leases live.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "etcd")]
pub(crate) struct Etcd {
    /// Comma-separated list of etcd endpoints
    #[arg(long = "etcd-endpoints", value_name = "URLS")]
    #[arg(default_value = "http://127.0.0.1:4001,http://127.0.0.1:2379")]
    pub(crate) endpoints: List,
    /// Domain whose SRV records name the endpoints instead: _etcd-client-ssl._tcp, else
    /// _etcd-client._tcp
    #[arg(long = "etcd-discovery-srv", value_name = "DOMAIN", conflicts_with = "endpoints")]
    pub(crate) discovery_srv: Option<String>,
    /// Prefix of every key
    #[arg(long = "etcd-prefix", value_name = "KEY", default_value = "/coreos.com/network")]
    pub(crate) prefix: String,
    /// Comma-separated names of networks, when this host is to be in several: each lies under
    /// PREFIX/NAME
    #[arg(long, value_name = "NAMES", default_value = "", hide_default_value = true)]
    pub(crate) networks: Networks,
    /// Be in every network that has a configuration under PREFIX/NAME, from when it is written until it is
    /// deleted; with --networks only in those of these names
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) watch_networks: bool,
    /// Key of the client certificate
    #[arg(long = "etcd-keyfile", value_name = "FILE", requires = "certfile")]
    pub(crate) keyfile: Option<PathBuf>,
    /// Client certificate
    #[arg(long = "etcd-certfile", value_name = "FILE", requires = "keyfile")]
    pub(crate) certfile: Option<PathBuf>,
    /// Authority that etcd's own certificate must come from
    #[arg(long = "etcd-cafile", value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,
    /// User name for etcd
    #[arg(long = "etcd-username", value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password for etcd; better in a file: on the command line others can see it for a moment, and in
    /// the unit for ever
    #[arg(long = "etcd-password", value_name = "WORD", hide_env_values = true)]
    pub(crate) password: Option<Secret>,
    /// File whose first line is the password for etcd
    #[arg(long = "etcd-password-file", value_name = "FILE", conflicts_with = "password")]
    pub(crate) password_file: Option<PathBuf>,
}
