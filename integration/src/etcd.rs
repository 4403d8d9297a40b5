//! A real etcd on a host, or one of three members.

mod cluster;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::http;
use crate::process::Daemon;
use crate::wait::wait_until;

pub use cluster::Cluster;

/// Where every host finds it.
pub const ENDPOINT: &str = "http://192.168.140.22:2379";

/// How long etcd may take to elect itself on a busy machine.
const START: Duration = Duration::from_secs(20);

/// Starts etcd on `host`, reachable for all, and waits until it answers. Its data survives its
/// end, so a second start goes on where the first one stopped.
///
/// # Errors
/// When it does not come up.
pub fn start(host: &Host) -> Result<Daemon> {
    let daemon = host.spawn("etcd", command_line())?;
    wait_until("etcd answers", START, || !daemon.is_running() || is_healthy(host))?;
    if !daemon.is_running() {
        anyhow::bail!("etcd ended: {}", daemon.transcript());
    }
    Ok(daemon)
}

/// Starts it as Debian's unit does, on a machine, and at each boot of that.
///
/// # Errors
/// When systemd refuses.
pub fn serve(machine: &Host) -> Result<()> {
    let options = format!(
        "ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379\nETCD_ADVERTISE_CLIENT_URLS={ENDPOINT}\n"
    );
    fs::write(machine.path("/etc/default/etcd"), options)?;
    machine.sh("install -d -o etcd -g etcd -m 700 /var/lib/etcd /var/lib/etcd/default")?;
    machine.ok(["systemctl", "enable", "--now", "etcd"]).map(drop)
}

/// What a person would type.
pub fn command_line() -> Vec<String> {
    let flags = [
        "--name=node1",
        "--data-dir=/var/lib/etcd",
        "--listen-client-urls=http://0.0.0.0:2379",
        "--advertise-client-urls=http://192.168.140.22:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=node1=http://127.0.0.1:2380",
    ];
    std::iter::once("etcd").chain(flags).map(str::to_owned).collect()
}

/// Does the etcd of this host answer, and does it have a leader?
fn is_healthy(host: &Host) -> bool {
    let ask = || -> Result<(u16, String)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2379));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        http::get(stream, "/health")
    };
    host.within(ask).is_ok_and(|(_code, answer)| answer.contains("\"health\":\"true\""))
}
