//! Joining and leaving, in an order that can be cut short at any point.
//!
//! Joining: the record first, then the pair, then what is inside the container. Leaving: the pair,
//! then the record. So a pair always has a record, an address is free only when nobody can use it,
//! and whoever comes after a crash (the same owner again, a DEL, a sweep) finds the record and
//! undoes the rest.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use twill_core::subnet_env::SubnetEnv;
use twill_net::blocking::Kernel;

use crate::boot::boot_id;
use crate::error::Error;
use crate::join::{Plan, drop_pair};
use crate::pool::{Entry, Pool, Record, host_interfaces};
use crate::request::{Attachment, Keeper, Owner, Request};
use crate::reserve::{Reserved, check, reserve};

/// The host whose network namespace the calling thread is in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// Says which subnet the host has; see [`twill_core::subnet_env`].
    pub subnet_env: PathBuf,
    /// Where the pool of addresses is kept.
    pub state: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self { subnet_env: crate::SUBNET_ENV.into(), state: crate::STATE.into() }
    }
}

impl Host {
    /// Which subnet the host has. While it has none, the error's hint says who gives it one.
    pub fn read_env(&self) -> Result<SubnetEnv, Error> {
        let path = &self.subnet_env;
        let text = fs::read_to_string(path)
            .map_err(|source| Error::ReadSubnetEnv { path: path.clone(), source })?;
        SubnetEnv::parse(&text)
            .map_err(|source| Error::ParseSubnetEnv { path: path.clone(), source })
    }

    /// Joins a container to the host's subnet. On an error nothing is left behind but, perhaps, the
    /// bridge, which all containers share.
    ///
    /// An owner that has an address but no interface (its attach or detach was cut short, or its
    /// container got a new namespace) is joined anew, with the same address if possible.
    pub fn attach(&self, request: &Request<'_>) -> Result<Attachment, Error> {
        let env = self.read_env()?;
        check(request, &env)?;
        let mut host = Kernel::here()?;
        let mut inside = Kernel::of(request.netns)?;
        // There may be no pool yet, and then nobody to wait for: it is made before the turn.
        let pool = self.pool();
        if !self.state.exists() {
            drop(pool.lock(&boot_id()?)?);
        }
        let _turn = pool.turn(&request.owner)?;
        let interface = &request.owner.interface;
        if inside.link(interface.as_str())?.is_some() {
            let netns = request.netns.path().to_owned();
            return Err(Error::InterfaceExists { interface: interface.to_string(), netns });
        }
        let own = !request.ports.is_empty() || self.has_ports(&request.owner);
        let preferred = self.clear(&mut host, &request.owner)?;
        let reserved = reserve(self, &mut host, request, &preferred);
        if reserved.is_err() {
            // The dead may have been swept all the same.
            self.follow_ports(false)?;
        }
        let Reserved { env, record, bridge } = reserved?;
        let plan = Plan::new(request, &env, &record);
        let joined = plan.carry_out(&mut host, &mut inside, &bridge).and_then(|joined| {
            self.follow_ports(own)?;
            Ok(joined)
        });
        if joined.is_err()
            && let Err(error) = self.undo(&mut host, &Entry::of(&record))
        {
            // The first cause is the one to return; the record stays, and the next try clears it.
            tracing::warn!(%error, owner = %record.owner, "cannot undo a failed attach");
        }
        if joined.is_err() {
            // What cannot be written now is written by whoever comes next.
            drop(self.sync_ports());
        }
        joined
    }

    /// Takes a container off the host's subnet and its address back. A success, too, if the
    /// container, its namespace, the interface or the record is gone already.
    pub fn detach(&self, owner: &Owner) -> Result<(), Error> {
        self.forget_earlier_boots()?;
        let _turn = self.pool().turn(owner)?;
        let own = self.has_ports(owner);
        // While its record is there: whoever fails here is called again, and has to find it. The kernel is done with the
        // rules at the latest when it is done with the pair.
        let leaving = own.then(|| self.sync_ports_without(std::slice::from_ref(owner)));
        let going = leaving.transpose()?;
        self.clear(&mut Kernel::here()?, owner)?;
        drop(going);
        // Its own are gone.
        self.follow_ports(false)
    }

