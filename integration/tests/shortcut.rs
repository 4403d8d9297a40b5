//! The kernel's shortcut for `udp`, with real agents: it carries what flows, outlives the agent, and goes
//! where it is not wanted.
//!
//! ```text
//!  node1 ═══════ node2        each with an agent; a pod behind each
//!   pod           pod
//! ```

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, flow, may_build_labs, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn flows_go_on_without_the_agent_and_without_a_loss() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        let [near, far] = pods(fabric)?;
        flow::transfer(&near, &far, 4 << 20)?;
        ensure!(by_shortcut(host)? > 500, "it carries the stream");

        // One echo every 5 ms, while the agent dies, is away, comes back, ends and comes back.
        let network = format!("--net={}", near.network);
        let to = far.address.to_string();
        let echoes = ["nsenter", &network, "ping", "-i", "0.005", "-q", &to];
        let pings = host.spawn("ping", echoes)?;
        // As the kernel counts them, for as long as there is the device.
        let of_device =
            || count(host, r#"twill_device_transmit_packets_total{device="flannel0"} "#);
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            let before = of_device()?;
            fabric.stop_agent(1, signal)?;
            flow::transfer(&near, &far, 4 << 20).with_context(|| format!("after {signal}"))?;
            flow::transfer(&far, &near, 4 << 20)?;
            fabric.start_agent(1)?;
            wait_until("the new agent's programs carry", LIMIT, || {
                by_shortcut(host).is_ok_and(|count| count > 10)
            })?;
            let after = of_device()?;
            ensure!(after >= before, "a counter fell from {before} to {after}");
        }
        pings.signal(Signal::SIGINT)?;
        wait_until("the echoes are counted", LIMIT, || pings.transcript().contains("packet loss"))?;
        let said = pings.transcript();
        ensure!(said.contains(" 0% packet loss"), "{said}");
        Ok(())
    })
}

#[test]
fn what_is_taken_away_is_put_back_and_what_is_not_wanted_goes() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        let ends = pods(fabric)?;
        ensure!(programs(host)? == 3, "one at each place");
        host.sh("tc qdisc delete dev flannel0 clsact; ip link set flannel0 mtu 1400")?;
        wait_until("the programs are back", LIMIT, || {
            programs(host).is_ok_and(|count| count == 3)
        })?;
        both_ways(&ends)?;

        // One that knows of no shortcut takes what comes by one.
        fabric.stop_agent(1, Signal::SIGTERM)?;
        fabric.give_agents(&["--udp-shortcut=off"]);
        fabric.start_agent(1)?;
        wait_until("the programs are gone", LIMIT, || {
            programs(host).is_ok_and(|count| count == 0)
        })?;
        both_ways(&ends)?;
        ensure!(by_shortcut(host)? == 0);
        Ok(())
    })
}

#[test]
fn without_the_right_to_it_nothing_is_left() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        let ends = pods(fabric)?;
        let lift = host.ok(["ip", "-d", "link", "show", "flannel0-lift"])?;
        let port = lift.split_ascii_whitespace().skip_while(|word| *word != "dstport").nth(1);
        let port: u16 = port.context("no port")?.parse()?;
        let given = host.ok(["cat", "/proc/sys/net/ipv4/ip_local_port_range"])?;
        let mut given = given.split_ascii_whitespace().map(str::parse);
        let (Some(Ok(first)), Some(Ok(last))) = (given.next(), given.next()) else {
            bail!("{given:?}")
        };
        ensure!(!(first..=last).contains(&port), "{port} is one that anybody may be given");
        for setting in
            ["ipv4/conf/flannel0-lift/forwarding=0", "ipv4/conf/flannel0-lift/rp_filter=1"]
        {
            let (name, value) = setting.split_once('=').context("no value")?;
            ensure!(
                host.ok(["cat", &format!("/proc/sys/net/{name}")])?.trim() == value,
                "{setting}"
            );
        }
        ensure!(listens(host, port)?, "the lift's own");

        fabric.stop_agent(1, Signal::SIGKILL)?;
        ensure!(programs(host)? == 3, "they outlive it");
        fabric.deny_agents(Some("bpf"));
        fabric.start_agent(1)?;
        ensure!(programs(host)? == 0, "with peers that nobody tells any more");
        ensure!(!listens(host, port)?, "the port refuses what anybody sends there");
        let transcript = fabric.agent(1)?.transcript();
        ensure!(transcript.matches("no shortcut for udp").count() == 1, "{transcript}");
        both_ways(&ends)?;
        Ok(())
    })
}

