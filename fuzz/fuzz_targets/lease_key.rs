//! What is accepted survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_core::lease::Key;

fuzz_target!(|text: &str| {
    if let Ok(key) = text.parse::<Key>() {
        assert_eq!(key.to_string().parse().as_ref(), Ok(&key));
    }
});
