//! What an archive says about its files is true of the layer.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use tar::EntryType;

use crate::archives::{Tar, header};
use crate::support::Lab;

#[test]
fn owners_modes_and_times_are_kept() {
    let Some(lab) = Lab::new() else { return };
    let mut folder = header("./home/", EntryType::Directory, 0);
    folder.set_mode(0o2750);
    folder.set_uid(1000);
    folder.set_gid(2000);
    folder.set_mtime(1_000_000_000);
    let mut program = header("./home/su", EntryType::Regular, 2);
    program.set_mode(0o4755);
    program.set_uid(33);
    program.set_gid(3_000_000_000);
    let mut link = header("./home/link", EntryType::Symlink, 0);
    link.set_link_name("su").unwrap();
    link.set_uid(7);
    let mut root = header("./", EntryType::Directory, 0);
    root.set_mode(0o711);
    let tar = Tar::new().raw(root, b"").raw(folder, b"").raw(program, b"su").raw(link, b"");
    lab.import(tar.bytes(), "fs").unwrap();
    let root = lab.root_of("fs");
    let figures = |meta: &Metadata| (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime());
    let of = |name: &str| figures(&fs::symlink_metadata(root.join(name)).unwrap());
    assert_eq!(of(""), (0o711, 0, 0, 1_700_000_000));
    // Though two entries were put in after it.
    assert_eq!(of("home"), (0o2750, 1000, 2000, 1_000_000_000));
    assert_eq!(of("home/su"), (0o4755, 33, 3_000_000_000, 1_700_000_000));
    assert_eq!(of("home/link"), (0o777, 7, 0, 1_700_000_000));
    assert_eq!(fs::read_link(root.join("home/link")).unwrap(), Path::new("su"));
}

#[test]
fn numbers_that_were_never_filled_in_are_zero() {
    let Some(lab) = Lab::new() else { return };
    let mut blank = header("file", EntryType::Regular, 2);
    let own = blank.as_old_mut();
    (own.uid, own.gid, own.mtime) = ([0; 8], [b' '; 8], [0; 12]);
    lab.import(Tar::new().raw(blank, b"su").bytes(), "fs").unwrap();
    let meta = fs::metadata(lab.root_of("fs").join("file")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mtime(), meta.len()), (0, 0, 0, 2));
}

