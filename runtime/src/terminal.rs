//! The caller's terminal: raw while it is connected to a container, and always restored.

use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Result, SystemContext as _};

/// Raw mode until this is dropped.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Every key reaches the container, also those that would signal.
    pub fn enter(terminal: impl AsFd) -> Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned().system("copy the terminal")?;
        let before = tcgetattr(&terminal).system("ask for the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw).system("change the terminal's mode")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Is it one?
#[must_use]
pub fn is_terminal(file: impl AsFd) -> bool {
    isatty(file)
}

/// Lines and columns, if it is a terminal that knows them.
#[must_use]
pub fn size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Finds ctrl-p ctrl-q in what is typed: the way out that leaves the container running.
#[derive(Debug, Default)]
pub struct DetachKeys {
    first_seen: bool,
}

const CTRL_P: u8 = 0x10;
const CTRL_Q: u8 = 0x11;

impl DetachKeys {
    /// What to hand on, and whether the two keys came. A lone ctrl-p is held until the next key.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            if std::mem::take(&mut self.first_seen) {
                if *key == CTRL_Q {
                    return (passed, true);
                }
                passed.push(CTRL_P);
            }
            if *key == CTRL_P {
                self.first_seen = true;
            } else {
                passed.push(*key);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_lead_out() {
        check("plain text", &[b"ls\r"], b"ls\r", false);
        check("both at once", &[b"a\x10\x11b"], b"a", true);
        check("one after the other", &[b"\x10", b"\x11"], b"", true);
        check("the first alone goes with the next key", &[b"\x10", b"x"], b"\x10x", false);
        check("twice the first", &[b"\x10\x10x"], b"\x10\x10x", false);
        check("twice the first, then the second", &[b"\x10\x10\x11"], b"\x10", true);
        check("the second alone", &[b"\x11"], b"\x11", false);
    }

    #[track_caller]
    fn check(name: &str, typed: &[&[u8]], want: &[u8], want_out: bool) {
        let (mut keys, mut got, mut out) = (DetachKeys::default(), Vec::new(), false);
        for piece in typed {
            let (passed, left) = keys.filter(piece);
            got.extend(passed);
            out |= left;
        }
        assert_eq!((got.as_slice(), out), (want, want_out), "{name}");
    }
}
