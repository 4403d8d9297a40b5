//! Others who may know a name. Questions and answers pass as they are, but for their number: what they carry
//! besides the name (EDNS, that they were cut short) is between the two ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Where the host says whom it asks itself.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long one of them may take: with three of them, less than those who ask wait.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The first bytes of a message: its number, flags, counts.
const HEADER: usize = 12;

/// How a question came, and goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Datagram,
    Connection,
}

/// Whom the host asks, without ourselves.
pub(super) fn servers(resolv_conf: &Path, own: &[IpAddr]) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(resolv_conf).unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(words.next()?.parse().ok()?)
    });
    servers.filter(|server: &IpAddr| !own.contains(server)).map(at).collect()
}

/// Where a server listens.
pub(super) fn at(server: IpAddr) -> SocketAddr {
    SocketAddr::new(server, 53)
}

/// Asks one after another until one answers.
pub(super) async fn ask(question: &[u8], servers: &[SocketAddr], way: Way) -> Option<Vec<u8>> {
    if question.len() < HEADER {
        return None;
    }
    for &to in servers {
        let asked = match way {
            Way::Datagram => timeout(PATIENCE, by_datagram(question, to)).await,
            Way::Connection => timeout(PATIENCE, by_connection(question, to)).await,
        };
        if let Ok(Ok(answer)) = asked {
            return Some(answer);
        }
    }
    None
}

/// From a port and with a number that nobody can guess, to one who alone can answer.
async fn by_datagram(question: &[u8], to: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    let number: [u8; 2] = rand::random();
    let ours = [&number[..], &question[2..]].concat();
    socket.send(&ours).await?;
    let mut answer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(&answer[..length], &ours) {
            answer.truncate(length);
            answer[..2].copy_from_slice(&question[..2]);
            return Ok(answer);
        }
    }
}

async fn by_connection(question: &[u8], to: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    if is_answer(&answer, question) {
        Ok(answer)
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}

/// The same number, and the mark of an answer.
fn is_answer(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= HEADER && answer[..2] == question[..2] && answer[2] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_asked_but_not_in_a_circle() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "# x\nnameserver 127.0.0.53\nnameserver 10.5.2.1\nsearch a\nnameserver fe80::1%eth0\n";
        std::fs::write(file.path(), text).unwrap();
        let own = [IpAddr::from([10, 5, 2, 1])];
        assert_eq!(servers(file.path(), &own), [at([127, 0, 0, 53].into())]);
        assert!(servers(Path::new("/nosuch"), &own).is_empty());
    }

    #[test]
    fn only_an_answer_is_one() {
        let question = [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let mut answer = question;
        assert!(!is_answer(&answer, &question), "the question itself");
        answer[2] |= 0x80;
        assert!(is_answer(&answer, &question));
        answer[1] = 3;
        assert!(!is_answer(&answer, &question), "another number");
        assert!(!is_answer(&answer[..11], &question), "half a header");
    }

    const QUESTION: [u8; 12] = [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    #[tokio::test]
    async fn whoever_is_dead_is_passed_over_and_nobody_else_is_believed() {
        let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let alive = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let servers = [dead.local_addr().unwrap(), alive.local_addr().unwrap()];
        // Nothing listens where it was: the kernel says so.
        drop(dead);
        let serve = async {
            let mut question = [0; 64];
            let (length, from) = alive.recv_from(&mut question).await.unwrap();
            let mut answer = question[..length].to_vec();
            // Cut short, which is for whoever asked to see.
            answer[2] |= 0x82;
            let mut guess = answer.clone();
            guess[0] ^= 1;
            alive.send_to(&guess, from).await.unwrap();
            answer.push(7);
            alive.send_to(&answer, from).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&QUESTION, &servers, Way::Datagram), serve);
        assert_eq!(answer.unwrap(), [1, 2, 0x83, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(ask(&QUESTION, &[], Way::Datagram).await, None);
    }

    #[tokio::test]
    async fn what_comes_by_a_connection_goes_on_by_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let servers = [listener.local_addr().unwrap()];
        let serve = async {
            let (mut stream, _from) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut answer = vec![0; length.into()];
            stream.read_exact(&mut answer).await.unwrap();
            answer[2] |= 0x80;
            let whole = [&length.to_be_bytes()[..], &answer].concat();
            stream.write_all(&whole).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&QUESTION, &servers, Way::Connection), serve);
        assert_eq!(answer.unwrap()[2], 0x81);
    }
}
