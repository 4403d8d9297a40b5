//! Echoes to every peer: by its own address, and through the tunnel if there is one to it.

use twill_core::doctor::{self, Echoes, Finding};
use twill_core::ids::{Gateway, Underlay};
use twill_core::peers::Peer;
use twill_core::serving::Way;
use twill_net::ping;

use super::unknown;
use crate::blueprint::Blueprint;

/// More peers are not asked: with a second for each packet this ends within half a minute even if none
/// of them answers.
const MOST_PEERS: usize = 256;

/// Each peer by its own address and, if there is a tunnel to it, by the address of its end.
pub(super) async fn peers(blueprint: &Blueprint) -> Vec<Finding> {
    let all = &blueprint.view.peers;
    let asked: Vec<&Peer> = all.iter().take(MOST_PEERS).collect();
    let mut addresses: Vec<_> = asked.iter().map(|peer| peer.underlay.0).collect();
    addresses.extend(asked.iter().filter_map(|peer| inside(peer)).map(|Gateway(end)| end));
    let echoes = match ping::ping(&addresses).await {
        Ok(echoes) => echoes,
        Err(error) => return vec![unknown("peers", error)],
    };
    let (public, overlay) = echoes.split_at(asked.len());
    let mut overlay = overlay.iter().copied();
    let mut findings = Vec::new();
    for (peer, public) in asked.iter().zip(public) {
        let Underlay(address) = peer.underlay;
        let through: Option<(String, Echoes)> = inside(peer)
            .and_then(|Gateway(end)| overlay.next().map(|echoes| (end.to_string(), echoes)));
        let through = through.as_ref().map(|(end, echoes)| (end.as_str(), *echoes));
        findings.push(doctor::reach(peer.subnet, (&address.to_string(), *public), through));
    }
    if all.len() > MOST_PEERS {
        let what = format!("{MOST_PEERS} of {} peers were asked", all.len());
        findings.push(Finding::ok("peers", what));
    }
    findings
}

/// The end of the tunnel to it.
fn inside(peer: &Peer) -> Option<Gateway> {
    matches!(peer.by, Way::Udp(_) | Way::Vxlan(..) | Way::Wireguard).then(|| peer.subnet.gateway())
}
