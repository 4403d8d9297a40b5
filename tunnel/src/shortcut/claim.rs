//! Who has the shortcut of a port.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The programs of one port in this network namespace are its holder's, who lives. The kernel gives it
/// back, however the holder ends.
#[derive(Debug)]
pub struct Claim {
    _socket: UnixDatagram,
}

impl Claim {
    /// `None` if another holds it, in this process or in another.
    pub fn take(port: u16) -> io::Result<Option<Self>> {
        let name = SocketAddr::from_abstract_name(format!("twill-shortcut/{port}"))?;
        match UnixDatagram::bind_addr(&name) {
            Ok(socket) => Ok(Some(Self { _socket: socket })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let port = 1;
        let claim = Claim::take(port).unwrap().unwrap();
        assert!(Claim::take(port).unwrap().is_none());
        assert!(Claim::take(2).unwrap().is_some(), "another port is another's");
        drop(claim);
        assert!(Claim::take(port).unwrap().is_some());
    }
}
