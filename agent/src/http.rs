//! `/status`, `/doctor` and `/trace` on the local socket; `/healthz`, `/readyz` and `/metrics` there
//! and, if asked for, on a port; there `/trace` as well, for peers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::{TcpListener, UnixListener};
use twill_core::doctor::Finding;
use twill_core::ids::NetworkName;

use crate::doctor::Doctor;
use crate::failure::Failure;
use crate::files;
use crate::flags::Flags;
use crate::metrics::Page;
use crate::status::{Board, Boards};
use crate::trace::{Kind, Question, Refusal, Tracer};

/// Both servers, listening; requests are answered by tasks of their own.
#[derive(Debug)]
pub(crate) struct Servers {
    socket: std::path::PathBuf,
}

impl Servers {
    /// The lock on the state directory is held, so a socket that is there is a dead agent's.
    pub(crate) async fn start(
        flags: &Flags,
        boards: &Boards,
        (doctor, tracer): (Doctor, Tracer),
    ) -> Result<Self, Failure> {
        let socket = flags.files.socket.clone();
        let listener =
            listen(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let health = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(boards.clone())
            .route("/metrics", get(metrics).with_state(Page::of(boards)));
        // Who has which address is for this host's administrators, not for the whole network.
        let all = health
            .clone()
            .route("/status", get(status).with_state(boards.clone()))
            .route("/doctor", get(examine).with_state(doctor))
            .route("/trace", get(whole_trace).with_state(tracer.clone()));
        // A peer is told of the way to its own containers, and of no others.
        let health = health.route("/trace", get(half_trace).with_state(tracer));
        if flags.healthz_port != 0 {
            let address = SocketAddr::new(flags.healthz_ip, flags.healthz_port);
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("cannot listen on {address}"));
            let listener = listener.map_err(|error| {
                Failure::refused(error).hint("choose another --healthz-port, or 0 for none")
            })?;
            let health = health.into_make_service_with_connect_info::<SocketAddr>();
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

async fn status(State(boards): State<Boards>, RawQuery(query): RawQuery) -> Response {
    let boards = match chosen(&boards, query.as_deref()) {
        Ok(boards) => boards,
        Err(unknown) => return unknown.into_response(),
    };
    let Some(board) = boards.unnamed() else { return Json(boards.status()).into_response() };
    match board.status() {
        Ok(status) => Json(status).into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// The network that is asked for by its name, or all of them.
fn chosen(boards: &Boards, query: Option<&str>) -> Result<Boards, (StatusCode, String)> {
    let Some(name) = parameter(query, "network") else { return Ok(boards.clone()) };
    let found = name.parse::<NetworkName>().ok().and_then(|name| boards.only(&name));
    found.ok_or_else(|| {
        let names = boards.all().into_iter().filter_map(|(name, _board)| Some(name?.to_string()));
        let names = names.collect::<Vec<_>>().join(", ");
        let but = match (names.as_str(), boards.unnamed()) {
            ("", Some(_board)) => "but in one that has no name",
            ("", None) => "and in no other one",
            (names, _) => &format!("but in {names}"),
        };
        (StatusCode::NOT_FOUND, format!("this host is in no network {name:?}, {but}\n"))
    })
}

async fn examine(State(doctor): State<Doctor>) -> Json<Vec<Finding>> {
    Json(doctor.examine().await)
}

async fn whole_trace(State(tracer): State<Tracer>, RawQuery(query): RawQuery) -> Response {
    let word = |name: &str| parameter(query.as_deref(), name);
    let (Some(from), Some(to)) = (word("from"), word("to")) else { return no_pair() };
    let port = match word("port").map(|port| port.parse()).transpose() {
        Ok(port) => port,
        Err(_not_a_port) => return (StatusCode::BAD_REQUEST, "port is no port\n").into_response(),
    };
    match tracer.trace(&Question { from, to, port }).await {
        Ok(trace) => Json(trace).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// Of addresses alone: names are for this host's administrators.
async fn half_trace(
    State(tracer): State<Tracer>,
    ConnectInfo(asker): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
) -> Response {
    let address = |name: &str| parameter(query.as_deref(), name)?.parse::<IpAddr>().ok();
    let (Some(from), Some(to)) = (address("from"), address("to")) else { return no_pair() };
    match tracer.half(asker.ip().to_canonical(), (from, to)).await {
        Ok(half) => Json(half).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(known, _value)| known == name).map(|(_name, value)| value.into_owned())
}

fn no_pair() -> Response {
    let text = "from and to name the two ends: /trace?from=10.88.1.2&to=10.88.2.2\n";
    (StatusCode::BAD_REQUEST, text).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal.kind {
        Kind::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Unknown => StatusCode::NOT_FOUND,
        Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Stranger => StatusCode::FORBIDDEN,
    };
    (status, format!("{}\nhint: {}\n", refusal.what, refusal.hint)).into_response()
}

async fn metrics(State(page): State<Page>) -> Response {
    match page.text() {
        Ok((form, text)) => ([(CONTENT_TYPE, form)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

// The texts are flannel's: scripts compare them. A host that is well says nothing else.
//
// 503 means that this process must be started again. Whatever else is wrong is told, but another
// process would not mend it.
async fn healthz(State(boards): State<Boards>) -> (StatusCode, String) {
    let stuck = boards.words(Board::stuck);
    if stuck.is_empty() {
        return (StatusCode::OK, "flanneld is running".to_owned() + &troubles(&boards));
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("flanneld is stuck\n{}\n", stuck.join("\n")))
}

fn troubles(boards: &Boards) -> String {
    let unready = boards.unready().into_iter();
    let unready = unready.map(|reason| format!("\nnot ready: {reason}"));
    let degraded = boards.degraded().into_iter();
    unready.chain(degraded.map(|reason| format!("\ndegraded: {reason}"))).collect()
}

async fn readyz(State(boards): State<Boards>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let boards = match chosen(&boards, query.as_deref()) {
        Ok(boards) => boards,
        Err(unknown) => return unknown,
    };
    let reasons = boards.unready();
    if reasons.is_empty() {
        return (StatusCode::OK, "flanneld is ready".to_owned() + &troubles(&boards));
    }
    let text = format!("flanneld is not ready yet\n{}\n", reasons.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use twill_core::status::EtcdState;

    use super::*;
    use crate::status::everything;

    type Deed = fn(&Board);
    /// The code, and the lines behind the first.
    type Wanted = (u16, &'static [&'static str]);

    /// What happens to a host that is well, and the two answers.
    const ROWS: [(&str, Deed, Wanted, Wanted); 8] = [
        ("nothing", |_board| {}, (200, &[]), (200, &[])),
        (
            "etcd goes",
            |board| board.etcd(EtcdState::Away),
            (200, &["degraded: etcd is away for 0s; the lease is valid for 23h57m"]),
            (200, &["degraded: etcd is away for 0s; the lease is valid for 23h57m"]),
        ),
        (
            "the lease is another's",
            |board| board.lease(Some("taken".to_owned())),
            (200, &["not ready: taken"]),
            (503, &["taken"]),
        ),
        (
            "the lease ran out",
            |board| board.lease_ends(Some(Duration::ZERO)),
            (200, &["not ready: the lease ran out"]),
            (503, &["the lease ran out"]),
        ),
        (
            "device or rows cannot be made",
            |board| board.pass(Some("cannot create interface flannel.1".to_owned())),
            (200, &["not ready: cannot create interface flannel.1"]),
            (503, &["cannot create interface flannel.1"]),
        ),
        (
            "the uplink goes, and the firewall fails",
            |board| {
                board.uplink(Some("the uplink is away".to_owned()));
                board.firewall(Some("cannot run iptables".to_owned()));
            },
            (200, &["not ready: the uplink is away", "not ready: cannot run iptables"]),
            (503, &["the uplink is away", "cannot run iptables"]),
        ),
        (
            "the host joins again",
            Board::leaving,
            (200, &["not ready: joining the network again"]),
            (503, &["joining the network again"]),
        ),
        (
            "the newest configuration is of no use",
            |board| board.configuration(Some("no Network".to_owned())),
            (200, &["degraded: the newest configuration is not applied: no Network"]),
            (200, &["degraded: the newest configuration is not applied: no Network"]),
        ),
    ];

    #[tokio::test(start_paused = true)]
    async fn flannels_words_when_all_is_well_and_the_truth_when_not() {
        for (name, deed, (health, alive), (readiness, ready)) in ROWS {
            let board = everything();
            deed(&board);
            let boards = Boards::alone(board);
            let (code, text) = healthz(State(boards.clone())).await;
            assert_eq!(code, health, "{name}");
            check(name, &text, ("flanneld is running", alive));
            let (code, text) = readyz(State(boards), RawQuery(None)).await;
            assert_eq!(code, readiness, "{name}");
            let first =
                if readiness == 200 { "flanneld is ready" } else { "flanneld is not ready yet" };
            check(name, &text, (first, ready));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_look_any_more_is_the_one_reason_to_start_again() {
        let board = everything();
        let state = || State(Boards::alone(board.clone()));
        board.looks_within(Duration::from_secs(5));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(healthz(state()).await.0, 200, "late, and perhaps busy");
        tokio::time::advance(Duration::from_secs(10)).await;
        let (code, text) = healthz(state()).await;
        assert_eq!(code, 503, "{text}");
        assert_eq!(text, "flanneld is stuck\nnobody has looked at the kernel for 1m05s too long\n");
        assert_eq!(readyz(state(), RawQuery(None)).await.0, 503);
        board.looks_within(Duration::from_secs(5));
        assert_eq!(healthz(state()).await.0, 200);
        // Between two sessions nobody should look.
        board.leaving();
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(healthz(state()).await.0, 200);
    }

    /// Scripts compare the whole text of a host that is well; of another one the lines.
    #[track_caller]
    fn check(name: &str, text: &str, (first, rest): (&str, &[&str])) {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], first, "{name}");
        assert_eq!(lines.len() - 1, rest.len(), "{name}: {text}");
        for (line, wanted) in lines[1..].iter().zip(rest) {
            assert!(line.starts_with(wanted), "{name}: {line}");
        }
        if rest.is_empty() {
            assert_eq!(text, first, "{name}: without an end of line");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_networks_one_can_be_asked_for() {
        let boards = Boards::of(&["a", "b"].map(|name| Some(name.parse().unwrap())));
        crate::status::join(&boards.all()[0].1);
        let ask = async |query: &str| {
            readyz(State(boards.clone()), RawQuery(Some(query.to_owned()))).await
        };
        let (code, text) = ask("").await;
        assert_eq!(
            (code.as_u16(), text.as_str()),
            (503, "flanneld is not ready yet\nnetwork b: starting\n")
        );
        assert_eq!(ask("network=a").await, (StatusCode::OK, "flanneld is ready".to_owned()));
        assert_eq!(ask("network=b").await.1, "flanneld is not ready yet\nstarting\n");
        let (code, text) = ask("network=c").await;
        assert_eq!(
            (code.as_u16(), text.as_str()),
            (404, "this host is in no network \"c\", but in a, b\n")
        );
        let (code, text) = healthz(State(boards.clone())).await;
        assert_eq!(
            (code.as_u16(), text.as_str()),
            (200, "flanneld is running\nnot ready: network b: starting")
        );
        let one = Boards::alone(everything());
        let (code, _text) = readyz(State(one), RawQuery(Some("network=a".to_owned()))).await;
        assert_eq!(code, 404);
    }
}
