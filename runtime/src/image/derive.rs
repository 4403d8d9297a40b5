//! A new image out of one and what a container made of it.

use std::io::Read;

use jiff::Timestamp;
use oci_spec::image::Config;
use serde_json::{Map, Value, json};

use twill_archive::{Devices, Digest};

use super::changes;
use super::commit::{Committed, Finished, Work};
use super::error::Error;
use super::records;
use super::store::{self, Store};

/// What is laid over an image besides files.
#[derive(Clone, Debug, Default)]
pub struct Derivation {
    /// The name of the new image, if it is to have one.
    pub reference: Option<String>,
    /// Replaces parts of the configuration of the old one, by Docker's names.
    pub config: Map<String, Value>,
    /// Dockerfile instructions, applied after that.
    pub changes: Vec<String>,
    /// For its history.
    pub author: String,
    /// For its history.
    pub comment: String,
    /// For its history: the command that made the difference.
    pub created_by: String,
}

impl Store {
    /// Makes an image of another one and a layer above its own. When it fails, the store is as it was.
    pub fn derive(
        &self,
        base: &Digest,
        layer: impl Read,
        wishes: &Derivation,
    ) -> Result<Digest, Error> {
        let name = wishes.reference.as_deref().map(store::parse_target).transpose()?;
        let path = records::configuration(&self.images, base);
        let mut layers = self.diff_ids(base)?;
        let mut image: Value = serde_json::from_slice(&self.configuration(base)?)
            .map_err(|source| Error::Record { path, source })?;
        let mut work = Work::new(self, Devices::All)?;
        let unpacked = work.unpack(layer, None);
        let layer =
            unpacked.map_err(|trouble| trouble.in_archive("the container's files"))?.diff_id;
        layers.push(layer);
        describe(&mut image, &layers, wishes)?;
        let configuration = serde_json::to_vec(&image).map_err(Error::Configuration)?;
        let id = Digest::of(&configuration);
        let names = name.as_slice();
        let finished = Finished { id, configuration: &configuration, layers, names };
        match work.commit(self, &[finished])? {
            Committed::All => Ok(id),
            Committed::Nothing => {
                Err(Error::LayerMissing { image: base.short(), layer: layer.to_string() })
            }
        }
    }
}

fn describe(image: &mut Value, layers: &[Digest], wishes: &Derivation) -> Result<(), Error> {
    let now = Timestamp::now().to_string();
    let mut config = image["config"].as_object().cloned().unwrap_or_default();
    for (name, value) in &wishes.config {
        if value.is_null() {
            config.remove(name);
        } else {
            config.insert(name.clone(), value.clone());
        }
    }
    if !wishes.changes.is_empty() {
        let known: Config =
            serde_json::from_value(Value::Object(config.clone())).map_err(Error::Configuration)?;
        let changed = changes::apply_to(known, &wishes.changes)?;
        let changed = serde_json::to_value(changed).map_err(Error::Configuration)?;
        // A new entry point takes the old command away. What only Docker knows, as a health check, stays.
        config.remove("Cmd");
        config.extend(changed.as_object().cloned().unwrap_or_default());
    }
    let layers: Vec<String> = layers.iter().map(Digest::to_string).collect();
    let mut history = image["history"].as_array().cloned().unwrap_or_default();
    let mut step = json!({"created": now, "created_by": wishes.created_by});
    for (name, text) in [("author", &wishes.author), ("comment", &wishes.comment)] {
        if !text.is_empty() {
            step[name] = text.as_str().into();
        }
    }
    history.push(step);
    image["config"] = config.into();
    image["created"] = now.into();
    image["author"] = wishes.author.as_str().into();
    image["history"] = history.into();
    image["rootfs"] = json!({"type": "layers", "diff_ids": layers});
    // They were about another container.
    if let Some(image) = image.as_object_mut() {
        for name in ["container", "container_config"] {
            image.remove(name);
        }
    }
    Ok(())
}
