//! One connection between a monitor and a client, the same at both ends.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, poll};

use super::control::{Decoder, Frame};
use super::log::Stream;
use crate::container::Attachment;

/// As much as is kept for a client that does not read; then the container has to wait.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// How long, in milliseconds, an ended container waits for a client that does not read.
const PATIENCE: u16 = 10_000;

/// The other end, and what is on its way to it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    attached: Option<Attachment>,
    /// Takes nothing more. What it said before may still wait to be read: an ended container's
    /// monitor leaves its exit code behind, and the rest of our input unread.
    deaf: bool,
    gone: bool,
}

impl Connection {
    /// `None` if the connection is broken already.
    pub(super) fn new(stream: UnixStream) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        let (decoder, outgoing) = (Decoder::default(), Vec::new());
        Some(Self { stream, decoder, outgoing, attached: None, deaf: false, gone: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Does it want that output of the container's?
    pub(super) fn listens_to(&self, stream: Stream) -> bool {
        let wanted = self.attached.is_some_and(|attached| match stream {
            Stream::Output => attached.output,
            Stream::Error => attached.error,
        });
        wanted && !self.deaf && !self.gone
    }

    /// Does it send what the container is to read?
    pub(super) fn feeds(&self) -> bool {
        self.attached.is_some_and(|attached| attached.input)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn hang_up(&mut self) {
        self.gone = true;
    }

    pub(super) fn has_room(&self) -> bool {
        self.gone || self.outgoing.len() < OUTPUT_LIMIT
    }

    pub(super) fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn queue(&mut self, frame: &Frame) {
        if !self.deaf {
            frame.encode(&mut self.outgoing);
        }
    }

    /// Takes in what has arrived.
    pub(super) fn receive(&mut self) {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => self.gone = true,
            Ok(length) => self.decoder.push(&piece[..length]),
            Err(error) => self.gone |= !is_passing(&error),
        }
    }

    /// The next thing it asked for. An attachment is noted here.
    pub(super) fn next_wish(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.take() {
                Ok(Some(Frame::Attach(attached))) => self.attached = Some(attached),
                Ok(frame) => return frame,
                Err(_malformed) => {
                    self.gone = true;
                    return None;
                }
            }
        }
    }

    /// Sends as much as goes without waiting.
    pub(super) fn send(&mut self) {
        while !self.outgoing.is_empty() && !self.gone {
            match self.stream.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_passing(&error) => {}
                Err(_broken) => {
                    self.deaf = true;
                    self.outgoing.clear();
                }
            }
        }
    }

    /// Sends everything; a client that does not read for a long time loses the rest.
    pub(super) fn send_all(&mut self) {
        self.send();
        while !self.outgoing.is_empty() && !self.gone {
            let mut set = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
            if !matches!(poll(&mut set, PATIENCE), Ok(1..) | Err(nix::Error::EINTR)) {
                self.gone = true;
            }
            self.send();
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_heard_though_our_input_was_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut client, mut monitor) =
            (Connection::new(ours).unwrap(), Connection::new(theirs).unwrap());
        client.queue(&Frame::Input(vec![7; 64 * 1024]));
        client.send();
        monitor.queue(&Frame::Exited(3));
        monitor.send_all();
        drop(monitor);
        // The connection is reset: the first write says so, later ones find a broken pipe.
        for _ in 0..3 {
            client.queue(&Frame::InputEnd);
            client.send();
        }
        assert!(!client.is_gone() && !client.wants_to_send());
        client.receive();
        assert!(matches!(client.next_wish(), Some(Frame::Exited(3))));
        client.receive();
        assert!(client.is_gone());
    }
}
