//! Chapters 1 to 3: a container's life.

use anyhow::{Result, ensure};
use twill_integration::wait_until;

use crate::class::{Class, LIMIT, contains, inspect, types, types_at_a_terminal};

#[test]
fn chapters_1_to_3() -> Result<()> {
    let Some(class) = Class::begin()? else { return Ok(()) };
    let host = class.here();
    let id = types(host, "twill run -tid centos:7 /bin/sh")?;
    ensure!(id.len() == 64, "{id}");
    let short = &id[..12];
    contains(&types(host, "twill ps -a")?, short)?;
    let seen = inspect(host, short)?;
    ensure!(seen["State"]["Running"] == true && seen["Config"]["Tty"] == true, "{seen}");
    let said =
        types_at_a_terminal(host, &format!("twill exec -ti {short} sh -c \"tty; hostname\""))?;
    ensure!(said == format!("/dev/pts/1\n{short}"), "{said}");
    // A container lives as long as its first process.
    types(host, "twill run --name once centos:7 sh -c 'echo of once; exit 3' || test $? = 3")?;
    contains(&types(host, "twill ps -a")?, "Exited (3)")?;
    ensure!(types(host, "twill logs once")? == "of once");
    for (line, running) in
        [("stop -t 1", false), ("start", true), ("restart -t 1", true), ("kill", false)]
    {
        types(host, &format!("twill {line} {short}"))?;
        let is = || inspect(host, short).is_ok_and(|seen| seen["State"]["Running"] == running);
        wait_until(line, LIMIT, is)?;
    }
    types(host, &format!("twill start {short}"))?;
    let refused = host.run(["twill", "rm", short])?;
    ensure!(refused.code == 1, "{refused:?}");
    types(host, &format!("twill exec {short} sh -c 'echo mine > /file'"))?;
    types(host, &format!("twill export -o /run/suiyi.tar {short}"))?;
    types(host, &format!("twill rm -f {short} && twill rm once"))?;
    let image = types(host, "twill import /run/suiyi.tar")?;
    let image = image.strip_prefix("sha256:").unwrap_or(&image);
    types(host, &format!("twill tag {} suiyi:1003", &image[..12]))?;
    contains(&types(host, "twill images")?, "suiyi")?;
    types(host, "twill run -tid --name xxx suiyi:1003 /bin/sh")?;
    ensure!(types(host, "twill exec xxx cat /file")? == "mine");
    types(host, "twill rm -f xxx && twill rmi suiyi:1003 && rm /run/suiyi.tar")?;
    class.end()
}

#[test]
fn containers_see_their_own_and_no_more_than_they_were_given() -> Result<()> {
    let Some(class) = Class::begin()? else { return Ok(()) };
    let host = class.here();
    types(host, "twill run -tid --name=aa --hostname=aa --memory 64m --pids-limit 9 centos:7")?;
    types(host, "twill run -tid --name=bb --hostname=bb centos:7")?;
    types(host, "twill exec aa touch /made && twill exec aa ls /made")?;
    let refused = host.run(["twill", "exec", "bb", "ls", "/made"])?;
    ensure!(refused.stderr.contains("No such file"), "files: {refused:?}");
    ensure!(types(host, "twill exec aa hostname")? == "aa");
    // The heading, the first process and ps itself.
    ensure!(types(host, "twill exec aa ps -o pid | wc -l")? == "3", "processes");
    types(host, "twill exec -d aa nc -l -p 7777")?;
    let listens = |name: &str| types(host, &format!("twill exec {name} netstat -tln"));
    wait_until("a port", LIMIT, || listens("aa").is_ok_and(|ports| ports.contains(":7777")))?;
    ensure!(!listens("bb")?.contains(":7777"), "ports");
    let fill = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 9 & done";
    let refused = host.run(["twill", "exec", "aa", "sh", "-c", fill])?;
    ensure!(refused.stderr.contains("can't fork"), "more processes than allowed: {refused:?}");
    let eats = "x=x; while :; do x=$x$x; done";
    let eater = ["twill", "run", "--rm", "--memory", "20m", "--memory-swap", "20m", "centos:7"];
    let ended = host.run([&eater[..], &["sh", "-c", eats]].concat())?;
    ensure!(ended.code == 137, "memory: {ended:?}");
    types(host, "twill rm -f aa bb")?;
    class.end()
}
