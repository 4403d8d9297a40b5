//! Keeps the firewall and the forwarding switch as they must be.

use std::time::Duration;

use rand::RngExt as _;
use twill_core::firewall::{Masquerade, Policy};
use twill_net::firewall::{Firewall, Watch};
use twill_net::sysctl;

use crate::flags;
use crate::status::Board;
use crate::trouble::Trouble;

/// The rules of one membership.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub(crate) firewall: Firewall,
    pub(crate) policy: Policy,
}

impl Guard {
    /// Writes what is missing; tells whether anything was.
    pub(crate) async fn ensure(&self) -> Result<bool, twill_net::Error> {
        let switched = sysctl::ensure_forwarding()?;
        Ok(self.firewall.ensure(&self.policy).await? || switched)
    }

    /// Looks again each `period`, and at once when somebody changed the host's rules, for ever.
    pub(crate) async fn run(self, period: Duration, board: Board) {
        let mut trouble = Trouble::default();
        let mut watch = self.firewall.watch().unwrap_or_else(|error| {
            tracing::warn!(%error, "changed firewall rules are found by the timer only");
            None
        });
        loop {
            tokio::select! {
                () = tokio::time::sleep(jittered(period)) => {}
                () = changed(&mut watch) => tokio::time::sleep(SETTLE).await,
            }
            match self.ensure().await {
                Ok(repaired) => {
                    if repaired {
                        tracing::warn!("firewall rules or forwarding had been changed, put back");
                    }
                    if trouble.over() {
                        tracing::info!("the firewall is in place again");
                        board.firewall(None);
                    }
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    if trouble.meet(&error).1 {
                        tracing::error!(error, "cannot keep the firewall");
                    }
                    board.firewall(Some(error));
                }
            }
        }
    }
}

/// Whoever writes rules seldom writes one: Docker's restart is a hundred changes and one look.
const SETTLE: Duration = Duration::from_millis(200);

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// What the administrator wants of the masquerade rules, as far as this iptables can do it.
pub(crate) fn masquerade(flags: &flags::Firewall, firewall: &Firewall) -> Option<Masquerade> {
    match (flags.ip_masq, flags.ip_masq_fully_random_disable) {
        (false, _) => None,
        (true, true) => Some(Masquerade::Plain),
        (true, false) => Some(firewall.masquerade()),
    }
}

/// Up to a tenth more or less, so that hosts which started together do not stay in step.
pub(crate) fn jittered(period: Duration) -> Duration {
    period.mul_f64(rand::rng().random_range(0.9..=1.1))
}
