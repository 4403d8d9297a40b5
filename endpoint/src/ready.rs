//! Looks whether the next container could be joined. Nothing is made for it.

use twill_core::ids::Mtu;
use twill_net::blocking::Kernel;

use crate::boot::boot_id;
use crate::bridge;
use crate::error::Error;
use crate::host::Host;
use crate::pool::{capacity, is_usable};
use crate::request::Interface;
use crate::reserve::{addresses, check_mtu, is_dead};

impl Host {
    /// Has the host a subnet, is its pool in order with an address left in each family, and can there be the
    /// bridge (the usual one if not given), and that MTU?
    pub fn ready(&self, bridge: Option<&Interface>, mtu: Option<Mtu>) -> Result<(), Error> {
        check_mtu(mtu, &self.read_env()?)?;
        let pool = self.pool();
        let _locked = pool.lock(&boot_id()?)?;
        let env = self.read_env()?;
        let mut host = Kernel::here()?;
        let usual = Interface::usual();
        let rows = host.addresses()?;
        bridge::look(&mut host, (bridge.unwrap_or(&usual), &env), &rows)?;
        let entries = pool.entries()?;
        let in_use = addresses(&entries);
        for subnet in env.blocks().map(|blocks| blocks.subnet) {
            let usable = capacity(subnet);
            let taken = in_use.iter().filter(|address| is_usable(subnet, **address)).count();
            if u128::try_from(taken).is_ok_and(|taken| taken < usable) {
                continue;
            }
            let mut free = false;
            for entry in
                entries.iter().filter(|it| it.addresses.iter().any(|it| subnet.contains(*it)))
            {
                free = match pool.read(entry)? {
                    Some(record) => is_dead(&mut host, &record)?,
                    None => true,
                };
                if free {
                    break;
                }
            }
            if !free {
                return Err(Error::Exhausted { subnet, usable });
            }
        }
        Ok(())
    }
}
