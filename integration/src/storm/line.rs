//! One host's cable to etcd: carries its connections, and can be cut as cables are. Whoever hangs
//! on it gets no error: bytes just do not come through, and come through late when it is mended.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::script::Cut;

/// The handle. The cable is there for as long as [`Line::carry`] is polled.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    cut: watch::Sender<Cut>,
}

/// The far end of it, not yet working.
#[derive(Debug)]
pub(super) struct Plug {
    listener: TcpListener,
    to: SocketAddr,
    cut: watch::Receiver<Cut>,
}

impl Line {
    /// A cable to `to`.
    pub(super) async fn new(to: SocketAddr) -> Result<(Self, Plug)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, (cut, watched)) = (listener.local_addr()?, watch::channel(Cut::No));
        Ok((Self { address, cut }, Plug { listener, to, cut: watched }))
    }

    /// The endpoint that its host is told.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts or mends it.
    pub(super) fn cut(&self, what: Cut) {
        self.cut.send_replace(what);
    }
}

impl Plug {
    /// Carries whatever comes, for ever.
    pub(super) async fn carry(self) -> Result<()> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (near, _from) = accepted?;
                    connections.spawn(connect(near, self.to, self.cut.clone()));
                }
                Some(_ended) = connections.join_next() => {}
            }
        }
    }
}

// A connection that breaks is the business of those at its ends.
async fn connect(near: TcpStream, to: SocketAddr, cut: watch::Receiver<Cut>) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    for end in [&near, &far] {
        end.set_nodelay(true).ok();
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let requests = pass((near_in, far_out), cut.clone(), |cut| cut != Cut::Whole);
    let answers = pass((far_in, near_out), cut, |cut| cut == Cut::No);
    tokio::join!(requests, answers);
}

async fn pass(
    (mut from, mut to): (tcp::OwnedReadHalf, tcp::OwnedWriteHalf),
    mut cut: watch::Receiver<Cut>,
    open: fn(Cut) -> bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    // An end is told like any other byte: one that comes while the cable is cut comes late.
    while let Ok(length) = from.read(&mut bytes).await {
        if cut.wait_for(|cut| open(*cut)).await.is_err() {
            return;
        }
        if length == 0 || to.write_all(&bytes[..length]).await.is_err() {
            break;
        }
    }
    to.shutdown().await.ok();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    /// A server that answers each byte with the next one, behind a cable.
    async fn world() -> Result<(Line, TcpStream, watch::Receiver<u32>, JoinSet<Result<()>>)> {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (line, plug) = Line::new(server.local_addr()?).await?;
        let (asked, count) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(plug.carry());
        tasks.spawn(async move {
            let (mut connection, _from) = server.accept().await?;
            while let Ok(byte) = connection.read_u8().await {
                asked.send_modify(|count| *count += 1);
                connection.write_u8(byte + 1).await?;
            }
            Ok(())
        });
        let client = TcpStream::connect(line.address).await?;
        Ok((line, client, count, tasks))
    }

    #[tokio::test]
    async fn what_is_sent_into_a_cut_cable_arrives_when_it_is_mended() -> Result<()> {
        let (line, mut client, mut asked, _tasks) = world().await?;
        client.write_u8(1).await?;
        assert_eq!(timeout(LONG, client.read_u8()).await??, 2);

        line.cut(Cut::Whole);
        client.write_u8(3).await?;
        assert!(timeout(SHORT, client.read_u8()).await.is_err(), "an answer came through");
        assert_eq!(*asked.borrow(), 1, "a request came through");
        line.cut(Cut::No);
        assert_eq!(timeout(LONG, client.read_u8()).await??, 4);

        line.cut(Cut::Answers);
        client.write_u8(5).await?;
        timeout(LONG, asked.wait_for(|count| *count == 3)).await??;
        assert!(timeout(SHORT, client.read_u8()).await.is_err(), "an answer came through");
        line.cut(Cut::No);
        assert_eq!(timeout(LONG, client.read_u8()).await??, 6);
        Ok(())
    }
}
