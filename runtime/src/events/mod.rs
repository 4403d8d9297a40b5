//! What happened to containers and images: a journal that survives reboots and is bounded.
//!
//! Whoever does something appends a line, whether command or monitor; there is no daemon to ask. What
//! cannot be written down has happened all the same: a full disk stops no container.

mod journal;
pub mod wanted;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Paths;
use crate::container::Record;
use crate::image::Removed;

pub use journal::{Follower, read};
pub use wanted::Wanted;

/// What something happened to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
}

impl Kind {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To what.
    pub kind: Kind,
    /// What, in Docker's word.
    pub action: String,
    /// The full id.
    pub id: String,
    /// What else there is to say.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Docker's line: `TIME TYPE ACTION ID (key=value, …)`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { time, kind, action, id, attributes } = self;
        let attributes: Vec<String> =
            attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{time:.9} {} {action} {id} ({})", kind.as_str(), attributes.join(", "))
    }

    /// Docker's fields.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { time, kind, action, id, attributes } = self;
        json!({
            "status": action,
            "id": id,
            "from": attributes.get("image"),
            "Type": kind.as_str(),
            "Action": action,
            "Actor": {"ID": id, "Attributes": attributes},
            "scope": "local",
            "time": time.as_second(),
            "timeNano": i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX),
        })
    }
}

/// Writes down what happened to a container.
pub fn container(paths: &Paths, record: &Record, action: &str, more: &[(&str, String)]) {
    let own = [("image", record.image.name.clone()), ("name", record.name.clone())];
    let mut attributes = record.labels.clone();
    attributes.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)));
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    put(
        paths,
        &Event {
            time: Timestamp::now(),
            kind: Kind::Container,
            action: action.to_owned(),
            id: record.id.clone(),
            attributes,
        },
    );
}

/// Writes down what happened to an image, by its id and the name that was used.
pub fn image(paths: &Paths, id: &str, action: &str, name: &str) {
    put(
        paths,
        &Event {
            time: Timestamp::now(),
            kind: Kind::Image,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: [("name".to_owned(), name.to_owned())].into(),
        },
    );
}

/// Writes down what happened to a volume.
pub fn volume(paths: &Paths, name: &str, action: &str) {
    put(
        paths,
        &Event {
            time: Timestamp::now(),
            kind: Kind::Volume,
            action: action.to_owned(),
            id: name.to_owned(),
            attributes: [("driver".to_owned(), "local".to_owned())].into(),
        },
    );
}

/// Writes down that an image lost a name, or is gone.
pub fn removed(paths: &Paths, id: &str, removed: &Removed) {
    match removed {
        Removed::Untagged(name) => image(paths, id, "untag", &name.to_string()),
        Removed::Deleted { id, .. } => image(paths, &id.to_string(), "delete", ""),
    }
}

fn put(paths: &Paths, event: &Event) {
    // See above: the journal is told, not asked.
    drop(journal::append(&paths.events(), event));
}
