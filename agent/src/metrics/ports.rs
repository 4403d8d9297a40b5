//! What the filters at containers' ports dropped, as the kernel counts it.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use twill_net::blocking::{Error, Kernel};

/// `twill_container_refused_packets_total`.
#[derive(Debug)]
pub(super) struct Ports;

impl Collector for Ports {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Packets with a source that is not the container's own, by its port on the host";
        let name = "container_refused_packets";
        let mut rows = to.encode_descriptor(name, help, None, MetricType::Counter)?;
        // A kernel that does not answer has no filter.
        for (port, packets) in refused().unwrap_or_default() {
            let labels = [("interface", port.as_str())];
            ConstCounter::new(packets).encode(rows.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// By the names of the ports: ours begin with `tw`.
fn refused() -> Result<BTreeMap<String, u64>, Error> {
    let mut kernel = Kernel::here()?;
    let counts: BTreeMap<_, _> = kernel.refused_at_ports()?.into_iter().collect();
    if counts.is_empty() {
        return Ok(BTreeMap::new());
    }
    let links = kernel.links()?.into_iter();
    let ports = links
        .filter(|link| link.name.starts_with("tw") && link.kind.as_deref() == Some("veth"))
        .filter_map(|link| Some((link.name, u64::from(*counts.get(&link.index)?))));
    Ok(ports.collect())
}
