//! `twillctl lease watch`: a line for everything that happens to the leases.

mod line;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use twill_core::ids::NodeId;
use twill_store::{Follow, Scope, Store, Update};

use crate::args::Output;
use crate::failure::{Failure, Kind, chain};
use crate::leases;
use crate::report::{Report, say};
use line::Story;

/// Tells until the person, or whoever reads, has enough. etcd's absence does not end it.
pub(crate) async fn watch<S: Store>(store: &S, output: Output) -> Result<Report, Failure> {
    // A wrong address or prefix is told at once, as by every command.
    leases::read(store).await?;
    let mut stdout = std::io::stdout();
    tokio::select! {
        failure = follow(store, output, &mut stdout) => failure,
        () = reader_left() => Ok(Report::default()),
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Ok(Report::default()),
            Err(error) => Err(Failure::from_error(Kind::Internal, &error)),
        },
    }
}

/// Ends when nobody reads any more.
async fn follow<S: Store>(
    store: &S,
    output: Output,
    out: &mut impl Write,
) -> Result<Report, Failure> {
    let mut told_so_far = Story::default();
    let mut names = Names { store, known: BTreeMap::new() };
    let mut follow = Follow::new(store.clone(), Scope::Leases);
    let mut absence: Option<String> = None;
    if output == Output::Table && !told(writeln!(out, "{}", line::HEADER))? {
        return Ok(Report::default());
    }
    loop {
        let event = match follow.next().await {
            Update::Event(event) => event,
            Update::Away(error) => {
                let words = chain(&error);
                // Each try meets the same again.
                if absence.as_ref() != Some(&words) {
                    say(&format_args!("twillctl: {words}; trying again"));
                    absence = Some(words);
                }
                continue;
            }
            // They come with another scope.
            Update::Config(_) | Update::Question(_) => continue,
            Update::Back => {
                absence = None;
                say(&"twillctl: etcd answers again");
                continue;
            }
        };
        let time = Timestamp::now();
        for line in told_so_far.tell(event) {
            let name = names.of(line.node()).await;
            let text = match output {
                Output::Table => line.text(time, name.as_deref()),
                Output::Json => line.json(time, name.as_deref()),
            };
            if !told(write_line(out, &text))? {
                return Ok(Report::default());
            }
        }
    }
}

/// Whole, and at once: whoever reads acts on it.
fn write_line(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(format!("{text}\n").as_bytes())?;
    out.flush()
}

/// Does anybody still read?
fn told(written: std::io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            let message = format!("cannot write to stdout: {error}");
            Err(Failure::new(Kind::Failed, message).hint("is there room where it leads to?"))
        }
    }
}

/// Nothing may happen for days, and a reader that left should not have to wait for it.
async fn reader_left() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own, which ends with the process: a file has no reader that could leave.
    std::thread::spawn(move || {
        let stdout = std::io::stdout();
        let mut stdout = [PollFd::new(&stdout, PollFlags::empty())];
        while poll(&mut stdout, None).is_err_and(|errno| errno == Errno::INTR) {}
        if stdout[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            // Whoever waits may have gone.
            _ = tell.send(());
        }
    });
    if told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Host names by node id, read again when somebody new comes.
struct Names<'a, S> {
    store: &'a S,
    known: BTreeMap<NodeId, Option<String>>,
}

impl<S: Store> Names<'_, S> {
    async fn of(&mut self, node: Option<NodeId>) -> Option<String> {
        let node = node?;
        if !self.known.contains_key(&node) {
            // Without an answer the id has to do.
            let found = self.store.nodes().await.ok()?;
            let records = found.records.into_iter();
            self.known.extend(records.map(|record| (record.id, Some(record.hostname))));
            self.known.entry(node).or_insert(None);
        }
        self.known.get(&node).cloned().flatten()
    }
}

#[cfg(test)]
mod tests;
