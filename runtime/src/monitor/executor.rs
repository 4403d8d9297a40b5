//! The last steps inside a new container: find the program, become it.
//!
//! libcontainer's own executor insists on a PATH, looks at one of three permission bits and reports
//! text without a code. Here the kernel decides, and the outcome reaches the monitor through a pipe that
//! closes when the program has been executed.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access, execve};

use super::init;
use crate::raw;

/// There is no such program.
const NOT_FOUND: u8 = 127;
/// There is, but it cannot be invoked.
const NOT_INVOKABLE: u8 = 126;

/// Why a program could not be executed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Docker's code.
    pub code: u8,
    /// Docker's text.
    pub message: String,
}

/// Executes the container's program, or writes a [`Refusal`] into the pipe.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) report: Rc<std::io::PipeWriter>,
    /// Does a process of ours stay to reap orphans?
    pub(super) init: bool,
}

impl Program {
    fn refuse(&self, refusal: &Refusal) -> String {
        let Refusal { code, message } = refusal;
        // Without the monitor there is nobody to tell, and this process ends anyway.
        drop((&*self.report).write_all(&[&[*code], message.as_bytes()].concat()));
        message.clone()
    }
}

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (arguments, environment) = command(spec);
        let refused = match look_up(&arguments, &environment) {
            Ok(program) if self.init => {
                return Err(init::run(|| {
                    let refusal = become_program(&program, &arguments, &environment);
                    self.refuse(&refusal);
                    i32::from(refusal.code)
                }));
            }
            Ok(program) => become_program(&program, &arguments, &environment),
            Err(refusal) => refusal,
        };
        Err(ExecutorError::Other(self.refuse(&refused)))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let failed = ExecutorValidationError::ArgValidationError;
        // From here on the container does not outlive its monitor.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| failed(error.to_string()))?;
        let (arguments, environment) = command(spec);
        let found = look_up(&arguments, &environment);
        found.map(drop).map_err(|refusal| failed(self.refuse(&refusal)))
    }

    /// The environment is handed over with the program; there is no need to change our own first.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// What came through the pipe: nothing if the program is being executed.
pub(crate) fn outcome(mut pipe: std::io::PipeReader) -> Result<(), Refusal> {
    let mut bytes = Vec::new();
    // A pipe that breaks is one that closed.
    drop(pipe.read_to_end(&mut bytes));
    match bytes.split_first() {
        None => Ok(()),
        Some((code, message)) => {
            Err(Refusal { code: *code, message: String::from_utf8_lossy(message).into_owned() })
        }
    }
}

fn command(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let arguments = process.and_then(|process| process.args().clone()).unwrap_or_default();
    let environment = process.and_then(|process| process.env().clone()).unwrap_or_default();
    (arguments, environment)
}

/// Finds the program of a command as a shell would, seen from inside the container.
pub fn look_up(arguments: &[String], environment: &[String]) -> Result<PathBuf, Refusal> {
    let name = arguments.first().map_or("", String::as_str);
    if name.contains('/') {
        return check(Path::new(name)).map(|()| name.into()).map_err(|error| refusal(name, error));
    }
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let mut denied = false;
    for directory in path.split(':').filter(|_| !name.is_empty()) {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(directory).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = true,
            Err(_not_here) => {}
        }
    }
    if denied {
        return Err(refusal(name, Errno::EACCES));
    }
    let message = format!("exec: {:?}: executable file not found in $PATH", short(name));
    Err(Refusal { code: NOT_FOUND, message })
}

/// Never returns if all is well.
pub fn become_program(program: &Path, arguments: &[String], environment: &[String]) -> Refusal {
    let name = arguments.first().map_or("", String::as_str);
    let strings = |all: &[String]| -> Result<Vec<CString>, Errno> {
        all.iter().map(|one| CString::new(one.as_bytes()).map_err(|_zero| Errno::EINVAL)).collect()
    };
    let executed = || -> Result<(), Errno> {
        let path =
            CString::new(program.as_os_str().as_encoded_bytes()).map_err(|_zero| Errno::EINVAL)?;
        let (arguments, environment) = (strings(arguments)?, strings(environment)?);
        raw::reset_signals()?;
        match execve(&path, &arguments, &environment)? {}
    };
    match executed() {
        Ok(()) => unreachable!("a program that was executed has taken our place"),
        Err(error) => refusal(name, error),
    }
}

fn check(path: &Path) -> Result<(), Errno> {
    let metadata = path
        .metadata()
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    if metadata.is_dir() || metadata.mode() & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    access(path, AccessFlags::X_OK)
}

fn refusal(name: &str, error: Errno) -> Refusal {
    let (code, reason) = match error {
        Errno::ENOENT | Errno::ENOTDIR => (NOT_FOUND, "no such file or directory"),
        Errno::EACCES => (NOT_INVOKABLE, "permission denied"),
        Errno::ENOEXEC => (NOT_INVOKABLE, "exec format error"),
        other => (NOT_INVOKABLE, other.desc()),
    };
    Refusal { code, message: format!("exec: {:?}: {reason}", short(name)) }
}

/// A name of more than a pipe holds would keep the one who tells it waiting for the one who is not
/// listening yet.
fn short(name: &str) -> String {
    const ENOUGH: usize = 200;
    let mut text: String = name.chars().take(ENOUGH).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (name, mode) in
            [("one/tool", 0o755), ("two/tool", 0o755), ("two/plain", 0o644), ("one/root", 0o700)]
        {
            let file = root.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(root.join("one/folder")).unwrap();
        let path = format!("PATH={0}/none:{0}/one:{0}/two", root.display());
        let find = |name: &str| {
            let found = look_up(&[name.to_owned()], std::slice::from_ref(&path));
            found
                .map(|found| found.strip_prefix(root).unwrap().to_owned())
                .map_err(|refusal| refusal.code)
        };
        assert_eq!(find("tool"), Ok("one/tool".into()));
        assert_eq!(find("root"), Ok("one/root".into()));
        assert_eq!(find("plain"), Err(126));
        assert_eq!(find("folder"), Err(126));
        assert_eq!(find("missing"), Err(127));
        assert_eq!(find(""), Err(127));
        let absolute = |name: &str| find(root.join(name).to_str().unwrap());
        assert_eq!(absolute("two/tool"), Ok("two/tool".into()));
        assert_eq!(absolute("two/plain"), Err(126));
        assert_eq!(absolute("two"), Err(126));
        assert_eq!(absolute("two/missing"), Err(127));
        assert_eq!(absolute("two/tool/x"), Err(127));
        assert_eq!(look_up(&["sh".into()], &[]).unwrap_err().code, 127);
    }

    #[test]
    fn the_texts_are_dockers() {
        let refused = look_up(&["nosuch".into()], &["PATH=/bin".into()]).unwrap_err();
        assert_eq!(refused.message, "exec: \"nosuch\": executable file not found in $PATH");
        let refused = look_up(&["/etc".into()], &[]).unwrap_err();
        assert_eq!(refused.message, "exec: \"/etc\": permission denied");
    }
}
