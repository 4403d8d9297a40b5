//! One thread's loop: both directions of one queue.
//!
//! One thread, because most packets are answered: what is handed to the device often comes back out of it,
//! answered, before that call returns. A second thread would have to be woken for it, which takes longer
//! than all the rest.

use std::io;

use arc_swap::Cache;
use nix::errno::Errno;

use crate::inbound::Inbound;
use crate::outbound::{Outbound, ROOM, TURN};
use crate::peers::Peers;
use crate::socket::{TRAINS, reason};
use crate::tunnel::Shared;
use crate::wait::{Want, pause, wait};

/// Carries packets until told to stop, or until the device is gone.
pub(crate) fn run(shared: &Shared, queue: usize) -> io::Result<()> {
    if let Some(cpus) = shared.device.cpus() {
        cpus.keep(queue);
    }
    let mut peers = Cache::new(&shared.peers);
    let (device, socket) = (shared.device.queue(queue), &shared.sockets[queue]);
    let mut outbound = Outbound::new(shared, (device, socket));
    let mut inbound = Inbound::new(shared, (device, socket));
    while !shared.is_stopping() {
        let want = if outbound.waits() { Want::Room } else { Want::Packets(device) };
        let ready = wait(&shared.stop, socket, want)?;
        let peers = peers.load();
        let given = ready.socket && receive(shared, &mut inbound, peers);
        if outbound.waits() {
            outbound.depart();
        } else if ready.device || given {
            outbound.carry(peers)?;
        }
    }
    Ok(())
}

/// Takes its turn at the socket, as long as that of the device: so many packets or so many bytes. Was the
/// device given anything?
fn receive(shared: &Shared, inbound: &mut Inbound<'_>, peers: &Peers) -> bool {
    let (mut given, mut bytes) = (false, 0);
    for _time in 0..TURN / TRAINS {
        match inbound.carry(peers) {
            Ok(came) => {
                given |= came.given;
                bytes += came.bytes;
                if !came.more || bytes >= ROOM {
                    break;
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => break,
            Err(errno) => {
                shared.counters.add(reason(errno));
                // Whatever it is, it must not become a busy loop.
                pause(&shared.stop);
                break;
            }
        }
    }
    given
}
