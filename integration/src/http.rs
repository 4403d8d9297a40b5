//! The little HTTP that questions to etcd and to the agent need.

use std::io::{Read, Write};

use anyhow::{Context, Result};

/// Asks for `path` and answers the status code and the body. HTTP/1.0, so that the server ends the
/// answer by closing.
///
/// # Errors
/// When no answer comes, or one that is not HTTP.
pub(crate) fn get(mut stream: impl Read + Write, path: &str) -> Result<(u16, String)> {
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of headers")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.with_context(|| format!("no status code in {head}"))?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A server that has answered already.
    struct Said(Cursor<&'static str>);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn answers_are_read() {
        let ask = |said| get(Said(Cursor::new(said)), "/");
        let (code, body) =
            ask("HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nwait\r\n\r\n").unwrap();
        assert_eq!((code, body.as_str()), (503, "wait\r\n\r\n"));
        for broken in ["", "HTTP/1.0 200 OK", "nonsense\r\n\r\n", "HTTP/1.0 x y\r\n\r\n"] {
            assert!(ask(broken).is_err(), "{broken:?}");
        }
    }
}
