//! Asks the agent of this host whether containers can rely on it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use twill_core::ids::NetworkName;

/// Longer than an agent that is well takes, and short for a runtime that asks every few seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// No answer about readiness is this long.
const LONGEST: u64 = 1 << 16;

/// What the agent says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Ready,
    /// Why not, in the agent's words.
    NotReady(String),
    /// Nobody answers there: the agent is being restarted, or it is a flanneld. Neither keeps a container
    /// from being joined.
    Nobody,
}

/// `subnet_env` tells which network it is about, if the host is in several.
pub(crate) fn ask(socket: &Path, subnet_env: &Path) -> Answer {
    let said = converse(socket, &path(subnet_env)).unwrap_or_default();
    let Some((head, body)) = said.split_once("\r\n\r\n") else { return Answer::Nobody };
    match head.split_whitespace().nth(1) {
        Some("200") => Answer::Ready,
        Some("503") => Answer::NotReady(reasons(body)),
        _other => Answer::Nobody,
    }
}

fn converse(socket: &Path, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: twilld\r\nConnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.take(LONGEST).read_to_string(&mut said)?;
    Ok(said)
}

/// The agent writes `…/networks/NAME.env` for each of several networks.
fn path(subnet_env: &Path) -> String {
    let directory = subnet_env.parent().and_then(Path::file_name);
    let is_env = subnet_env.extension().is_some_and(|end| end == "env");
    let name = subnet_env.file_stem().and_then(|stem| stem.to_str()?.parse::<NetworkName>().ok());
    match name.filter(|_| is_env && directory.is_some_and(|it| it == "networks")) {
        Some(name) => format!("/readyz?network={name}"),
        None => "/readyz".to_owned(),
    }
}

/// Those of the lines after the first, which says that there are some.
fn reasons(body: &str) -> String {
    let lines: Vec<&str> = body.lines().skip(1).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it is not ready".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_by_their_files() {
        for (file, want) in [
            ("/run/flannel/subnet.env", "/readyz"),
            ("/run/twill/networks/green.env", "/readyz?network=green"),
            ("/run/twill/networks/green", "/readyz"),
            ("/run/twill/networks/a b.env", "/readyz"),
            ("/", "/readyz"),
        ] {
            assert_eq!(path(Path::new(file)), want, "{file}");
        }
    }

    #[test]
    fn reasons_are_put_into_one_line() {
        assert_eq!(
            reasons("flanneld is not ready yet\nthe lease ran out\nb\n"),
            "the lease ran out; b"
        );
        assert_eq!(reasons("flanneld is not ready yet\n"), "it is not ready");
        assert_eq!(reasons(""), "it is not ready");
    }
}
