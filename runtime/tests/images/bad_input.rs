//! What is wrong with an archive is said in one line, and nothing of it stays.

use proptest::prelude::*;
use serde_json::json;
use tar::EntryType;
use twill::image::Digest;

use crate::archives::{
    Layout, Picture, Tar, docker, docker_with, gzip, header, layout, picture, zstd,
};
use crate::support::{Lab, chain};

#[test]
fn names_that_climb_and_devices() {
    refuse_import(
        "entry '../etc/shadow' climbs out of the archive with '..'",
        file().file("../etc/shadow", b"x"),
    );
    refuse_import(
        "entry 'a/../../b' climbs out of the archive with '..'",
        file().file("a/../../b", b"x"),
    );
    refuse_import(
        "entry 'dev/sda' is a device node (block 8:0)",
        file().device("dev/sda", EntryType::Block, (8, 0)),
    );
    refuse_import(
        "entry 'dev/mem' is a device node (character 1:1)",
        file().device("dev/mem", EntryType::Char, (1, 1)),
    );
    refuse_import(
        "entry 'null' is a device node (block 1:3)",
        file().device("null", EntryType::Block, (1, 3)),
    );
    refuse_import(
        "entry 'gone' is a device node (character 0:0)",
        file().device("gone", EntryType::Char, (0, 0)),
    );
}

#[test]
fn links_to_where_nothing_is() {
    refuse_import(
        "entry 'x' is a hard link to '/etc/shadow', which is not a file in the archive",
        file().hard_link("x", "/etc/shadow"),
    );
    refuse_import(
        "entry 'x' is a link to '../../etc/passwd', which climbs out of the archive with '..'",
        file().hard_link("x", "../../etc/passwd"),
    );
    refuse_import(
        "entry 'x' is a hard link to 'etc', which is not a file in the archive",
        file().hard_link("x", "etc"),
    );
    refuse_import(
        "entry 'x' is a hard link to 'loop/a', which is not a file in the archive",
        file().symlink("loop", "loop").hard_link("x", "loop/a"),
    );
    refuse_import("entry 'x' is a link to nothing", file().hard_link("x", ""));
    refuse_import("entry 'x' is a link to nothing", file().symlink("x", ""));
}

#[test]
fn entries_that_make_no_sense() {
    refuse_import(
        "entry 'x' has the unknown type 'Q'",
        file().entry("x", EntryType::new(b'Q'), b""),
    );
    refuse_import("entry '' has no name", file().file("", b"x"));
    refuse_import(
        "entry 'etc/passwd/x' lies below 'etc/passwd', which is not a directory",
        file().file("etc/passwd/x", b""),
    );
    refuse_import("entry 'etc' replaces a directory that is not empty", file().file("etc", b"x"));
    refuse_import(
        "entry 'a/.wh...' hides nothing: the name after '.wh.' is not one",
        file().file("a/.wh...", b""),
    );
    refuse_import(
        "entry '.wh.' hides nothing: the name after '.wh.' is not one",
        file().file(".wh.", b""),
    );
    refuse_import(
        "entry 'a\\nb\\u{1b}/../..' climbs",
        file().extended(&[("path", b"a\nb\x1b/../..")]).file("x", b""),
    );
    refuse_import(
        "entry 'a\\0b' has a zero byte in its name",
        file().extended(&[("path", b"a\0b")]).file("x", b""),
    );
}

#[test]
fn what_is_no_root_file_system() {
    refuse_import(
        "it holds an image archive, not a root file system",
        Tar::new().file("oci-layout", b"{}"),
    );
    refuse_import_of(
        "it holds an image archive, not a root file system",
        docker(&[picture("bb:1")]),
    );
    refuse_import_of("it is not a tar archive (byte 0)", vec![b'x'; 4096]);
    refuse_import_of("it is empty", Vec::new());
    refuse_import_of(
        "it is compressed with xz, which twill does not read",
        b"\xfd7zXZ\0....".to_vec(),
    );
    refuse_import_of(
        "it is compressed with bzip2, which twill does not read",
        b"BZh91AY&SY".to_vec(),
    );
}

