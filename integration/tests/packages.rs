//! The package for Debian on three hosts that boot, from its installation to its purge.
//!
//! ```text
//!   node1: etcd.service   twilld.service   a container
//!   node2:                twilld.service   a container ◄── packets from node1 while both are upgraded
//!   node3:                twilld.service   a container
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twill_integration::container::{Endpoint, IMAGE_TAR};
use twill_integration::flow::Flow;
use twill_integration::{
    Host, Lab, Machine, Snapshot, etcd, image, machine, package, probe, status, wait_until,
};

const LIMIT: Duration = Duration::from_mins(1);

/// Where the machines find the packages.
const SHARE: &str = "/run/lab/share";

/// Directories of a machine whose files come and go by themselves, or are not the package's to remove.
const RESTLESS: [&str; 15] = [
    "/etc/ld.so.cache",
    "/run/credentials",
    "/run/lab",
    "/run/log",
    "/run/systemd",
    "/run/user",
    "/run/xtables.lock",
    "/var/backups",
    "/var/cache",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/log",
    "/var/tmp",
    // What dpkg tells of packages that were there before the machine was.
    "/usr/share/info/dir",
    "/usr/share/man/index",
];

#[test]
fn three_hosts_from_the_installation_to_the_purge() -> Result<()> {
    if !machine::may_boot() {
        return Ok(());
    }
    let mut lab = Lab::new(0)?;
    image::write(&lab.share().join("busybox.tar"))?;
    let [old, new] = ["0.0.1", "0.0.2"].map(|version| packed(&lab, version));
    let (old, new) = (old?, new?);
    let mut machines = [lab.add_machine()?, lab.add_machine()?, lab.add_machine()?];
    for machine in &mut machines {
        machine.start()?;
    }
    etcd::serve(machines[0].host())?;
    let before = Before::of(machines[1].host())?;

    for machine in &machines {
        install(machine.host(), &old)?;
    }
    machines[0].host().ok([
        "twillctl",
        "network",
        "init",
        "--network",
        "10.88.0.0/16",
        "--backend",
        "vxlan",
    ])?;
    for machine in &machines {
        let host = machine.host();
        // As the README tells.
        host.sh("echo TWILLD_ETCD_ENDPOINTS=http://192.168.140.22:2379 >>/etc/twill/twilld.env")?;
        host.ok(["systemctl", "enable", "--now", "twilld", "twill-restart"])?;
    }
    machines.iter().try_for_each(|machine| knows_two(machine.host()))?;
    keeps_ports(machines[2].host())?;
    let containers: Vec<_> =
        machines.iter().map(|it| container(it.host())).collect::<Result<_>>()?;
    all_reach_all(&containers)?;
    is_watched_over(machines[2].host())?;

    let lost = upgrade_under_load(&machines, &containers, &new)?;
    println!("{lost}");
    all_reach_all(&containers)?;

    machines[1].reboot()?;
    machines[2].cut()?;
    machines[2].start()?;
    machines.iter().try_for_each(|machine| knows_two(machine.host()))?;
    let containers: Vec<_> =
        machines.iter().map(|machine| come_back(machine.host())).collect::<Result<_>>()?;
    all_reach_all(&containers)?;

    goes_and_is_back(machines[1].host(), &new)?;
    remove(machines[1].host())?;
    before.is_as_now(machines[1].host())?;
    lab.finish()
}

fn packed(lab: &Lab, version: &str) -> Result<String> {
    let package = package::pack(&lab.share(), version)?;
    let name = package.file_name().context("a package has a name")?.to_string_lossy();
    Ok(format!("{SHARE}/{name}"))
}

const UNITS: [&str; 2] = ["twilld", "twill-restart"];

/// The units are there, and wait to be wanted.
fn install(host: &Host, package: &str) -> Result<()> {
    host.ok(["dpkg", "-i", package])?;
    for unit in UNITS {
        assert_eq!(host.run(["systemctl", "is-enabled", unit])?.stdout, "disabled\n", "{unit}");
        let state = host.ok(["systemctl", "show", "-P", "ActiveState", unit])?;
        assert_eq!(state, "inactive\n", "{unit}");
    }
    host.sh("test -x /opt/cni/bin/twill-cni && twill --version")?;
    // What is in it is what its list says.
    ensure!(host.run(["dpkg", "--verify", "twill"])?.stdout.is_empty(), "files differ");
    Ok(())
}

