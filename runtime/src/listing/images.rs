//! Rows of images, and which of them are wanted.

use jiff::Timestamp;
use serde_json::json;

use super::{Filters, Listing};
use crate::image::{Image, Reference};
use crate::template::{Data, Labels};
use crate::{human, usage};

/// The list of `twill images`.
pub const LISTING: Listing = Listing {
    headings: &HEADINGS,
    columns: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

/// The same with digests.
pub const WITH_DIGESTS: Listing = Listing {
    headings: &HEADINGS,
    columns: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

const HEADINGS: [(&str, &str); 11] = [
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "VIRTUAL SIZE"),
];

/// What [`Filters::parse`] lets through for images.
pub const FILTERS: [&str; 5] = ["before", "dangling", "label", "reference", "since"];

const NONE: &str = "<none>";

/// One name of an image, or an image without names.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The image.
    pub image: &'a Image,
    /// The name.
    pub name: Option<&'a Reference>,
}

/// All rows of an image.
#[must_use]
pub fn rows(image: &Image) -> Vec<Row<'_>> {
    if image.names.is_empty() {
        return vec![Row { image, name: None }];
    }
    image.names.iter().map(|name| Row { image, name: Some(name) }).collect()
}

/// When an image was made, if it says so.
pub type Made = Option<Timestamp>;

impl Row<'_> {
    /// Without the tag.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.name.map_or(NONE, Reference::repository)
    }

    /// The tag alone.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.name.and_then(Reference::tag).unwrap_or(NONE)
    }

    /// Of the image.
    #[must_use]
    pub fn id(&self, whole: bool) -> String {
        if whole { self.image.id.to_string() } else { self.image.id.short() }
    }

    /// For a template.
    #[must_use]
    pub fn data(&self, now: Timestamp, whole: bool) -> Data {
        let unknown = || "N/A".to_owned();
        let created = self.image.created;
        let size = human::size(self.image.size);
        let fields = json!({
            "Containers": "N/A",
            "CreatedAt": created.map_or_else(unknown, human::moment),
            "CreatedSince": created.map_or_else(unknown, |created| human::ago(now, created)),
            "Digest": NONE,
            "ID": self.id(whole),
            "Repository": self.repository(),
            "SharedSize": "N/A",
            "Size": size,
            "Tag": self.tag(),
            "UniqueSize": "N/A",
            "VirtualSize": size,
        });
        Data { fields, labels: Labels::default() }
    }

    /// Is this one wanted? Of the images that `before` and `since` name, when the first and the last was made.
    pub fn fits(&self, filters: &Filters, (before, since): (Option<Made>, Option<Made>)) -> bool {
        let labels = self.image.config.config().as_ref().and_then(|config| config.labels().clone());
        let labels = labels.unwrap_or_default();
        let dangling = self.name.is_none();
        let own = self.image.created;
        filters.any("dangling", |wanted| usage::truth(wanted) == Ok(dangling))
            && filters.labels("label", |name| labels.get(name).map(String::as_str))
            && before.is_none_or(|before| own < before)
            && since.is_none_or(|since| own > since)
            && filters.any("reference", |pattern| self.is_like(pattern))
    }

    /// As in a shell: `*` and `?` stand for anything but a slash.
    fn is_like(&self, pattern: &str) -> bool {
        if self.name.is_none() {
            return false;
        }
        let (repository, tag) = (self.repository(), self.tag());
        let last = pattern.rsplit('/').next().unwrap_or(pattern);
        let name =
            if last.contains(':') { format!("{repository}:{tag}") } else { repository.to_owned() };
        is_like(pattern.as_bytes(), name.as_bytes())
    }
}

fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            let end = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
            (0..=end).any(|taken| is_like(rest, &name[taken..]))
        }
        ([b'?', pattern @ ..], [any, name @ ..]) if *any != b'/' => is_like(pattern, name),
        ([wanted, pattern @ ..], [byte, name @ ..]) => wanted == byte && is_like(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_names() {
        for (pattern, name, want) in [
            ("busy*", "busybox", true),
            ("*box", "busybox", true),
            ("b?sybox", "busybox", true),
            ("busybox", "busybox", true),
            ("busy", "busybox", false),
            ("*", "host/busybox", false),
            ("*/*", "host/busybox", true),
            ("bb:1.*", "bb:1.36", true),
            ("bb:1.*", "bb:2", false),
            ("**", "a", true),
            ("", "", true),
        ] {
            assert_eq!(is_like(pattern.as_bytes(), name.as_bytes()), want, "{pattern} {name}");
        }
    }
}
