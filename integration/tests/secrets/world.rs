//! One host with an etcd that insists on TLS, on certificates of its clients, and on users.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use twill_integration::{Daemon, Host, Lab, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
pub(crate) const ENDPOINT: &str = "--etcd-endpoints=https://192.168.140.22:2379";

/// Everything secret is in here, for root to read.
pub(crate) const DIR: &str = "/etc/twill";

const MAKE_KEYS: &str = r"
set -eu
mkdir -p /etc/twill/credentials
cd /etc/twill
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -keyout ca.key -out ca.pem -subj /CN=ca
echo 'subjectAltName=IP:192.168.140.22' >ext
for name in server client; do
    openssl req $key -keyout $name.key -out $name.csr -subj /CN=$name
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem
done
openssl genrsa -out token.key 2048
openssl rsa -in token.key -pubout -out token.pub
for end in ca.pem client.pem client.key; do
    kind=$(echo $end | sed 's/ca.pem/cafile/; s/client.pem/certfile/; s/client.key/keyfile/')
    cp $end credentials/etcd-$kind
done
";

/// Signed tokens, because those can be told from other text.
const ETCD: [&str; 12] = [
    "etcd",
    "--name=node1",
    "--data-dir=/var/lib/etcd",
    "--listen-client-urls=https://0.0.0.0:2379",
    "--advertise-client-urls=https://192.168.140.22:2379",
    "--cert-file=/etc/twill/server.pem",
    "--key-file=/etc/twill/server.key",
    "--listen-peer-urls=http://127.0.0.1:2380",
    "--initial-advertise-peer-urls=http://127.0.0.1:2380",
    "--initial-cluster=node1=http://127.0.0.1:2380",
    "--auth-token=jwt,pub-key=/etc/twill/token.pub,priv-key=/etc/twill/token.key,sign-method=RS256",
    "--logger=zap",
];

/// And clients' certificates.
const STRICT: [&str; 2] = ["--client-cert-auth", "--trusted-ca-file=/etc/twill/ca.pem"];

const USERS: &str = r#"
set -eu
cd /etc/twill
etcdctl user add root --interactive=false <root-password
etcdctl user grant-role root root
etcdctl role add host
etcdctl role grant-permission host readwrite --prefix=true /coreos.com/network/
etcdctl user add node1 --interactive=false <password
etcdctl user grant-role node1 host
etcdctl put /coreos.com/network/config '{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"}}'
etcdctl auth enable
"#;

pub(crate) struct World {
    lab: Lab,
    etcd: Option<Daemon>,
    strict: bool,
}

impl World {
    /// An etcd with TLS alone.
    pub(crate) fn open() -> Result<Self> {
        let lab = Lab::new(1)?;
        lab.node(1).sh(MAKE_KEYS)?;
        let mut world = Self { lab, etcd: None, strict: false };
        world.start_etcd()?;
        Ok(world)
    }

    /// One that wants certificates, and knows the user node1 with that password.
    pub(crate) fn strict(password: &str) -> Result<Self> {
        let lab = Lab::new(1)?;
        lab.node(1).sh(MAKE_KEYS)?;
        let mut world = Self { lab, etcd: None, strict: true };
        world.write("root-password", "root-geheim\n")?;
        world.write("password", &format!("{password}\n"))?;
        world.start_etcd()?;
        world.etcdctl(USERS)?;
        Ok(world)
    }

    pub(crate) fn host(&self) -> &Host {
        self.lab.node(1)
    }

    /// A file beside the keys.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.host().path(&format!("{DIR}/{name}")), text).context("a secret")
    }

    pub(crate) fn start_etcd(&mut self) -> Result<()> {
        let strict = if self.strict { &STRICT[..] } else { &[] };
        self.etcd = Some(self.host().spawn("etcd", ETCD.iter().chain(strict))?);
        let healthy = || self.etcdctl("etcdctl endpoint health").is_ok();
        wait_until("etcd answers", LIMIT, healthy).map(drop)
    }

    pub(crate) fn stop_etcd(&mut self) -> Result<()> {
        self.etcd.take().context("etcd does not run")?.kill()
    }

    /// From now on etcd takes another password, which is in that file, from node1.
    pub(crate) fn change_password(&self, file: &str) -> Result<()> {
        self.etcdctl(&format!("etcdctl user passwd node1 --interactive=false <{DIR}/{file}"))
    }

    /// As root.
    pub(crate) fn etcdctl(&self, script: &str) -> Result<()> {
        let access = "export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=https://192.168.140.22:2379 \
                      ETCDCTL_CACERT=/etc/twill/ca.pem ETCDCTL_CERT=/etc/twill/client.pem \
                      ETCDCTL_KEY=/etc/twill/client.key\n";
        let user = "test ! -e /etc/twill/root-password || \
                    export ETCDCTL_USER=root:$(cat /etc/twill/root-password)\n";
        self.host().sh(&format!("{access}{user}{script}")).map(drop)
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        drop(self.etcd.take());
        self.lab.finish()
    }
}
