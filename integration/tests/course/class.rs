//! The course's two hosts and its images.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use twill_integration::container::IMAGE_TAR;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, Snapshot, may_build_labs, wait_until};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// 192.168.140.22 and 192.168.140.23, with the backend that a configuration without any means.
pub(crate) struct Class {
    fabric: Fabric,
    before: Vec<Snapshot>,
}

/// An entry point like that of images with a database: no password, no database.
const ENTRY: &str = r#"[ "$MYSQL_ROOT_PASSWORD" ] || { echo "error: database is uninitialized and MYSQL_ROOT_PASSWORD is not set" >&2; exit 1; }; mkdir -p /var/lib/mysql; echo "$MYSQL_USER@$MYSQL_DATABASE" > /var/lib/mysql/users; exec "$@""#;

impl Class {
    /// `None`, said aloud, where no lab can be built.
    pub(crate) fn begin() -> Result<Option<Self>> {
        if !may_build_labs() {
            return Ok(None);
        }
        let mut fabric = Fabric::bare(2)?;
        fabric.give_agents(&["--ip-masq"]);
        fabric.start_etcd()?;
        fabric.init_network(Backend::Udp)?;
        for number in 1..=2 {
            fabric.start_agent(number)?;
        }
        fabric.meet(2)?;
        for host in fabric.lab().hosts() {
            for (name, changes) in [
                ("centos:7", vec!["CMD [\"/bin/sh\"]".to_owned()]),
                ("nginx:1.18", web()),
                ("mysql:5.7", database()),
            ] {
                let mut line = vec!["twill".to_owned(), "import".to_owned()];
                line.extend(changes.into_iter().flat_map(|change| ["-c".to_owned(), change]));
                line.extend([IMAGE_TAR.to_owned(), name.to_owned()]);
                host.ok(line)?;
            }
            // The first one makes the bridge and the directories, which are to stay.
            host.sh(
                "twill run --rm -p 80:80 centos:7 true; twill volume create data; twill volume rm data",
            )?;
        }
        let before = fabric.lab().hosts().map(Snapshot::take).collect::<Result<_>>()?;
        Ok(Some(Self { fabric, before }))
    }

    pub(crate) fn here(&self) -> &Host {
        self.fabric.node(1)
    }

    pub(crate) fn there(&self) -> &Host {
        self.fabric.node(2)
    }

    /// Nothing is left of it.
    pub(crate) fn end(self) -> Result<()> {
        for (host, before) in self.fabric.lab().hosts().zip(&self.before) {
            let same = || before.assert_same(host).is_ok();
            drop(wait_until("all is as before", LIMIT, same));
            before.assert_same(host)?;
        }
        self.fabric.finish()
    }
}

fn web() -> Vec<String> {
    ["EXPOSE 80", r#"CMD ["httpd","-f","-p","80","-h","/"]"#].map(str::to_owned).to_vec()
}

fn database() -> Vec<String> {
    let entry = serde_json::to_string(&["sh", "-c", ENTRY, "sh"]).unwrap_or_default();
    vec![
        format!("ENTRYPOINT {entry}"),
        r#"CMD ["sleep","10000"]"#.to_owned(),
        "EXPOSE 3306".to_owned(),
        r#"VOLUME ["/var/lib/mysql"]"#.to_owned(),
    ]
}

/// What a line of the course says; it has to succeed.
pub(crate) fn types(host: &Host, line: &str) -> Result<String> {
    Ok(host.sh(line)?.trim_end().to_owned())
}

/// The same from a terminal, without its line ends and what it echoes of the end of its input.
pub(crate) fn types_at_a_terminal(host: &Host, line: &str) -> Result<String> {
    let line = line.replace('\'', r"'\''");
    Ok(host
        .sh(&format!("script -qec '{line}' /dev/null </dev/null"))?
        .replace('\r', "")
        .replace("^@", "")
        .trim_end()
        .to_owned())
}

/// The first entry of an `inspect`.
pub(crate) fn inspect(host: &Host, what: &str) -> Result<Value> {
    let said = types(host, &format!("twill inspect {what}"))?;
    let all: Value = serde_json::from_str(&said)?;
    Ok(all[0].clone())
}

pub(crate) fn contains(text: &str, word: &str) -> Result<()> {
    ensure!(text.contains(word), "{word:?} is not in {text:?}");
    Ok(())
}
