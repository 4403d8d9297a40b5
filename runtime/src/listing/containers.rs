//! Rows of containers, and which of them are wanted.

use jiff::Timestamp;
use serde_json::json;

use super::{Filters, Listing, filters, ports};
use crate::container::health;
use crate::container::ports::Exposed;
use crate::container::{Container, Network, Record, State, Status};
use crate::error::{Error, Result};
use crate::human;
use crate::mount::{Mount, Source};
use crate::template::{Data, Labels};

/// The list of `twill ps`.
pub const LISTING: Listing = Listing {
    headings: &HEADINGS,
    columns: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
};

/// The same with sizes.
pub const WITH_SIZES: Listing = Listing {
    headings: &HEADINGS,
    columns: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
};

const HEADINGS: [(&str, &str); 14] = [
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

/// What [`Filters::parse`] lets through for containers.
pub const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name",
    "network", "publish", "since", "status", "volume",
];

const STATES: [&str; 7] =
    ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// How a row is made.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The moment that ages are counted from.
    pub now: Timestamp,
    /// Cut nothing short?
    pub whole: bool,
}

/// Bytes that a container has written, and those of its image.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Size {
    /// On top of the image.
    pub own: u64,
    /// Below.
    pub image: u64,
}

/// One row.
#[must_use]
pub fn row(container: &Container, size: Size, Style { now, whole }: Style) -> Data {
    let Container { record, state } = container;
    let labels: Vec<String> =
        record.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fields = json!({
        "Command": command(&record.command, whole),
        "CreatedAt": human::moment(record.created),
        "ID": if whole { record.id.as_str() } else { record.short_id() },
        "Image": record.image.name,
        "Labels": labels.join(","),
        "LocalVolumes": record.mounts.iter().filter_map(Mount::volume).count().to_string(),
        "Mounts": mounts(record, whole),
        "Names": record.name,
        "Networks": if record.network == Network::Container { "" } else { record.network.as_str() },
        "Ports": ports::column(&ports::ways(container)),
        "RunningFor": human::ago(now, record.created),
        "Size": format!("{} (virtual {})", human::size(size.own), human::size(size.own + size.image)),
        "State": state.word(),
        "Status": status(state, now),
    });
    Data { fields, labels: Labels::Of(record.labels.clone()) }
}

/// Names of volumes, paths of the host.
fn mounts(record: &Record, whole: bool) -> String {
    const ROOM: usize = 15;
    let name = |mount: &Mount| match &mount.source {
        Source::Bind(bind) => Some(bind.path.display().to_string()),
        Source::Volume(volume) => Some(volume.name.clone()),
        Source::Tmpfs(_) => None,
    };
    let cut = |name: String| {
        if whole || name.chars().count() <= ROOM {
            return name;
        }
        name.chars().take(ROOM - 1).chain(['…']).collect()
    };
    let names: Vec<String> = record.mounts.iter().filter_map(name).map(cut).collect();
    names.join(",")
}

/// By the name of a volume, a path of the host, or the place in the container.
fn has_mount(record: &Record, wanted: &str) -> bool {
    record.mounts.iter().any(|mount| {
        let source = match &mount.source {
            Source::Bind(bind) => bind.path.to_str(),
            Source::Volume(volume) => Some(volume.name.as_str()),
            Source::Tmpfs(_) => None,
        };
        source == Some(wanted) || mount.target.to_str() == Some(wanted.trim_end_matches('/'))
    })
}

