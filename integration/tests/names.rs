//! Names of containers, asked by their neighbours, by a stranger, and what others know.
//!
//! ```text
//!   node1: web ── asks ──► agent at 10.88.a.1:53 ── asks ──► 127.0.0.1:53 of node1
//!          db, cache
//!   node2: a stranger
//! ```

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{may_build_labs, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn containers_find_each_other_by_name() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(2, Backend::Vxlan)?;
    let (here, there) = (fabric.node(1), fabric.node(2));
    here.sh("echo 'nameserver 127.0.0.1' >/run/resolv.conf; \
         mount --bind /run/resolv.conf $(readlink -f /etc/resolv.conf)")?;
    let others = here.within(|| Ok(UdpSocket::bind("127.0.0.1:53")?))?;
    // It ends with the test's process.
    thread::spawn(move || answer_all(&others));
    let gateway = fabric.subnet(1)?.subnet.first_host().to_string();
    let told = || here.sh("cat /run/twill/resolvers").is_ok_and(|text| text.contains(&gateway));
    wait_until("the agent answers for names", LIMIT, told)?;
    let run = ["twill", "run", "-d", "busybox", "sleep", "10000"];
    let with = |options: &[&str]| {
        let words = [&run[..3], options, &run[3..]].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    here.ok(with(&["--name", "Db", "--network-alias", "cache"]))?;
    let web = Endpoint::container(here, "web", &["sleep", "10000"])?;
    let look = |name: &str| web.exec(&["sh", "-c", &format!("nslookup {name} 2>&1 || true")]);
    let db = || Ok::<_, anyhow::Error>(Endpoint::inspect(here, "Db")?.address.to_string());
    let first = db()?;
    for name in ["db", "DB", "cache"] {
        let said = look(name)?;
        ensure!(said.contains(&first), "{name}: {said}");
    }
    let said = look(&first)?;
    ensure!(said.contains("db"), "{said}");
    let said = look("outside.example")?;
    ensure!(said.contains("192.0.2.7"), "{said}");
    // The other side comes back at another address.
    here.ok(["twill", "stop", "-t", "0", "Db"])?;
    // What the agent knows may be 50 ms old, and to end a container and to ask takes less on a quiet machine.
    let unknown = || look("db").is_ok_and(|said| !said.contains(&first));
    wait_until("whoever has ended is not known", LIMIT, unknown)?;
    here.ok(with(&["--name", "squatter", "--ip", &first]))?;
    here.ok(["twill", "start", "Db"])?;
    let second = db()?;
    ensure!(first != second, "the address was taken");
    let said = look("db")?;
    ensure!(said.contains(&second) && !said.contains(&first), "{said}");
    // Nobody else is told, though the way is open.
    there.ok(["ping", "-c", "1", "-W", "5", &gateway])?;
    let ask = format!("timeout 5 busybox nslookup db {gateway} 2>&1 || true");
    let said = there.sh(&ask)?;
    ensure!(!said.contains(&second), "a stranger is told: {said}");
    fabric.finish()
}

/// Whatever is asked for is at 192.0.2.7.
fn answer_all(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        // The end of the name, its type and class; what follows are extensions.
        let Some(end) = question[12..length].iter().position(|byte| *byte == 0) else { continue };
        let mut answer = question[..12 + end + 5].to_vec();
        answer[2] |= 0x80;
        // One question, one answer, nothing else.
        answer[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
        // The name is at 12; an address for no time.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 7]);
        drop(socket.send_to(&answer, from));
    }
}
