//! What is accepted survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_core::subnet_env::SubnetEnv;

fuzz_target!(|text: &str| {
    if let Ok(env) = SubnetEnv::parse(text) {
        assert_eq!(SubnetEnv::parse(&env.render()).as_ref(), Ok(&env));
    }
});
