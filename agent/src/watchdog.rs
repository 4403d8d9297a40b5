//! Tells systemd that the agent is alive, as often as its unit asks for.

use sd_notify::NotifyState;

use crate::patience::tell_systemd;

/// Never ends. All of the agent is one thread: whatever holds that up holds this up as well, and systemd starts
/// the agent anew.
pub(crate) async fn feed() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell_systemd(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 3).await;
    }
}
