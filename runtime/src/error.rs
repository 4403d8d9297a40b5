//! What can go wrong, in words for people, with the exit code and the way out.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal or a failure. The texts that Docker's users know are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// The verb.
        operation: &'static str,
        /// Its object.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A system call that is not about a file.
    #[error("cannot {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A state file that is not what we write.
    #[error("cannot understand {}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
    /// Nobody is called that.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// No volume is called that.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// Containers have it, running or not.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    VolumeInUse {
        /// Its name.
        name: String,
        /// Their full ids.
        users: Vec<String>,
    },
    /// Several ids begin so.
    #[error("Multiple IDs found with provided prefix: {0}")]
    AmbiguousId(String),
    /// The name breaks the rule.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    /// The name belongs to somebody.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The wanted name.
        name: String,
        /// The full id of its owner.
        holder: String,
    },
    /// No image of that name is in the store.
    #[error("Unable to find image '{0}' locally")]
    NoSuchImage(String),
    /// A value on the command line that no command can use.
    #[error("{0}")]
    Usage(String),
    /// The same, of a flag.
    #[error("{0}")]
    BadFlag(String),
    /// Somebody asked for a terminal and has none.
    #[error("the input device is not a TTY")]
    NotATerminal,
    /// Nobody can be attached to what has ended.
    #[error("You cannot attach to a stopped container, start it first")]
    AttachToResting,
    /// No list can be filtered by that.
    #[error("invalid filter '{0}'")]
    InvalidFilter(String),
    /// A copy has no source, or no directory to go to.
    #[error("Could not find the file {0}")]
    NoSuchFile(String),
    /// A copy of a file was to go into a directory.
    #[error("no such directory: {0}")]
    NoSuchDirectory(String),
    /// Only a directory will do.
    #[error("{0} is not a directory")]
    NotADirectory(String),
    /// An archive, or a copy, could not be written down.
    #[error("cannot unpack")]
    Unpack(#[source] Box<crate::image::Defect>),
    /// It is starting, about to end, or somebody copies what is in it.
    #[error("container {0} is starting, ending or being copied: try again")]
    Busy(String),
    /// The way to the overlay.
    #[error("cannot {operation} the network")]
    Network {
        /// `join` or `leave`.
        operation: &'static str,
        /// What was in the way.
        #[source]
        source: twill_endpoint::Error,
    },
    /// The container's own network namespace.
    #[error("cannot set up the network namespace of the container")]
    Namespace {
        /// What was in the way.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A port of the host belongs to somebody.
    #[error("Bind for {place} failed: port is already allocated: {owner}")]
    PortTaken {
        /// Address and port.
        place: String,
        /// Whose it is, in words.
        owner: String,
    },
    /// A port of the host cannot be had.
    #[error("Bind for {place} failed")]
    PortNotThere {
        /// Address and port.
        place: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nobody is on a network of that name, nor can be.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// The other side has no address.
    #[error("Cannot link to a non running container: /{name} AS {alias}")]
    LinkToResting {
        /// The other side.
        name: String,
        /// What it is called.
        alias: String,
    },
    /// libcontainer refused.
    #[error("cannot make the container")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// libcontainer reported success and no process.
    #[error("the container has no first process")]
    Lost,
    /// The image store refused.
    #[error("cannot use the image")]
    Image(#[source] crate::image::Error),
    /// The container could not be started; `code` is Docker's for the reason.
    #[error("{message}")]
    Start {
        /// 125 for us, 126 for a command that cannot be invoked, 127 for one that is not there.
        code: u8,
        /// The whole chain of causes.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The command needs a running container.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The command needs a container whose processes are not halted.
    #[error("container {name} is paused, unpause the container before {verb}")]
    Paused {
        /// Its name.
        name: String,
        /// What was to be done.
        verb: &'static str,
    },
    /// What is halted runs already.
    #[error("cannot start a paused container, try unpause instead")]
    StartPaused(String),
    /// There is no process to work with yet.
    #[error("Container {0} is restarting, wait until the container is running")]
    Restarting(String),
    /// One that vanishes with its end cannot start again.
    #[error("Restart policy cannot be updated because AutoRemove is enabled for the container")]
    RestartOfVanishing,
    /// Nothing halts twice.
    #[error("container {0} is already paused")]
    AlreadyPaused(String),
    /// Only what is halted goes on.
    #[error("container {0} is not paused")]
    NotPaused(String),
    /// The new name is the old one.
    #[error("Renaming a container with the same name as its current name")]
    SameName,
    /// One container has one monitor.
    #[error("container \"/{0}\" is running already")]
    AlreadyRunning(String),
    /// The command needs a container that rests.
    #[error("cannot remove container \"/{name}\": container is paused and must be unpaused first")]
    StillPaused {
        /// Its name.
        name: String,
    },
    /// The command needs a container that rests.
    #[error(
        "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
    )]
    StillRunning {
        /// Its name.
        name: String,
    },
}

impl Error {
    /// An error of libcontainer, whose types say less than their texts.
    #[must_use]
    pub fn runtime(error: libcontainer::error::LibcontainerError) -> Self {
        Self::Runtime(error.into())
    }

    /// The whole chain of causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Writing to a string cannot fail.
            _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }

    /// The code of a command that fails so, other than `run`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start { code, .. } => *code,
            Self::BadFlag(_) => 125,
            _ => 1,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchImage(_) => Some(
                "`twill images` lists what is here; `twill load -i FILE` or `twill import FILE NAME` adds one".into(),
            ),
            Self::NoSuchVolume(_) => Some("`twill volume ls` lists all volumes".into()),
            Self::VolumeInUse { users, .. } => {
                let short: Vec<&str> = users.iter().map(|id| crate::container::id::short(id)).collect();
                Some(format!("`twill rm {}` first", short.join(" ")))
            }
            Self::NoSuchContainer(_) => Some("`twill ps -a` lists all containers".into()),
            Self::StillRunning { name } | Self::StillPaused { name } => {
                Some(format!("`twill rm -f {name}`"))
            }
            Self::Paused { name, .. } | Self::AlreadyPaused(name) | Self::StartPaused(name) => {
                Some(format!("`twill unpause {name}` lets it go on"))
            }
            Self::NotRunning(name) => Some(format!("`twill start {name}` starts it")),
            Self::Start { hint, .. } => hint.clone(),
            Self::NoSuchNetwork(_) => Some("`twill network ls` lists what there is".into()),
            Self::LinkToResting { name, .. } => {
                Some(format!("`twill start {name}` starts it"))
            }
            Self::PortTaken { .. } => {
                Some("publish another port, or end whoever has this one".into())
            }
            Self::PortNotThere { .. } => Some("`ip address` lists this host's addresses".into()),
            Self::Network { source, .. } => source.hint(),
            Self::Image(source) => source.hint(),
            Self::File { source, .. } | Self::System { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() =>
            {
                Some("containers need root: run this with sudo".into())
            }
            _ => None,
        }
    }
}

/// Names the operation and the file for whatever the kernel answers.
pub trait FileContext<T> {
    /// `verb` completes the sentence "cannot …".
    fn file(self, verb: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> FileContext<T> for std::result::Result<T, E> {
    fn file(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::File {
            operation,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}

/// Names the operation where there is no file to name.
pub trait SystemContext<T> {
    /// `verb` completes the sentence "cannot …".
    fn system(self, verb: &'static str) -> Result<T>;
}

impl<T, E: Into<io::Error>> SystemContext<T> for std::result::Result<T, E> {
    fn system(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| Error::System { operation, source: source.into() })
    }
}