fn knows_two(host: &Host) -> Result<()> {
    let two =
        || status(host).is_ok_and(|status| status.peers.len() == 2 && status.pending.is_empty());
    wait_until(&format!("{} has two peers", host.name()), LIMIT, two).map(drop)
}

fn container(host: &Host) -> Result<Endpoint> {
    host.ok(["twill", "import", IMAGE_TAR, "busybox"])?;
    let run = ["twill", "run", "-d", "--restart=always", "--name", "web", "--hostname", "web"];
    host.ok(run.iter().chain(&["busybox", "sleep", "100000"]))?;
    let web = Endpoint::inspect(host, "web")?;
    host.ok(["twill", "run", "--rm", "busybox", "ping", "-c1", "-W3", "web"])?;
    Ok(web)
}

fn all_reach_all(containers: &[Endpoint]) -> Result<()> {
    for (from, to) in containers.iter().flat_map(|a| containers.iter().map(move |b| (a, b))) {
        from.ping(to.address).with_context(|| format!("from {}", from.host.name()))?;
    }
    Ok(())
}

/// What the unit leaves to the agent suffices for the rules of published ports.
fn keeps_ports(host: &Host) -> Result<()> {
    host.ok(["twill", "import", IMAGE_TAR, "busybox"])?;
    host.ok(["twill", "run", "-d", "-p", "8080:80", "--name", "open", "busybox", "sleep", "1000"])?;
    host.ok(["nft", "delete", "table", "inet", "twill-ports"])?;
    let table = ["nft", "list", "table", "inet", "twill-ports"];
    wait_until("the rules are back", LIMIT, || host.run(table).is_ok_and(|it| it.code == 0))?;
    host.ok(["twill", "rm", "-f", "open"]).map(drop)
}

/// systemd hears from the agent, and starts it anew when it hangs; nothing else notices.
fn is_watched_over(host: &Host) -> Result<()> {
    let show = |name: &str| -> Result<String> {
        Ok(host.ok(["systemctl", "show", "-P", name, "twilld"])?.trim().to_owned())
    };
    assert_eq!(show("WatchdogUSec")?, "30s");
    host.sh("mkdir -p /run/systemd/system/twilld.service.d")?;
    let sooner = "[Service]\nWatchdogSec=2\n";
    fs::write(host.path("/run/systemd/system/twilld.service.d/sooner.conf"), sooner)?;
    host.sh("systemctl daemon-reload && systemctl restart twilld")?;
    let (first, restarts) = (show("WatchdogTimestampMonotonic")?, show("NRestarts")?);
    wait_until("the agent is heard of again", LIMIT, || {
        show("WatchdogTimestampMonotonic").is_ok_and(|time| time != first)
    })?;
    let main = show("MainPID")?;
    host.ok(["kill", "-STOP", &main])?;
    wait_until("another agent is ready", LIMIT, || {
        show("MainPID").is_ok_and(|pid| pid != main && pid != "0")
            && show("ActiveState").is_ok_and(|state| state == "active")
    })?;
    ensure!(show("NRestarts")? != restarts, "nobody has restarted it");
    knows_two(host)
}

/// Answers what was lost.
fn upgrade_under_load(
    machines: &[Machine; 3],
    containers: &[Endpoint],
    package: &str,
) -> Result<String> {
    let (from, to) = (&containers[0], &containers[1]);
    let flow = Flow::paced(from, to, Duration::from_millis(2))?;
    let log = from.host.path("/tmp/ping");
    let network = format!("nsenter --net={}", from.network);
    let ping = format!("exec {network} ping -D -n -i 0.01 {} >/tmp/ping", to.address);
    let ping = from.host.spawn("ping", ["sh", "-c", &ping])?;
    let answers = || fs::read_to_string(&log).unwrap_or_default().matches(" bytes from ").count();
    wait_until("packets go", LIMIT, || answers() > 50 && flow.arrived() > 0)?;
    flow.take_silence();
    let mut took = Duration::ZERO;
    for machine in machines {
        let host = machine.host();
        let pid = |unit: &str| host.ok(["systemctl", "show", "-P", "MainPID", unit]);
        let (agent, web) =
            (pid("twilld")?, host.ok(["twill", "inspect", "-f", "{{.State.Pid}}", "web"])?);
        took += host.run_with(["dpkg", "-i", package], b"", LIMIT)?.success()?.took;
        wait_until("the new agent is ready", LIMIT, || {
            pid("twilld").is_ok_and(|now| now != agent)
                && host.run(["systemctl", "is-active", "twilld"]).is_ok_and(|it| it.code == 0)
        })?;
        knows_two(host)?;
        let now = host.ok(["twill", "inspect", "-f", "{{.State.Pid}}", "web"])?;
        assert_eq!(web, now, "a container was started anew");
    }
    let seen = answers();
    wait_until("packets still go", LIMIT, || answers() > seen + 50)?;
    ping.terminate(LIMIT)?;
    let silence = flow.longest_silence();
    let bytes = flow.finish().context("the stream was cut")?;
    let said = fs::read_to_string(&log)?;
    let numbers: BTreeSet<u32> = said
        .lines()
        .filter_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    let sent = numbers.last().copied().context("no packet")?;
    let lost = sent as usize - numbers.len();
    ensure!(lost == 0, "{lost} of {sent} packets were lost");
    Ok(format!(
        "three upgrades in {took:.1?} of dpkg: {lost} of {sent} pings lost; of TCP {} MiB, the longest \
         silence {silence:.1?}",
        bytes >> 20
    ))
}

