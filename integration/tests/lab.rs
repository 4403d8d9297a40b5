//! The lab itself, without any program under test.

use std::time::Duration;

use anyhow::Result;
use twill_integration::{Lab, may_build_labs, wait_until};

#[test]
fn hosts_reach_each_other_by_name_and_nothing_is_left() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let lab = Lab::new(3)?;
    for from in lab.hosts() {
        for to in ["node1", "node2", "node3"] {
            from.ok(["ping", "-c", "1", "-W", "2", to])?;
        }
        assert_eq!(from.ok(["hostname"])?.trim(), from.name());
        // Process 1 sits in the root of its groups; on cgroup2 one below, where systemd's would.
        assert_eq!(
            from.sh("cat /proc/self/cgroup | cut -d: -f3 | sort -u")?.trim(),
            "/\n/init.scope"
        );
    }
    let mut daemon = lab.node(1).spawn("sleeper", ["sleep", "1000"])?;
    wait_until("it runs", Duration::from_secs(1), || daemon.is_running())?;
    drop(daemon);
    lab.finish()
}
