//! What befalls a login while everything is said that there is to say.

use anyhow::{Result, ensure};
use twill_integration::{Daemon, may_build_labs, wait_until};

use crate::hidden::{all_is_hidden, is_hidden};
use crate::world::{DIR, ENDPOINT, LIMIT, World};

const FIRST: &str = "first-geheim-7f3a";
const SECOND: &str = "second-geheim-9c1d";
const WRONG: &str = "falsch-geheim-5e2b";

const USER: [&str; 6] = [
    ENDPOINT,
    "--etcd-username=node1",
    "--v=2",
    "--lease-ttl=30s",
    "--healthz-port=8471",
    "--resync=1",
];
const TLS: [&str; 3] = [
    "--etcd-cafile=/etc/twill/ca.pem",
    "--etcd-certfile=/etc/twill/client.pem",
    "--etcd-keyfile=/etc/twill/client.key",
];

#[test]
fn a_password_in_a_file_is_seen_nowhere_while_it_is_wrong_and_changes() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut world = World::strict(FIRST)?;
    world.write("password", WRONG)?;
    let file = ["--etcd-password-file=/etc/twill/password", "--log-format=json"];
    let argv = ["twilld"].iter().chain(&USER).chain(&TLS).chain(&file);
    let agent = world.host().spawn("twilld", argv)?;
    says(&agent, "waiting: cannot")?;
    ensure!(agent.transcript().contains("not allowed"), "{}", agent.transcript());
    all_is_hidden(world.host(), &agent)?;

    world.write("password", FIRST)?;
    says(&agent, "bootstrap done")?;
    all_is_hidden(world.host(), &agent)?;

    world.write("next-password", SECOND)?;
    world.change_password("next-password")?;
    world.stop_etcd()?;
    says(&agent, "etcd is away")?;
    let said = agent.transcript().len();
    world.start_etcd()?;
    wait_until("etcd does not know it", LIMIT, || {
        agent.transcript()[said..].contains("not allowed")
    })?;
    all_is_hidden(world.host(), &agent)?;
    world.write("password", SECOND)?;
    says(&agent, "etcd is back")?;
    all_is_hidden(world.host(), &agent)?;
    twillctl_is_silent(&world)?;
    ends_well(world, agent)
}

#[test]
fn a_password_in_the_environment_is_seen_nowhere() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut world = World::strict(FIRST)?;
    let words = [&USER[..], &TLS].concat().join(" ");
    let agent = spawn(&world, &format!("exec twilld {words}"), "export")?;
    comes_and_goes(&mut world, &agent)?;
    ends_well(world, agent)
}

#[test]
fn credentials_of_a_unit_are_seen_nowhere() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut world = World::strict(FIRST)?;
    world.write("credentials/etcd-password", FIRST)?;
    let credentials = ["env", "CREDENTIALS_DIRECTORY=/etc/twill/credentials", "twilld"];
    let agent = world.host().spawn("twilld", credentials.iter().chain(&USER))?;
    comes_and_goes(&mut world, &agent)?;
    ends_well(world, agent)
}

/// flanneld's way. Whoever looks at the very moment sees it, and nobody afterwards.
#[test]
fn a_password_on_the_command_line_is_taken_out() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut world = World::strict(FIRST)?;
    let words = [&USER[..], &TLS].concat().join(" ");
    let call = format!("exec twilld -etcd-password \"$TWILLD_ETCD_PASSWORD\" {words}");
    let agent = spawn(&world, &call, ":")?;
    says(&agent, "the password for etcd is on the command line")?;
    comes_and_goes(&mut world, &agent)?;
    let told = agent.transcript().matches("on the command line").count();
    ensure!(told == 1, "told {told} times: {}", agent.transcript());
    ends_well(world, agent)
}

/// With the password as a variable of the shell that runs `call`; exported, or not.
fn spawn(world: &World, call: &str, export: &str) -> Result<Daemon> {
    world.write("variables", &format!("TWILLD_ETCD_PASSWORD={FIRST}\n"))?;
    let script = format!(". /etc/twill/variables; {export} TWILLD_ETCD_PASSWORD; {call}");
    world.host().spawn("twilld", ["sh", "-c", &script])
}

fn comes_and_goes(world: &mut World, agent: &Daemon) -> Result<()> {
    says(agent, "bootstrap done")?;
    all_is_hidden(world.host(), agent)?;
    world.stop_etcd()?;
    says(agent, "etcd is away")?;
    all_is_hidden(world.host(), agent)?;
    world.start_etcd()?;
    says(agent, "etcd is back")?;
    all_is_hidden(world.host(), agent)
}

/// The same for the administrator's program: with the right password, and with another.
fn twillctl_is_silent(world: &World) -> Result<()> {
    world.write("wrong-password", WRONG)?;
    for (file, code) in [("password", 0), ("wrong-password", 1)] {
        let file = format!("--etcd-password-file={DIR}/{file}");
        let argv = ["twillctl", ENDPOINT, "--etcd-username=node1", &file];
        let outcome = world.host().run(argv.iter().chain(&TLS).chain(&["lease", "list"]))?;
        let said = outcome.stdout + &outcome.stderr;
        ensure!(outcome.code == code, "{file}: {} {said}", outcome.code);
        is_hidden(world.host(), "twillctl", said.as_bytes())?;
    }
    Ok(())
}

fn says(agent: &Daemon, words: &str) -> Result<()> {
    wait_until(words, LIMIT, || !agent.is_running() || agent.transcript().contains(words))?;
    ensure!(agent.transcript().contains(words), "no `{words}`: {}", agent.transcript());
    Ok(())
}

fn ends_well(world: World, agent: Daemon) -> Result<()> {
    let code = agent.terminate(LIMIT)?;
    ensure!(code == 0, "twilld ended with {code}");
    world.finish()
}
