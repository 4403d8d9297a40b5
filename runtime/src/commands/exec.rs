//! `twill exec`: one more process in a running container.

use crate::commands::{Code, each};
use crate::container::{Store, env_file};
use crate::exec::{self, Wishes};
use crate::terminal::is_terminal;
use crate::{Error, Paths, sealed};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(after_help = "Examples:
  twill exec web ls /            run a command
  twill exec -it web sh          sit in the container
  twill exec -u www web id       as another user
  twill exec web cat /f > f      the output is the command's own, byte for byte

The exit code is the command's own, 127 if there is no such command, 126 if it cannot be invoked.")]
pub struct Args {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Leave it running and return
    #[arg(short, long)]
    pub detach: bool,
    /// Set an environment variable; without `=VALUE`, take it from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file, NAME=VALUE or NAME a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<std::path::PathBuf>,
    /// Give it all capabilities, whatever the container has
    #[arg(long)]
    pub privileged: bool,
    /// Working directory inside; the container's own if not given
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User and group, by name or number; the container's own if not given
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// The container, then the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    pub container_and_command: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    // Clap has seen to it that there are two at least.
    let Some((container, command)) = args.container_and_command.split_first() else {
        return Err(Error::Usage("no container given".into()).into());
    };
    let mut env = env_file::read(&args.env_file)?;
    env.extend_from_slice(&args.env);
    let wishes = Wishes {
        command: command.to_vec(),
        env,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        interactive: args.interactive && !args.detach,
        tty: args.tty && !args.detach,
        detach: args.detach,
        privileged: args.privileged,
    };
    if wishes.interactive && wishes.tty && !is_terminal(std::io::stdin()) {
        return Err(Error::NotATerminal.into());
    }
    sealed::enter()?;
    let store = Store::new(paths);
    Ok(Code(exec::run(paths, &each::active(&store, container, "exec")?, &wishes)?))
}
