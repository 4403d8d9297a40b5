//! Names of images: `[registry/]path[:tag][@sha256:…]`, by Docker's grammar (distribution's
//! `reference` package) and in Docker's short form.
//!
//! The short form leaves out what a reader would add: `docker.io/library/bb` is `bb`,
//! `docker.io/me/bb` is `me/bb`. Any other registry is kept as typed. A name without a tag means
//! `latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// The name of an image: a repository, and a tag or a digest or both.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not the name of an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Invalid {
    #[error("it is empty")]
    Empty,
    #[error("the name may hold only lower-case letters, digits and single '.', '_', '-', '/'")]
    Name,
    #[error("the registry before the first '/' is not a host name")]
    Registry,
    #[error("the name is longer than 255 characters")]
    Long,
    #[error("a tag is 1 to 128 letters, digits, '_', '.', '-', and starts with none of '.', '-'")]
    Tag,
    #[error("what follows '@' is not a sha256 digest")]
    Digest,
    #[error("64 hexadecimal digits would be mistaken for an image id")]
    Id,
}

impl Reference {
    /// The repository in its short form: `bb`, `me/bb`, `registry.example:5000/bb`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// With all that the short form leaves out, as other programs understand it without asking back.
    pub fn in_full(&self) -> String {
        match self.repository.split_once('/') {
            None => format!("docker.io/library/{self}"),
            Some((first, _)) if looks_like_a_registry(first) => self.to_string(),
            Some(_) => format!("docker.io/{self}"),
        }
    }

    /// The tag; `None` only for a name that has a digest instead.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest after `@`.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

impl FromStr for Reference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().ok().ok_or(Invalid::Digest)?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if !tag.is_none_or(is_tag) {
            return Err(Invalid::Tag);
        }
        let repository = short(name)?;
        let implied = digest.is_none().then_some("latest");
        Ok(Self { repository, tag: tag.or(implied).map(str::to_owned), digest })
    }
}

fn short(name: &str) -> Result<String, Invalid> {
    if name.len() > 255 {
        return Err(Invalid::Long);
    }
    if Digest::from_hex(name).is_some() {
        return Err(Invalid::Id);
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if looks_like_a_registry(first) => (Some(first), path),
        _ => (None, name),
    };
    if !path.split('/').all(is_component) {
        return Err(Invalid::Name);
    }
    match registry {
        None => Ok(path.strip_prefix("library/").filter(|p| !p.contains('/')).unwrap_or(path)),
        Some("docker.io" | "index.docker.io") => {
            Ok(path.strip_prefix("library/").filter(|p| !p.contains('/')).unwrap_or(path))
        }
        Some(registry) if is_registry(registry) => Ok(name),
        Some(_) => Err(Invalid::Registry),
    }
    .map(str::to_owned)
}

/// Docker's rule for telling `host/path` from `user/path`.
fn looks_like_a_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_is_good = port
        .is_none_or(|port| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()));
    port_is_good && (is_bracketed_address(host) || host.split('.').all(is_label))
}

fn is_bracketed_address(host: &str) -> bool {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !label.is_empty()
        && label.chars().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Runs of lower-case letters and digits, joined by one '.', one or two '_', or any number of '-'.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joins = |join: &str| {
        matches!(join, "." | "_" | "__") || (!join.is_empty() && join.bytes().all(|b| b == b'-'))
    };
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.split(plain).filter(|between| !between.is_empty()).all(joins)
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Reference {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_kept_in_their_short_form() {
        check("a bare name means latest", "bb", "bb:latest");
        check("a tag is kept", "bb:1.2-rc_3", "bb:1.2-rc_3");
        let full = |text: &str| text.parse::<Reference>().unwrap().in_full();
        assert_eq!(full("bb"), "docker.io/library/bb:latest");
        assert_eq!(full("me/bb:1"), "docker.io/me/bb:1");
        assert_eq!(full("localhost/bb:1"), "localhost/bb:1");
        check("the default registry goes", "docker.io/library/bb", "bb:latest");
        check("so does its old name", "index.docker.io/library/bb:x", "bb:x");
        check("so does 'library' alone", "library/bb", "bb:latest");
        check("a user stays", "docker.io/me/bb", "me/bb:latest");
        check("another registry stays", "quay.io/me/bb", "quay.io/me/bb:latest");
        check("a port is not a tag", "localhost:5000/bb", "localhost:5000/bb:latest");
        check("a port and a tag", "localhost:5000/bb:v1", "localhost:5000/bb:v1");
        check("localhost is a registry", "localhost/bb", "localhost/bb:latest");
        check("an address is a registry", "[::1]:5000/bb", "[::1]:5000/bb:latest");
        check("separators", "a__b-c---d/e.f_g", "a__b-c---d/e.f_g:latest");
        let pinned = format!("bb@sha256:{HEX}");
        check("a digest replaces the tag", &pinned, &pinned);
        let both = format!("bb:1@sha256:{HEX}");
        check("or stands beside it", &both, &both);
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        refuse("", Invalid::Empty);
        refuse("Bb", Invalid::Name);
        refuse("bb:", Invalid::Tag);
        refuse("bb:.x", Invalid::Tag);
        refuse(&format!("bb:{}", "x".repeat(129)), Invalid::Tag);
        refuse(":x", Invalid::Name);
        refuse("a//b", Invalid::Name);
        refuse("/a", Invalid::Name);
        refuse("a/", Invalid::Name);
        refuse("a___b", Invalid::Name);
        refuse("a..b", Invalid::Name);
        refuse("-a", Invalid::Name);
        refuse("a-", Invalid::Name);
        refuse("../etc/passwd", Invalid::Registry);
        refuse("a b", Invalid::Name);
        refuse("-x.com/a", Invalid::Registry);
        refuse("x.com:port/a", Invalid::Registry);
        refuse("bb@sha256:12", Invalid::Digest);
        refuse("bb@", Invalid::Digest);
        refuse(HEX, Invalid::Id);
        refuse(&"a/".repeat(200), Invalid::Long);
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_reads_back_as_itself(text in "[a-zA-Z0-9./:@_-]{0,40}|\\PC{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference));
            }
        }
    }

    #[track_caller]
    fn check(name: &str, text: &str, want: &str) {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), want, "{name}");
    }

    #[track_caller]
    fn refuse(text: &str, why: Invalid) {
        assert_eq!(text.parse::<Reference>(), Err(why), "{text}");
    }
}
