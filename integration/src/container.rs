//! Containers made by `twill`, and pods made by `twill-cni`: whatever has an address and a
//! network namespace on a host.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::enter::within;
use crate::host::Host;

/// The name under which the hosts know the lab's image.
pub const IMAGE: &str = "busybox";

/// Where a host finds the tar archive of that image.
pub const IMAGE_TAR: &str = "/run/lab/share/busybox.tar";

/// One end of the overlay network.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The host it is on.
    pub host: Host,
    /// Its name there.
    pub name: String,
    /// Its address in the overlay network; that of IPv4, if it has two.
    pub address: IpAddr,
    /// Its address of IPv6, if it has one of IPv4 as well.
    pub ipv6: Option<IpAddr>,
    /// Its network namespace, as the host knows it.
    pub network: String,
}

impl Endpoint {
    /// Takes the lab's image in, which must be in the lab's share.
    ///
    /// # Errors
    /// When `twill` refuses it.
    pub fn import_image(host: &Host) -> Result<()> {
        host.ok(["twill", "import", IMAGE_TAR, IMAGE]).map(drop)
    }

    /// Starts a container that runs `command` in the background.
    ///
    /// # Errors
    /// When `twill` does not start it, or does not tell its address.
    pub fn container(host: &Host, name: &str, command: &[&str]) -> Result<Self> {
        let start = ["twill", "run", "-d", "--name", name, "--hostname", name, IMAGE];
        host.ok(start.iter().chain(command))?;
        Self::inspect(host, name)
    }

    /// A container that runs already.
    ///
    /// # Errors
    /// When `twill` does not know it, or its address.
    pub fn inspect(host: &Host, name: &str) -> Result<Self> {
        let text = host.ok(["twill", "inspect", name])?;
        let known: Value = serde_json::from_str(&text).context("`twill inspect` prints JSON")?;
        let settings = &known[0]["NetworkSettings"];
        let found = ["IPAddress", "GlobalIPv6Address"].map(|name| settings[name].as_str());
        let found: Vec<&str> = found.into_iter().flatten().collect();
        let (address, ipv6) = addresses(&found).with_context(|| format!("no address in {text}"))?;
        let pid = known[0]["State"]["Pid"].as_i64().context("no process")?;
        let network = format!("/proc/{pid}/ns/net");
        Ok(Self { host: host.clone(), name: name.to_owned(), address, ipv6, network })
    }

    /// A pod as a container engine would make it: a named network namespace, then ADD.
    ///
    /// # Errors
    /// When a step fails; the message carries what the plugin said.
    pub fn pod(host: &Host, name: &str) -> Result<Self> {
        host.ok(["ip", "netns", "add", name])?;
        let answer = cni(host, "ADD", name)?;
        let result: Value = serde_json::from_str(&answer).context("the plugin prints JSON")?;
        let rows = result["ips"].as_array().into_iter().flatten();
        let found: Vec<&str> =
            rows.filter_map(|row| row["address"].as_str()?.split('/').next()).collect();
        let (address, ipv6) =
            addresses(&found).with_context(|| format!("no address in {answer}"))?;
        let (name, network) = (name.to_owned(), format!("/run/netns/{name}"));
        Ok(Self { host: host.clone(), name, address, ipv6, network })
    }

    /// Undoes [`Endpoint::pod`].
    ///
    /// # Errors
    /// When the plugin refuses.
    pub fn remove_pod(self) -> Result<()> {
        cni(&self.host, "DEL", &self.name)?;
        self.host.ok(["ip", "netns", "delete", &self.name]).map(drop)
    }

    /// Removes the container, running or not.
    ///
    /// # Errors
    /// When `twill` refuses.
    pub fn remove_container(self) -> Result<()> {
        self.host.ok(["twill", "rm", "-f", &self.name]).map(drop)
    }

    /// Its address of IPv4.
    ///
    /// # Errors
    /// When it has none.
    pub fn ipv4(&self) -> Result<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => bail!("{} has no IPv4", self.name),
        }
    }

    /// Runs a command in the container and answers its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        self.host.ok(["twill", "exec", &self.name].iter().chain(command))
    }

    /// Pings `to` once from inside, as busybox does it.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn ping(&self, to: IpAddr) -> Result<()> {
        self.exec(&["ping", "-c", "1", "-W", "3", &to.to_string()]).map(drop)
    }

    /// Pings `to` with packets of exactly `size` bytes that may not be fragmented, with the
    /// host's own tool but from inside.
    ///
    /// # Errors
    /// When one is not answered.
    pub fn ping_whole(&self, to: IpAddr, size: usize) -> Result<()> {
        // 20 or 40 bytes are the IP header's and 8 the ICMP header's.
        let headers = if to.is_ipv4() { 28 } else { 48 };
        let payload = size.saturating_sub(headers).to_string();
        let flags = ["-M", "do", "-c", "3", "-i", "0.05", "-W", "3", "-s", &payload];
        self.ping_with(to, &flags).map(drop)
    }

    /// Pings `to` with flags of the host's own tool, from inside.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn ping_with(&self, to: IpAddr, flags: &[&str]) -> Result<String> {
        let network = format!("--net={}", self.network);
        let command = ["nsenter", &network, "ping"];
        self.host.ok(command.iter().chain(flags).chain(&[to.to_string().as_str()]))
    }

    /// Runs `work` in its network namespace; sockets made there may be carried out.
    ///
    /// # Errors
    /// Of entering, or whatever `work` answers.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.host.path(&self.network), work)
    }
}

/// The first one, and one of IPv6 beside it.
fn addresses(found: &[&str]) -> Option<(IpAddr, Option<IpAddr>)> {
    let mut addresses = found.iter().filter_map(|text| text.parse().ok());
    Some((addresses.next()?, addresses.next()))
}

/// What a container engine hands to `twill-cni` on standard input.
pub const CNI_CONFIGURATION: &str = r#"{"cniVersion":"1.1.0","name":"twill","type":"twill-cni"}"#;

/// What it says in the environment, for a pod in the network namespace of the same name.
pub fn cni_environment(verb: &str, pod: &str) -> [(&'static str, String); 5] {
    [
        ("CNI_COMMAND", verb.to_owned()),
        ("CNI_CONTAINERID", pod.to_owned()),
        ("CNI_NETNS", format!("/run/netns/{pod}")),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_PATH", "/run/lab/bin".to_owned()),
    ]
}

/// Calls `twill-cni` the way a container engine does and answers its result.
///
/// # Errors
/// When the plugin fails; the message carries its answer.
pub fn cni(host: &Host, verb: &str, pod: &str) -> Result<String> {
    let variables = cni_environment(verb, pod).map(|(name, value)| format!("{name}={value}"));
    let argv = std::iter::once("env".to_owned()).chain(variables).chain(["twill-cni".to_owned()]);
    let outcome = host.run_with(argv, CNI_CONFIGURATION.as_bytes(), Duration::from_secs(30))?;
    let outcome =
        outcome.success().with_context(|| format!("{}: CNI {verb} {pod}", host.name()))?;
    Ok(outcome.stdout)
}
