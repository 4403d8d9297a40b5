//! `twill commit`: an image of what a container made of its own.

use std::fs::File;
use std::io::{self, BufReader, Seek as _};
use std::os::fd::OwnedFd;

use serde_json::{Map, Value, json};

use crate::cgroup::{Cgroup, Hierarchies};
use crate::commands::{Code, each};
use crate::container::{Container, Record, Status, Store};
use crate::copy::{self, MountPoints};
use crate::error::{FileContext as _, Result};
use crate::image::{self, Derivation};
use crate::mount::Written;
use crate::signals::Signal;
use crate::{Error, Paths, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill commit web web:patched
  twill commit -m 'with curl' -a 'me <me@example.org>' web web:2
  twill commit -c 'CMD [\"httpd\", \"-f\"]' -c 'ENV TIER=front' web web:3

The image has the container's configuration; instructions are applied after that. Volumes are not part of it.")]
pub struct Args {
    /// Who made it
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub author: String,
    /// Apply a Dockerfile instruction, as in `-c 'CMD [\"sh\"]'`; may be repeated
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,
    /// Put this into the history of the image
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub message: String,
    /// Halt the container meanwhile; `--pause=false` lets it go on
    #[arg(short, long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub pause: bool,
    /// The container, by name, id or the start of its id
    pub container: String,
    /// The name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub reference: Option<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let container = each::one(&store, &args.container)?;
    let record = &container.record;
    let images = image::Store::open(paths)?;
    let base =
        record.image.id.parse().map_err(|_torn| Error::NoSuchImage(record.image.name.clone()))?;
    let layer = pack(paths, &container, args.pause)?;
    let derivation = Derivation {
        reference: args.reference.clone(),
        config: config(record),
        changes: args.changes.clone(),
        author: args.author.clone(),
        comment: args.message.clone(),
        created_by: record.command.join(" "),
    };
    let id = images.derive(&base, BufReader::new(layer), &derivation)?;
    events::container(paths, record, "commit", &[("comment", args.message.clone())]);
    if let Some(name) = &args.reference {
        events::image(paths, &id.to_string(), "tag", name);
    }
    output::line(id);
    Ok(Code::OK)
}

/// What it changed, as a layer, in a file without a name.
fn pack(paths: &Paths, Container { record, state }: &Container, pause: bool) -> Result<File> {
    let halted = (pause && state.status == Status::Running && !state.paused)
        .then(|| Halted::new(record))
        .transpose()?;
    let upper = paths.container(&record.id).join("upper");
    let mut spool = tempfile::tempfile_in(paths.root()).file("write below", paths.root())?;
    match File::open(&upper) {
        Ok(open) => {
            let open = OwnedFd::from(open);
            copy::pack_layer(&open, &mut spool, MountPoints::LeftOut).file("read", &upper)?;
        }
        // Never started: it changed nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tar::Builder::new(&mut spool).into_inner().file("write below", paths.root())?;
        }
        Err(error) => return Err(error).file("open", &upper),
    }
    drop(halted);
    spool.rewind().file("read below", paths.root())?;
    Ok(spool)
}

/// A container whose processes stand still.
struct Halted(Cgroup);

impl Halted {
    fn new(record: &Record) -> Result<Self> {
        let cgroup = Hierarchies::here()?.cgroup(&record.cgroup());
        cgroup.freeze()?;
        Ok(Self(cgroup))
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        if let Err(error) = self.0.thaw() {
            each::complain(&error);
        }
    }
}

/// What of the container an image keeps, in Docker's names.
fn config(record: &Record) -> Map<String, Value> {
    let (entrypoint, command) =
        record.command.split_at(record.entrypoint.min(record.command.len()));
    let list = |all: &[String]| if all.is_empty() { Value::Null } else { json!(all) };
    let set = |all: &mut dyn Iterator<Item = String>| {
        let all: Map<String, Value> = all.map(|name| (name, json!({}))).collect();
        if all.is_empty() { Value::Null } else { all.into() }
    };
    let declared = record.mounts.iter().filter(|mount| mount.written == Written::Declared);
    let volumes = set(&mut declared.map(|mount| mount.target.display().to_string()));
    let labels = if record.labels.is_empty() { Value::Null } else { json!(record.labels) };
    let mut all = json!({
        "Cmd": list(command),
        "Entrypoint": list(entrypoint),
        "Env": list(&record.env),
        "User": record.user,
        "WorkingDir": record.workdir,
        "Labels": labels,
        "ExposedPorts": set(&mut record.ports.exposed.iter().map(ToString::to_string)),
        "Volumes": volumes,
    });
    if record.stop_signal != Signal::TERM.number() {
        all["StopSignal"] = json!(Signal::from_number(record.stop_signal).map(Signal::name));
    }
    if let Some(check) = &record.health {
        all["Healthcheck"] = json!(check);
    }
    all.as_object().cloned().unwrap_or_default()
}
