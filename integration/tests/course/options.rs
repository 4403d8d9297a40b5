//! Chapter 4: the options of `run`.

use anyhow::{Context, Result, ensure};
use twill_integration::wait_until;

use crate::class::{Class, LIMIT, contains, inspect, types, types_at_a_terminal};

#[test]
fn chapter_4_names_restarts_and_ports() -> Result<()> {
    let Some(class) = Class::begin()? else { return Ok(()) };
    let (host, other) = (class.here(), class.there());
    types(host, "twill run -tid --name=test1 --hostname=test1 centos:7")?;
    ensure!(types_at_a_terminal(host, "twill exec -ti test1 hostname")? == "test1");
    types(host, "twill run -tid --name=test2 --hostname=test2 --restart=always centos:7")?;
    let pid = || inspect(host, "test2").ok().and_then(|seen| seen["State"]["Pid"].as_u64());
    let first = pid().filter(|pid| *pid > 0).context("test2 runs")?;
    types(host, &format!("kill -9 {first}"))?;
    let back = || pid().is_some_and(|now| now != 0 && now != first);
    wait_until("test2 is back", LIMIT, back)?;
    types(host, "twill run -tid --name=test4 --hostname=test4 -p 80:80 nginx:1.18")?;
    let url = "http://192.168.140.22/index.html".to_owned();
    for (from, url) in [(host, "http://127.0.0.1/index.html"), (host, &*url), (other, &*url)] {
        let asks = || from.sh(&format!("busybox wget -qO- {url}")).is_ok();
        wait_until(&format!("{} answers {}", url, from.name()), LIMIT, asks)?;
    }
    contains(&types(host, "twill port test4")?, "80/tcp -> 0.0.0.0:80")?;
    let taken = host.run(["twill", "run", "-d", "-p", "80:80", "--name", "test5", "nginx:1.18"])?;
    ensure!(taken.code == 125 && taken.stderr.contains("test4"), "{taken:?}");
    types(host, "twill run -tid --name=test6 --hostname=test6 -P nginx:1.18")?;
    let port = types(host, "twill port test6 80")?;
    let port: u16 =
        port.lines().next().and_then(|line| line.rsplit(':').next()).context("a port")?.parse()?;
    ensure!(port >= 32768, "{port}");
    let url = format!("http://192.168.140.22:{port}/index.html");
    wait_until("-P", LIMIT, || other.sh(&format!("busybox wget -qO- {url}")).is_ok())?;
    types(host, "twill rm -f test1 test2 test4 test5 test6")?;
    class.end()
}

#[test]
fn chapter_4_variables_and_files() -> Result<()> {
    let Some(class) = Class::begin()? else { return Ok(()) };
    let host = class.here();
    types(host, "twill run -tid --name=test7 --hostname=test7 -e NAME=martin centos:7")?;
    ensure!(types(host, "twill exec test7 sh -c 'echo $NAME'")? == "martin");
    let id = types(host, "twill run -tid mysql:5.7")?;
    let ended = || inspect(host, &id).is_ok_and(|seen| seen["State"]["ExitCode"] == 1);
    wait_until("it ends without a password", LIMIT, ended)?;
    contains(&types(host, &format!("twill logs {}", &id[..4]))?, "MYSQL_ROOT_PASSWORD is not set")?;
    types(host, &format!("twill rm -v {id}"))?;
    let variables = "-e MYSQL_ROOT_PASSWORD=redhat -e MYSQL_DATABASE=it -e MYSQL_USER=admin -e MYSQL_PASSWORD=redhat";
    types(
        host,
        &format!(
            "twill run -tid --name=test9 --hostname=test9 {variables} -v /run/test2/:/var/lib/mysql mysql:5.7"
        ),
    )?;
    wait_until("data", LIMIT, || host.sh("grep admin@it /run/test2/users").is_ok())?;
    contains(&types(host, "twill image inspect mysql:5.7")?, "/var/lib/mysql")?;
    for number in [1, 3, 4] {
        types(
            host,
            &format!(
                "twill run -tid --name=test{number} --hostname=test{number} -v /run/test1/:/test{number} centos:7"
            ),
        )?;
    }
    types(host, "twill exec test3 sh -c 'echo shared > /test3/file'")?;
    ensure!(types(host, "twill exec test4 cat /test4/file")? == "shared");
    types(host, "echo 'listen 80' > /run/haproxy.cfg")?;
    types(
        host,
        "twill run -tid --name=test5 -v /run/haproxy.cfg:/etc/haproxy/haproxy.cfg centos:7",
    )?;
    ensure!(types(host, "twill exec test5 cat /etc/haproxy/haproxy.cfg")? == "listen 80");
    types(host, "twill rm -f test1 test3 test4 test5 test7 test9")?;
    ensure!(
        types(host, "cat /run/test1/file /run/test2/users")? == "shared\nadmin@it",
        "data outlives"
    );
    types(host, "rm -r /run/test1 /run/test2 /run/haproxy.cfg")?;
    class.end()
}

#[test]
fn chapter_4_links_limits_and_copies() -> Result<()> {
    let Some(class) = Class::begin()? else { return Ok(()) };
    let host = class.here();
    types(
        host,
        "twill run -tid --name=mysql_master --hostname=mysql_master -e MYSQL_ROOT_PASSWORD=redhat mysql:5.7",
    )?;
    types(
        host,
        "twill run -tid --name=wordpress1 -e MYSQL_PORT=mine --link mysql_master:mysql centos:7",
    )?;
    types(host, "twill exec wordpress1 ping -c 1 -W 3 mysql")?;
    for of in ["env", "tr '\\0' '\\n' </proc/1/environ"] {
        let told = types(host, &format!("twill exec wordpress1 sh -c \"{of}\""))?;
        contains(&told, "MYSQL_PORT_3306_TCP_PORT=3306")?;
        contains(&told, "MYSQL_PORT=mine")?;
    }
    // Somebody else takes its address before it is back.
    let address = || {
        inspect(host, "mysql_master").map(|seen| {
            seen["NetworkSettings"]["IPAddress"].as_str().unwrap_or_default().to_owned()
        })
    };
    let before = address()?;
    types(host, "twill stop -t 0 mysql_master")?;
    types(host, &format!("twill run -tid --name=guest --ip {before} centos:7"))?;
    types(host, "twill start mysql_master")?;
    let now = address()?;
    ensure!(now != before, "{now}");
    let line = format!("twill exec wordpress1 ping -c 1 -W 3 mysql | grep -F {now}");
    wait_until("the link leads to where it is", LIMIT, || host.sh(&line).is_ok())?;
    let eats = host.run(["sh", "-c", "twill run --name greedy --memory 20m --memory-swap 20m centos:7 sh -c 'x=x; while :; do x=$x$x; done'"])?;
    ensure!(eats.code == 137 && inspect(host, "greedy")?["State"]["OOMKilled"] == true, "{eats:?}");
    types(
        host,
        "twill exec wordpress1 sh -c 'mkdir /site && echo dump > /site/wordpress.sql && chmod 640 /site/wordpress.sql'",
    )?;
    types(host, "cd /run && twill cp wordpress1:/site ./ && twill cp ./site guest:/")?;
    ensure!(types(host, "stat -c %a /run/site/wordpress.sql")? == "640");
    ensure!(types(host, "twill exec guest cat /site/wordpress.sql")? == "dump");
    types(host, "twill rm -fv mysql_master wordpress1 guest greedy && rm -r /run/site")?;
    class.end()
}
