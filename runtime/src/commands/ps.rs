//! `twill ps`: which containers there are and how they are.

use jiff::Timestamp;

use crate::commands::Code;
use crate::container::{Container, State, Status, Store, reap};
use crate::table::Table;
use crate::{Paths, human, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,
    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Cut nothing short
    #[arg(long)]
    pub no_trunc: bool,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let mut containers = reap::settle_all(&store)?;
    containers.retain(|container| args.all || container.state.status == Status::Running);
    if args.quiet {
        for Container { record, .. } in &containers {
            output::line(if args.no_trunc { &record.id } else { record.short_id() });
        }
        return Ok(Code::OK);
    }
    let now = Timestamp::now();
    let mut table =
        Table::new(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    for Container { record, state } in &containers {
        table.push(vec![
            if args.no_trunc { record.id.clone() } else { record.short_id().to_owned() },
            record.image.name.clone(),
            command(&record.command, args.no_trunc),
            ago(now, record.created),
            status(state, now),
            // Publishing ports is not built yet.
            String::new(),
            record.name.clone(),
        ]);
    }
    table.lines().for_each(output::line);
    Ok(Code::OK)
}

/// Quoted, and cut to twenty characters. What an image wrote there reaches no terminal as it is.
fn command(words: &[String], whole: bool) -> String {
    const ROOM: usize = 20;
    let text = words.join(" ");
    if whole || text.chars().count() <= ROOM {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(ROOM - 1).chain(['…']).collect();
    format!("{cut:?}")
}

fn status(state: &State, now: Timestamp) -> String {
    match (state.status, state.started, state.finished) {
        (Status::Created, ..) => "Created".into(),
        (Status::Running, Some(started), _) => format!("Up {}", span(now, started)),
        (Status::Running, ..) => "Up".into(),
        (Status::Exited, _, Some(finished)) => {
            format!("Exited ({}) {}", state.exit_code, ago(now, finished))
        }
        (Status::Exited, ..) => format!("Exited ({})", state.exit_code),
    }
}

fn ago(now: Timestamp, then: Timestamp) -> String {
    format!("{} ago", span(now, then))
}

/// A clock that was set back makes no negative times.
fn span(now: Timestamp, then: Timestamp) -> String {
    human::duration(now.duration_since(then).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut() {
        let check = |text: &str, whole: bool, want: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            assert_eq!(command(&words, whole), want);
        };
        check("sh", false, "\"sh\"");
        check("sleep 12345678901234", false, "\"sleep 12345678901234\"");
        check("sleep 123456789012345", false, "\"sleep 1234567890123…\"");
        check("sleep 123456789012345", true, "\"sleep 123456789012345\"");
        check("a\n\x1b[31mb \"c\"", false, r#""a\n\u{1b}[31mb \"c\"""#);
        check("ä ö ü ä ö ü ä ö ü ä ö ü", false, "\"ä ö ü ä ö ü ä ö ü ä…\"");
    }

    #[test]
    fn states_in_words() {
        let now = Timestamp::from_second(100_000).unwrap();
        let then = Timestamp::from_second(100_000 - 180).unwrap();
        let running = State { status: Status::Running, started: Some(then), ..State::default() };
        assert_eq!(status(&State::default(), now), "Created");
        assert_eq!(status(&running, now), "Up 3 minutes");
        assert_eq!(status(&running.exited(3, then), now), "Exited (3) 3 minutes ago");
    }
}
