//! Looks for what must not be seen.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use twill_integration::{Daemon, Host};

use crate::world::DIR;

/// A part of every password, as text, as a list of bytes, and in hexadecimal digits; how every signed
/// token begins.
const SECRET: [&str; 4] = ["geheim", "103, 101, 104, 101, 105, 109", "67656865696d", "eyJhbGciOi"];

/// What programs of ours keep on a host.
const KEPT: [&str; 3] = ["/var/lib/twill", "/run/twill", "/run/flannel"];

/// Is nothing secret in that?
pub(crate) fn is_hidden(host: &Host, what: &str, text: &[u8]) -> Result<()> {
    let key = fs::read_to_string(host.path(&format!("{DIR}/client.key")))?;
    let key = key.lines().nth(1).context("a key of more than one line")?;
    let text = String::from_utf8_lossy(text);
    for secret in SECRET.iter().chain([&key]) {
        let line = text.lines().find(|line| line.contains(secret));
        ensure!(line.is_none(), "{what} shows {secret}: {}", line.unwrap_or_default());
    }
    Ok(())
}

/// Nothing secret is in what an agent says, keeps and answers, nor in how it was called.
pub(crate) fn all_is_hidden(host: &Host, agent: &Daemon) -> Result<()> {
    let log = agent.transcript();
    let everything = ["send frame=Headers", r#""message":"send","frame":"Headers"#];
    ensure!(
        everything.iter().any(|words| log.contains(words)),
        "it does not say everything: {log}"
    );
    is_hidden(host, "the log", log.as_bytes())?;
    let cmdline = fs::read(format!("/proc/{}/cmdline", agent.pid()))?;
    ensure!(cmdline.starts_with(b"twilld\0"), "{:?}", String::from_utf8_lossy(&cmdline));
    is_hidden(host, "the process list", &cmdline)?;
    for kept in KEPT {
        let kept = host.path(kept);
        if kept.exists() {
            files_are_hidden(host, &kept)?;
        }
    }
    for path in ["/status", "/healthz", "/readyz"] {
        let socket = UnixStream::connect(host.path("/run/twill/agent.sock"))?;
        is_hidden(host, path, &get(socket, path)?)?;
        let port = host.within(|| Ok(TcpStream::connect("127.0.0.1:8471")?))?;
        is_hidden(host, path, &get(port, path)?)?;
    }
    for output in ["table", "json"] {
        let status = host.run(["twillctl", "status", "-o", output])?;
        is_hidden(host, "twillctl status", (status.stdout + &status.stderr).as_bytes())?;
    }
    Ok(())
}

/// A file that is gone by the time it is looked at was on its way to the name that it has now.
fn files_are_hidden(host: &Host, directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(kind) = still_there(fs::symlink_metadata(&path))? else { continue };
        if kind.is_dir() {
            files_are_hidden(host, &path)?;
        } else if kind.is_file()
            && let Some(text) = still_there(fs::read(&path))?
        {
            is_hidden(host, &path.display().to_string(), &text)?;
        }
    }
    Ok(())
}

fn still_there<T>(found: std::io::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The whole answer, as it comes.
fn get(mut stream: impl Read + Write, path: &str) -> Result<Vec<u8>> {
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1"), "no answer to {path}");
    Ok(answer)
}
