//! The command line of `twill-lab`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::churn::command as churn;
use crate::soak::command as soak;
use crate::{bench, by_hand, demo, guard, hold, join, rights};

/// Builds many hosts on this machine, with a network between them, and runs Twill there.
#[derive(Debug, Parser)]
#[command(
    name = "twill-lab",
    version,
    after_help = "Examples:
  twill-lab demo                 the main job, step by step, on three hosts
  twill-lab up --hosts 2         a lab to play with
  twill-lab enter node1          a shell on a host, where twill, twillctl, ip … are at hand
  twill-lab down                 away with it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job, step by step; the exit code says whether it holds
    Demo(demo::Demo),
    /// Measure what the README claims
    Bench,
    /// Measure what joining a pod and taking it off costs, beside Debian's CNI plugins
    BenchCni(bench::cni::BenchCni),
    /// Measure what 1,000 and 10,000 peers cost a host, beside flannel's design
    BenchControl(bench::control::BenchControl),
    /// Measure what the data path of `udp` reaches, beside other ways for packets
    BenchDatapath(bench::datapath::BenchDatapath),
    /// Measure what daily commands of containers cost, beside those of others
    BenchRuntime(bench::runtime::BenchRuntime),
    /// Let one fault after the other happen to five hosts under traffic
    Soak(soak::Options),
    /// Load two hosts over `udp` while others come and go in etcd
    SoakDatapath(churn::Options),
    /// Make a lab with etcd, agents and the image, and leave it standing
    Up(by_hand::Up),
    /// Take a lab down
    Down(by_hand::Which),
    /// Run a command on a host, a shell if none is given
    Enter(by_hand::Enter),
    /// Show the labs that stand
    Status,
    /// The guardian of a lab; started by labs, not by people
    #[command(hide = true)]
    Guard { name: String },
    /// The process that makes a host
    #[command(hide = true)]
    Hold { lab: PathBuf, host: String },
    /// The process that is a host
    #[command(hide = true)]
    Init { lab: PathBuf, host: String },
    /// What systemd is to an agent's hook
    #[command(hide = true)]
    Manage {
        socket: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// The hook of an agent
    #[command(hide = true)]
    Demand { socket: PathBuf },
    /// The yardstick of bench-datapath: a tunnel that moves one packet in each call
    #[command(hide = true)]
    Naive(bench::datapath::naive::Options),
    /// Become a command on a host
    #[command(hide = true)]
    Join {
        host: PathBuf,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// The whole program: parse, run, say once what went wrong.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            by_hand::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match command {
        Command::Demo(demo) => done(demo::run(&demo)),
        Command::Bench => done(bench::run()),
        Command::BenchCni(wanted) => done(bench::cni::run(&wanted)),
        Command::BenchControl(wanted) => done(bench::control::run(&wanted)),
        Command::BenchDatapath(wanted) => done(bench::datapath::run(&wanted)),
        Command::BenchRuntime(wanted) => done(bench::runtime::run(&wanted)),
        Command::Soak(options) => done(soak::run(&options)),
        Command::SoakDatapath(options) => done(churn::run(&options)),
        Command::Up(up) => done(by_hand::up(&up)),
        Command::Down(which) => done(by_hand::down(&which)),
        Command::Enter(enter) => by_hand::enter(&enter),
        Command::Status => done(by_hand::status()),
        Command::Guard { name } => done(guard::run(&name)),
        Command::Hold { lab, host } => done(hold::run(&lab, &host)),
        Command::Init { lab, host } => done(hold::init(&lab, &host)),
        Command::Manage { socket, command } => done(rights::manage(&socket, &command)),
        Command::Demand { socket } => rights::demand(&socket),
        Command::Naive(options) => done(bench::datapath::naive::run(&options)),
        Command::Join { host, command } => done(join::run(&host, &command)),
    }
}
