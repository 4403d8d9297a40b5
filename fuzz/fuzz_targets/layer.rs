//! Whatever an archive says, it is taken or refused; nothing outside of the directory changes, and what was taken can be
//! written again. Sums of headers are mended first, since no mutation finds one.
#![no_main]

mod mend;

use std::fs;

use libfuzzer_sys::fuzz_target;
use twill_archive::{Devices, Digest, Target, replay, unpack};

fuzz_target!(|bytes: &[u8]| {
    if mend::is_packed(bytes) {
        return;
    }
    let mut bytes = bytes.to_vec();
    mend::headers(&mut bytes);
    let world = tempfile::tempdir().expect("a directory");
    let path = |name: &str| world.path().join(name);
    fs::write(path("victim"), "untouched").expect("a file");
    fs::create_dir(path("root")).expect("a directory");
    let (root, record) = (path("root"), path("record"));
    let taken = unpack(&bytes[..], &Target { root: &root, record: &record }, Devices::Standard);
    assert_eq!(fs::read(path("victim")).expect("it is there"), b"untouched");
    let names = fs::read_dir(world.path()).expect("it is there").count();
    assert!(names <= 3, "something was made outside");
    if let Ok(unpacked) = taken {
        assert_eq!(unpacked.diff_id, Digest::of(&bytes));
        let mut again = Vec::new();
        // A name that came twice, or by a link, may have lost contents or have others.
        if replay(&record, &root, &mut again).is_ok() {
            assert_eq!(again.len(), bytes.len());
        } else {
            assert!(again.len() <= bytes.len());
        }
    }
});