#[test]
fn headers_that_promise_too_much() {
    let huge = |kind| header("huge", kind, 1 << 62);
    refuse_import(
        "entry 'huge' says it is 4611686018427387904 bytes long, but only",
        Tar::new().raw(huge(EntryType::Regular), b""),
    );
    refuse_import(
        "the header at byte 0 is larger than 1048576 bytes",
        Tar::new().raw(huge(EntryType::GNULongName), b""),
    );
    refuse_import(
        "the header at byte 0 is larger than 1048576 bytes",
        Tar::new().raw(huge(EntryType::XHeader), b""),
    );
    refuse_import(
        "the extended header at byte 0 is malformed",
        Tar::new().entry("x", EntryType::XHeader, b"99 path=a\n").file("x", b""),
    );
    refuse_import(
        "entry 'x' is a sparse file in a form that twill does not read",
        Tar::new().extended(&[("GNU.sparse.major", b"1")]).file("x", b""),
    );
    let mut sparse = header("x", EntryType::GNUSparse, 0);
    sparse.as_gnu_mut().unwrap().set_real_size(1 << 62);
    refuse_import(
        "entry 'x' says it is 4611686018427387904 bytes long",
        Tar::new().raw(sparse, b""),
    );
    let mut crossed = header("x", EntryType::GNUSparse, 8);
    let gnu = crossed.as_gnu_mut().unwrap();
    gnu.set_real_size(100);
    for (index, offset) in [(0, 50), (1, 20)] {
        gnu.sparse[index].set_offset(offset);
        gnu.sparse[index].set_length(4);
    }
    refuse_import("entry 'x' is a sparse file in a form", Tar::new().raw(crossed, b"12345678"));
    let mut owner = header("x", EntryType::Regular, 0);
    owner.set_uid(1 << 40);
    refuse_import(
        "entry 'x' has a number in its header that cannot be read",
        Tar::new().raw(owner, b""),
    );
}

#[test]
fn a_window_of_gigabytes_is_not_granted() {
    // A frame header that asks for 2^31 bytes of window, then one empty raw block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    refuse_import_of(
        "it cannot be read: Frame requires too much memory for decoding",
        frame.to_vec(),
    );
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let whole = Tar::new().folder("a").file("a/b", &[7; 1500]).symlink("c", "a").bytes();
    let entries = whole.len() - 1024;
    for packed in [<[u8]>::to_vec, gzip, zstd] as [fn(&[u8]) -> Vec<u8>; 3] {
        let Some(lab) = Lab::new() else { return };
        let before = lab.contents();
        for length in (0..entries).step_by(128).chain([entries - 1, entries, entries + 511]) {
            let error = lab.import(packed(&whole[..length]), "cut").unwrap_err();
            let text = chain(&error);
            assert!(text.contains("cut off") || text.contains("empty"), "{length}: {text}");
            assert!(error.hint().is_some(), "{text}");
            assert_eq!(lab.contents(), before, "{length}");
        }
        let packed = packed(&whole);
        // The very last bytes of a packed stream are its check sum.
        let error = lab.import(packed[..packed.len() / 2].to_vec(), "cut").unwrap_err();
        assert!(chain(&error).contains("cut off"), "{error:?}");
        assert_eq!(lab.contents(), before);
    }
}

#[test]
fn an_image_archive_that_is_cut_off_anywhere_is_refused() {
    for whole in [docker(&[picture("bb:1")]), layout(&[picture("bb:1")], gzip)] {
        let Some(lab) = Lab::new() else { return };
        let before = lab.contents();
        let path = lab.beside("cut.tar");
        for length in (0..whole.len() - 1024).step_by(256) {
            let cut = &whole[..length];
            std::fs::write(&path, cut).unwrap();
            let from_file = twill::image::Source::file(&path).unwrap();
            let results = [
                lab.load(cut.to_vec()),
                lab.load(gzip(cut)),
                lab.store.load(from_file, twill::image::Devices::Standard),
            ];
            for result in results {
                let text = chain(&result.unwrap_err());
                assert!(text.contains("cut off") || text.contains("empty"), "{length}: {text}");
            }
            assert_eq!(lab.contents(), before, "{length}");
        }
    }
}

