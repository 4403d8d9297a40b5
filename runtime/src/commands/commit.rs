//! `twill commit`: an image of what a container made of its own.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::commands::{Code, each};
use crate::container::{Container, Record, Status, Store, health, liveness};
use crate::copy::{self, MountPoints};
use crate::error::{FileContext as _, Result, SystemContext as _};
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
    let of_base = health::Check::of_image(&images.configuration(&base)?);
    let layer = pack(&store, &container, args.pause)?;
    let derivation = Derivation {
        reference: args.reference.clone(),
        config: config(record, of_base.is_some()),
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
fn pack(store: &Store<'_>, Container { record, state }: &Container, pause: bool) -> Result<File> {
    let paths = store.paths();
    let gone = || Error::NoSuchContainer(record.name.clone());
    // One that rests can neither start nor go away meanwhile; one that runs cannot wait for us.
    let lock = store.lock_container(&record.id)?.ok_or_else(gone)?;
    let resting = liveness::monitor(paths, &record.id)?.is_none().then_some(lock);
    let halted = (pause && resting.is_none() && state.status == Status::Running)
        .then(|| Halted::new(paths, record))
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
    // A removal takes the record out of sight first: as long as it is there, everything was.
    if !paths.container(&record.id).exists() {
        return Err(gone());
    }
    drop((halted, resting));
    spool.rewind().file("read below", paths.root())?;
    Ok(spool)
}

/// A container whose processes stand still, by a process that lets them go on however this one ends.
struct Halted(Child);

impl Halted {
    #[expect(clippy::disallowed_methods, reason = "this program starts itself")]
    fn new(paths: &Paths, record: &Record) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg("--root")
            .arg(paths.root())
            .arg("--run-root")
            .arg(paths.run_root())
            .args(["halt", record.id.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What a terminal sends to us is not for it.
            .process_group(0)
            .spawn()
            .system("pause the container")?;
        let mut told = [0];
        let heard = child.stdout.take().map(|mut stdout| stdout.read_exact(&mut told));
        let halted = Self(child);
        match heard {
            Some(Ok(())) => Ok(halted),
            // It has said why.
            _ => Err(io::Error::other("it cannot be halted")).system("pause the container"),
        }
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        match self.0.wait() {
            Ok(status) if status.success() => {}
            _ => output::note("twill: the container may still be paused"),
        }
    }
}

/// What of the container an image keeps, in Docker's names.
fn config(record: &Record, base_is_asked: bool) -> Map<String, Value> {
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
    match &record.health {
        Some(check) => all["Healthcheck"] = json!(check),
        // Else the new image would ask as the old one does.
        None if base_is_asked => all["Healthcheck"] = json!({"Test": ["NONE"]}),
        None => {}
    }
    all.as_object().cloned().unwrap_or_default()
}
