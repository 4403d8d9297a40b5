//! Asks the agent of this host over its unix socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// No answer of the agent is longer, however many peers it has.
const LONGEST_ANSWER: usize = 64 << 20;

/// What the agent answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP's judgement.
    pub(crate) status: StatusCode,
    /// The document.
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No socket, or nobody behind it.
    #[error("no agent answers at {}", socket.display())]
    NotRunning {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The socket is not for us.
    #[error("cannot open the agent's socket {}", socket.display())]
    Forbidden {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The answer broke off, or is not HTTP.
    #[error("the agent's answer to {path} cannot be read")]
    Http {
        path: &'static str,
        #[source]
        source: hyper::Error,
    },
    /// The body broke off, or has no end.
    #[error("the agent's answer to {path} cannot be read")]
    Body {
        path: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One GET request over a connection of its own.
pub(crate) async fn get(socket: &Path, path: &'static str) -> Result<Answer, Error> {
    let stream = UnixStream::connect(socket).await.map_err(|source| {
        let socket = socket.to_owned();
        match source.kind() {
            ErrorKind::PermissionDenied => Error::Forbidden { socket, source },
            _ => Error::NotRunning { socket, source },
        }
    })?;
    let http = |source| Error::Http { path, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let request = Request::get(path)
        .header(header::HOST, "twilld")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = request.unwrap_or_else(|_bad_path| Request::new(Empty::new()));
    let answer = async move {
        let response = sender.send_request(request).await.map_err(http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|source| Error::Body { path, source })?;
        Ok(Answer { status, body: body.to_bytes() })
    };
    // The connection ends with its sender; how does not count.
    let (answer, _connection) = tokio::join!(answer, connection);
    answer
}
