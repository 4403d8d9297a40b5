//! What is accepted keeps every rule, and survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_core::config::NetworkConfig;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = NetworkConfig::parse(bytes) {
        assert!(config.subnet_min <= config.subnet_max);
        let again = NetworkConfig::parse(config.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&config));
    }
});
