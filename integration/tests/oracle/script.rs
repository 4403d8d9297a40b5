//! Runs a case on a host, and clears away what it left.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twill_integration::Host;

use crate::cases::Case;

/// How long a case may take: some wait for a health check or a restart.
const LIMIT: Duration = Duration::from_mins(2);

/// One line's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: String,
}

/// A container engine on a host.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    /// The host.
    pub(crate) host: Host,
    /// How the shell starts it.
    pub(crate) program: String,
}

/// What every script begins with. `ready` waits until a container has said so, `until_` for a command.
const PRELUDE: &str = r#"
N='--network none'
until_() {
    limit=$(($(date +%s) + 60))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $limit ] || { echo "in vain: $*" >&2; return 1; }
        sleep 0.02
    done
}
ready_() { $E logs "$1" 2>&1 | grep -q ready; }
ready() { until_ ready_ "$1"; }
"#;

/// Containers, volumes, images that a case left: none of them may meet the next case.
const CLEAR: &str = r#"
exec >/dev/null 2>&1
all=$($E ps -aq --no-trunc); [ -z "$all" ] || $E unpause $all
[ -z "$all" ] || $E rm -fv $all
all=$($E volume ls -q); [ -z "$all" ] || $E volume rm $all
all=$($E images -a --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | grep -v '^bb:latest ')
[ -z "$all" ] || $E rmi -f $(echo "$all" | sed 's/^<none>.* //; s/ .*//' | sort -u)
true
"#;

impl Engine {
    /// Runs a script with the engine as `$E`; what it printed.
    pub(crate) fn sh(&self, script: &str) -> Result<String> {
        self.host.sh(&format!("set -e\nE='{}'\n{script}", self.program))
    }

    /// Runs the lines of a case, in a directory of its own.
    pub(crate) fn run(&self, case: &Case) -> Result<Vec<Said>> {
        let directory = self.host.path("/run/case");
        fs::create_dir_all(directory.join("work"))
            .context("cannot make a directory on the host")?;
        let mut script = format!("E='{}'\n{PRELUDE}\ncd /run/case/work\n", self.program);
        for (number, line) in case.lines.iter().enumerate() {
            fs::write(directory.join(number.to_string()), format!("{}\n", line.text))?;
            let at = format!("/run/case/{number}");
            writeln!(script, ". {at} >{at}.out 2>{at}.err </dev/null\necho $? >{at}.code")?;
        }
        script += CLEAR;
        let ended = self.host.run_with(["sh", "-c", &script], b"", LIMIT)?;
        ensure!(ended.code == 0, "`{}` broke off: {ended:?}", case.name);
        let read = |number: usize, end: &str| -> Result<String> {
            let bytes = fs::read(directory.join(format!("{number}.{end}")));
            let bytes = bytes.with_context(|| format!("`{}` broke off", case.name))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let said = (0..case.lines.len()).map(|number| {
            let [out, err, code] = ["out", "err", "code"].map(|end| read(number, end));
            Ok(Said { out: out?, err: err?, code: code? })
        });
        let said = said.collect();
        fs::remove_dir_all(&directory).context("cannot remove the case's directory")?;
        said
    }
}
