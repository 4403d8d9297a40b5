//! Asks the agent of this host over its unix socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use twill_core::ids::NetworkName;
use twill_core::status::{HostStatus, Status};

use crate::failure::{Failure, Kind};

/// No answer of the agent is longer, however many peers it has.
const LONGEST_ANSWER: usize = 64 << 20;

/// To say that it is alive an agent waits for nobody.
pub(crate) const ALIVE: Duration = Duration::from_secs(2);

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
        path: String,
        #[source]
        source: hyper::Error,
    },
    /// The body broke off, or has no end.
    #[error("the agent's answer to {path} cannot be read")]
    Body {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What an agent says of itself.
#[derive(Debug)]
pub(crate) enum Told {
    /// Its document, as it wrote it too: with members that this version does not know.
    Status(Box<Status>, Answer),
    /// The same of each of its networks.
    Several(HostStatus, Answer),
    /// It has no subnet yet, and says why.
    NotYet(Answer),
}

/// Asks for the document, of one network of several or of all that there are.
pub(crate) async fn status(socket: &Path, network: Option<&NetworkName>) -> Result<Told, Failure> {
    let answer = ask(socket, &of(network, "/status")).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(unknown(&answer)),
        _not_yet => return Ok(Told::NotYet(answer)),
    }
    if let Ok(several) = serde_json::from_slice::<HostStatus>(&answer.body) {
        return Ok(Told::Several(several, answer));
    }
    Ok(Told::Status(Box::new(read(socket, &answer)?), answer))
}

/// That path for that network.
pub(crate) fn of(network: Option<&NetworkName>, path: &str) -> String {
    let query = network.map(|name| format!("?network={name}"));
    path.to_owned() + &query.unwrap_or_default()
}

fn unknown(answer: &Answer) -> Failure {
    let what = String::from_utf8_lossy(&answer.body);
    Failure::new(Kind::NotFound, what.trim()).hint("`twillctl status` names those that it is in")
}

/// Is there an agent that does its work? One that is stopped takes connections and says nothing.
pub(crate) async fn responds(socket: &Path) -> bool {
    matches!(tokio::time::timeout(ALIVE, get(socket, "/healthz")).await, Ok(Ok(_answer)))
}

/// [`get`], with a way out.
pub(crate) async fn ask(socket: &Path, path: &str) -> Result<Answer, Failure> {
    get(socket, path).await.map_err(|error| unreachable(&error))
}

/// The document that the answer is.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    socket: &Path,
    answer: &Answer,
) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let message = format!("the agent at {} answers in another form: {error}", socket.display());
        Failure::new(Kind::Failed, message).hint("are twilld and twillctl of one version?")
    })
}

/// The agent's reasons, without the line that scripts for flanneld compare.
pub(crate) fn not_yet(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let reasons: Vec<&str> =
        lines.filter(|line| !line.starts_with("flanneld is not ready")).collect();
    if reasons.is_empty() {
        format!("the agent is not ready ({})", answer.status)
    } else {
        format!("the agent is not ready: {}", reasons.join("; "))
    }
}

fn unreachable(error: &Error) -> Failure {
    let failure = Failure::from_error(Kind::Unreachable, error);
    match error {
        Error::NotRunning { .. } => failure
            .hint("is twilld running? `systemctl status twilld`; another socket: --socket PATH"),
        Error::Forbidden { .. } => failure.hint("run it as root"),
        Error::Http { .. } | Error::Body { .. } => failure.hint("journalctl -u twilld"),
    }
}

/// One GET request over a connection of its own.
async fn get(socket: &Path, path: &str) -> Result<Answer, Error> {
    let stream = UnixStream::connect(socket).await.map_err(|source| {
        let socket = socket.to_owned();
        match source.kind() {
            ErrorKind::PermissionDenied => Error::Forbidden { socket, source },
            _ => Error::NotRunning { socket, source },
        }
    })?;
    let http = |source| Error::Http { path: path.to_owned(), source };
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
        let body = body.map_err(|source| Error::Body { path: path.to_owned(), source })?;
        Ok(Answer { status, body: body.to_bytes() })
    };
    // The connection ends with its sender; how does not count.
    let (answer, _connection) = tokio::join!(answer, connection);
    answer
}
