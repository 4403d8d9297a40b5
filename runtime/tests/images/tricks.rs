//! Every trick that is known to be played with archives, one test each, and what becomes of it. The list is
//! in `docs/images.md`.

use std::fs::{self, File, Metadata};
use std::io::{Cursor, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tar::EntryType;
use twill::image::{Devices, ImportOptions, Source};

use crate::archives::{Picture, Tar, docker, gzip, header, zstd};
use crate::support::{Lab, chain, stream};

/// A store, and beside it a directory of somebody else with a file in it.
struct Trap {
    lab: Lab,
    outside: PathBuf,
}

impl Trap {
    fn new() -> Option<Self> {
        let lab = Lab::new()?;
        let outside = lab.beside("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("victim"), "untouched").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).unwrap();
        Some(Self { lab, outside })
    }

    fn outside(&self) -> &str {
        self.outside.to_str().unwrap()
    }

    fn victim(&self) -> String {
        format!("{}/victim", self.outside())
    }

    /// The files of an archive that is taken; and nothing happened outside.
    #[track_caller]
    fn taken(&self, tar: Tar) -> PathBuf {
        self.lab.import(tar.bytes(), "fs").unwrap_or_else(|error| panic!("{}", chain(&error)));
        self.unharmed();
        self.lab.root_of("fs")
    }

    /// It is refused for this reason, nothing is left of it, and nothing happened outside.
    #[track_caller]
    fn refuses(&self, tar: Tar, why: &str) {
        self.refuses_bytes(tar.bytes(), why);
    }

    #[track_caller]
    fn refuses_bytes(&self, archive: Vec<u8>, why: &str) {
        let before = self.lab.contents();
        let text = chain(&self.lab.import(archive, "bad").unwrap_err());
        assert!(text.contains(why) && !text.contains('\n'), "{text}");
        assert_eq!(self.lab.contents(), before);
        self.unharmed();
    }

    #[track_caller]
    fn unharmed(&self) {
        assert_eq!(fs::read_to_string(self.victim()).unwrap(), "untouched");
        assert_eq!(fs::read_dir(&self.outside).unwrap().count(), 1);
        assert_eq!(fs::metadata(&self.outside).unwrap().mode() & 0o7777, 0o700);
        assert!(!Path::new("/twill-trick").exists());
    }
}

fn look(path: &Path) -> Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A test for each trick: `name(trap) { … }`.
macro_rules! tricks {
    ($($name:ident($trap:ident) $body:block)*) => {
        $(#[test]
        fn $name() {
            let Some($trap) = Trap::new() else { return };
            $body
        })*

        #[test]
        fn each_trick_is_on_the_list_and_has_a_test() {
            let list = include_str!("../../../docs/images.md");
            let rows = list.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('`').nth(1));
            let listed: std::collections::BTreeSet<&str> = rows.collect();
            assert_eq!(listed, [$(stringify!($name)),*].into());
        }
    };
}

tricks! {
    absolute_name(trap) {
        let root = trap.taken(Tar::new().file("/twill-trick", b"x"));
        assert!(root.join("twill-trick").exists());
    }

    name_that_climbs(trap) {
        for name in ["../twill-trick", "a/../../twill-trick", "/../twill-trick", "a/.."] {
            trap.refuses(Tar::new().file(name, b"x"), "climbs out of the archive with '..'");
        }
    }

    write_through_a_link(trap) {
        let tar = Tar::new().symlink("evil", trap.outside()).file("evil/new", b"x");
        trap.refuses(tar, "lies below 'evil', which is not a directory");
        let root = trap.taken(Tar::new().symlink("up", "../../../..").file("up/twill-trick", b"x"));
        assert!(root.join("twill-trick").exists(), "the top is the top");
    }

    write_through_a_link_of_the_layer_below(trap) {
        let below = Tar::new().symlink("evil", trap.outside()).bytes();
        let above = Tar::new().file("evil/victim", b"x").bytes();
        trap.lab.load(docker(&[Picture { layers: vec![below, above], names: vec!["bb:1"] }])).unwrap();
        trap.unharmed();
        let layers = trap.lab.store.resolve("bb:1").unwrap().layers;
        assert!(look(&layers[1].join("evil")).is_dir(), "a layer has its own");
    }

    links_in_a_circle(trap) {
        let tar = || Tar::new().symlink("a", "b").symlink("b", "a");
        trap.refuses(tar().file("a/x", b""), "entry 'a/x' lies below links that lead in a circle");
        trap.refuses(tar().hard_link("x", "a/x"), "not a file in the archive");
    }

    file_over_a_link(trap) {
        let root = trap.taken(Tar::new().symlink("x", &trap.victim()).file("x", b"own"));
        assert!(look(&root.join("x")).is_file());
    }

    directory_over_a_link(trap) {
        let mut open = header("x/", EntryType::Directory, 0);
        open.set_mode(0o777);
        let root = trap.taken(Tar::new().symlink("x", trap.outside()).raw(open, b"").file("x/new", b""));
        assert!(look(&root.join("x")).is_dir());
    }

    hard_link_to_the_outside(trap) {
        let why = "which is not a file in the archive";
        trap.refuses(Tar::new().hard_link("x", &trap.victim()), why);
        let below_a_link = Tar::new().symlink("d", trap.outside()).hard_link("x", "d/victim");
        trap.refuses(below_a_link, why);
        let climbing = Tar::new().hard_link("x", "../outside/victim");
        trap.refuses(climbing, "which climbs out of the archive with '..'");
    }

    hard_link_to_a_link(trap) {
        // Both are names of the link; what is written to one of them takes its place.
        let tar = Tar::new().symlink("l", &trap.victim()).hard_link("h", "l").file("h", b"own");
        let root = trap.taken(tar);
        assert!(look(&root.join("l")).is_symlink() && look(&root.join("h")).is_file());
    }

    hard_link_to_itself_or_a_directory(trap) {
        let root = trap.taken(Tar::new().file("x", b"own").hard_link("x", "x"));
        assert_eq!(fs::read(root.join("x")).unwrap(), b"own");
        trap.refuses(Tar::new().folder("d").hard_link("x", "d"), "not a file in the archive");
    }

    device_node(trap) {
        for kind in [EntryType::Block, EntryType::Char] {
            trap.refuses(Tar::new().device("disk", kind, (8, 0)), "is a device node");
        }
        let root = trap.taken(Tar::new().device("null", EntryType::Char, (1, 3)));
        assert!(look(&root.join("null")).file_type().is_char_device());
    }

    mark_of_overlayfs(trap) {
        trap.refuses(Tar::new().device("gone", EntryType::Char, (0, 0)), "is a device node");
        let records: [(&str, &[u8]); 2] = [
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ];
        let root = trap.taken(Tar::new().extended(&records).folder("d").extended(&records).file("f", b""));
        for name in ["d", "f"] {
            for (key, _) in records {
                let key = key.trim_start_matches("SCHILY.xattr.");
                assert!(rustix::fs::lgetxattr(root.join(name), key, &mut [0; 9]).is_err(), "{name} {key}");
            }
        }
    }

    whiteout_of_what_is_no_name(trap) {
        for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
            trap.refuses(Tar::new().file(name, b""), "hides nothing");
        }
    }

    whiteout_through_a_link(trap) {
        let tar = Tar::new().symlink("evil", trap.outside()).file("evil/.wh.victim", b"");
        trap.refuses(tar, "lies below 'evil', which is not a directory");
    }

    whiteout_beside_what_it_hides(trap) {
        let tar = Tar::new().file("a", b"own").file(".wh.a", b"").file("d/b", b"own").file("d/.wh..wh..opq", b"");
        let root = trap.taken(tar);
        assert!(look(&root.join("a")).is_file() && look(&root.join("d/b")).is_file());
        assert!(!root.join(".wh.a").exists() && !root.join("d/.wh..wh..opq").exists());
    }

    setuid_and_capabilities(trap) {
        let mut program = header("su", EntryType::Regular, 2);
        program.set_mode(0o6755);
        program.set_uid(33);
        let capability = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let records: [(&str, &[u8]); 2] = [
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.security.selinux", b"system_u:object_r:etc_t:s0"),
        ];
        let root = trap.taken(Tar::new().extended(&records).raw(program, b"su"));
        let found = look(&root.join("su"));
        assert_eq!((found.mode() & 0o7777, found.uid()), (0o6755, 33), "a change of owner would drop them");
        let mut value = [0; 99];
        let length = rustix::fs::getxattr(root.join("su"), "security.capability", &mut value).unwrap();
        assert_eq!(&value[..length], capability);
        let label = rustix::fs::getxattr(root.join("su"), "security.selinux", &mut value);
        assert!(!label.is_ok_and(|length| value[..length].starts_with(b"system_u:object_r:etc_t")));
    }

    size_that_lies(trap) {
        let huge = |kind| header("x", kind, 1 << 62);
        trap.refuses(Tar::new().raw(huge(EntryType::Regular), b""), "but only");
        let mut longer = Tar::new().file("x", b"12345").bytes();
        longer.truncate(512 + 3);
        trap.refuses_bytes(longer, "it is cut off after 515 bytes");
        // No file: no data, whatever is said.
        let root = trap.taken(Tar::new().raw(huge(EntryType::Directory), b"").file("x/y", b"own"));
        assert_eq!(fs::read(root.join("x/y")).unwrap(), b"own");
    }

    sparse_file_that_lies(trap) {
        let sparse = |size: u64, pieces: &[(u64, u64)], data: &[u8]| {
            let mut header = header("x", EntryType::GNUSparse, data.len() as u64);
            let gnu = header.as_gnu_mut().unwrap();
            gnu.set_real_size(size);
            for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(pieces) {
                slot.set_offset(*offset);
                slot.set_length(*length);
            }
            Tar::new().raw(header, data)
        };
        trap.refuses(sparse(1 << 62, &[], b""), "says it is 4611686018427387904 bytes long");
        let why = "is a sparse file in a form that twill does not read";
        trap.refuses(sparse(100, &[(50, 4), (20, 4)], b"12345678"), why);
        trap.refuses(sparse(100, &[(98, 4)], b"1234"), why);
        trap.refuses(sparse(100, &[(0, 400)], b"1234"), why);
        trap.refuses(sparse(100, &[(u64::MAX >> 1, 4)], b"1234"), why);
        trap.refuses(Tar::new().extended(&[("GNU.sparse.major", b"1")]).file("x", b""), why);
    }

    headers_inside_of_data(trap) {
        // The extended header says how long the file is; who believes the plain one takes its contents for entries.
        let smuggled = Tar::new().file("smuggled", b"x").bytes();
        let length = smuggled.len().to_string();
        let shell = header("shell", EntryType::Regular, 0);
        let mut bytes = Tar::new().extended(&[("size", length.as_bytes())]).raw(shell, b"").bytes();
        bytes.truncate(bytes.len() - 1024);
        bytes.extend(&smuggled);
        bytes.extend(Tar::new().file("after", b"x").bytes());
        trap.lab.import(bytes, "fs").unwrap();
        let root = trap.lab.root_of("fs");
        assert_eq!(fs::read(root.join("shell")).unwrap(), smuggled);
        assert!(root.join("after").exists() && !root.join("smuggled").exists());
    }

    name_that_comes_twice(trap) {
        let root = trap.taken(Tar::new().file("x", b"first").file("./x", b"2nd").folder("d").folder("d/"));
        assert_eq!(fs::read(root.join("x")).unwrap(), b"2nd");
        assert_eq!(trap.lab.store.resolve("fs").unwrap().size, 3, "what nobody can read is not counted");
    }

    extended_path_over_a_plain_one(trap) {
        let climbing = Tar::new().extended(&[("path", b"../twill-trick")]).file("good", b"x");
        trap.refuses(climbing, "entry '../twill-trick' climbs");
        let linked = Tar::new().extended(&[("linkpath", b"../outside/victim")]).hard_link("x", "good");
        trap.refuses(linked, "climbs out of the archive");
        let root = trap.taken(Tar::new().extended(&[("path", b"right")]).file("wrong", b"x"));
        assert!(root.join("right").exists() && !root.join("wrong").exists());
    }

    extended_header_for_all(trap) {
        let record = b"23 path=../twill-trick\n";
        assert_eq!(record.len(), 23);
        let global = EntryType::XGlobalHeader;
        let root = trap.taken(Tar::new().entry("pax_global_header", global, record).file("own", b"x"));
        assert!(root.join("own").exists());
    }

    extended_keys_that_nobody_knows(trap) {
        let records: [(&str, &[u8]); 6] = [
            ("path", b""),
            ("uid", b""),
            ("VENDOR.magic", b"../../x"),
            ("LIBARCHIVE.xattr.user.x", b"eA=="),
            ("SCHILY.fflags", b"immutable"),
            ("hdrcharset", b"BINARY"),
        ];
        let root = trap.taken(Tar::new().extended(&records).file("own", b"x"));
        assert_eq!(look(&root.join("own")).uid(), 0);
        let bad = Tar::new().entry("x", EntryType::XHeader, b"99 path=a\n").file("x", b"");
        trap.refuses(bad, "the extended header at byte 0 is malformed");
    }

    extended_header_without_end(trap) {
        let huge = |kind| Tar::new().raw(header("huge", kind, 1 << 62), b"");
        for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
            trap.refuses(huge(kind), "the header at byte 0 is larger than 1048576 bytes");
        }
        let mut many = Tar::new();
        for _ in 0..600 {
            many = many.extended(&[("comment", &[b'x'; 1500])]);
        }
        trap.refuses(many.file("x", b""), "is larger than 1048576 bytes");
        // A small one first: the sum of both is more than a number holds.
        let wraps = header("huge", EntryType::GNULongName, u64::MAX - 1023);
        let wraps = Tar::new().entry("small", EntryType::GNULongName, b"x").raw(wraps, b"");
        trap.refuses(wraps, "the header at byte 1024 is larger than 1048576 bytes");
        let value = vec![b'x'; 100_000];
        let large = Tar::new().extended(&[("SCHILY.xattr.user.x", &value)]).file("x", b"");
        trap.refuses(large, "cannot write entry 'x'");
    }

    long_name_of_gnu(trap) {
        let named = |name: &[u8]| Tar::new().entry("././@LongLink", EntryType::GNULongName, name).file("x", b"");
        trap.refuses(named(b"../twill-trick\0"), "entry '../twill-trick' climbs");
        trap.refuses(named(&[b'n'; 300]), "File name too long");
        let deep = vec!["d"; 3000].join("/");
        trap.refuses(named(deep.as_bytes()), "File name too long");
        let linked = Tar::new().entry("././@LongLink", EntryType::GNULongLink, &[b'l'; 5000]).symlink("x", "y");
        trap.refuses(linked, "File name too long");
        // What follows the first zero is nothing.
        let root = trap.taken(named(b"right\0/../../twill-trick"));
        assert!(root.join("right").exists());
    }

    name_with_a_zero_byte(trap) {
        let tar = Tar::new().extended(&[("path", b"right\0../../x")]).file("x", b"");
        trap.refuses(tar, "has a zero byte in its name");
    }

    name_that_writes_on_the_terminal(trap) {
        let tar = Tar::new().extended(&[("path", b"a\nb\x1b[2J/..")]).file("x", b"");
        trap.refuses(tar, r"entry 'a\nb\u{1b}[2J/..' climbs");
        let root = trap.taken(Tar::new().extended(&[("path", b"a\nb\x1b[2J\xff")]).file("x", b""));
        assert_eq!(fs::read_dir(root).unwrap().count(), 1, "a name is bytes");
    }

    no_name_at_all(trap) {
        trap.refuses(Tar::new().file("", b"x"), "has no name");
        trap.refuses(Tar::new().symlink("./", "/"), "has no name");
        trap.refuses(Tar::new().symlink("x", ""), "is a link to nothing");
    }

    file_over_a_directory(trap) {
        trap.refuses(Tar::new().file("d/x", b"").file("d", b""), "replaces a directory that is not empty");
        let root = trap.taken(Tar::new().folder("d").file("d", b"own"));
        assert!(look(&root.join("d")).is_file());
    }

    directory_over_a_file(trap) {
        let root = trap.taken(Tar::new().file("d", b"x").folder("d").file("d/own", b""));
        assert!(root.join("d/own").exists());
        trap.refuses(Tar::new().file("d", b"x").file("d/own", b""), "lies below 'd', which is not a directory");
    }

    pipe_and_socket(trap) {
        let root = trap.taken(Tar::new().entry("pipe", EntryType::Fifo, b"").file("pipe", b"own"));
        assert!(look(&root.join("pipe")).is_file(), "nobody waits for the other end of a pipe");
        for kind in [b's', b'D', b'M', b'Z'] {
            let odd = Tar::new().entry("socket", EntryType::new(kind), b"");
            trap.refuses(odd, "has the unknown type");
        }
        // An import looks whether it got an archive of images.
        for name in ["manifest.json", "oci-layout"] {
            trap.taken(Tar::new().entry(name, EntryType::Fifo, b""));
        }
    }

    time_out_of_range(trap) {
        for time in ["9223372036854775807", "-9223372036854775807.999999999", "0.0000000000000001"] {
            trap.taken(Tar::new().extended(&[("mtime", time.as_bytes())]).file("x", b""));
        }
        let worse = Tar::new().extended(&[("mtime", b"99999999999999999999")]).file("x", b"");
        trap.refuses(worse, "the extended header at byte 0 is malformed");
        let mut early = header("x", EntryType::Regular, 0);
        early.as_old_mut().mtime = [0xff; 12];
        assert_eq!(look(&trap.taken(Tar::new().raw(early, b"")).join("x")).mtime(), -1);
    }

    owner_out_of_range(trap) {
        let of = |uid: &str| Tar::new().extended(&[("uid", uid.as_bytes())]).file("x", b"");
        let root = trap.taken(of("4294967294"));
        assert_eq!(look(&root.join("x")).uid(), 4_294_967_294);
        // To the kernel this means: leave it as it is.
        for uid in ["4294967295", "4294967296", "18446744073709551615"] {
            trap.refuses(of(uid), "has a number in its header that cannot be read");
        }
        trap.refuses(of("-1"), "the extended header at byte 0 is malformed");
    }

    entries_behind_the_end(trap) {
        let two = [Tar::new().file("first", b"").bytes(), Tar::new().file("second", b"").bytes()].concat();
        trap.lab.import(two, "fs").unwrap();
        let root = trap.lab.root_of("fs");
        assert!(root.join("first").exists() && !root.join("second").exists());
    }

    bomb(trap) {
        let small = small_disk(&trap.lab);
        let zeros = vec![0; 16 << 20];
        let mut tar = Tar::new();
        for name in 'a'..='j' {
            tar = tar.file(&name.to_string(), &zeros);
        }
        let bytes = tar.bytes();
        for (bomb, packing) in [(gzip(&bytes), "gzip"), (zstd(&bytes), "zstd")] {
            assert!(bomb.len() < 4 << 20, "{packing}");
            let imported = small.import(stream(bomb.clone()), &ImportOptions::default()).unwrap_err();
            // To be read in any order it is unpacked to the disk first.
            let loaded = small.load(stream(bomb), Devices::Standard).unwrap_err();
            for error in [imported, loaded] {
                assert!(chain(&error).contains("would fill the disk: only"), "{packing}: {}", chain(&error));
            }
        }
        // What lies behind the end is recorded, and is no entry.
        let behind = File::open("/dev/urandom").unwrap().take(1 << 30);
        let endless = Cursor::new(Tar::new().file("x", b"").bytes()).chain(behind);
        let error = small.import(Source::stream("endless", endless), &ImportOptions::default()).unwrap_err();
        assert!(chain(&error).contains("cannot be written down"), "{}", chain(&error));
        trap.unharmed();
    }

    window_of_gigabytes(trap) {
        // Of a frame that asks for two of them, no more than its header is needed.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
        trap.refuses_bytes(frame.to_vec(), "it cannot be read");
    }

    archive_of_images_that_lies(trap) {
        let load = |tar: Tar, why: &str| {
            let text = chain(&trap.lab.load(tar.bytes()).unwrap_err());
            assert!(text.contains(why), "{text}");
            trap.unharmed();
        };
        load(Tar::new().file("../manifest.json", b"[]"), "climbs");
        load(Tar::new().symlink("manifest.json", "../../etc/passwd"), "climbs");
        load(Tar::new().device("sda", EntryType::Block, (8, 0)), "is a device node");
        let outside = br#"[{"Config":"/etc/hostname","Layers":[]}]"#;
        load(Tar::new().file("manifest.json", outside), "'/etc/hostname' is not in it");
        let circle = Tar::new().symlink("manifest.json", "b").symlink("b", "manifest.json");
        load(circle, "it holds no image");
        // Nor does an import read what a member leads to.
        let real = trap.lab.beside("real");
        fs::write(&real, br#"[{"Config":"x"}]"#).unwrap();
        for target in [real.to_str().unwrap(), "/dev/zero"] {
            trap.taken(Tar::new().symlink("manifest.json", target));
        }
        trap.taken(Tar::new().device("manifest.json", EntryType::Char, (1, 5)));
    }
}

/// A store on a disk of 160 MiB, in a mount namespace of this test.
fn small_disk(lab: &Lab) -> twill::image::Store {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let place = lab.beside("small");
    fs::create_dir(&place).unwrap();
    let kind = Some("tmpfs");
    mount(kind, &place, kind, MsFlags::empty(), Some("size=160m")).unwrap();
    twill::image::Store::open(&twill::Paths::new(place.join("root"), place.join("run"))).unwrap()
}
