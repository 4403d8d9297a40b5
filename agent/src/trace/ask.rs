//! Asks the other host's agent for its half, on the port of its health page.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use twill_core::trace::{Half, Stage, Step};

/// A host that is off does not refuse.
const CONNECT: Duration = Duration::from_secs(3);

/// It waits for echoes itself.
const ANSWER: Duration = Duration::from_secs(20);

/// No half is longer.
const LONGEST: usize = 1 << 20;

/// Why there is no half.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Connect(#[source] io::Error),
    #[error("it did not answer in time")]
    Late,
    #[error("its answer broke off")]
    Broken,
    #[error("it says {0}: {1}")]
    Refused(StatusCode, String),
}

/// The half of the host at `there`, from `from`, which is its own, to `to`. Asked from `local`, by which
/// it knows us.
pub(super) async fn ask(
    local: IpAddr,
    (host, port): (IpAddr, u16),
    (from, to): (IpAddr, IpAddr),
) -> Result<Half, Step> {
    let by_hand = format!("on the host {host}: `twillctl trace {from} {to}`");
    if port == 0 {
        let what = format!("the agent of {host} was not asked: nobody knows where it answers");
        let hint = format!("set TWILLD_HEALTHZ_PORT on all hosts, or give --peer-port; {by_hand}");
        return Err(Step::unseen(Stage::Peer, what, hint));
    }
    let there = SocketAddr::new(host, port);
    let path = format!("/trace?from={from}&to={to}");
    let answer = timeout(ANSWER, fetch(local, there, &path)).await;
    match answer.unwrap_or(Err(Error::Late)) {
        Ok(half) => Ok(half),
        Err(Error::Refused(StatusCode::FORBIDDEN, why)) => Err(Step::doubtful(
            Stage::Peer,
            format!("the agent of {host} does not count this host among its peers: {}", why.trim()),
            format!("on the host {host}: `twillctl peers`; do both use one etcd and one prefix?"),
        )),
        Err(error) => {
            let what = format!("the agent of {host} gave no answer at port {port}: {error}");
            let listens = if host.is_ipv6() { " and TWILLD_HEALTHZ_IP=::" } else { "" };
            let hint = format!(
                "is twilld up there, does it have TWILLD_HEALTHZ_PORT={port}{listens}, and does a \
                 firewall let it through? {by_hand}"
            );
            Err(Step::unseen(Stage::Peer, what, hint))
        }
    }
}

async fn fetch(local: IpAddr, there: SocketAddr, path: &str) -> Result<Half, Error> {
    let connected =
        timeout(CONNECT, connect(local, there)).await.map_err(|_elapsed| Error::Late)?;
    let stream = connected.map_err(Error::Connect)?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_why| Error::Broken)?;
    let request = Request::get(path)
        .header(header::HOST, there.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|_why| Error::Broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|_why| Error::Broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        Ok((status, body.map_err(|_why| Error::Broken)?.to_bytes()))
    };
    // The connection ends with its sender; how does not count.
    let (answer, _connection) = tokio::join!(answer, connection);
    let (status, body): (StatusCode, Bytes) = answer?;
    if status != StatusCode::OK {
        // Other hosts' words end up on terminals.
        let text = String::from_utf8_lossy(&body).escape_debug().to_string();
        return Err(Error::Refused(status, text.chars().take(200).collect()));
    }
    serde_json::from_slice(&body).map_err(|_why| Error::Broken)
}

async fn connect(local: IpAddr, there: SocketAddr) -> io::Result<TcpStream> {
    let socket = if there.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it the kernel chooses, and takes another address for a host with several.
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(there).await
}
