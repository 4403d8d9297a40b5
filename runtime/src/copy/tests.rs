use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::*;

struct Roots {
    directory: tempfile::TempDir,
    from: Inside,
    to: Inside,
}

impl Roots {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            Inside::open(&path).unwrap()
        };
        let (from, to) = (root("from"), root("to"));
        Self { directory, from, to }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn copy(&self, from: &str, to: &str) -> Result<u64> {
        let place = Place { root: &self.from, path: Path::new(from), shown: from };
        let to = Place { root: &self.to, path: Path::new(to), shown: to };
        between(&place.find(false)?, Owner::Same, &to)
    }
}

#[test]
fn a_tree_is_the_same_on_the_other_side() {
    let roots = Roots::new();
    let file = roots.path("from/d/sub/file");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "text").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&file, roots.path("from/d/sub/again")).unwrap();
    symlink("/nowhere/at all", roots.path("from/d/link")).unwrap();
    fs::write(roots.path(&format!("from/d/{}", "x".repeat(200))), "long").unwrap();
    fs::create_dir(roots.path("from/d/empty")).unwrap();
    nix::unistd::mkfifo(&roots.path("from/d/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    roots.copy("/d", "/").unwrap();
    let copied = roots.path("to/d/sub/file");
    assert_eq!(fs::read_to_string(&copied).unwrap(), "text");
    let (before, after) = (file.metadata().unwrap(), copied.metadata().unwrap());
    assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()));
    assert_eq!(after.nlink(), 2);
    assert_eq!(fs::read_link(roots.path("to/d/link")).unwrap(), Path::new("/nowhere/at all"));
    assert!(roots.path("to/d/empty").is_dir());
    assert!(roots.path(&format!("to/d/{}", "x".repeat(200))).is_file());
    roots.copy("/d/.", "/renamed").unwrap();
    assert!(roots.path("to/renamed/sub/again").is_file());
    roots.copy("/d/sub/file", "/renamed/new").unwrap();
    assert_eq!(fs::read_to_string(roots.path("to/renamed/new")).unwrap(), "text");
}

#[test]
fn no_link_leads_out_of_either_root() {
    let roots = Roots::new();
    fs::write(roots.path("secret"), "host").unwrap();
    fs::create_dir(roots.path("outside")).unwrap();
    symlink("/secret", roots.path("from/absolute")).unwrap();
    symlink("../secret", roots.path("from/relative")).unwrap();
    symlink(roots.path("outside"), roots.path("to/way")).unwrap();
    symlink("../outside", roots.path("to/up")).unwrap();
    fs::write(roots.path("from/file"), "x").unwrap();
    fs::create_dir(roots.path("from/way")).unwrap();
    fs::write(roots.path("from/way/file"), "x").unwrap();
    for link in ["/absolute", "/relative"] {
        let place = Place { root: &roots.from, path: Path::new(link), shown: link };
        assert!(matches!(place.find(true), Err(Error::NoSuchFile(_))), "{link}");
        // Not followed, it is copied as what it is.
        roots.copy(link, "/").unwrap();
    }
    for (from, to) in [("/file", "/way"), ("/file", "/way/"), ("/file", "/up/x"), ("/way", "/")] {
        drop(roots.copy(from, to));
        assert_eq!(fs::read_dir(roots.path("outside")).unwrap().count(), 0, "{from} {to}");
    }
    let to = Place { root: &roots.to, path: Path::new("/"), shown: "/" };
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().name[..10].copy_from_slice(b"../climbed");
    header.set_cksum();
    archive.append(&header, &b"x"[..]).unwrap();
    let bytes = archive.into_inner().unwrap();
    assert!(matches!(from_stream(bytes.as_slice(), &to), Err(Error::Unpack(_))));
    assert!(!roots.path("climbed").exists());
}

#[test]
fn a_directory_stays_one_and_nothing_becomes_one() {
    let roots = Roots::new();
    fs::create_dir(roots.path("from/etc")).unwrap();
    fs::write(roots.path("from/file"), "new").unwrap();
    fs::write(roots.path("to/etc"), "precious").unwrap();
    fs::create_dir(roots.path("to/file")).unwrap();
    for (from, entry) in [("/etc", "'etc/' is a directory"), ("/file", "'file' is not a directory")]
    {
        let refused = roots.copy(from, "/").unwrap_err().chain();
        assert!(refused.contains(entry), "{refused}");
    }
    assert_eq!(fs::read_to_string(roots.path("to/etc")).unwrap(), "precious");
    assert!(roots.path("to/file").is_dir());
    // Of one kind, they are taken.
    fs::remove_file(roots.path("to/etc")).unwrap();
    fs::create_dir(roots.path("to/etc")).unwrap();
    fs::remove_dir(roots.path("to/file")).unwrap();
    fs::write(roots.path("to/file"), "old").unwrap();
    roots.copy("/etc", "/").unwrap();
    roots.copy("/file", "/").unwrap();
    assert_eq!(fs::read_to_string(roots.path("to/file")).unwrap(), "new");
}

#[test]
fn what_becomes_roots_lends_nobody_its_rights() {
    let roots = Roots::new();
    let path = roots.path("from/file");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    let file = OwnedFd::from(fs::File::open(&path).unwrap());
    for (owner, (uid, gid), want) in [
        (Owner::Root, (33, 33), 0o755),
        (Owner::Root, (0, 33), 0o4755),
        (Owner::Root, (33, 0), 0o2755),
        (Owner::Root, (0, 0), 0o6755),
        (Owner::Same, (33, 33), 0o6755),
    ] {
        let mut stat = rustix::fs::fstat(&file).unwrap();
        (stat.st_uid, stat.st_gid) = (uid, gid);
        let mut packer = pack::Packer::new(Vec::new(), owner);
        packer.put(&file, &stat, Path::new("file")).unwrap();
        let bytes = packer.finish().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.header().mode().unwrap(), want, "{owner:?} {uid} {gid}");
    }
}

#[test]
fn a_stream_holds_what_was_asked_for() {
    let roots = Roots::new();
    fs::create_dir(roots.path("from/d")).unwrap();
    fs::write(roots.path("from/d/.wh.file"), "no mark of a layer").unwrap();
    let mut bytes = Vec::new();
    let place = Place { root: &roots.from, path: Path::new("/d"), shown: "/d" };
    let count = to_stream(&place.find(false).unwrap(), Owner::Root, &mut bytes).unwrap();
    assert_eq!(count, bytes.len() as u64);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<PathBuf> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect();
    assert_eq!(names, [Path::new("d/"), Path::new("d/.wh.file")]);
    let to = Place { root: &roots.to, path: Path::new("/"), shown: "/" };
    from_stream(bytes.as_slice(), &to).unwrap();
    assert!(roots.path("to/d/.wh.file").is_file());
    let missing = Place { root: &roots.to, path: Path::new("/nosuch"), shown: "/nosuch" };
    assert!(matches!(from_stream(bytes.as_slice(), &missing), Err(Error::NotADirectory(_))));
    let file = Place { root: &roots.to, path: Path::new("/d/.wh.file/"), shown: "f/" };
    assert!(file.find(false).is_err());
}
