//! From a user's wishes and an image's defaults to a record.

mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use oci_spec::image::Config;

pub use self::settings::expand_environment;
use self::settings::{absolute, command, environment, hostname, labels, ports};
use super::attachment::Attachment;
use super::isolation::{Ipc, Isolation, Pid, Sysctl, Uts};
use super::record::{ImageOf, Network, Record};
use super::resources::{self, Resources};
use super::restart::Policy;
use super::store::Store;
use super::wiring::{self, Wiring};
use super::{health, id, logging};
use crate::bundle::storage;
use crate::error::{Error, Result};
use crate::events;
use crate::image::{self, Image};
use crate::mount::{self, Mount, Source};
use crate::security::{Security, capabilities};
use crate::signals::Signal;
use crate::volume::{Volume, Volumes};

/// What the user asked for; what is left out comes from the image.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// By name or id.
    pub image: String,
    /// Replaces the image's command.
    pub command: Vec<String>,
    /// Replaces the image's entry point; an empty one means none.
    pub entrypoint: Option<String>,
    /// Made up if not given.
    pub name: Option<String>,
    /// The short id if not given.
    pub hostname: Option<String>,
    /// `NAME=VALUE`, or `NAME` to take it from here.
    pub env: Vec<String>,
    /// The image's if not given.
    pub workdir: Option<String>,
    /// The image's if not given.
    pub user: Option<String>,
    /// How it meets the network.
    pub network: wiring::Wishes,
    /// How it is reached there.
    pub wiring: crate::commands::network_options::Wishes,
    /// A terminal?
    pub tty: bool,
    /// Input?
    pub interactive: bool,
    /// Which of its streams somebody has at its start.
    pub attached: Attachment,
    /// Does it vanish when it ends?
    pub auto_remove: bool,
    /// Below which cgroup.
    pub cgroup_parent: String,
    /// `NAME=VALUE` or `NAME`, over those of the image.
    pub labels: Vec<String>,
    /// Its limits.
    pub resources: Resources,
    /// Does it start again after its end?
    pub restart: Policy,
    /// Its powers.
    pub security: Security,
    /// What it has for itself, and what it shares.
    pub isolation: Isolation,
    /// Ports, as in `80/tcp`, beside those of the image.
    pub exposed: Vec<String>,
    /// The image's if not given.
    pub stop_signal: Option<Signal>,
    /// Seconds that it gets to end.
    pub stop_timeout: Option<i64>,
    /// Where its id is written to, too.
    pub cid_file: Option<PathBuf>,
    /// How it is asked whether it does its work; the rest comes from the image.
    pub health: Option<health::Check>,
    /// What it sees of the host's files, beside the volumes of the image.
    pub mounts: Vec<Mount>,
    /// How its output is kept.
    pub log_options: BTreeMap<String, String>,
}

/// Writes a new container down.
pub fn create(store: &Store<'_>, wishes: &Wishes) -> Result<Record> {
    wishes.resources.check(resources::processors())?;
    if wishes.auto_remove && wishes.restart != Policy::No {
        let both = "conflicting options: cannot specify both --restart and --rm";
        return Err(Error::BadFlag(both.into()));
    }
    check(wishes)?;
    let isolation = with_ids(store, wishes.isolation.clone())?;
    let images = image::Store::open(store.paths()).map_err(Error::Image)?;
    // Until the record names the image, only this keeps it here.
    let _hold = images.hold().map_err(Error::Image)?;
    let image = images.resolve(&wishes.image).map_err(|error| match error {
        image::Error::Unknown { .. } => Error::NoSuchImage(with_tag(&wishes.image)),
        error => Error::Image(error),
    })?;
    let placed = wishes.network.settle(store)?;
    let of_image = images.configuration(&image.id).map_err(Error::Image)?;
    let of_image = health::Check::of_image(&of_image);
    let health = health::Check::merge(wishes.health.clone(), of_image);
    let mut record = Record { isolation, health, ..record(wishes, &image, placed)? };
    let volumes = Volumes::new(store.paths());
    // Until the record names the volumes, only this keeps them here.
    let hold = volumes.hold()?;
    let added = make_volumes(&volumes, &mut record)
        .and_then(|()| store.add(record.clone(), wishes.name.as_deref()));
    drop(hold);
    if added.is_err() {
        // The first cause counts.
        drop(volumes.remove_anonymous(&record));
    }
    let record = added?;
    events::container(store.paths(), &record, "create", &[]);
    Ok(record)
}

