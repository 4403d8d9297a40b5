//! How many requests etcd has got, as it counts them itself.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::http;

/// One for each message of each call: a call of its own is one, and so is each question in a
/// stream.
const COUNTER: &str = "grpc_server_msg_received_total{";

/// All requests since etcd started. Must be called in its network.
pub(super) fn requests(of: SocketAddr) -> Result<u64> {
    let stream = TcpStream::connect_timeout(&of, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (_code, text) = http::get(stream, "/metrics")?;
    sum(&text).with_context(|| format!("etcd has no {COUNTER}…}}"))
}

fn sum(text: &str) -> Option<u64> {
    let lines = text.lines().filter(|line| line.starts_with(COUNTER));
    let counts = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    // Whole numbers, which etcd writes in the form of floating ones.
    counts.map(|count| format!("{count:.0}").parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed() {
        let text = "# TYPE grpc_server_msg_received_total counter\n\
                    grpc_server_msg_received_total{grpc_method=\"Range\",grpc_type=\"unary\"} 12\n\
                    grpc_server_msg_received_total{grpc_method=\"Watch\",grpc_type=\"bidi_stream\"} 1.2e+06\n\
                    grpc_server_msg_sent_total{grpc_method=\"Range\"} 7\n";
        assert_eq!(sum(text), Some(1_200_012));
        assert_eq!(sum(""), Some(0));
    }
}
