//! What a runtime is told before it asks for a pod, on a host with a real agent.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use twill_integration::container::CNI_CONFIGURATION;
use twill_integration::fabric::{Backend, Fabric, SUBNET_FILE};
use twill_integration::{Endpoint, Host, Outcome, may_build_labs, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

fn status(host: &Host) -> Result<Outcome> {
    let argv = ["env", "CNI_COMMAND=STATUS", "CNI_PATH=/run/lab/bin", "twill-cni"];
    host.run_with(argv, CNI_CONFIGURATION.as_bytes(), LIMIT)
}

/// The code of the error, if it is one.
fn code(said: &Outcome) -> Option<u64> {
    let error: serde_json::Value = serde_json::from_str(&said.stdout).ok()?;
    error["code"].as_u64()
}

#[test]
fn a_runtime_is_told_whether_the_next_pod_would_come_up() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::start(1, Backend::Vxlan)?;
    let host = fabric.node(1).clone();
    let said = status(&host)?;
    ensure!((said.code, said.stdout.as_str()) == (0, ""), "the agent is ready: {said:?}");
    let pod = Endpoint::pod(&host, "pod")?;

    let check = ["twillctl", "cni", "check", "--cni-path", "/run/lab/bin"];
    let before = host.run(check)?;
    ensure!(
        before.code == 6 && before.stdout.contains("cni install"),
        "nothing is there: {before:?}"
    );
    host.ok(["twillctl", "cni", "install"])?;
    let after = host.run(check)?;
    ensure!(after.code == 0, "all is there: {after:?}");

    fabric.stop_agent(1, Signal::SIGTERM)?;
    let said = status(&host)?;
    ensure!(said.code == 0, "pods come up while the agent is restarted: {said:?}");
    // One that has forgotten everything, and cannot ask.
    fabric.stop_etcd()?;
    fs::remove_dir_all(host.path("/var/lib/twill/agent"))?;
    let agent = fabric.spawn_agent(&host)?;
    wait_until("the plugin tells that the agent is not ready", LIMIT, || {
        status(&host).is_ok_and(|said| said.code == 1 && code(&said) == Some(51))
    })?;
    ensure!(host.run(check)?.code == 6, "a check says so as well");
    agent.terminate(LIMIT)?;
    fs::remove_file(host.path(SUBNET_FILE))?;
    let said = status(&host)?;
    ensure!(code(&said) == Some(50), "there is no subnet: {said:?}");
    ensure!(said.stdout.contains("twilld.service writes it"), "{said:?}");
    pod.remove_pod()?;
    fabric.finish()
}