#[test]
fn what_has_to_be_encrypted_takes_no_shortcut() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        let ends = pods(fabric)?;
        ensure!(programs(host)? == 3);
        let policy = "src 198.51.100.0/24 dst 203.0.113.0/24 dir out";
        host.sh(&format!("ip xfrm policy add {policy} action block"))?;
        wait_until("the programs are gone", LIMIT, || {
            programs(host).is_ok_and(|count| count == 0)
        })?;
        wait_until("it says why", LIMIT, || {
            fabric.agent(1).is_ok_and(|agent| agent.transcript().contains("policies of IPsec"))
        })?;
        both_ways(&ends)?;
        host.sh(&format!("ip xfrm policy delete {policy}"))?;
        wait_until("the programs are back", LIMIT, || {
            programs(host).is_ok_and(|count| count == 3)
        })?;
        both_ways(&ends)?;
        Ok(())
    })
}

#[test]
fn what_an_earlier_agent_left_elsewhere_goes_and_no_more() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        fabric.stop_agent(1, Signal::SIGKILL)?;
        // As on an uplink that it had before: ours by handle and priority, beside others.
        host.sh("ip link add former type veth peer name former1; tc qdisc add dev former clsact")?;
        // One that takes none of ours, which is no reason to do nothing else.
        host.sh("tc qdisc add dev former1 ingress_block 7 clsact")?;
        for (handle, place) in [(OURS, "ingress"), (OURS, "egress"), ("0x1", "ingress")] {
            plant(host, handle, &format!("former {place}"))?;
        }
        fabric.start_agent(1)?;
        let left =
            || host.sh("tc filter show dev former ingress; tc filter show dev former egress");
        wait_until("they are gone", LIMIT, || left().is_ok_and(|left| !left.contains(OURS)))?;
        ensure!(left()?.contains("handle 0x1 "), "somebody else's: {}", left()?);
        ensure!(programs(host)? == 3, "its own");

        // Another backend, and no device any more, before it comes back.
        fabric.stop_agent(1, Signal::SIGKILL)?;
        host.sh("ip link delete flannel0")?;
        fabric.init_network(Backend::Vxlan)?;
        fabric.start_agent(1)?;
        for host in fabric.lab().hosts() {
            wait_until("nothing is left of udp", LIMIT, || {
                programs(host).is_ok_and(|count| count == 0)
                    && !["flannel0", "flannel0-lift"].iter().any(|name| has(host, name))
            })?;
        }
        both_ways(&pods(fabric)?)?;
        Ok(())
    })
}

#[test]
fn without_a_lift_it_leads_and_says_so_once() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        let ends = pods(fabric)?;
        fabric.stop_agent(1, Signal::SIGTERM)?;
        host.sh(
            "ip link delete flannel0-lift; ip link add flannel0-lift type veth peer name other",
        )?;
        fabric.start_agent(1)?;
        ensure!(programs(host)? == 2, "one at either end");
        // It looks again and again.
        host.sh("tc qdisc delete dev flannel0 clsact; ip link set flannel0 mtu 1400")?;
        wait_until("the programs are back", LIMIT, || {
            programs(host).is_ok_and(|count| count == 2)
        })?;
        let transcript = fabric.agent(1)?.transcript();
        ensure!(transcript.matches("streams are not lifted").count() == 1, "{transcript}");
        both_ways(&ends)?;

        // One that wants none takes none of somebody else's away either.
        fabric.stop_agent(1, Signal::SIGTERM)?;
        fabric.give_agents(&["--udp-shortcut=off"]);
        fabric.start_agent(1)?;
        wait_until("the programs are gone", LIMIT, || {
            programs(host).is_ok_and(|count| count == 0)
        })?;
        let shown = host.ok(["ip", "-d", "link", "show", "flannel0-lift"])?;
        ensure!(shown.contains("veth"), "{shown}");
        Ok(())
    })
}

#[test]
fn none_is_left_in_a_network_that_has_no_ipv4_any_more() -> Result<()> {
    story(Fabric::bare_of_both, |fabric, host| {
        ensure!(programs(host)? == 3, "one at each place");
        // Nobody sees the change.
        for number in 1..=2 {
            fabric.stop_agent(number, Signal::SIGKILL)?;
        }
        let init = ["network", "init", "--force", "--backend", "udp", "--network", "fd00:88::/48"];
        fabric.ctl(&init)?;
        fabric.start_agents(1..=2)?;
        for host in fabric.lab().hosts() {
            wait_until("nothing is left of it", LIMIT, || {
                programs(host).is_ok_and(|count| count == 0) && !has(host, "flannel0-lift")
            })?;
        }
        both_ways(&pods(fabric)?)?;
        Ok(())
    })
}