#[test]
fn extended_headers_say_more_than_plain_ones() {
    let Some(lab) = Lab::new() else { return };
    let long = format!("{}/file", "d".repeat(200));
    // cap_dac_override,cap_fowner: a value with a byte 10 in it, as the kernel writes them.
    let capability = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let records: [(&str, &[u8]); 7] = [
        ("path", long.as_bytes()),
        ("mtime", b"1234567890.987654321"),
        ("uid", b"4000000000"),
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.user.note", b"two\nlines"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/elsewhere"),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:etc_t:s0"),
    ];
    lab.import(Tar::new().extended(&records).file("short", b"x").bytes(), "fs").unwrap();
    let path = lab.root_of("fs").join(long);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(
        (meta.uid(), meta.mtime(), meta.mtime_nsec()),
        (4_000_000_000, 1_234_567_890, 987_654_321)
    );
    let value = |name: &str| {
        let mut value = vec![0; 100];
        let length = rustix::fs::getxattr(&path, name, &mut value).ok()?;
        value.truncate(length);
        Some(value)
    };
    assert_eq!(value("security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(value("user.note").as_deref(), Some(&b"two\nlines"[..]));
    assert_eq!(value("trusted.overlay.redirect"), None, "overlayfs' marks are not the archive's");
    assert_ne!(value("security.selinux").as_deref(), Some(&b"system_u:object_r:etc_t:s0"[..]));
}

#[test]
fn gnu_long_names_are_read() {
    let Some(lab) = Lab::new() else { return };
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let text = format!("{long}\0");
    let tar = Tar::new()
        .entry("././@LongLink", EntryType::GNULongName, text.as_bytes())
        .file(&long[..99], b"content")
        .entry("././@LongLink", EntryType::GNULongLink, text.as_bytes())
        .symlink("link", &long[..99]);
    lab.import(tar.bytes(), "fs").unwrap();
    let root = lab.root_of("fs");
    assert_eq!(fs::read(root.join(&long)).unwrap(), b"content");
    assert_eq!(fs::read_link(root.join("link")).unwrap(), Path::new(&long));
}

#[test]
fn hard_links_are_one_file_and_count_once() {
    let Some(lab) = Lab::new() else { return };
    let tar = Tar::new()
        .file("bin/a", b"12345")
        .hard_link("bin/b", "bin/a")
        .hard_link("c", "/bin/b")
        .symlink("s", "bin/a")
        .hard_link("t", "s")
        .hard_link("bin/a", "bin/a");
    lab.import(tar.bytes(), "fs").unwrap();
    let root = lab.root_of("fs");
    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!((inode("bin/a"), inode("bin/a")), (inode("bin/b"), inode("c")));
    assert_eq!(inode("s"), inode("t"), "a link is linked, not followed");
    assert_eq!(lab.store.resolve("fs").unwrap().size, 5);
}

#[test]
fn a_sparse_file_keeps_its_holes() {
    const SIZE: u64 = 1 << 30;
    let Some(lab) = Lab::new() else { return };
    let mut header = header("disk", EntryType::GNUSparse, 8);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(SIZE);
    // Only the last piece of a map may be no multiple of a block.
    gnu.sparse[0].set_offset(SIZE / 2);
    gnu.sparse[0].set_length(8);
    lab.import(Tar::new().raw(header, b"islander").file("next", b"x").bytes(), "fs").unwrap();
    let root = lab.root_of("fs");
    let meta = fs::metadata(root.join("disk")).unwrap();
    assert_eq!(meta.len(), SIZE);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let mut piece = [0; 8];
    let file = fs::File::open(root.join("disk")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut piece, SIZE / 2).unwrap();
    assert_eq!(&piece, b"islander");
    assert_eq!(fs::read(root.join("next")).unwrap(), b"x");
}

#[test]
fn fifos_and_the_devices_of_every_container_are_made() {
    let Some(lab) = Lab::new() else { return };
    let tar = Tar::new()
        .entry("queue", EntryType::Fifo, b"")
        .device("dev/null", EntryType::Char, (1, 3))
        .device("dev/console", EntryType::Char, (5, 1));
    lab.import(tar.bytes(), "fs").unwrap();
    let root = lab.root_of("fs");
    assert!(fs::symlink_metadata(root.join("queue")).unwrap().file_type().is_fifo());
    let null = fs::symlink_metadata(root.join("dev/null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
}

#[test]
fn links_lead_nowhere_but_inside() {
    let Some(lab) = Lab::new() else { return };
    let outside = lab.beside("outside");
    fs::create_dir(&outside).unwrap();
    let outside = outside.to_str().unwrap();
    let tar = Tar::new()
        .folder("twill-test/lib")
        .symlink("lib", "/twill-test/lib")
        .file("lib/libc.so", b"libc")
        .symlink("evil", outside)
        .symlink("up", "../../../../../../../../../..")
        .file("up/twill-test-climbed", b"x")
        .file("/absolute", b"x")
        .symlink("bin/sh", "/bin/busybox");
    lab.import(tar.bytes(), "fs").unwrap();
    let root = lab.root_of("fs");
    assert_eq!(
        fs::read(root.join("twill-test/lib/libc.so")).unwrap(),
        b"libc",
        "as inside the container"
    );
    assert_eq!(fs::read(root.join("twill-test-climbed")).unwrap(), b"x", "the top is the top");
    assert_eq!(fs::read(root.join("absolute")).unwrap(), b"x");
    assert_eq!(fs::read_link(root.join("bin/sh")).unwrap(), Path::new("/bin/busybox"));
    assert!(!Path::new("/twill-test-climbed").exists());

    // Through the link out of the layer: there is no such directory inside.
    let tar = Tar::new().symlink("evil", outside).file("evil/file", b"x");
    let error = lab.import(tar.bytes(), "evil").unwrap_err();
    assert_eq!(
        crate::support::chain(&error),
        "cannot use the archive: entry 'evil/file' lies below 'evil', which is not a directory"
    );
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let Some(lab) = Lab::new() else { return };
    let tar = Tar::new()
        .file("a", b"first")
        .file("a", b"second")
        .file("b", b"file")
        .folder("b")
        .file("b/inside", b"x")
        .folder("c")
        .symlink("c", "b")
        .folder("d")
        .file("d/kept", b"x")
        .folder("d");
    lab.import(tar.bytes(), "fs").unwrap();
    let root = lab.root_of("fs");
    assert_eq!(fs::read(root.join("a")).unwrap(), b"second");
    assert_eq!(fs::read(root.join("c/inside")).unwrap(), b"x");
    assert_eq!(fs::read(root.join("d/kept")).unwrap(), b"x", "a directory is merged");
}

#[test]
fn names_are_bytes() {
    let Some(lab) = Lab::new() else { return };
    let mut odd = header("x", EntryType::Regular, 1);
    odd.as_old_mut().name[..5].copy_from_slice(b"\xff\n\x1b[a");
    lab.import(Tar::new().raw(odd, b"x").bytes(), "fs").unwrap();
    let name = std::ffi::OsStr::from_bytes(b"\xff\n\x1b[a");
    assert!(lab.root_of("fs").join(name).exists());
}
