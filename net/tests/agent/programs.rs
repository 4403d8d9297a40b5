//! Programs of the shortcut of `udp` are found wherever they can be, and nothing of others is in the way.

use crate::host::{feed, on_a_host, run};
use twill_net::Kernel;

const PORT: u16 = 8285;
/// The handle of a program of ours: a mark, and the port.
const OURS: &str = "0x7457205d";

#[test]
fn at_what_an_administrator_made_they_are_found_and_taken_away() {
    on_a_host(async |_scratch| {
        run("tc qdisc add dev eth0 ingress");
        run("tc qdisc add dev far0 clsact");
        for place in ["eth0 ingress", "far0 ingress", "far0 egress"] {
            plant(OURS, place);
        }
        plant("0x1", "eth0 ingress");
        let kernel = Kernel::open().unwrap();
        assert_eq!(
            found(&kernel).await,
            [
                "program at the entrance of eth0 for port 8285",
                "program at the entrance of far0 for port 8285",
                "program at the exit of far0 for port 8285",
            ]
        );
        kernel.drop_programs(PORT, &["far0"]).await.unwrap();
        assert_eq!(found(&kernel).await.len(), 2, "what is kept");
        for program in kernel.programs().await.unwrap() {
            kernel.drop_program(&program).await.unwrap();
        }
        assert_eq!(found(&kernel).await, [""; 0]);
        assert!(run("tc filter show dev eth0 ingress").contains("handle 0x1 "), "somebody else's");
    });
}

#[test]
fn what_several_interfaces_share_is_in_nobodys_way() {
    on_a_host(async |_scratch| {
        run("ip link add d0 type veth peer name d1");
        run("ip link add d2 type veth peer name d3");
        // Before, among and behind those with programs of ours; they take none.
        for interface in ["eth0", "d1", "d3"] {
            run(&format!("tc qdisc add dev {interface} ingress_block 7 egress_block 8 clsact"));
        }
        for interface in ["far0", "d0", "d2"] {
            run(&format!("tc qdisc add dev {interface} clsact"));
            plant(OURS, &format!("{interface} ingress"));
        }
        plant_at(OURS, "block 7");
        let kernel = Kernel::open().unwrap();
        assert_eq!(found(&kernel).await.len(), 3);
        kernel.drop_programs(PORT, &[]).await.unwrap();
        assert_eq!(found(&kernel).await, [""; 0]);
        assert!(run("tc filter show block 7").contains(OURS), "somebody else's");
    });
}

async fn found(kernel: &Kernel) -> Vec<String> {
    let mut programs: Vec<String> =
        kernel.programs().await.unwrap().iter().map(ToString::to_string).collect();
    programs.sort();
    programs
}

/// A filter that lets everything pass, of our priority.
fn plant(handle: &str, place: &str) {
    plant_at(handle, &format!("dev {place}"));
}

fn plant_at(handle: &str, place: &str) {
    let filter = format!("protocol all pref 4184 handle {handle} bpf");
    let passes = "bytecode '1,6 0 0 4294967295,' da";
    feed("tc -batch -", &format!("filter add {place} {filter} {passes}\n"));
}