#[test]
fn a_clean_up_takes_its_programs_and_nobody_elses() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        fabric.stop_agent(1, Signal::SIGTERM)?;
        plant(host, "0x1", "eth0 ingress")?;
        let said = host.ok(["twilld", "cleanup", "--dry-run"])?;
        for what in
            ["entrance of eth0 for port 8285", "exit of flannel0 for", "interface flannel0-lift"]
        {
            ensure!(said.contains(what), "{what}: {said}");
        }
        ensure!(programs(host)? == 4, "it only looked");
        // Nothing else says that the lift is ours any more.
        host.sh("rm /run/twill/flannel0-*.lock; ip link delete flannel0")?;
        let said = host.ok(["twilld", "cleanup", "--dry-run"])?;
        ensure!(said.contains("interface flannel0-lift"), "{said}");
        host.ok(["twilld", "cleanup", "--yes"])?;
        ensure!(programs(host)? == 1, "somebody else's");
        ensure!(!has(host, "flannel0-lift"));
        let said = host.ok(["twilld", "cleanup", "--yes"])?;
        ensure!(said.contains("nothing of Twill"), "{said}");
        Ok(())
    })
}

#[test]
fn an_uplink_that_takes_none_is_no_reason_to_stand_still() -> Result<()> {
    story(Fabric::bare, |fabric, host| {
        fabric.stop_agent(1, Signal::SIGTERM)?;
        host.sh("tc qdisc delete dev eth0 clsact; tc qdisc add dev eth0 ingress_block 7 clsact")?;
        fabric.start_agent(1)?;
        wait_until("it says so", LIMIT, || {
            fabric.agent(1).is_ok_and(|agent| agent.transcript().contains("no shortcut for udp"))
        })?;
        // Rows of peers that come later.
        fabric.stop_agent(2, Signal::SIGTERM)?;
        fabric.start_agent(2)?;
        both_ways(&pods(fabric)?)?;
        ensure!(programs(host)? == 0, "nothing of it is left");
        Ok(())
    })
}

/// The handle of a program of ours: a mark, and the port.
const OURS: &str = "0x7457205d";

/// A filter that lets everything pass, of our priority.
fn plant(host: &Host, handle: &str, place: &str) -> Result<()> {
    let filter = "protocol all pref 4184 bpf bytecode '1,6 0 0 4294967295,' da";
    let words = filter.replace(" bpf", &format!(" handle {handle} bpf"));
    host.sh(&format!("tc filter add dev {place} {words}")).map(drop)
}

/// Has anybody a socket of UDP at that port?
fn listens(host: &Host, port: u16) -> Result<bool> {
    let sockets = host.ok(["cat", "/proc/net/udp"])?;
    Ok(sockets.contains(&format!(":{port:04X} 00000000:0000")))
}

/// Has it such an interface?
fn has(host: &Host, interface: &str) -> bool {
    host.run(["ip", "link", "show", interface]).is_ok_and(|shown| shown.code == 0)
}

/// What happens on two such hosts, whose agents have the kernel carry what it can of `udp`; it is told of the first.
fn story(
    made: fn(usize) -> Result<Fabric>,
    happens: impl FnOnce(&mut Fabric, &Host) -> Result<()>,
) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = made(2)?;
    // The timer has no part in it.
    let options = ["--iface=eth0", "--resync=60"];
    fabric.give_agents(&[&options, Backend::UdpShortcut.options()].concat());
    fabric.start_etcd()?;
    fabric.init_network(Backend::UdpShortcut)?;
    fabric.start_agents(1..=2)?;
    fabric.meet(2)?;
    let host = fabric.node(1).clone();
    happens(&mut fabric, &host)?;
    fabric.finish()
}

fn both_ways([near, far]: &[Endpoint; 2]) -> Result<()> {
    flow::transfer(near, far, 1 << 20)?;
    flow::transfer(far, near, 1 << 20).map(drop)
}

fn pods(fabric: &Fabric) -> Result<[Endpoint; 2]> {
    Ok([Endpoint::pod(fabric.node(1), "near")?, Endpoint::pod(fabric.node(2), "far")?])
}

/// How many packets a host sent by it.
fn by_shortcut(host: &Host) -> Result<u64> {
    count(host, r#"twill_tunnel_shortcut_packets_total{device="flannel0",direction="out"} "#)
}

/// What follows that on the page of metrics.
fn count(host: &Host, row: &str) -> Result<u64> {
    let mut stream = UnixStream::connect(host.path("/run/twill/agent.sock"))?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics)?;
    let number = metrics.lines().find_map(|line| line.strip_prefix(row));
    Ok(number.context("no such row")?.parse()?)
}

/// How many programs of ours there are.
fn programs(host: &Host) -> Result<usize> {
    let shown = host
        .sh("for dev in eth0 flannel0 flannel0-lift; do for place in ingress egress; do \
         tc filter show dev $dev $place 2>/dev/null; done; done; true")?;
    Ok(shown.lines().filter(|line| line.contains("pref 4184") && line.contains("handle")).count())
}
