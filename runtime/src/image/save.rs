//! Writes images as `docker save` does: an OCI layout, and beside it the files of Docker's older form.
//!
//! Layers are put together again from what lies unpacked in the store and from the record of the stream that they
//! came as, to the last byte: digests and ids stay. A layer without a record, or whose archive was odd, is packed
//! anew: its files are the same, its digest and the image's id are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest as _;
use tar::{Builder, EntryType, Header};

use twill_archive::{Digest, Reference};

use super::error::Error;
use super::records::RECORD;
use super::store::Store;
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

/// An image that is written, and all that has to be known of it.
struct Wanted {
    id: Digest,
    configuration: Vec<u8>,
    /// The lowest first, and where each lies.
    layers: Vec<(Digest, PathBuf)>,
    /// Those that were used to ask for it.
    names: Vec<Reference>,
}

impl Store {
    /// Writes images, by name or id. A name that was used is kept in the archive.
    pub fn save(&self, names: &[String], out: impl Write) -> Result<(), Error> {
        let hold = self.hold()?;
        // All of them are found before anything is written.
        let images = self.wanted(names)?;
        let layers: BTreeSet<Digest> = images.iter().flat_map(Wanted::diff_ids).collect();
        let _pin = self.pin(layers)?;
        // Whoever reads the archive may take as long as they like: the layers stay, and nobody waits.
        drop(hold);
        let (written, layers) = (BTreeSet::new(), BTreeMap::new());
        let mut archive = Archive { out: Builder::new(out), written, layers };
        let (mut manifests, mut index, mut repositories) = (Vec::new(), Vec::new(), json!({}));
        for image in &images {
            let saved = self.put_image(&mut archive, image)?;
            for name in &image.names {
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

    fn wanted(&self, names: &[String]) -> Result<Vec<Wanted>, Error> {
        let mut images: Vec<Wanted> = Vec::new();
        for name in names {
            let image = self.resolve(name)?;
            let used = name.parse::<Reference>().ok().filter(|name| image.names.contains(name));
            match images.iter_mut().find(|other| other.id == image.id) {
                Some(known) => known.names.extend(used.filter(|name| !known.names.contains(name))),
                None => images.push(Wanted {
                    id: image.id,
                    configuration: self.configuration(&image.id)?,
                    layers: self.diff_ids(&image.id)?.into_iter().zip(image.layers).collect(),
                    names: used.into_iter().collect(),
                }),
            }
        }
        Ok(images)
    }

    fn put_image<W: Write>(
        &self,
        archive: &mut Archive<W>,
        image: &Wanted,
    ) -> Result<Saved, Error> {
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (diff_id, root) in &image.layers {
            let (digest, size) = match archive.layers.get(diff_id) {
                Some(known) => *known,
                None => self.put_layer(archive, *diff_id, root)?,
            };
            layers.push(json!({"mediaType": LAYER, "digest": digest.to_string(), "size": size}));
            diff_ids.push(digest.to_string());
        }
        let bytes = &image.configuration;
        let mut config: Value = serde_json::from_slice(bytes).map_err(Error::Configuration)?;
        // Where nothing is different, it stays byte for byte what it was.
        let same = config["rootfs"]["diff_ids"] == json!(diff_ids);
        config["rootfs"]["diff_ids"] = json!(diff_ids);
        let bytes = if same { bytes.clone() } else { config.to_string().into_bytes() };
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
                "io.containerd.image.name": name.in_full(),
                "org.opencontainers.image.ref.name": name.tag().unwrap_or("latest"),
            });
            entry
        };
        let index = if image.names.is_empty() {
            vec![entry.clone()]
        } else {
            image.names.iter().map(entry_of).collect()
        };
        let layers: Vec<String> = diff_ids
            .iter()
            .map(|id| format!("blobs/sha256/{}", id.trim_start_matches("sha256:")))
            .collect();
        let names: Vec<String> = image.names.iter().map(Reference::to_string).collect();
        let manifest = json!({"Config": blob(&config), "RepoTags": names, "Layers": layers});
        Ok(Saved { layers, index, manifest })
    }

    /// On the disk that holds the layers; it has no name.
    fn spool(&self) -> Result<Hashing, Error> {
        let file = tempfile::tempfile_in(&self.layers)
            .map_err(Error::file("write below", &self.layers))?;
        Ok(Hashing { file, hasher: sha2::Sha256::new(), size: 0 })
    }

    fn put_layer<W: Write>(
        &self,
        archive: &mut Archive<W>,
        diff_id: Digest,
        root: &Path,
    ) -> Result<(Digest, u64), Error> {
        let mut spool = self.spool()?;
        let record = self.layer(&diff_id).join(RECORD);
        let replayed = twill_archive::replay(&record, root, &mut spool);
        if replayed.is_err() || spool.digest() != diff_id {
            spool = self.spool()?;
            let open: OwnedFd = File::open(root).map_err(Error::file("open", root))?.into();
            copy::pack_layer(&open, &mut spool, copy::MountPoints::Kept)
                .map_err(Error::file("read", root))?;
        }
        let (digest, size) = (spool.digest(), spool.size);
        let mut file = spool.file;
        file.rewind().map_err(failed)?;
        archive.put_stream(&digest, size, file).map_err(failed)?;
        archive.layers.insert(diff_id, (digest, size));
        Ok((digest, size))
    }
}

impl Wanted {
    fn diff_ids(&self) -> impl Iterator<Item = Digest> {
        self.layers.iter().map(|(diff_id, _)| *diff_id)
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

impl Hashing {
    fn digest(&self) -> Digest {
        Digest::from(self.hasher.clone())
    }
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
