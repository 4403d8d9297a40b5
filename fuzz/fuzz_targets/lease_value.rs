//! What is accepted survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_core::lease::LeaseValue;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = LeaseValue::parse(bytes) {
        let again = LeaseValue::parse(value.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&value));
    }
});
