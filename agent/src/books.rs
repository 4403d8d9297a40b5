//! What the networks of this host use of it, for the tasks that serve them.

use tokio::sync::watch;
use twill_core::ids::{NetworkName, Subnet};
use twill_core::networks::{Claims, Ledger};

use crate::failure::Failure;

/// The ledger of the host. A network without a name is alone, and has nobody to ask.
#[derive(Clone, Debug)]
pub(crate) struct Books(watch::Sender<Ledger>);

impl Books {
    pub(crate) fn new(order: Vec<NetworkName>) -> Self {
        Self(watch::Sender::new(Ledger::new(order)))
    }

    /// What a network had when the host was up last.
    pub(crate) fn had(&self, network: &NetworkName, claims: Claims) {
        self.change(|ledger| ledger.had(network, claims));
    }

    /// Waits for those before it, and takes what that network needs in place of what it has.
    pub(crate) async fn claim(
        &self,
        network: Option<&NetworkName>,
        claims: Claims,
    ) -> Result<(), Failure> {
        let Some(network) = network else { return Ok(()) };
        // It cannot fail: the sender is ours.
        drop(self.0.subscribe().wait_for(|ledger| ledger.is_its_turn(network)).await);
        let taken = self.change(|ledger| ledger.claim(network, claims));
        taken.map_err(|conflict| {
            let hint = conflict.hint();
            Failure::refused(conflict).hint(hint)
        })
    }

    /// That network needs no more than this any more, of what it has.
    pub(crate) fn needs(&self, network: Option<&NetworkName>, claims: Claims) {
        let Some(network) = network else { return };
        if let Err(conflict) = self.change(|ledger| ledger.claim(network, claims)) {
            tracing::error!(%conflict, "a network has what it never asked for");
        }
    }

    /// Nobody has to wait for that network.
    pub(crate) fn pass(&self, network: Option<&NetworkName>) {
        if let Some(network) = network {
            self.change(|ledger| ledger.pass(network));
        }
    }

    /// That network has nothing here.
    pub(crate) fn release(&self, network: Option<&NetworkName>) {
        if let Some(network) = network {
            self.change(|ledger| ledger.release(network));
        }
    }

    /// These go first, in this order.
    pub(crate) fn arrange(&self, order: Vec<NetworkName>) {
        self.change(|ledger| ledger.arrange(order));
    }

    /// The host is in that network no more.
    pub(crate) fn forget(&self, network: &NetworkName) {
        self.change(|ledger| ledger.forget(network));
    }

    /// Hears of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<Ledger> {
        self.0.subscribe()
    }

    /// The tunnel devices of the other networks.
    pub(crate) fn devices_beside(&self, network: Option<&NetworkName>) -> Vec<String> {
        let devices = |network| self.0.borrow().devices_beside(network).cloned().collect();
        network.map(devices).unwrap_or_default()
    }

    /// Of the ranges that rows of a network may lead into: those that are no other network's by now.
    pub(crate) fn left_to(&self, network: Option<&NetworkName>, ranges: &[Subnet]) -> Vec<Subnet> {
        let ledger = self.0.borrow();
        let taken = |range| network.is_some_and(|network| ledger.is_taken_beside(network, range));
        ranges.iter().copied().filter(|range| !taken(*range)).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut outcome = None;
        self.0.send_if_modified(|ledger| {
            let before = ledger.clone();
            outcome = Some(change(ledger));
            *ledger != before
        });
        outcome.expect("the ledger was there")
    }
}
