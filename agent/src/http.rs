//! `/status`, `/healthz` and `/readyz`, on the local socket and, if asked for, on a port.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::{TcpListener, UnixListener};

use crate::failure::Failure;
use crate::files;
use crate::flags::Flags;
use crate::status::Board;

/// Both servers, listening; requests are answered by tasks of their own.
#[derive(Debug)]
pub(crate) struct Servers {
    socket: std::path::PathBuf,
}

impl Servers {
    /// The lock on the state directory is held, so a socket that is there is a dead agent's.
    pub(crate) async fn start(flags: &Flags, board: &Board) -> Result<Self, Failure> {
        let socket = flags.files.socket.clone();
        let listener =
            listen(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let health = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(board.clone());
        // Who has which address is for this host's administrators, not for the whole network.
        let all = health.clone().route("/status", get(status).with_state(board.clone()));
        if flags.healthz_port != 0 {
            let address = SocketAddr::new(flags.healthz_ip, flags.healthz_port);
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("cannot listen on {address}"));
            let listener = listener.map_err(|error| {
                Failure::refused(error).hint("choose another --healthz-port, or 0 for none")
            })?;
            tokio::spawn(async move { axum::serve(listener, health).await });
        }
        tokio::spawn(async move { axum::serve(listener, all).await });
        Ok(Self { socket })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the socket was not there any more");
        }
    }
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        files::ensure_directory(directory, 0o755)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _gone => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn status(State(board): State<Board>) -> Response {
    match board.status() {
        Ok(status) => Json(status).into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

// The texts are flannel's: scripts compare them.
async fn healthz() -> &'static str {
    "flanneld is running"
}

async fn readyz(State(board): State<Board>) -> (StatusCode, String) {
    let reasons = board.unready();
    if reasons.is_empty() {
        return (StatusCode::OK, "flanneld is ready".to_owned());
    }
    let text = format!("flanneld is not ready yet\n{}\n", reasons.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, text)
}