#[test]
fn image_archives() {
    let good = || picture("bb:1");
    refuse_load(
        "it holds no image: neither manifest.json nor index.json is in it",
        Tar::new().file("etc/motd", b"").bytes(),
    );
    refuse_load("it holds no image: neither", Tar::new().file("manifest.json", b"[]").bytes());
    refuse_load(
        "'manifest.json' is not what it should be: invalid type",
        Tar::new().file("manifest.json", b"{").bytes(),
    );
    refuse_load(
        "entry '../x' climbs out of the archive with '..'",
        Tar::new().file("../x", b"").bytes(),
    );
    refuse_load(
        "entry 'x' is a link to '../../y', which climbs",
        Tar::new().symlink("x", "../../y").bytes(),
    );
    refuse_load(
        "entry 'sda' is a device node (block 8:0)",
        Tar::new().device("sda", EntryType::Block, (8, 0)).bytes(),
    );
    let manifest = |document: serde_json::Value| {
        Tar::new()
            .file("c.json", &good().configuration())
            .file("layer.tar", &good().layers[0])
            .file("manifest.json", json!([document]).to_string().as_bytes())
            .bytes()
    };
    refuse_load("'x.json' is not in it", manifest(json!({ "Config": "x.json" })));
    refuse_load(
        "'x.tar' is not in it",
        manifest(json!({ "Config": "c.json", "Layers": ["x.tar"] })),
    );
    refuse_load(
        "'c.json' lists 0 layers, but its configuration 1",
        manifest(json!({ "Config": "c.json" })),
    );
    refuse_load(
        "it names its image 'B:b': the name may hold",
        manifest(json!({ "Config": "c.json", "Layers": ["layer.tar"], "RepoTags": ["B:b"] })),
    );
    refuse_load(
        "'layer.tar' is not what it should be",
        manifest(json!({ "Config": "layer.tar", "Layers": [] })),
    );
}

#[test]
fn image_archives_with_too_much_or_with_pinned_names() {
    const PINNED: &str =
        "bb:1@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    refuse_load(
        &format!("it names its image '{PINNED}': a digest cannot be given to an image"),
        docker(&[picture(PINNED)]),
    );
    let name = vec![b'n'; 1_000_000];
    let long = (0..68).fold(Tar::new(), |tar, _| tar.extended(&[("path", &name)]).file("x", b""));
    refuse_load("its names are more than 67108864 bytes together", long.bytes());

    let Some(lab) = Lab::new() else { return };
    let loaded = lab.load(layout(&[picture(PINNED)], gzip)).unwrap();
    assert_eq!(loaded[0].names, [], "containerd writes such names");
}

#[test]
fn bytes_that_are_not_those_of_their_digest() {
    let other = Digest::of(b"other").hex();
    let configuration = picture("bb:1").configuration();
    let document = json!([{ "Config": format!("{other}.json"), "Layers": [] }]).to_string();
    refuse_load(
        &format!("its content has the digest {}, not sha256:{other}", Digest::of(&configuration)),
        Tar::new()
            .file(&format!("{other}.json"), &configuration)
            .file("manifest.json", document.as_bytes())
            .bytes(),
    );

    // A layer exchanged for another, as a whole and well-formed.
    let good = picture("bb:1");
    let swapped: fn(&[u8]) -> Vec<u8> = |_| Tar::new().file("etc/motd", b"evil").bytes();
    let evil = Digest::of(&swapped(b""));
    let told = Digest::of(&good.layers[0]);
    refuse_load(
        &format!("layer.tar: its content has the digest {evil}, not {told}"),
        docker_with(&[good], swapped),
    );
    refuse_load(
        &format!("its content has the digest {evil}, not {told}"),
        layout(&[picture("bb:1")], swapped),
    );

    let mut bad = Layout::new();
    let mut descriptor = bad.image(&picture("bb:1"), gzip);
    descriptor["size"] = json!(5);
    refuse_load("bytes long, not 5", bad.finish(&[descriptor]));
    let mut bad = Layout::new();
    bad.image(&picture("bb:1"), gzip);
    bad.member(&format!("blobs/sha256/{other}"), b"{}");
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{other}"), "size": 2,
    });
    refuse_load(&format!("not sha256:{other}"), bad.finish(&[descriptor]));
}

