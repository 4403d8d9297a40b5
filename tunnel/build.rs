//! Compiles the kernel's part of the data path, which is the same for every machine, with clang.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const SOURCE: &str = "bpf/shortcut.c";

#[expect(clippy::print_stderr, reason = "that is what cargo shows when it failed")]
#[expect(clippy::disallowed_methods, reason = "the compiler is started here, when Twill is built")]
fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=CI");
    let of = |name: &str| env::var(name).unwrap_or_default();
    let clang = env::var("CLANG").unwrap_or_else(|_unset| "clang".to_owned());
    let object = PathBuf::from(of("OUT_DIR")).join("shortcut.o");
    // Where Debian keeps the headers that depend on the processor.
    let headers = format!("-I/usr/include/{}-linux-gnu", of("CARGO_CFG_TARGET_ARCH"));
    let mut compiler = Command::new(&clang);
    // Version 3 of the instructions came with Linux 5.1.
    compiler.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra"]);
    // Another compiler may warn of something new, which is no reason to do without Twill.
    if env::var_os("CI").is_some() {
        compiler.arg("-Werror");
    }
    match compiler.args([&headers, "-c", SOURCE, "-o"]).arg(&object).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{clang} cannot compile {SOURCE}: {status}");
            eprintln!("hint: it takes the packages clang, libbpf-dev and linux-libc-dev");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cannot run {clang}: {error}");
            eprintln!("hint: install the packages clang and libbpf-dev: make deps");
            ExitCode::FAILURE
        }
    }
}
