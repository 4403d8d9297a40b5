//! The agent on a host: what it does when things come late, are wrong, or are missing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use twill_core::doctor::{Finding, Verdict};
use twill_integration::fabric::{Backend, Fabric, SUBNET_FILE};
use twill_integration::{Daemon, Snapshot, may_build_labs, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn an_agent_waits_for_etcd_and_then_for_the_configuration() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(1)?;
    let host = fabric.node(1).clone();
    let agent = fabric.spawn_agent(&host)?;
    says(&agent, "etcd")?;
    fabric.start_etcd()?;
    says(&agent, "twillctl network init")?;
    ensure!(!host.path(SUBNET_FILE).exists(), "ready without a network");
    fabric.init_network(Backend::Vxlan)?;
    let ready = || host.path(SUBNET_FILE).exists() && agent.is_running();
    wait_until("the agent is ready", LIMIT, ready)?;
    fabric.finish()
}

#[test]
fn agents_survive_etcd_going_away_and_coming_back() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::with_agents(2, Backend::Vxlan)?;
    let before = Snapshot::of_network(fabric.node(1))?;
    fabric.stop_etcd()?;
    // A restart has to do with what it finds; the rows stay whatever happens.
    fabric.stop_agent(1, Signal::SIGTERM)?;
    let changes = before.changes(&Snapshot::of_network(fabric.node(1))?);
    ensure!(changes.is_empty(), "a stopped agent took rows away: {changes:?}");
    fabric.start_etcd()?;
    fabric.start_agent(1)?;
    fabric.meet(2)?;
    let changes = before.changes(&Snapshot::of_network(fabric.node(1))?);
    ensure!(changes.is_empty(), "it is not as before: {changes:?}");
    fabric.finish()
}

/// An etcd that is there and slow is another thing than one that is not there.
#[test]
fn a_doctor_names_an_etcd_that_hears_and_does_not_answer() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::with_agents(1, Backend::Vxlan)?;
    let host = fabric.node(1);
    let found = |check: &str| -> Result<Finding> {
        let doctor = host.run(["twillctl", "--timeout", "3", "doctor", "-o", "json"])?;
        let all: Vec<Finding> = serde_json::from_str(&doctor.stdout).context(doctor.stderr)?;
        all.into_iter().find(|one| one.check == check).with_context(|| format!("no {check}"))
    };
    let well = found("etcd")?;
    ensure!(well.verdict != Verdict::Fail && well.what.contains(" ms"), "{well:?}");
    // Who keeps the clock of this machine is not the test's business.
    let clock = found("clock")?;
    let kept = clock.what.starts_with("a server of time keeps");
    ensure!((clock.verdict == Verdict::Ok) == kept, "{clock:?}");
    ensure!((clock.verdict == Verdict::Warn) == clock.hint.is_some(), "{clock:?}");

    fabric.signal_etcd(Signal::SIGSTOP)?;
    let mute = found("etcd")?;
    ensure!(mute.verdict == Verdict::Fail && mute.hint.is_some(), "{mute:?}");
    ensure!(mute.what.contains("in etcd at http") && mute.what.contains("no answer"), "{mute:?}");
    fabric.signal_etcd(Signal::SIGCONT)?;
    let again = || found("etcd").is_ok_and(|etcd| etcd.verdict == Verdict::Ok);
    wait_until("etcd answers at once", LIMIT, again)?;
    fabric.finish()
}

#[test]
fn what_an_agent_cannot_work_with_is_said_in_one_line_and_leaves_nothing() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(1)?;
    fabric.start_etcd()?;
    let host = fabric.node(1).clone();
    let before = Snapshot::of_network(&host)?;
    let configure = |value: &str| {
        let key = "/coreos.com/network/config";
        host.ok(["env", "ETCDCTL_API=3", "etcdctl", "put", key, value]).map(drop)
    };
    // The configuration, and what the agent says of it before it ends.
    let rows = [
        ("not json", "JSON"),
        (r#"{"Network":"10.88.0.0/33"}"#, "10.88.0.0/33"),
        (r#"{"Network":"10.88.0.0/16","SubnetLen":31}"#, "SubnetLen"),
        (r#"{"Network":"10.88.0.0/16","Backend":{"Type":"nosuch"}}"#, "nosuch"),
    ];
    for (value, words) in rows {
        configure(value)?;
        let agent = fabric.spawn_agent(&host)?;
        wait_until("the agent ends", LIMIT, || !agent.is_running())?;
        let said = agent.transcript();
        ensure!(said.contains(words) && said.contains("hint: "), "{value}: {said}");
        ensure!(agent.wait(LIMIT)? == 78, "{value}: it is the configuration that is broken");
        let changes = before.changes(&Snapshot::of_network(&host)?);
        ensure!(changes.is_empty(), "{value}: {changes:?}");
        ensure!(!host.path(SUBNET_FILE).exists(), "{value}: ready all the same");
    }
    fabric.finish()
}

fn says(agent: &Daemon, words: &str) -> Result<()> {
    let said = wait_until(&format!("it speaks of {words}"), LIMIT, || {
        agent.transcript().contains(words) || !agent.is_running()
    });
    ensure!(agent.is_running(), "it ended: {}", agent.transcript());
    said.map(drop)
}
