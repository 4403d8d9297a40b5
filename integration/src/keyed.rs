//! Whether this kernel has `WireGuard`, for tests that need it.

use std::process::Command;

/// Loudly `false` on a kernel without it; with `REQUIRE_WIREGUARD=1`, as in `make vm-test`, that is a failure.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub fn has_wireguard() -> bool {
    let ask = ["--net", "ip", "link", "add", "wg0", "type", "wireguard"];
    let answer = Command::new("unshare").args(ask).output();
    let why = match answer {
        Ok(answer) if answer.status.success() => return true,
        Ok(answer) => String::from_utf8_lossy(&answer.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let required = std::env::var_os("REQUIRE_WIREGUARD").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_WIREGUARD=1, but this kernel has none: {why}");
    eprintln!("SKIPPED: this kernel has no wireguard; `make vm-test` has one that does: {why}");
    false
}
