//! The one door for starting children: no shell, a deadline, and all they say is kept.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Error;

/// A program to run to its end.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its name, looked up in `PATH`, or its path.
    pub name: &'a str,
    /// Its arguments, each passed as it is.
    pub arguments: &'a [&'a str],
    /// What it reads on stdin.
    pub input: &'a str,
    /// How long it may take before it is killed.
    pub deadline: Duration,
}

impl Program<'_> {
    /// Runs it, and returns what it wrote to stdout. It is killed when it overstays, and when the
    /// future is dropped.
    ///
    /// # Errors
    ///
    /// When it cannot be started, does not end in time, or does not end with status 0; the last
    /// carries what it wrote to stderr.
    pub async fn run(self) -> Result<String, Error> {
        let child = Command::new(self.name)
            .args(self.arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.not_started(source))?;
        let output = timeout(self.deadline, converse(child, self.input)).await;
        let output = output.map_err(|_elapsed| Error::Deadline {
            program: self.name.to_owned(),
            deadline: self.deadline,
        })?;
        let output = output.map_err(|source| self.not_started(source))?;
        if !output.status.success() {
            return Err(Error::ProgramFailed {
                program: self.name.to_owned(),
                status: output.status.to_string(),
                complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn not_started(&self, source: std::io::Error) -> Error {
        Error::StartProgram { program: self.name.to_owned(), source }
    }
}

async fn converse(mut child: Child, input: &str) -> std::io::Result<std::process::Output> {
    let stdin = child.stdin.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A child that does not care for all of its input says why by its exit status.
            drop(stdin.write_all(input.as_bytes()).await);
        }
    };
    // At once, or a child that answers before it has read all would wait for us for ever.
    let ((), output) = tokio::join!(write, child.wait_with_output());
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program<'a>(name: &'a str, arguments: &'a [&'a str]) -> Program<'a> {
        Program { name, arguments, input: "", deadline: Duration::from_secs(20) }
    }

    #[tokio::test]
    async fn what_goes_in_comes_out() {
        // More than a pipe holds, so that both ends have to be served at once.
        let input = "0123456789abcde\n".repeat(64 * 1024);
        let output = Program { input: &input, ..program("cat", &[]) }.run().await.unwrap();
        assert_eq!(output.len(), input.len());
        assert!(output == input, "the text has changed");
    }

    #[tokio::test]
    async fn a_child_that_reads_nothing_is_no_failure() {
        let input = "x".repeat(1024 * 1024);
        assert_eq!(Program { input: &input, ..program("true", &[]) }.run().await.unwrap(), "");
    }

    #[tokio::test]
    async fn failures_name_the_program_and_what_it_said() {
        let cases = [
            (program("twill-no-such-program", &[]), "cannot run twill-no-such-program"),
            (program("cat", &["/twill/none"]), "cat failed (exit status: 1): cat: /twill/none: No"),
            (
                Program { deadline: Duration::from_millis(20), ..program("sleep", &["60"]) },
                "sleep did not end within 20ms",
            ),
        ];
        for (program, want) in cases {
            let error = program.run().await.unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[tokio::test]
    async fn arguments_pass_no_shell() {
        let arguments = ["%s", "$(id); `id` *"];
        assert_eq!(program("printf", &arguments).run().await.unwrap(), arguments[1]);
    }
}
