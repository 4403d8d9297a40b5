//! Any archive of images is understood or refused.
#![no_main]

mod mend;

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use twill_archive::{Archive, Source, plan};

fuzz_target!(|bytes: &[u8]| {
    if mend::is_packed(bytes) {
        return;
    }
    let mut bytes = bytes.to_vec();
    mend::headers(&mut bytes);
    let source = Source::stream("fuzz", Cursor::new(bytes));
    if let Ok(archive) = Archive::open(source, &std::env::temp_dir()) {
        for image in plan(&archive).into_iter().flatten() {
            for layer in &image.layers {
                archive.layer(layer).expect("a plan names what is there");
            }
        }
    }
});
