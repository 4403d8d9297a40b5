//! Asks the person at the terminal.

use std::io::{IsTerminal as _, Write as _};

use crate::failure::{Failure, Kind};

/// Yes or no.
pub(crate) async fn ask(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let failure =
            Failure::new(Kind::Failed, "nobody is there to be asked, and --yes is not given");
        return Err(failure.hint("add --yes"));
    }
    let question = question.to_owned();
    // Away from the thread that keeps the connection to etcd alive.
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok::<_, std::io::Error>(matches!(line.trim(), "y" | "Y" | "yes"))
    });
    let answer = answer.await.map_err(|error| Failure::from_error(Kind::Internal, &error))?;
    answer.map_err(|error| Failure::from_error(Kind::Failed, &error).hint("add --yes"))
}
