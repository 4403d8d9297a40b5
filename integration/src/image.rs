//! The image of the lab's containers, made on the spot: Debian's static busybox and nothing else.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType, Header};

/// Where Debian's `busybox-static` puts it.
const BUSYBOX: &str = "/usr/bin/busybox";

/// What `/index.html` of every container says.
pub const GREETING: &str = "a thread that crossed\n";

/// Writes a plain root file system as a tar archive, for `twill import`.
///
/// # Errors
/// Without a busybox that is linked statically.
pub fn write(tar: &Path) -> Result<()> {
    let busybox = fs::read(BUSYBOX)
        .with_context(|| format!("cannot read {BUSYBOX}: apt-get install busybox-static"))?;
    let listed = Command::new(BUSYBOX).arg("--list").output()?;
    if listed.stdout.is_empty() {
        bail!("{BUSYBOX} lists no applets");
    }
    let applets = String::from_utf8(listed.stdout).context("applets have plain names")?;

    let mut image = Builder::new(File::create(tar)?);
    for (dir, mode) in [("bin/", 0o755), ("etc/", 0o755), ("root/", 0o700), ("tmp/", 0o1777)] {
        put(&mut image, dir, EntryType::Directory, (mode, b""))?;
    }
    put(&mut image, "bin/busybox", EntryType::Regular, (0o755, &busybox))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        image.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    put(&mut image, "etc/passwd", EntryType::Regular, (0o644, b"root:x:0:0:root:/root:/bin/sh\n"))?;
    put(&mut image, "etc/group", EntryType::Regular, (0o644, b"root:x:0:\n"))?;
    put(&mut image, "index.html", EntryType::Regular, (0o644, GREETING.as_bytes()))?;
    image.into_inner()?.sync_all().context("cannot write the image")
}

fn put(
    image: &mut Builder<File>,
    path: &str,
    kind: EntryType,
    (mode, content): (u32, &[u8]),
) -> Result<()> {
    let mut header = header(kind, mode, content.len().try_into()?);
    image.append_data(&mut header, path, content).with_context(|| format!("cannot pack {path}"))
}

// Everything belongs to root and is as old as time, so that the image is the same every time.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
