//! Programs that people run, as Debian packages them: a database with an entry point, a cache, two web servers
//! and who spreads requests over them, on two hosts.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, may_build_labs, wait_until};

/// A database makes its tables first.
const LIMIT: Duration = Duration::from_mins(2);

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
haproxy:x:99:99::/var/lib/haproxy:/bin/false
redis:x:100:100::/var/lib/redis:/bin/false
mysql:x:101:101::/nonexistent:/bin/false
nobody:x:65534:65534::/nonexistent:/bin/false
";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nhaproxy:x:99:\nredis:x:100:\nmysql:x:101:\n";

/// As images of databases have it: what is not there yet is made by what the variables say.
const ENTRY: &str = r#"#!/bin/sh
set -eu
if [ ! -d /var/lib/mysql/mysql ]; then
    : "${MYSQL_ROOT_PASSWORD?is not set}"
    chown mysql:mysql /var/lib/mysql
    mariadb-install-db --user=mysql --datadir=/var/lib/mysql --skip-test-db --auth-root-authentication-method=normal >/dev/null
    cat >/var/lib/mysql/first.sql <<SQL
CREATE USER root@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
CREATE DATABASE $MYSQL_DATABASE;
SQL
    set -- "$@" --init-file=/var/lib/mysql/first.sql
fi
exec "$@"
"#;

const NGINX: &str = "daemon off; user www-data; pid /tmp/nginx.pid; error_log stderr;
events { }
http { access_log /dev/stdout; server { listen 80; location / { return 200 \"$hostname\\n\"; } } }
";

#[test]
fn a_database_a_cache_and_web_servers_run_across_hosts() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(2, Backend::Vxlan)?;
    fabric.lab().hosts().try_for_each(provide)?;
    let (here, there) = (fabric.node(1), fabric.node(2));
    database(here, there)?;
    cache(here, there)?;
    web(here, there)?;
    fabric.finish()
}

/// The image, with the users that the packages' own scripts would have made.
fn provide(host: &Host) -> Result<()> {
    let own = std::env::current_exe()?;
    let archive = own.ancestors().nth(3).context("a target directory")?.join("programs.tar");
    ensure!(
        archive.exists(),
        "{}: scripts/programs.sh makes it, as `make test` does",
        archive.display()
    );
    fs::write(host.path("/run/passwd"), PASSWD)?;
    fs::write(host.path("/run/group"), GROUP)?;
    fs::write(host.path("/run/entry"), ENTRY)?;
    fs::write(host.path("/run/nginx.conf"), NGINX)?;
    let archive = archive.display();
    host.sh(&format!(
        "set -e; chmod 755 /run/entry; twill import {archive} bare; twill create --name made bare true
         for file in passwd group; do twill cp /run/$file made:/etc/$file; done; twill cp /run/entry made:/entry
         twill commit -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' made programs
         twill rm made"
    ))?;
    Ok(())
}

fn database(here: &Host, there: &Host) -> Result<()> {
    let server = "mariadbd --user=mysql --datadir=/var/lib/mysql --bind-address=0.0.0.0 --socket=/tmp/mysql.sock --pid-file=/tmp/mysql.pid";
    let run = |variables: &str| {
        here.sh(&format!(
            "twill run -d --name db -h db {variables} -v data:/var/lib/mysql --entrypoint /entry programs {server}"
        ))
    };
    run("-e MYSQL_ROOT_PASSWORD=redhat -e MYSQL_DATABASE=it")?;
    there.sh("twill run -d --name client programs sleep 10000")?;
    let asks = |statement: &str| -> Result<String> {
        let at = Endpoint::inspect(here, "db")?.address;
        there.sh(&format!(
            "twill exec client mariadb -h {at} -uroot -predhat -N -e \"{statement}\" it"
        ))
    };
    if let Err(error) = wait_until("the database answers", LIMIT, || asks("SELECT 1").is_ok()) {
        return Err(error.context(here.sh("twill logs db 2>&1")?));
    }
    asks("CREATE TABLE people (name TEXT); INSERT INTO people VALUES ('martin')")?;
    here.sh("twill stop -t 60 db")?;
    ensure!(
        here.sh("twill inspect -f '{{.State.ExitCode}}' db")?.trim() == "0",
        "it was not asked"
    );
    here.sh("twill rm db")?;
    run("")?;
    wait_until("it answers again", LIMIT, || asks("SELECT 1").is_ok())?;
    ensure!(asks("SELECT name FROM people")?.trim() == "martin", "data outlives its container");
    here.sh("twill rm -f db && twill volume rm data")?;
    there.sh("twill rm -f client").map(drop)
}

fn cache(here: &Host, there: &Host) -> Result<()> {
    there.sh("twill run -d --name cache -u redis -w /tmp programs redis-server --protected-mode no --save ''")?;
    let at = Endpoint::inspect(there, "cache")?.address;
    let asks = |words: &str| here.sh(&format!("twill run --rm programs redis-cli -h {at} {words}"));
    wait_until("the cache answers", LIMIT, || {
        asks("PING").is_ok_and(|said| said.trim() == "PONG")
    })?;
    asks("SET thread woven")?;
    ensure!(asks("GET thread")?.trim() == "woven");
    there.sh("twill stop -t 60 cache")?;
    ensure!(there.sh("twill inspect -f '{{.State.ExitCode}}' cache")?.trim() == "0");
    there.sh("twill rm cache").map(drop)
}

fn web(here: &Host, there: &Host) -> Result<()> {
    let mut servers = Vec::new();
    for host in [here, there] {
        let name = format!("web-{}", host.name());
        let start = "mkdir -p /var/log/nginx /var/lib/nginx; exec nginx -c /etc/nginx.conf";
        host.sh(&format!(
            "twill run -d --name {name} -h {name} -v /run/nginx.conf:/etc/nginx.conf:ro programs sh -c '{start}'"
        ))?;
        let at = Endpoint::inspect(host, &name)?.address;
        servers.push(format!("  server {name} {at}:80 check inter 200ms\n"));
    }
    let servers = servers.concat();
    let balance = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten all\n  bind :8000\n  balance roundrobin\n{servers}"
    );
    fs::write(here.path("/run/haproxy.cfg"), balance)?;
    here.sh(
        "twill run -d --name front -u haproxy -p 8000:8000 -v /run/haproxy.cfg:/haproxy.cfg:ro programs haproxy -db -f /haproxy.cfg",
    )?;
    for name in ["web-node1", "web-node2"] {
        let asks = || {
            there
                .sh("busybox wget -qO- http://192.168.140.22:8000/")
                .is_ok_and(|said| said.trim() == name)
        };
        wait_until(&format!("{name} answers"), LIMIT, asks)?;
    }
    ensure!(here.sh("twill exec front id -u")?.trim() == "99");
    ensure!(there.sh("twill logs web-node2")?.contains("GET / HTTP"), "what it says of requests");
    here.sh("twill rm -f front web-node1")?;
    there.sh("twill rm -f web-node2").map(drop)
}
