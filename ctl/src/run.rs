//! Runs one command: connects, calls, and turns what came of it into a report.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use twill_core::ids::NetworkName;

pub(crate) use crate::access::store_failure;
use crate::access::{connect, of_network};
use crate::args::{Cli, Command, Host, Node};
use crate::failure::{Failure, Kind};
use crate::report::Report;
use crate::{cni, doctor, generate, host, lease, network, nodes, peers, status, trace};

/// Runs what the command line asks for, within its time.
pub(crate) fn run(cli: Cli) -> Result<Report, Failure> {
    let Cli { etcd, output, timeout, command, network_name } = cli;
    let network = network_name.as_ref();
    let all = etcd;
    let etcd = of_network(&all, network);
    match command {
        Command::Host(Host::Cleanup { options }) => host::cleanup(&options),
        Command::Cni(command) => cni::run(&command, network, output),
        Command::Generate { directory } => generate::generate(&directory),
        Command::Status(args) => {
            let work = status::show((&args.socket, network), output);
            runtime()?.block_on(within(timeout, "the agent", work))
        }
        Command::Peers(args) => {
            let work = peers::list((&args.socket, network), output);
            runtime()?.block_on(within(timeout, "the agent", work))
        }
        Command::Doctor(args) => {
            let open = |network: Option<&NetworkName>| connect(&of_network(&all, network), timeout);
            let work = doctor::examine(open, (&args, network), (output, timeout));
            runtime()?.block_on(work)
        }
        Command::Trace(args) => runtime()?.block_on(trace::walk(&args, (output, timeout))),
        Command::Network(command) => {
            // Before anything is asked of etcd: a wrong option is wrong with and without it.
            let work = network::Work::of(command)?;
            let store = connect(&etcd, timeout)?;
            runtime()?.block_on(network::run(&store, &work, output, timeout))
        }
        Command::Lease(command) => {
            let store = connect(&etcd, timeout)?;
            runtime()?.block_on(lease::run(&store, command, output, timeout))
        }
        Command::Node(Node::List) => {
            let store = connect(&etcd, timeout)?;
            runtime()?.block_on(within(timeout, "etcd", nodes::list(&store, output)))
        }
    }
}

/// Nothing of ours waits on anything but sockets: one thread is enough.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::from_error(Kind::Internal, &error))
}

/// Gives up when it takes longer.
pub(crate) async fn within<T>(
    timeout: Duration,
    whom: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_elapsed| {
        let message = format!("{whom} did not answer within {} s", timeout.as_secs_f64());
        Err(Failure::new(Kind::Unreachable, message).hint("wait longer with --timeout SECONDS"))
    })
}