/// Volumes that were asked for by name and are not there yet, and those without a name.
fn make_volumes(volumes: &Volumes<'_>, record: &mut Record) -> Result<()> {
    for mount in &mut record.mounts {
        let Source::Volume(volume) = &mut mount.source else { continue };
        if volume.name.is_empty() {
            volume.name = id::random();
        }
        volumes.ensure(&Volume {
            name: volume.name.clone(),
            created: Timestamp::now(),
            labels: BTreeMap::new(),
            anonymous: volume.anonymous,
            options: BTreeMap::new(),
        })?;
    }
    Ok(())
}

/// What was asked for, and the image's volumes where nothing else was.
fn mounts(wishes: &Wishes, defaults: &Config) -> Result<Vec<Mount>> {
    let mut all = wishes.mounts.clone();
    for path in defaults.volumes().iter().flatten() {
        let volume = mount::declared(path).map_err(Error::Usage)?;
        if all.iter().all(|other| other.target != volume.target) {
            all.push(volume);
        }
    }
    check_mounts(&all)?;
    mount::ordered(all).map_err(Error::Usage)
}

/// What cannot go together, in Docker's words.
fn check(wishes: &Wishes) -> Result<()> {
    let refuse = |text: &str| Err(Error::Usage(text.to_owned()));
    let isolation = &wishes.isolation;
    logging::check(&wishes.log_options)?;
    if isolation.uts == Uts::Host && (wishes.hostname.is_some() || !isolation.domainname.is_empty())
    {
        return refuse("conflicting options: hostname and the UTS mode");
    }
    for name in isolation.sysctls.keys() {
        if Sysctl::is_of_network(name)
            && wishes.network.mode != wiring::Mode::Own(Network::Bridge)
            && wishes.network.mode != wiring::Mode::Own(Network::None)
        {
            return refuse(&format!("sysctl '{name}' not allowed in host network namespace"));
        }
        let foreign = !matches!(isolation.ipc, Ipc::Private | Ipc::Shareable | Ipc::None);
        if Sysctl::is_of_ipc(name) && foreign {
            return refuse(&format!("sysctl '{name}' not allowed in host ipc namespace"));
        }
    }
    wishes.security.capabilities(&capabilities::own()).map(drop).map_err(|missing| {
        Error::Usage(format!("{missing} cannot be given: this program does not have it itself"))
    })
}

fn check_mounts(mounts: &[Mount]) -> Result<()> {
    let refuse = |text: &str| Err(Error::Usage(text.to_owned()));
    for mount in mounts {
        if mount.target == Path::new("/dev") {
            return refuse(
                "/dev is the container's own: use --device for a device, --privileged for all",
            );
        }
        let Source::Bind(bind) = &mount.source else { continue };
        if !bind.made && !bind.path.exists() {
            return Err(storage::missing(&bind.path));
        }
        if bind.propagation.ends_with("shared") {
            return refuse(
                "mounts cannot be shared back to the host: only private and slave are possible",
            );
        }
    }
    Ok(())
}

