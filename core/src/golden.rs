//! Texts that other programs read, kept as files: for tests.
//!
//! `TWILL_REWRITE_GOLDENS=1 cargo test -p twill-core` writes them anew; read the difference.

use std::path::Path;

/// Compares `text` with `goldens/NAME`, byte for byte.
#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name);
    if std::env::var_os("TWILL_REWRITE_GOLDENS").is_some() {
        std::fs::write(&path, text).expect("the goldens can be written");
    }
    let wanted = std::fs::read_to_string(&path).expect("the golden is there");
    assert_eq!(text, wanted, "{name}");
}
