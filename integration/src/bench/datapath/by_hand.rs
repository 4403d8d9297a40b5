//! Paths that are not Twill's, made by hand on two hosts without an agent.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::lane::{End, Lane, Path};
use super::naive;
use crate::host::Host;
use crate::lab::{Lab, address};
use crate::process::Daemon;
use crate::wait::wait_until;

/// How long a program may take to make its device, or to reach the other one.
const READY: Duration = Duration::from_secs(20);

/// Two hosts and the programs on them.
#[derive(Debug)]
pub(super) struct Bare {
    programs: Vec<Daemon>,
    lab: Lab,
}

/// A network by hand: pods are in 10.NUMBER.HOST.0/24, everything else of 10.NUMBER is behind the device.
struct Plan {
    name: &'static str,
    device: &'static str,
    number: u8,
    mtu: usize,
}

const NAIVE: Plan = Plan { name: "naive", device: "naive0", number: 101, mtu: 1472 };
/// Its own header is in each datagram, and an Ethernet one of which it has no need.
const TINC: Plan = Plan { name: "tinc", device: "tinc0", number: 102, mtu: 1450 };

impl Bare {
    pub(super) fn new() -> Result<Self> {
        let lab = Lab::new(2)?;
        for host in lab.hosts() {
            host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward")?;
        }
        Ok(Self { programs: Vec::new(), lab })
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(super) fn finish(self) -> Result<()> {
        let Self { programs, lab } = self;
        drop(programs);
        lab.finish()
    }

    /// `None` where a program is missing.
    pub(super) fn lane(&mut self, path: Path) -> Result<Option<Lane>> {
        let plan = match path {
            Path::Naive => &NAIVE,
            Path::Tinc if self.lab.node(1).run(["which", "tincd"])?.code == 0 => &TINC,
            Path::Tinc => return Ok(None),
            Path::Raw | Path::Routed | Path::Vxlan | Path::Twill | Path::TwillUser => {
                let ends = [1, 2].map(|number| End::host(self.lab.node(number), address(number)));
                return Lane::new(Path::Raw, ends, (1500, Vec::new())).map(Some);
            }
        };
        let mut programs = Vec::new();
        for number in [1, 2] {
            let host = self.lab.node(number);
            let command = match path {
                Path::Tinc => prepare_tinc(&self.lab, number)?,
                _naive => naive::command(plan.device, (address(number), address(3 - number))),
            };
            let program = host.spawn(plan.name, &command)?;
            plan.attach(host, number, &program)?;
            programs.push(program.pid());
            self.programs.push(program);
        }
        let ends = [1, 2].map(|number| plan.pod(self.lab.node(number), number));
        let [near, far] = ends;
        let (near, far) = (near?, far?);
        let reaches = || {
            let network = format!("--net=/run/netns/{}", plan.name);
            let ping = ["nsenter", &network, "ping", "-c", "1", "-W", "1"];
            let to = far.address.to_string();
            let answer = self.lab.node(1).run(ping.iter().copied().chain([to.as_str()]));
            answer.is_ok_and(|answer| answer.code == 0)
        };
        wait_until(&format!("{} carries packets", plan.name), READY, reaches)?;
        Lane::new(path, [near, far], (plan.mtu, programs)).map(Some)
    }
}

impl Plan {
    /// The device that the program makes, and what leads through it.
    fn attach(&self, host: &Host, number: usize, program: &Daemon) -> Result<()> {
        let Self { device, mtu, number: network, .. } = self;
        let seen = || host.run(["ip", "link", "show", device]).is_ok_and(|ended| ended.code == 0);
        wait_until(&format!("{device} is there"), READY, || !program.is_running() || seen())?;
        ensure!(program.is_running(), "{} ended: {}", self.name, program.transcript());
        host.sh(&format!(
            "ip address add 10.{network}.{number}.0/32 dev {device} && \
             ip link set {device} mtu {mtu} up && ip route add 10.{network}.0.0/16 dev {device}"
        ))
        .map(drop)
    }

    /// A network namespace behind a bridge, as Twill's pods are.
    fn pod(&self, host: &Host, number: usize) -> Result<End> {
        let Self { name, mtu, number: network, .. } = self;
        let block = format!("10.{network}.{number}");
        host.sh(&format!(
            "ip netns add {name} && ip link add {name}-br type bridge && \
             ip address add {block}.1/24 dev {name}-br && ip link set {name}-br up && \
             ip link add {name}-v mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name} && \
             ip link set {name}-v master {name}-br up && \
             ip -n {name} link set lo up && ip -n {name} address add {block}.2/24 dev eth0 && \
             ip -n {name} link set eth0 up && ip -n {name} route add default via {block}.1"
        ))?;
        let address = Ipv4Addr::new(10, self.number, u8::try_from(number)?, 2);
        Ok(End::named(host, (name, address)))
    }
}

/// Two hosts that know each other's key; answers how to start tinc.
fn prepare_tinc(lab: &Lab, number: usize) -> Result<Vec<String>> {
    const DIRECTORY: &str = "/etc/tinc/bench";
    for number in [1, 2] {
        let host = lab.node(number);
        if host.path(&format!("{DIRECTORY}/rsa_key.priv")).exists() {
            continue;
        }
        let other = 3 - number;
        fs::create_dir_all(host.path(&format!("{DIRECTORY}/hosts")))?;
        let main = format!("Name = node{number}\nInterface = tinc0\nConnectTo = node{other}\n");
        fs::write(host.path(&format!("{DIRECTORY}/tinc.conf")), main)?;
        let own = format!(
            "Address = {}\nSubnet = 10.102.{number}.0/24\nCipher = none\nDigest = none\n\
             Compression = 0\nPMTUDiscovery = no\n",
            address(number)
        );
        let file = format!("{DIRECTORY}/hosts/node{number}");
        fs::write(host.path(&file), own)?;
        host.ok(["tincd", "-n", "bench", "-K", "2048"]).context("no key for tinc")?;
        let known = fs::read(host.path(&file))?;
        let theirs = lab.node(other).path(&format!("{DIRECTORY}/hosts"));
        fs::create_dir_all(&theirs)?;
        fs::write(theirs.join(format!("node{number}")), known)?;
    }
    let words = ["tincd", "-n", "bench", "-D", "-c", DIRECTORY];
    ensure!(lab.node(number).path(DIRECTORY).exists(), "tinc has no directory");
    Ok(words.map(str::to_owned).to_vec())
}
