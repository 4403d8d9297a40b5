//! Command lines that make no sense, with a password in them.

use anyhow::{Result, ensure};
use twill_integration::{Lab, may_build_labs};

#[test]
fn no_complaint_about_a_command_line_repeats_the_password() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let lab = Lab::new(1)?;
    let rows = [
        "twilld --etcd-password geheim --no-such-option",
        "twilld --etcd-password=geheim --etcd-username",
        "twilld -etcd-password=geheim -v two",
        "twilld --etcd-password geheim --etcd-password-file /x",
        "twilld --etcd-pasword=geheim",
        "twilld --etcd-password geheim",
        "twilld --etcd-endpoints=http://node1:geheim@127.0.0.1:1",
        "env TWILLD_ETCD_PASSWORD=geheim TWILLD_RESYNC=never twilld",
        "env TWILLD_ETCD_PASSWORD=geheim TWILLD_ETCD_PASSWORD_FILE=/x twilld",
        "env FLANNELD_ETCD_PASSWORD=geheim twilld",
        "twillctl --etcd-password geheim lease list",
        "twillctl --etcd-password=geheim lease list",
        "twillctl --etcd-endpoints=http://node1:geheim@127.0.0.1:1 lease list",
        "env TWILLCTL_ETCD_PASSWORD=geheim TWILLCTL_TIMEOUT=never twillctl lease list",
    ];
    for row in rows {
        let outcome = lab.node(1).run(row.split(' '))?;
        let said = outcome.stdout + &outcome.stderr;
        ensure!(outcome.code == 2, "{row}: {}: {said}", outcome.code);
        ensure!(!said.contains("geheim") && !said.is_empty(), "{row}: {said}");
    }
    lab.finish()
}
