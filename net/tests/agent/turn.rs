//! An IPv6 route that leads along the link, and then into the tunnel.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::host::{apply, named, on_a_host, run};
use twill_core::device::IfIndex;
use twill_core::ids::{Subnet, Underlay};
use twill_core::plan::{Change, Hop};
use twill_net::{Error, Kernel};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_route_turns_into_the_tunnel_without_a_moment_of_none() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let (uplink, tunnel, block) = (uplink(&kernel).await, tunnel(), block());
        let along = Change::PutRoute(
            block,
            Hop::Via(uplink, Underlay("fd00:140::2".parse().unwrap())).into(),
        );
        let into = Change::PutRoute(block, Hop::Onlink(tunnel, block.gateway()).into());
        apply(&kernel, [along]).await.unwrap();

        // Whatever becomes of the test's process, it ends with that.
        let mut monitor = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "ip", "-6", "monitor", "route"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It tells of what happens once it listens: until then something has to happen.
        let mut said = monitor.stdout.take().unwrap();
        let told = std::thread::spawn(move || {
            let mut text = [0; 1];
            said.read_exact(&mut text).unwrap();
            said
        });
        let start = Instant::now();
        while !told.is_finished() {
            assert!(start.elapsed() < LIMIT, "the monitor says nothing");
            run("ip -6 route add fd00:9::/64 dev eth0");
            run("ip -6 route del fd00:9::/64 dev eth0");
        }
        let mut said = told.join().unwrap();

        for change in [into, along, into] {
            apply(&kernel, [change]).await.unwrap();
        }
        assert_eq!(
            run("ip -6 route show root fd00:88::/48").trim(),
            "fd00:88:0:2::/64 via fd00:88:0:2:: dev flannel-v6.1 proto 84 metric 1024 onlink pref medium"
        );
        run("ip -6 route add fd00:ffff::/64 dev eth0");
        let mut text = String::new();
        while !text.contains("fd00:ffff::/64") {
            let mut some = [0; 4096];
            let read = said.read(&mut some).unwrap();
            assert!(read > 0, "the monitor has ended: {text}");
            text.push_str(std::str::from_utf8(&some[..read]).unwrap());
        }
        monitor.kill().unwrap();
        monitor.wait().unwrap();
        let lost = |line: &&str| line.starts_with("Deleted fd00:88:0:2::/64");
        assert_eq!(text.lines().filter(lost).count(), 0, "{text}");
    });
}

#[test]
fn somebody_elses_route_is_not_turned() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let (tunnel, block) = (tunnel(), block());
        run("ip -6 route add fd00:88:0:2::/64 via fd00:140::9 dev eth0 proto static");
        let routes = || run("ip -6 route show table all root fd00::/16");
        let before = routes();
        let into = Change::PutRoute(block, Hop::Onlink(tunnel, block.gateway()).into());
        let error = apply(&kernel, [into]).await.unwrap_err();
        assert!(matches!(error, Error::ForeignRoute { .. }), "{error:?}");
        assert_eq!(routes(), before);
        // Nor is a wider one that leads to the gateway: it stays, beside ours.
        run("ip -6 route del fd00:88:0:2::/64");
        run("ip -6 route add fd00:88::/48 via fd00:140::9 dev eth0 proto static");
        apply(&kernel, [into]).await.unwrap();
        let routes = run("ip -6 route show root fd00:88::/48");
        assert_eq!(routes.lines().count(), 2, "{routes}");
        assert!(routes.contains("fd00:88:0:2::/64 via fd00:88:0:2:: dev flannel-v6.1"), "{routes}");
    });
}

async fn uplink(kernel: &Kernel) -> IfIndex {
    run("ip address add fd00:140::22/64 dev eth0 nodad");
    kernel.uplink(&named("eth0")).await.unwrap().index
}

/// Where a tunnel would be.
fn tunnel() -> IfIndex {
    run("ip address replace fd00:140::22/64 dev eth0 nodad");
    run("ip link add flannel-v6.1 type veth peer name far1");
    run("ip link set far1 up");
    run("ip link set flannel-v6.1 up");
    IfIndex(nix::net::if_::if_nametoindex("flannel-v6.1").unwrap())
}

/// A peer's.
fn block() -> Subnet {
    Subnet::new("fd00:88:0:2::".parse().unwrap(), 64).unwrap()
}