/// Names may go to others later; ids do not.
fn with_ids(store: &Store<'_>, mut isolation: Isolation) -> Result<Isolation> {
    if let Pid::Container(name) = &mut isolation.pid {
        *name = store.find(name)?.record.id;
    }
    if let Ipc::Container(name) = &mut isolation.ipc {
        let donor = store.find(name)?.record;
        if !matches!(donor.isolation.ipc, Ipc::Shareable | Ipc::Host) {
            return Err(Error::Usage(format!(
                "cannot join IPC of container {name}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            )));
        }
        *name = donor.id;
    }
    Ok(isolation)
}

fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

fn record(
    wishes: &Wishes,
    image: &Image,
    (network, wiring, shared): (Network, Wiring, Option<String>),
) -> Result<Record> {
    let defaults = image.config.config().clone().unwrap_or_default();
    let (command, entrypoint) = command(wishes, &defaults)?;
    let id = id::random();
    let hostname = hostname(wishes, &id, (network, shared))?;
    let workdir = wishes.workdir.as_ref().or(defaults.working_dir().as_ref());
    let of_image = defaults.stop_signal().as_ref().and_then(|name| name.parse().ok());
    let stop_signal = wishes.stop_signal.or(of_image);
    Ok(Record {
        id,
        name: String::new(),
        created: Timestamp::now(),
        image: ImageOf {
            name: wishes.image.clone(),
            id: image.id.to_string(),
            layers: image.layers.clone(),
        },
        command,
        entrypoint,
        env: environment(wishes, &defaults)?,
        workdir: absolute(workdir.map_or("", String::as_str))?,
        user: wishes.user.clone().or_else(|| defaults.user().clone()).unwrap_or_default(),
        hostname,
        network,
        wiring,
        ports: ports(wishes, &defaults),
        tty: wishes.tty,
        open_stdin: wishes.interactive,
        attached: wishes.attached,
        auto_remove: wishes.auto_remove,
        cgroup_parent: wishes.cgroup_parent.clone(),
        stop_signal: stop_signal.map_or(Signal::TERM.number(), Signal::number),
        labels: labels(wishes, &defaults)?,
        resources: wishes.resources.clone(),
        restart: wishes.restart,
        security: wishes.security.clone(),
        isolation: wishes.isolation.clone(),
        stop_timeout: wishes.stop_timeout,
        cid_file: wishes.cid_file.clone(),
        health: None,
        mounts: mounts(wishes, &defaults)?,
        log_options: wishes.log_options.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::settings::check_hostname;
    use super::*;

    fn wishes() -> Wishes {
        Wishes {
            image: "bb".into(),
            command: vec![],
            entrypoint: None,
            name: None,
            hostname: None,
            env: vec![],
            workdir: None,
            user: None,
            network: wiring::Wishes {
                mode: wiring::Mode::Own(Network::None),
                ..wiring::Wishes::default()
            },
            wiring: crate::commands::network_options::Wishes::default(),
            tty: false,
            interactive: false,
            attached: Attachment::default(),
            auto_remove: false,
            cgroup_parent: "/twill".into(),
            labels: vec![],
            resources: Resources::default(),
            restart: Policy::No,
            security: Security::default(),
            isolation: Isolation::default(),
            exposed: vec![],
            stop_signal: None,
            stop_timeout: None,
            cid_file: None,
            health: None,
            mounts: vec![],
            log_options: BTreeMap::new(),
        }
    }

    #[test]
    fn commands_of_image_and_user() {
        let check = |image: (&[&str], &[&str]),
                     user: (Option<&str>, &[&str]),
                     want: Option<(&[&str], usize)>| {
            let strings =
                |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
            let mut defaults = Config::default();
            defaults.set_entrypoint(Some(strings(image.0)));
            defaults.set_cmd(Some(strings(image.1)));
            let wishes = Wishes {
                entrypoint: user.0.map(str::to_owned),
                command: strings(user.1),
                ..wishes()
            };
            let want = want.map(|(words, length)| (strings(words), length));
            assert_eq!(command(&wishes, &defaults).ok(), want, "{image:?} {user:?}");
        };
        check((&[], &["sh"]), (None, &[]), Some((&["sh"], 0)));
        check((&[], &["sh"]), (None, &["ls", "-l"]), Some((&["ls", "-l"], 0)));
        check((&["e"], &["c"]), (None, &[]), Some((&["e", "c"], 1)));
        check((&["e"], &["c"]), (None, &["x"]), Some((&["e", "x"], 1)));
        check((&["e"], &["c"]), (Some("y"), &[]), Some((&["y"], 1)));
        check((&["e"], &["c"]), (Some("y"), &["x"]), Some((&["y", "x"], 1)));
        check((&["e"], &["c"]), (Some(""), &["x"]), Some((&["x"], 0)));
        check((&["e"], &["c"]), (Some(""), &[]), None);
        check((&[], &[]), (None, &[]), None);
    }

    #[test]
    fn volumes_of_an_image_are_its_own_and_never_at_dev() {
        let of = |path: &str| {
            let mut defaults = Config::default();
            defaults.set_volumes(Some(vec![path.to_owned()]));
            mounts(&wishes(), &defaults).ok()
        };
        for (path, good) in [
            ("/data", true),
            ("/:/host", true),
            ("vol:/x", false),
            ("/dev", false),
            ("/dev/", false),
            ("relative", false),
        ] {
            let want = good.then(|| vec![Mount::anonymous(path.into())]);
            assert_eq!(of(path), want, "{path}");
        }
    }

    #[test]
    fn names_of_missing_images_get_their_tag() {
        for (name, want) in [
            ("x", "x:latest"),
            ("x:1", "x:1"),
            ("host:5000/x", "host:5000/x:latest"),
            ("x@sha256:0", "x@sha256:0"),
        ] {
            assert_eq!(with_tag(name), want);
        }
    }

    #[test]
    fn wishes_that_cannot_be() {
        assert!(absolute("relative").is_err());
        assert!(expand_environment(&["=x".into()]).is_err());
        assert!(expand_environment(&[String::new()]).is_err());
        assert_eq!(expand_environment(&["A=".into()]).unwrap(), ["A="]);
        assert_eq!(expand_environment(&["TWILL_NOT_SET_ANYWHERE".into()]).unwrap(), [""; 0]);
        for (name, good) in
            [("web", true), ("web.example", true), ("", false), ("we b", false), ("-x", false)]
        {
            assert_eq!(check_hostname(name).is_ok(), good, "{name:?}");
        }
    }
}
