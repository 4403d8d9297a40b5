//! Without `--etcd-cafile`, whoever the operating system trusts may have signed etcd's certificate.

use anyhow::{Context, Result, ensure};
use twill_integration::{Daemon, may_build_labs, wait_until};

use crate::world::{ENDPOINT, LIMIT, World};

const INIT: [&str; 5] = ["network", "init", "--force", "--network", "10.88.0.0/16"];

#[test]
fn an_authority_that_the_system_trusts_needs_no_option() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let world = World::open()?;
    // Where `openssl` keeps a system's own.
    world.host().sh("mkdir /etc/twill/trusted && cp /etc/twill/ca.pem /etc/twill/trusted/")?;
    stranger(&world)?;
    for variable in ["SSL_CERT_FILE=/etc/twill/ca.pem", "SSL_CERT_DIR=/etc/twill/trusted"] {
        trusted(&world, &["env", variable])?;
        stranger(&world)?;
    }
    // The last thing that `update-ca-certificates` does. The host's /etc is its own.
    world.host().sh("cat /etc/twill/ca.pem >>/etc/ssl/certs/ca-certificates.crt")?;
    trusted(&world, &[])?;
    // The variables take the system's place: nobody else is trusted then.
    let elsewhere = ["env", "SSL_CERT_FILE=/etc/twill/server.pem", "twillctl", ENDPOINT];
    let other = world.host().run(elsewhere.iter().chain(&INIT))?;
    ensure!(other.code == 5 && other.stderr.contains("UnknownIssuer"), "{}", other.stderr);
    world.finish()
}

fn stranger(world: &World) -> Result<()> {
    let outcome = world.host().run(["twillctl", ENDPOINT].iter().chain(&INIT))?;
    ensure!(outcome.code == 5, "{}: {}", outcome.code, outcome.stderr);
    ensure!(outcome.stderr.contains("UnknownIssuer"), "{}", outcome.stderr);
    ensure!(outcome.stderr.contains("--etcd-cafile"), "{}", outcome.stderr);
    Ok(())
}

fn trusted(world: &World, environment: &[&'static str]) -> Result<()> {
    let twillctl = environment.iter().chain(&["twillctl", ENDPOINT]).chain(&INIT);
    world.host().ok(twillctl).with_context(|| format!("{environment:?}"))?;
    let agent = world.host().spawn("twilld", environment.iter().chain(&["twilld", ENDPOINT]))?;
    wait_until("the agent is ready", LIMIT, || !agent.is_running() || is_ready(&agent))?;
    ensure!(is_ready(&agent), "{environment:?}: {}", agent.transcript());
    agent.terminate(LIMIT).map(drop)
}

fn is_ready(agent: &Daemon) -> bool {
    agent.transcript().contains("bootstrap done")
}