#[test]
fn what_is_wrong_with_a_layer_names_the_layer_and_the_entry() {
    let picture = Picture {
        layers: vec![
            Tar::new().file("good", b"x").bytes(),
            Tar::new().file("../bad", b"x").bytes(),
        ],
        names: vec!["bb:1"],
    };
    refuse_load(
        "/layer.tar: entry '../bad' climbs out of the archive with '..'",
        docker(&[picture]),
    );
}

#[test]
fn of_two_images_one_bad_keeps_both_out() {
    let bad = Picture { layers: vec![b"no tar".to_vec()], names: vec!["bad:1"] };
    refuse_load("it is cut off after 6 bytes", docker(&[picture("bb:1"), bad]));
}

#[test]
fn trusted_archives_may_hold_devices() {
    let Some(lab) = Lab::new() else { return };
    let tar = Tar::new().device("dev/sda", EntryType::Block, (8, 0)).bytes();
    let options = twill::image::ImportOptions {
        devices: twill::image::Devices::All,
        reference: Some("fs".into()),
        ..Default::default()
    };
    lab.store.import(crate::support::stream(tar), &options).unwrap();
    assert!(lab.root_of("fs").join("dev/sda").symlink_metadata().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_refused_and_leave_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let Some(lab) = Lab::new() else { return Ok(()) };
        let before = lab.contents();
        prop_assert!(lab.import(bytes.clone(), "x").is_err());
        prop_assert!(lab.load(bytes).is_err());
        prop_assert_eq!(lab.contents(), before);
    }

    /// Close to good is where bugs live. Sums are mended, so that the damage gets deeper.
    #[test]
    fn a_damaged_archive_is_taken_whole_or_not_at_all(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        image in any::<bool>(),
    ) {
        let Some(lab) = Lab::new() else { return Ok(()) };
        let mut bytes = if image { docker(&[picture("bb:1")]) } else { everything() };
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
            mend(&mut bytes, place / 512 * 512);
        }
        let before = lab.contents();
        let taken = if image { lab.load(bytes).map(drop) } else { lab.import(bytes, "fs").map(drop) };
        lab.assert_staging_is_empty();
        if taken.is_ok() {
            prop_assert_eq!(lab.store.list().unwrap().len(), 1);
        } else {
            prop_assert_eq!(lab.contents(), before);
        }
        prop_assert!(!lab.beside("x").exists());
    }
}

fn everything() -> Vec<u8> {
    Tar::new()
        .folder("a")
        .file("a/b", b"content")
        .symlink("a/c", "/a")
        .hard_link("d", "a/b")
        .extended(&[("path", b"a/long"), ("SCHILY.xattr.user.x", b"y")])
        .file("short", b"x")
        .file("a/.wh.e", b"")
        .device("null", EntryType::Char, (1, 3))
        .bytes()
}

/// Makes the sum of a header right again, where there is a header.
fn mend(bytes: &mut [u8], at: usize) {
    if let Some(block) = bytes.get_mut(at..at + 512) {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        if header.as_ustar().is_some() || header.as_gnu().is_some() {
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}

/// The beginning of a good one.
fn file() -> Tar {
    Tar::new().file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
}

#[track_caller]
fn refuse_import(why: &str, tar: Tar) {
    refuse_import_of(why, tar.bytes());
}

#[track_caller]
fn refuse_import_of(why: &str, archive: Vec<u8>) {
    let Some(lab) = Lab::new() else { return };
    let before = lab.contents();
    let text = chain(&lab.import(archive, "bad").unwrap_err());
    assert!(text.contains(why), "{text}");
    assert!(text.starts_with("cannot use the archive: ") && !text.contains('\n'), "{text}");
    assert_eq!(lab.contents(), before, "{why}");
}

#[track_caller]
fn refuse_load(why: &str, archive: Vec<u8>) {
    let Some(lab) = Lab::new() else { return };
    let before = lab.contents();
    let text = chain(&lab.load(archive).unwrap_err());
    assert!(text.contains(why), "{text}");
    assert!(text.starts_with("cannot use the archive: ") && !text.contains('\n'), "{text}");
    assert_eq!(lab.contents(), before, "{why}");
}
