//! The hooks of all networks of this host: of those that are known at the start, and of those that come.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use twill_core::ids::NetworkName;
use twill_core::subnet_env::SubnetEnv;

use super::runner::Runner;
use super::{Command, Hook, Running};
use crate::failure::Failure;
use crate::flags::Flags;

/// What was published in which network; nothing when the host has left it.
type Told = (NetworkName, Option<SubnetEnv>);

/// Starts hooks.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// Of the networks that were known at the start.
    known: BTreeMap<Option<NetworkName>, (Hook, Running)>,
    /// The process that runs them for those that come.
    several: Option<Several>,
}

#[derive(Debug)]
struct Several {
    speaks: mpsc::Sender<Told>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What tells that process of one network.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    network: NetworkName,
    speaks: mpsc::Sender<Told>,
}

impl Hooks {
    /// While this process has all the rights that it was given.
    pub(crate) fn start(flags: &Flags) -> Result<Self, Failure> {
        let (mut known, mut several) = (BTreeMap::new(), None);
        if !flags.etcd.watch_networks {
            for (name, flags) in flags.of_networks() {
                let hook = Hook::new();
                let running = hook.start(name.as_ref(), &flags)?;
                known.insert(name, (hook, running));
            }
        } else if let Some(command) = Command::of_several(&flags.files)
            && twill_net::rights::are_surplus(flags.udp.duty())
        {
            let (speaks, hears) = mpsc::channel(1);
            let (stop, stopped) = watch::channel(false);
            let runner = Runner::start_for_several((&command, &flags.files.subnet_dir), flags)?;
            let task = tokio::spawn(runner.relay_all(hears, stopped));
            several = Some(Several { speaks, stop, task });
        }
        Ok(Self { known, several })
    }

    /// The one of that network.
    pub(crate) fn of(
        &mut self,
        name: Option<&NetworkName>,
        flags: &Flags,
    ) -> Result<(Hook, Running), Failure> {
        if let Some(known) = self.known.remove(&name.cloned()) {
            return Ok(known);
        }
        let hook = Hook::new();
        let running = match (&self.several, name) {
            (Some(several), Some(network)) => {
                let speaks = several.speaks.clone();
                let speaker = Speaker { network: network.clone(), speaks };
                let speaks = speaker.clone().speak(hook.published.subscribe());
                Running::Shared(speaker, tokio::spawn(speaks))
            }
            _alone => hook.start(name, flags)?,
        };
        Ok((hook, running))
    }

    /// Kills what runs for networks that come.
    pub(crate) async fn stop(self) {
        if let Some(Several { speaks, stop, task }) = self.several {
            drop(speaks);
            stop.send_replace(true);
            drop(task.await);
        }
    }
}

impl Speaker {
    async fn speak(self, mut published: watch::Receiver<Option<SubnetEnv>>) {
        loop {
            let env = *published.borrow_and_update();
            if env.is_some() && self.speaks.send((self.network.clone(), env)).await.is_err() {
                return;
            }
            if published.changed().await.is_err() {
                return;
            }
        }
    }

    /// Nothing is to be run for it any more.
    pub(super) async fn leave(self) {
        // Whoever has ended runs nothing.
        drop(self.speaks.send((self.network, None)).await);
    }
}
