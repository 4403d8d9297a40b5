//! Writes the list where runtimes look for it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use twill_core::ids::NetworkName;

use super::list::{self, Wanted, before, is_ours};
use super::place;
use crate::args::{CniInstall, Output, interface};
use crate::failure::{Failure, Kind};
use crate::report::{self, Report};
use crate::table;

/// What was done.
#[derive(Debug, Serialize)]
struct Installed {
    file: String,
    change: Change,
    /// What runtimes take before it.
    before: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Written,
    Replaced,
    Unchanged,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Replaced => "replaced",
            Self::Unchanged => "as it should be",
        }
    }
}

/// Writes, unless it is there already; refuses to touch what is another's.
pub(super) fn install(
    args: &CniInstall,
    network: Option<&NetworkName>,
    output: Output,
) -> Result<Report, Failure> {
    let (file, path) = place(&args.place, network);
    let wanted = Wanted { name: args.name.as_deref(), bridge: args.bridge.as_deref(), network };
    let list = list::list(wanted);
    if let Some(bridge) = list["plugins"][0]["bridge"].as_str() {
        interface(bridge).map_err(|why| {
            Failure::new(Kind::Usage, format!("bridge `{bridge}` is {why}"))
                .hint("choose a shorter one with --bridge")
        })?;
    }
    let change = change(&path, &list, args.force)?;
    if change != Change::Unchanged {
        let text = report::json(&list);
        write(&path, &text).map_err(|error| not_written(&path, &error))?;
    }
    let before = others_before(&args.place.directory, (&file, network.is_some()))
        .map_err(|error| not_listed(&path, &error))?;
    Ok(told(&Installed { file: path.display().to_string(), change, before }, output))
}

/// What there is to do. A link is left to whoever made it: what is written would take its place, and leave what it
/// leads to as it is.
fn change(path: &Path, list: &Value, force: bool) -> Result<Change, Failure> {
    if path.is_symlink() {
        let message = format!("{} is a symbolic link", path.display());
        let hint = "remove it, or choose another --file";
        return Err(Failure::new(Kind::Failed, message).hint(hint));
    }
    let text = match text_of(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Change::Written),
        // What cannot be read as text is certainly not ours.
        Err(error) if error.kind() == ErrorKind::InvalidData => String::new(),
        text => text.map_err(|error| not_written(path, &error))?,
    };
    let found: Value = serde_json::from_str(&text).unwrap_or_default();
    if found == *list {
        return Ok(Change::Unchanged);
    }
    if !force && !is_ours(&found) {
        let message = format!("{} is there, and not as this command writes it", path.display());
        return Err(Failure::new(Kind::Failed, message)
            .hint("add --force to overwrite it, or choose another --file"));
    }
    Ok(Change::Replaced)
}

/// Whoever reads meanwhile sees the file before or the file after.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    // Runtimes go by the end of the name, and pass this one over.
    let new = path.with_extension(format!("conflist.{}.new", std::process::id()));
    let written = (|| {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        // The first cause is the one to tell.
        _ = fs::remove_file(&new);
    }
    written.and_then(|()| File::open(directory)?.sync_all())
}

/// Of a file; nobody waits for who writes into a pipe.
pub(super) fn text_of(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    fs::read_to_string(path)
}

/// What comes before and should not; nothing if the directory is not there. For the list of one network of several that is what
/// is not ours; for that of the host's own, which runtimes are to take, any other one, too.
pub(super) fn others_before(
    directory: &Path,
    (file, of_several): (&str, bool),
) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut before = before(file, names.collect::<io::Result<_>>()?);
    before.retain(|name| {
        let text = text_of(&directory.join(name)).unwrap_or_default();
        let found: Value = serde_json::from_str(&text).unwrap_or_default();
        !is_ours(&found) || !of_several && found.pointer("/plugins/0/subnetFile").is_some()
    });
    Ok(before)
}

fn not_listed(path: &Path, error: &io::Error) -> Failure {
    let message =
        format!("{} is there, but what comes before it cannot be seen: {error}", path.display());
    Failure::new(Kind::Failed, message).hint("its directory must be readable; be root")
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot write {}: {error}", path.display());
    Failure::new(Kind::Failed, message).hint("the directory must be there and writable; be root")
}

fn told(installed: &Installed, output: Output) -> Report {
    let Installed { file, change, before } = installed;
    let mut notes = Vec::new();
    if !before.is_empty() {
        notes.push(format!(
            "most runtimes take the first configuration by name, and {} comes before: remove it, or choose \
             another --file",
            before.join(", ")
        ));
    }
    let data = match output {
        Output::Json => report::json(installed),
        Output::Table => {
            table::columns(["FILE", "STATE"], vec![[file.clone(), change.word().to_owned()]])
        }
    };
    Report { data, notes, ..Report::default() }
}
