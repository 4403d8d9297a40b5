//! `twill version`: of this program and of what it runs on.

use serde_json::{Value, json};

use crate::commands::Code;
use crate::template::Template;
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill version
  twill version --format '{{.Client.Version}}'
  twill version -f json

There is no daemon: .Server is what runs the containers, which is the same program.")]
pub struct Args {
    /// What is printed: a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE", value_parser = Template::of_format)]
    pub format: Option<Template>,
}

/// Does it.
pub fn run(args: &Args, _: &Paths) -> anyhow::Result<Code> {
    let all = all();
    if let Some(template) = &args.format {
        output::line(template.render(&all.into())?);
        return Ok(Code::OK);
    }
    let text = |pointer: &str| all.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    output::line("Twill:");
    output::line(format_args!(" Version:         {}", text("/Client/Version")));
    output::line(format_args!(" OS/Arch:         {}/{}", text("/Client/Os"), text("/Client/Arch")));
    output::line(format_args!(" Kernel:          {}", text("/Server/KernelVersion")));
    Ok(Code::OK)
}

/// In Docker's words.
#[must_use]
pub fn all() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let uname = rustix::system::uname();
    json!({
        "Client": {"Version": version, "Os": "linux", "Arch": architecture()},
        "Server": {
            "Version": version,
            "Os": "linux",
            "Arch": architecture(),
            "KernelVersion": uname.release().to_string_lossy(),
        },
    })
}

/// In Go's word.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
