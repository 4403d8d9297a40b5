//! `twill boot`: what was running when the host went down runs again.

use crate::commands::{Code, each};
use crate::container::{Container, Policy, Record, State, Status, Store, Wish, reap};
use crate::monitor::session::Session;
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Run by twill-restart.service when the host comes up; by hand it does no harm.

Containers whose restart policy is `always` are started; those of `unless-stopped` unless a person
stopped them; those of `on-failure` if they had failed or were cut off. What runs is left alone."
)]
pub struct Args {}

/// Does it; goes on after a failure.
pub fn run(_: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let mut code = Code::OK;
    let mut all = reap::settle_all(&store)?;
    // In the order in which they were made: the older ones may be leant on.
    all.reverse();
    for Container { record, state } in all {
        if !is_wanted(&record, &state) {
            continue;
        }
        let started = Session::start(paths, &record, None)
            .and_then(|mut session| session.wait_until_started());
        match started {
            Ok(()) => output::line(&record.name),
            Err(error) => {
                output::note(format_args!("twill: container {} stays down", record.name));
                each::complain(&error);
                code = Code(1);
            }
        }
    }
    Ok(code)
}

fn is_wanted(record: &Record, state: &State) -> bool {
    state.status == Status::Exited
        && match record.restart {
            Policy::Always => true,
            // A restart that was cut off in the middle is none's wish to rest.
            policy => state.wish != Wish::Rest && policy.restarts(state.exit_code, 0, Wish::Run),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::sample;

    #[test]
    fn who_is_started_when_the_host_is_back() {
        let check = |policy, exit_code, wish, want: bool| {
            let record = Record { restart: policy, ..sample() };
            let state = State { status: Status::Exited, exit_code, wish, ..State::default() };
            assert_eq!(is_wanted(&record, &state), want, "{policy} {exit_code} {wish:?}");
            let running = State { status: Status::Running, ..state };
            assert!(!is_wanted(&record, &running));
        };
        check(Policy::No, 137, Wish::Run, false);
        check(Policy::Always, 0, Wish::Run, true);
        check(Policy::Always, 0, Wish::Rest, true);
        check(Policy::UnlessStopped, 0, Wish::Run, true);
        check(Policy::UnlessStopped, 137, Wish::Rest, false);
        check(Policy::UnlessStopped, 137, Wish::Again, true);
        check(Policy::OnFailure(1), 137, Wish::Run, true);
        check(Policy::OnFailure(1), 0, Wish::Run, false);
        check(Policy::OnFailure(0), 1, Wish::Rest, false);
        let never = Record { restart: Policy::Always, ..sample() };
        assert!(!is_wanted(&never, &State::default()), "it was never started");
    }
}
