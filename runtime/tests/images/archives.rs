//! Makes archives: good ones as the usual tools write them, and bad ones that no tool writes.

use std::io::Write as _;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use twill::image::Digest;

/// A tar archive in the making.
pub(crate) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, content)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.entry(name, EntryType::Directory, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.linking(name, EntryType::Symlink, target)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.linking(name, EntryType::Link, target)
    }

    pub(crate) fn device(self, name: &str, kind: EntryType, (major, minor): (u32, u32)) -> Self {
        let mut header = header(name, kind, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.raw(header, b"")
    }

    pub(crate) fn entry(self, name: &str, kind: EntryType, content: &[u8]) -> Self {
        let header = header(name, kind, content.len() as u64);
        self.raw(header, content)
    }

    /// An entry whose header the caller made; its sum is set here.
    pub(crate) fn raw(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// An extended header for the entry that follows.
    pub(crate) fn extended(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn linking(self, name: &str, kind: EntryType, target: &str) -> Self {
        let mut header = header(name, kind, 0);
        put(&mut header.as_old_mut().linkname, target);
        self.raw(header, b"")
    }
}

/// A header with any name at all: the crate's own setter refuses what we need here.
pub(crate) fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    put(&mut header.as_old_mut().name, name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

fn put(field: &mut [u8; 100], text: &str) {
    *field = [0; 100];
    field[..text.len()].copy_from_slice(text.as_bytes());
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// An image in the making: layers as tar archives, the lowest first.
pub(crate) struct Picture {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) names: Vec<&'static str>,
}

/// One layer with one file, called `name`.
pub(crate) fn picture(name: &'static str) -> Picture {
    let layer = Tar::new().folder("etc").file("etc/motd", name.as_bytes()).bytes();
    Picture { layers: vec![layer], names: vec![name] }
}

impl Picture {
    pub(crate) fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<String> =
            self.layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let document = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-02T03:04:05.678Z",
            "config": { "Cmd": ["sh"], "Env": ["A=b"], "Entrypoint": null, "ExposedPorts": {"80/tcp": {}} },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        document.to_string().into_bytes()
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.configuration())
    }
}

/// As `docker save` before 25: manifest.json last, a directory for each layer.
pub(crate) fn docker(pictures: &[Picture]) -> Vec<u8> {
    docker_with(pictures, <[u8]>::to_vec)
}

/// The same with packed layers.
pub(crate) fn docker_with(pictures: &[Picture], pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut manifest = Vec::new();
    for picture in pictures {
        let configuration = picture.configuration();
        let name = format!("{}.json", picture.id().hex());
        tar = tar.file(&name, &configuration);
        let mut layers = Vec::new();
        for layer in &picture.layers {
            let folder = &Digest::of(layer).hex()[..16];
            let layer_name = format!("{folder}/layer.tar");
            tar = tar.folder(folder).file(&layer_name, &pack(layer));
            layers.push(layer_name);
        }
        manifest.push(json!({ "Config": name, "RepoTags": picture.names, "Layers": layers }));
    }
    tar.file("manifest.json", json!(manifest).to_string().as_bytes()).bytes()
}

/// As the OCI tools write a layout.
pub(crate) fn layout(pictures: &[Picture], pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut layout = Layout::new();
    let manifests: Vec<Value> = pictures
        .iter()
        .map(|picture| {
            let mut descriptor = layout.image(picture, pack);
            if let Some(name) = picture.names.first() {
                descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
            }
            descriptor
        })
        .collect();
    layout.finish(&manifests)
}

/// An OCI layout in the making.
pub(crate) struct Layout(Tar);

impl Layout {
    pub(crate) fn new() -> Self {
        Self(Tar::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#))
    }

    /// Adds a blob and gives its descriptor.
    pub(crate) fn blob(&mut self, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.member(&format!("blobs/sha256/{}", digest.hex()), bytes);
        let media_type = format!("application/vnd.oci.image.{kind}");
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    /// Adds an image and gives the descriptor of its manifest.
    pub(crate) fn image(&mut self, picture: &Picture, pack: fn(&[u8]) -> Vec<u8>) -> Value {
        let config = self.blob("config.v1+json", &picture.configuration());
        let layers: Vec<Value> =
            picture.layers.iter().map(|layer| self.blob("layer.v1.tar", &pack(layer))).collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        self.blob("manifest.v1+json", manifest.to_string().as_bytes())
    }

    /// Adds a nested index and gives its descriptor.
    pub(crate) fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        self.blob("index.v1+json", index.to_string().as_bytes())
    }

    /// Adds a file that is not a blob.
    pub(crate) fn member(&mut self, name: &str, bytes: &[u8]) {
        let tar = std::mem::replace(&mut self.0, Tar::new());
        self.0 = tar.file(name, bytes);
    }

    pub(crate) fn finish(self, manifests: &[Value]) -> Vec<u8> {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        self.0.file("index.json", index.to_string().as_bytes()).bytes()
    }
}