    /// Records of another boot may be torn, and are in nobody's way then.
    pub(crate) fn forget_earlier_boots(&self) -> Result<(), Error> {
        if self.state.exists() {
            drop(self.pool().lock(&boot_id()?)?);
        }
        Ok(())
    }

    /// Takes back what belongs to owners of `keeper` that are not `alive`, and returns them. An
    /// owner must be known to be alive before it is attached. One that cannot be taken off does not
    /// stop the others; all such errors are returned at the end. What an earlier boot has left goes, whose it
    /// may be.
    pub fn reclaim(
        &self,
        keeper: &Keeper,
        mut alive: impl FnMut(&Owner) -> bool,
    ) -> Result<Vec<Owner>, Error> {
        let mut host = Kernel::here()?;
        let pool = self.pool();
        let (mut reclaimed, mut errors, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        errors.extend(self.forget_earlier_boots().err());
        for entry in pool.entries()? {
            match pool.read(&entry) {
                Ok(Some(record)) if record.owner.keeper == *keeper && !alive(&record.owner) => {
                    gone.push((entry, record));
                }
                Ok(_not_theirs_or_alive) => {}
                Err(error) => errors.push(error),
            }
        }
        let publish = |(_entry, record): &&(Entry, Record)| !record.ports.is_empty();
        let leaving: Vec<Owner> =
            gone.iter().filter(publish).map(|(_entry, record)| record.owner.clone()).collect();
        // The rules go first, of all at once; where that fails, records stay for whoever comes next.
        let going = (!leaving.is_empty()).then(|| self.sync_ports_without(&leaving)).transpose();
        if going.is_err() {
            gone.retain(|(_entry, record)| record.ports.is_empty());
        }
        for (entry, record) in gone {
            errors.extend(self.reclaim_one(&mut host, (&entry, record), &mut reclaimed).err());
        }
        // The kernel is done with the rules at the latest when it is done with the pairs.
        errors.extend(going.map(drop).err());
        errors.extend(self.sweep_ports().err());
        Error::all(errors).map(|()| reclaimed)
    }

    fn reclaim_one(
        &self,
        host: &mut Kernel,
        (entry, record): (&Entry, Record),
        reclaimed: &mut Vec<Owner>,
    ) -> Result<(), Error> {
        let pool = self.pool();
        let _turn = pool.turn(&record.owner)?;
        // Somebody may have taken it off and joined it again meanwhile, with the same address.
        if pool.read(entry)?.as_ref() != Some(&record) {
            return Ok(());
        }
        self.undo(host, entry)?;
        reclaimed.push(record.owner);
        Ok(())
    }

    /// Whom the addresses belong to, in no order. What an earlier boot has left is nobody's.
    pub fn records(&self) -> Result<Vec<Record>, Error> {
        let (pool, boot_id) = (self.pool(), boot_id()?);
        let entries = pool.entries()?;
        let records = entries.iter().filter_map(|entry| pool.read(entry).transpose());
        let of_now =
            |it: &Result<Record, Error>| it.as_ref().map_or(true, |it| it.boot_id == boot_id);
        records.filter(of_now).collect()
    }

    pub(crate) fn pool(&self) -> Pool {
        Pool::new(&self.state)
    }

    /// Undoes whatever was done for `owner`; returns the addresses that it had.
    fn clear(&self, host: &mut Kernel, owner: &Owner) -> Result<Vec<IpAddr>, Error> {
        let pool = self.pool();
        let mut had = Vec::new();
        // Again after the pair is gone: the container may have been moving to another subnet.
        while let Some(entry) = pool.find(owner)? {
            self.undo(host, &entry)?;
            had = entry.addresses;
        }
        if !had.is_empty() {
            return Ok(had);
        }
        // The state directory may have been lost; the interface's name is made from the owner.
        let entries = pool.entries()?;
        for name in host_interfaces(owner) {
            if !entries.iter().any(|entry| entry.host_interface == name) {
                drop_pair(host, &name)?;
            }
        }
        Ok(had)
    }

    /// The address is free only after nobody can use it any more.
    fn undo(&self, host: &mut Kernel, entry: &Entry) -> Result<(), Error> {
        drop_pair(host, &entry.host_interface)?;
        self.pool().release(entry)
    }
}
