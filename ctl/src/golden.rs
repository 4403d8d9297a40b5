//! Compares text with a file of `goldens/`; `TWILL_BLESS=1` rewrites the file instead.

/// Fails with the difference unless the golden file `name` holds `text`.
#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let path = format!("{}/goldens/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TWILL_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, want, "goldens/{name}; TWILL_BLESS=1 rewrites it");
}
