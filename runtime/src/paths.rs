//! Where everything lies: the one place that knows the layout of both directory trees.

use std::path::{Path, PathBuf};

/// The directory for what survives a reboot, unless told otherwise.
pub const DEFAULT_ROOT: &str = "/var/lib/twill";
/// The directory for what must not survive one.
pub const DEFAULT_RUN_ROOT: &str = "/run/twill";

/// The two trees of the runtime. Nothing here touches the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    root: PathBuf,
    run_root: PathBuf,
    subnet_env: PathBuf,
}

impl Paths {
    /// Both must be absolute: the monitor of a container works from `/`.
    #[must_use]
    pub fn new(root: PathBuf, run_root: PathBuf) -> Self {
        Self { root, run_root, subnet_env: twill_endpoint::SUBNET_ENV.into() }
    }

    /// The same, but the agent writes the host's subnet elsewhere.
    #[must_use]
    pub fn with_subnet_env(self, subnet_env: PathBuf) -> Self {
        Self { subnet_env, ..self }
    }

    /// Where the agent writes which subnet this host has.
    #[must_use]
    pub fn subnet_env(&self) -> &Path {
        &self.subnet_env
    }

    /// What survives a reboot: images, layers, containers.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What does not: sockets, locks, bundles.
    #[must_use]
    pub fn run_root(&self) -> &Path {
        &self.run_root
    }

    /// Names and metadata of images.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Unpacked layers, by digest.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// One directory per container, called by its full id.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// What of one container survives a reboot.
    #[must_use]
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// What of one container does not.
    #[must_use]
    pub fn run_container(&self, id: &str) -> PathBuf {
        self.run_root.join("containers").join(id)
    }

    /// One symbolic link per name, to the id that has it.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Where the agent writes at which addresses it answers questions for names.
    #[must_use]
    pub fn resolvers(&self) -> PathBuf {
        self.run_root.join("resolvers")
    }

    /// One directory per volume, called by its name.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// One volume.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// What happened.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// Held, briefly, by whoever adds or removes a container or a name.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run_root.join("lock")
    }
}