/// Arguments with blanks are quoted, as Docker does. Then all is, and cut to twenty characters. What an image wrote there reaches no terminal as it is.
fn command(words: &[String], whole: bool) -> String {
    const ROOM: usize = 20;
    let quoted = |(index, word): (usize, &String)| {
        if index > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    let text = words.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ");
    if whole || text.chars().count() <= ROOM {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(ROOM - 1).chain(['…']).collect();
    format!("{cut:?}")
}

fn status(state: &State, now: Timestamp) -> String {
    match (state.status, state.started, state.finished) {
        (Status::Created, ..) => "Created".into(),
        (Status::Running, Some(started), _) if state.paused => {
            format!("Up {} (Paused)", human::span(now, started))
        }
        (Status::Running, Some(started), _) => {
            let health =
                state.health.as_ref().map_or_else(String::new, |health| match health.status {
                    health::Status::Starting => " (health: starting)".into(),
                    status => format!(" ({})", status.as_str()),
                });
            format!("Up {}{health}", human::span(now, started))
        }
        (Status::Running, ..) => "Up".into(),
        (Status::Restarting, _, Some(finished)) => {
            format!("Restarting ({}) {}", state.exit_code, human::ago(now, finished))
        }
        (Status::Restarting, ..) => "Restarting".into(),
        (Status::Exited, _, Some(finished)) => {
            format!("Exited ({}) {}", state.exit_code, human::ago(now, finished))
        }
        (Status::Exited, ..) => format!("Exited ({})", state.exit_code),
    }
}

/// What containers are compared with that is not in themselves.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    filters: Filters,
    /// Containers of these images are wanted: their ids and layers.
    ancestors: Vec<(String, Vec<std::path::PathBuf>)>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Wanted {
    /// Refuses values that no container can have.
    ///
    /// `created` tells when a container was made, `image` which id and layers an image has.
    pub fn new(
        filters: Filters,
        created: impl Fn(&str) -> Result<Timestamp>,
        image: impl Fn(&str) -> Option<(String, Vec<std::path::PathBuf>)>,
    ) -> Result<Self> {
        let invalid = |key: &str, value: &str| Error::InvalidFilter(format!("{key}={value}"));
        if let Some(state) = filters.values("status").find(|state| !STATES.contains(state)) {
            return Err(invalid("status", state));
        }
        if let Some(code) = filters.values("exited").find(|code| code.parse::<i64>().is_err()) {
            return Err(invalid("exited", code));
        }
        if let Some(wish) = filters.values("health").find(|wish| !HEALTHS.contains(wish)) {
            return Err(Error::Usage(format!("Unrecognised filter value for health: {wish}")));
        }
        let moments = |key: &str| filters.values(key).map(&created).collect::<Result<Vec<_>>>();
        let (before, since) = (moments("before")?, moments("since")?);
        let ancestors = filters.values("ancestor").filter_map(image).collect();
        let (before, since) = (before.into_iter().min(), since.into_iter().max());
        Ok(Self { filters, ancestors, before, since })
    }

    /// Are those that do not run wanted, too?
    #[must_use]
    pub fn asks_for_all(&self) -> bool {
        self.filters.has("status") || self.filters.has("exited")
    }

    /// Is this one wanted?
    #[must_use]
    pub fn fits(&self, Container { record, state }: &Container) -> bool {
        let filters = &self.filters;
        let slashed = format!("/{}", record.name);
        let descends = || {
            self.ancestors.iter().any(|(id, layers)| {
                record.image.id == *id
                    || (!layers.is_empty() && record.image.layers.starts_with(layers))
            })
        };
        let exited = |code: &str| {
            state.status == Status::Exited && code.parse() == Ok(i64::from(state.exit_code))
        };
        filters.any("id", |id| record.id.starts_with(id) || filters::matches(id, &[&record.id]))
            && filters.any("name", |name| filters::matches(name, &[&record.name, &slashed]))
            && filters.labels("label", |name| record.labels.get(name).map(String::as_str))
            && filters.any("status", |status| status == state.word())
            && filters.any("exited", exited)
            && (!filters.has("ancestor") || descends())
            && self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
            && filters.any("network", |network| network == record.network.as_str())
            && filters.any("health", |wanted| {
                wanted == state.health.as_ref().map_or("none", |health| health.status.as_str())
            })
            && filters.any("is-task", |task| matches!(task, "false" | "0"))
            && filters.any("volume", |wanted| has_mount(record, wanted))
            && filters
                .any("expose", |value| ports::names(value, record.ports.exposed.iter().copied()))
            && filters.any("publish", |value| {
                let public = state.ports.iter();
                let public = public.map(|it| Exposed { port: it.host_port, protocol: it.protocol });
                ports::names(value, record.ports.wanted().iter().map(|it| it.port).chain(public))
            })
    }
}

#[cfg(test)]
mod tests;
