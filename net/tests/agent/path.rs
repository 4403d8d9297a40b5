//! Two hosts made by nothing but this crate reach each other through their tunnel devices.
//!
//! ```text
//!   192.168.140.22 eth0 ─── veth ─── eth0 192.168.140.23
//!   10.5.1.0 flannel.1                flannel.1 10.5.2.0
//! ```

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use crate::host::{apply, gateway, host, mac, named, on_a_host, run, spec, subnet};
use twill_core::device::{DeviceSpec, Vxlan};
use twill_core::plan::{Change, Hop};
use twill_net::Kernel;

#[test]
fn packets_of_full_size_pass_both_ways() {
    on_a_host(async |scratch| {
        let far = scratch.another();
        run(&format!("ip link set far0 netns {}", far.path().display()));
        join(1, 2).await;
        let there = far.run(|| {
            run("ip link set far0 name eth0 up");
            run("ip address add 192.168.140.23/24 dev eth0");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(join(2, 1));
            socket(2)
        });
        let (here, there) = (socket(1), there.expect("the far host"));
        // 1450 bytes with the headers of IPv4 and UDP; Linux forbids fragmenting them by itself.
        let sent = [0x5a; 1450 - 28];
        for (from, to) in [(&here, &there), (&there, &here)] {
            let mut received = [0; 2000];
            from.send_to(&sent, to.local_addr().unwrap()).unwrap();
            let (length, sender) = to.recv_from(&mut received).expect("a packet within 5 s");
            assert_eq!((&received[..length], sender), (&sent[..], from.local_addr().unwrap()));
        }
    });
}

/// Makes the calling thread's namespace host number `own`, which knows host number `peer`.
async fn join(own: u8, peer: u8) {
    let kernel = Kernel::open().unwrap();
    let uplink = kernel.uplink(&named("eth0")).await.unwrap();
    let local = host(21 + own);
    assert_eq!(uplink.address, local);
    let spec = spec(&kernel).await;
    let spec = Vxlan { mac: mac(own), address: gateway(own), ..spec };
    let device = kernel.ensure_device(&DeviceSpec::Vxlan(spec)).await.unwrap();
    let rows = [
        Change::PutForwarding(device, mac(peer), host(21 + peer)),
        Change::PutNeighbour(device, gateway(peer), mac(peer)),
        Change::PutRoute(subnet(peer), Hop::Onlink(device, gateway(peer)).into()),
    ];
    apply(&kernel, rows).await.unwrap();
}

fn socket(host: u8) -> UdpSocket {
    let address = Ipv4Addr::new(10, 5, host, 0);
    let socket = UdpSocket::bind(SocketAddrV4::new(address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}