/// What was to run always runs, after whatever end.
fn come_back(host: &Host) -> Result<Endpoint> {
    let what = format!("the container on {} runs", host.name());
    let running = || {
        let said = host.ok(["twill", "inspect", "-f", "{{.State.Running}}", "web"]).ok()?;
        (said == "true\n").then(|| Endpoint::inspect(host, "web").ok())?
    };
    Ok(probe(&what, LIMIT, running)?.0)
}

/// Whoever removes it and thinks better of it has what he had.
fn goes_and_is_back(host: &Host, package: &str) -> Result<()> {
    host.run_with(["dpkg", "-r", "twill"], b"", LIMIT)?.success()?;
    host.ok(["dpkg", "-i", package])?;
    for unit in UNITS {
        assert_eq!(host.ok(["systemctl", "is-enabled", unit])?, "enabled\n", "{unit}");
    }
    knows_two(host)?;
    come_back(host).map(drop)
}

fn remove(host: &Host) -> Result<()> {
    host.run_with(["dpkg", "-r", "twill"], b"", LIMIT)?.success()?;
    ensure!(host.path("/etc/twill/twilld.env").exists(), "the configuration has gone already");
    ensure!(host.run(["pgrep", "-x", "twilld|twill|sleep"])?.code == 1, "something still runs");
    host.run_with(["dpkg", "-P", "twill"], b"", LIMIT)?.success()?;
    Ok(())
}

/// A machine before anything was installed.
struct Before {
    network: Snapshot,
    files: BTreeSet<String>,
}

impl Before {
    fn of(host: &Host) -> Result<Self> {
        Ok(Self { network: Snapshot::of_network(host)?, files: files(host)? })
    }

    fn is_as_now(&self, host: &Host) -> Result<()> {
        // After a boot the uplink is another; iptables makes its tables when it is asked for them.
        let is_ours = |line: &String| !line.contains("link eth0@") && !line.contains("rule *");
        let changes = || -> Result<Vec<String>> {
            let changes = self.network.changes(&Snapshot::of_network(host)?);
            Ok(changes.into_iter().filter(is_ours).collect())
        };
        // Links of containers go when the kernel has come round to it.
        drop(wait_until("the network is as before", Duration::from_secs(10), || {
            changes().is_ok_and(|changes| changes.is_empty())
        }));
        let changes = changes()?;
        ensure!(changes.is_empty(), "in the network:\n{}", changes.join("\n"));
        let now = files(host)?;
        let left: Vec<_> = now.difference(&self.files).map(String::as_str).collect();
        ensure!(left.is_empty(), "files:\n{}", left.join("\n"));
        let gone: Vec<_> = self.files.difference(&now).map(String::as_str).collect();
        ensure!(gone.is_empty(), "files that have gone:\n{}", gone.join("\n"));
        let units =
            host.ok(["systemctl", "list-units", "--all", "--no-legend", "--plain", "twill*"])?;
        ensure!(units.is_empty(), "units: {units}");
        Ok(())
    }
}

fn files(host: &Host) -> Result<BTreeSet<String>> {
    // Into a file: there are a hundred thousand.
    host.sh("find /etc /opt /root /run /srv /usr /var >/tmp/files 2>/dev/null || :")?;
    let said = fs::read_to_string(host.path("/tmp/files"))?;
    let is_ours = |path: &&str| !RESTLESS.iter().any(|it| path.starts_with(it));
    Ok(said.lines().filter(is_ours).map(str::to_owned).collect())
}
