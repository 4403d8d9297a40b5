//! What is accepted survives being written and read again. The file as it is, and, since no mutation
//! finds a checksum, the same body under a right one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_core::picture::Picture;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some(body) = bytes.splitn(2, |byte| *byte == b'\n').nth(1) {
        check(&Picture::sealed(body.strip_suffix(b"\n").unwrap_or(body)));
    }
});

fn check(file: &[u8]) {
    if let Ok(mut picture) = Picture::parse(file) {
        picture.listing.malformed.clear();
        assert_eq!(Picture::parse(picture.render().as_bytes()).as_ref(), Ok(&picture));
    }
}
