//! Writes images as `docker save` does: an OCI layout, and beside it the files of Docker's older form.
//!
//! Layers are packed anew from what lies unpacked in the store. Their files are the same, the bytes of the archive
//! need not be: a layer that came from elsewhere gets another digest, and its image another id.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use serde_json::{Value, json};
use sha2::Digest as _;
use tar::{Builder, EntryType, Header};

use super::digest::Digest;
use super::error::Error;
use super::reference::Reference;
use super::store::{Image, Store};
use crate::copy;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An archive in the making.
struct Archive<W: Write> {
    out: Builder<W>,
    written: BTreeSet<Digest>,
    /// What became of each layer.
    layers: BTreeMap<Digest, (Digest, u64)>,
}

impl Store {
    /// Writes images, by name or id. A name that was used is kept in the archive.
    pub fn save(&self, names: &[String], out: impl Write) -> Result<(), Error> {
        let _hold = self.hold()?;
        // All of them are found before anything is written.
        let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
        for name in names {
            let image = self.resolve(name)?;
            let used = name.parse::<Reference>().ok().filter(|name| image.names.contains(name));
            match images.iter_mut().find(|(other, _)| other.id == image.id) {
                Some((_, names)) => names.extend(used.filter(|name| !names.contains(name))),
                None => images.push((image, used.into_iter().collect())),
            }
        }
        let (written, layers) = (BTreeSet::new(), BTreeMap::new());
        let mut archive = Archive { out: Builder::new(out), written, layers };
        let (mut manifests, mut index, mut repositories) = (Vec::new(), Vec::new(), json!({}));
        for (image, names) in &images {
            let saved = self.put_image(&mut archive, image, names)?;
            for name in names {
                let top =
                    saved.layers.last().map_or("", |path| path.rsplit('/').next().unwrap_or(path));
                repositories[name.repository()][name.tag().unwrap_or("latest")] = top.into();
            }
            index.extend(saved.index);
            manifests.push(saved.manifest);
        }
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index});
        let written = archive
            .put("index.json", index.to_string().as_bytes())
            .and_then(|()| {
                archive.put("manifest.json", Value::Array(manifests).to_string().as_bytes())
            })
            .and_then(|()| archive.put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#))
            .and_then(|()| archive.put("repositories", repositories.to_string().as_bytes()))
            .and_then(|()| archive.out.into_inner()?.flush());
        written.map_err(failed)
    }

    fn put_image<W: Write>(
        &self,
        archive: &mut Archive<W>,
        image: &Image,
        names: &[Reference],
    ) -> Result<Saved, Error> {
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (diff_id, root) in self.diff_ids(&image.id)?.into_iter().zip(&image.layers) {
            let (digest, size) = match archive.layers.get(&diff_id) {
                Some(known) => *known,
                None => self.put_layer(archive, diff_id, root)?,
            };
            layers.push(json!({"mediaType": LAYER, "digest": digest.to_string(), "size": size}));
            diff_ids.push(digest.to_string());
        }
        let bytes = self.configuration(&image.id)?;
        let mut config: Value = serde_json::from_slice(&bytes).map_err(Error::Configuration)?;
        // Where nothing is different, it stays byte for byte what it was.
        let same = config["rootfs"]["diff_ids"] == json!(diff_ids);
        config["rootfs"]["diff_ids"] = json!(diff_ids);
        let bytes = if same { bytes } else { config.to_string().into_bytes() };
        let config = archive.put_blob(&bytes).map_err(failed)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config.to_string(), "size": bytes.len()},
            "layers": layers,
        });
        let text = manifest.to_string();
        let digest = archive.put_blob(text.as_bytes()).map_err(failed)?;
        let entry =
            json!({"mediaType": MANIFEST, "digest": digest.to_string(), "size": text.len()});
        let entry_of = |name: &Reference| {
            let mut entry = entry.clone();
            entry["annotations"] = json!({
                "io.containerd.image.name": name.to_string(),
                "org.opencontainers.image.ref.name": name.tag().unwrap_or("latest"),
            });
            entry
        };
        let index = if names.is_empty() {
            vec![entry.clone()]
        } else {
            names.iter().map(entry_of).collect()
        };
        let layers: Vec<String> = diff_ids
            .iter()
            .map(|id| format!("blobs/sha256/{}", id.trim_start_matches("sha256:")))
            .collect();
        let names: Vec<String> = names.iter().map(Reference::to_string).collect();
        let manifest = json!({"Config": blob(&config), "RepoTags": names, "Layers": layers});
        Ok(Saved { layers, index, manifest })
    }

    fn put_layer<W: Write>(
        &self,
        archive: &mut Archive<W>,
        diff_id: Digest,
        root: &Path,
    ) -> Result<(Digest, u64), Error> {
        // On the disk that holds the layers; it has no name.
        let spool = tempfile::tempfile_in(&self.layers)
            .map_err(Error::file("write below", &self.layers))?;
        let mut spool = Hashing { file: spool, hasher: sha2::Sha256::new(), size: 0 };
        let open: OwnedFd = File::open(root).map_err(Error::file("open", root))?.into();
        copy::pack_layer(&open, &mut spool, copy::MountPoints::Kept)
            .map_err(Error::file("read", root))?;
        let (digest, size) = (Digest::from(spool.hasher), spool.size);
        let mut file = spool.file;
        file.rewind().map_err(failed)?;
        archive.put_stream(&digest, size, file).map_err(failed)?;
        archive.layers.insert(diff_id, (digest, size));
        Ok((digest, size))
    }
}

struct Saved {
    layers: Vec<String>,
    index: Vec<Value>,
    manifest: Value,
}

impl<W: Write> Archive<W> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = header(bytes.len() as u64);
        self.out.append_data(&mut header, name, bytes)
    }

    fn put_blob(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        self.put_stream(&digest, bytes.len() as u64, bytes)?;
        Ok(digest)
    }

    fn put_stream(&mut self, digest: &Digest, size: u64, bytes: impl Read) -> io::Result<()> {
        if !self.written.insert(*digest) {
            return Ok(());
        }
        self.out.append_data(&mut header(size), blob(digest), bytes)
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn failed(source: io::Error) -> Error {
    Error::Save(source)
}

/// A file and the digest of what was written into it.
struct Hashing {
    file: File,
    hasher: sha2::Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
