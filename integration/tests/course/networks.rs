//! Chapter 6: modes of the network.

use anyhow::{Result, ensure};

use crate::class::{Class, contains, inspect, types};

#[test]
fn chapter_6() -> Result<()> {
    let Some(class) = Class::begin()? else { return Ok(()) };
    let (host, other) = (class.here(), class.there());
    let modes = types(host, "twill network ls")?;
    for mode in ["bridge", "host", "none"] {
        contains(&modes, mode)?;
    }
    // bridge: out by the host's address, and to containers of other hosts by one's own.
    types(host, "twill run -tid --name=test4 nginx:1.18")?;
    types(other, "twill run -tid --name=far nginx:1.18")?;
    let far = inspect(other, "far")?["NetworkSettings"]["IPAddress"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    contains(
        &types(host, &format!("twill exec test4 wget -qO- http://{far}/index.html"))?,
        "thread",
    )?;
    types(host, "twill exec test4 ping -c 1 -W 3 192.168.140.23")?;
    // host: its name and its interfaces are the host's.
    types(host, "twill run -tid --name=test1 --net=host centos:7")?;
    ensure!(types(host, "twill exec test1 hostname")? == types(host, "hostname")?);
    let address = inspect(host, "test1")?["NetworkSettings"]["IPAddress"].clone();
    ensure!(address.as_str().unwrap_or_default().is_empty(), "{address}");
    contains(&types(host, "twill exec test1 ip address")?, "192.168.140.22")?;
    // container: one address for both.
    types(host, "twill run -tid --name=test5 --net=container:test4 centos:7")?;
    contains(&types(host, "twill exec test5 wget -qO- http://127.0.0.1/index.html")?, "thread")?;
    let addresses = |name| types(host, &format!("twill exec {name} ip -4 -o address show eth0"));
    ensure!(addresses("test4")? == addresses("test5")?);
    // none: nothing but itself.
    types(host, "twill run -tid --name=test6 --net=none centos:7")?;
    ensure!(types(host, "twill exec test6 ls /sys/class/net")? == "lo");
    types(host, "twill rm -f test1 test4 test5 test6")?;
    types(other, "twill rm -f far")?;
    class.end()
}
