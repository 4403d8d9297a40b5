//! Machines with the package, in one network.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use twill_core::subnet_env::SubnetEnv;
use twill_integration::container::{Endpoint, IMAGE_TAR};
use twill_integration::image::{self, GREETING};
use twill_integration::{Host, Lab, Machine, etcd, package, status, wait_until};

/// How long anything may take that comes by itself.
pub(super) const LIMIT: Duration = Duration::from_mins(1);

/// What every pod and container serves with, as a Dockerfile has it. Where it is process 1 it would not end by itself
/// when it is asked to, nor is there a `PATH` everywhere.
pub(super) const SERVE: &str =
    r#"CMD ["/bin/sh", "-c", "trap exit TERM; /bin/httpd -f -p 80 -h / & wait"]"#;

/// The port of hosts at which pods are published.
pub(super) const PORT: u16 = 8080;

pub(super) struct World {
    lab: Lab,
    machines: Vec<Machine>,
}

impl World {
    /// So many machines, and runtimes of others are told of our plugin on all of them.
    pub(super) fn start(count: usize) -> Result<Self> {
        let mut lab = Lab::new(0)?;
        image::write(&lab.share().join("busybox.tar"))?;
        let package = package::pack(&lab.share(), "0.0.1")?;
        let package = package.file_name().context("a package has a name")?.to_string_lossy();
        let mut machines = Vec::new();
        for _ in 0..count {
            let mut machine = lab.add_machine()?;
            machine.start()?.ok(["dpkg", "-i", &format!("/run/lab/share/{package}")])?;
            machines.push(machine);
        }
        let world = Self { lab, machines };
        etcd::serve(world.host(1))?;
        let init = ["twillctl", "network", "init", "--network", "10.88.0.0/16"];
        world.host(1).ok(init.iter().chain(&["--backend", "vxlan"]))?;
        for host in world.machines.iter().map(Machine::host) {
            let options = format!("\nTWILLD_ETCD_ENDPOINTS={}\n", etcd::ENDPOINT);
            let file = host.path("/etc/twill/twilld.env");
            fs::write(&file, fs::read_to_string(&file)? + &options)?;
            host.ok(["systemctl", "enable", "--now", "twilld", "twill-restart"])?;
        }
        world.meets()?;
        for host in world.machines.iter().map(Machine::host) {
            host.ok(["twillctl", "cni", "install"])?;
            host.ok(["twillctl", "cni", "check"])?;
        }
        Ok(world)
    }

    /// Waits until each host knows all others.
    pub(super) fn meets(&self) -> Result<()> {
        let others = self.machines.len() - 1;
        for host in self.machines.iter().map(Machine::host) {
            let all = || {
                let status = status(host);
                status.is_ok_and(|it| it.peers.len() == others && it.pending.is_empty())
            };
            wait_until(&format!("{} knows {others} others", host.name()), LIMIT, all)?;
        }
        Ok(())
    }

    /// The machine of that number, counted from 1.
    pub(super) fn machine(&mut self, number: usize) -> &mut Machine {
        &mut self.machines[number - 1]
    }

    /// The same as it runs now.
    pub(super) fn host(&self, number: usize) -> &Host {
        self.machines[number - 1].host()
    }

    /// A container of `twill` on the first machine, which serves as pods do.
    pub(super) fn container(&self) -> Result<Endpoint> {
        self.host(1).ok(["twill", "import", "-c", SERVE, IMAGE_TAR, "busybox"])?;
        Endpoint::container(self.host(1), "web", &[])
    }

    pub(super) fn finish(self) -> Result<()> {
        self.lab.finish()
    }
}

/// Which subnet a host has.
pub(super) fn subnet(host: &Host) -> Result<SubnetEnv> {
    Ok(SubnetEnv::parse(&fs::read_to_string(host.path("/run/flannel/subnet.env"))?)?)
}

/// Where a host is reached by others.
pub(super) fn underlay(host: &Host) -> Result<String> {
    let said = host.ok(["hostname"])?;
    let said = host.sh(&format!("getent ahostsv4 {} | head -n 1", said.trim()))?;
    Ok(said.split_whitespace().next().context("a host has an address")?.to_owned())
}

/// Waits until whoever is at `place` serves its page to the one who asks, by whom this command is run.
pub(super) fn served(
    who: &str,
    (place, port): (&str, u16),
    run: impl Fn(&[&str]) -> Result<String>,
) -> Result<()> {
    // It waits no longer, whoever throws the packets away.
    let line =
        format!(r"printf 'GET /index.html HTTP/1.0\r\n\r\n' | busybox nc -w 3 {place} {port}");
    let ask = || run(&["sh", "-c", &line]);
    let page = || ask().is_ok_and(|said| said.ends_with(GREETING));
    let waited = wait_until(&format!("{who} gets the page of {place}:{port}"), LIMIT, page);
    // What is in the way says it best.
    waited.map(drop).map_err(|late| ask().err().map_or(late, |why| why.context(who.to_owned())))
}

/// The pod of the host `of` is reached by its published port, from everywhere.
pub(super) fn published(world: &World, of: usize, container: &Endpoint) -> Result<()> {
    let (here, there) = (world.host(of), world.host(1));
    let own = underlay(here)?;
    for place in [&own, "127.0.0.1"] {
        served("the host itself", (place, PORT), |command| here.ok(command))?;
    }
    served("another host", (&own, PORT), |command| there.ok(command))?;
    served("a container of another host", (&own, PORT), |command| container.exec(command))
}
