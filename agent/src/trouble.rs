//! Troubles that last: said when they begin or change, not each time they are met.

use std::time::Duration;

use twill_store::Backoff;

/// One kind of trouble, with the waits between tries.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    last: Option<String>,
    backoff: Backoff,
}

impl Trouble {
    /// The wait before the next try, and whether this is worth a line.
    pub(crate) fn meet(&mut self, reason: &str) -> (Duration, bool) {
        let new = self.last.as_deref() != Some(reason);
        if new {
            self.last = Some(reason.to_owned());
        }
        (self.backoff.next_wait(), new)
    }

    /// Tells whether there was trouble until now.
    pub(crate) fn over(&mut self) -> bool {
        self.backoff.reset();
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_said_once_until_it_changes() {
        let mut trouble = Trouble::default();
        let said: Vec<bool> =
            ["a", "a", "b", "b", "a"].iter().map(|reason| trouble.meet(reason).1).collect();
        assert_eq!(said, [true, false, true, false, true]);
        assert!(trouble.over());
        assert!(!trouble.over());
        assert!(trouble.meet("a").1, "a trouble that comes back is new");
    }
}
