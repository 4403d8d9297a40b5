//! Changing what a container was asked to be: its name, its limits.

use super::names;
use super::record::Record;
use super::resources::Resources;
use super::restart::Policy;
use super::store::{Container, Store};
use crate::error::{Error, Result};
use crate::events;

impl Store<'_> {
    /// Gives a container another name.
    ///
    /// The record decides: until it is written the new name leads nowhere, from then on the old one.
    /// A link that a crash leaves behind is therefore nobody's name.
    pub fn rename(&self, id: &str, name: &str) -> Result<Record> {
        names::check(name)?;
        let gone = || Error::NoSuchContainer(id.to_owned());
        let _life = self.lock_container(id)?.ok_or_else(gone)?;
        let _names = self.lock()?;
        let Container { record, .. } = self.read(id)?;
        if record.name == name {
            return Err(Error::SameName);
        }
        names::reserve(self.paths(), name, id)?;
        let renamed = Record { name: name.to_owned(), ..record.clone() };
        if let Err(error) = self.write_record(&renamed) {
            // The first cause counts.
            drop(names::release(self.paths(), name, id));
            return Err(error);
        }
        names::release(self.paths(), &record.name, id)?;
        let old = [("oldName", format!("/{}", record.name))];
        events::container(self.paths(), &renamed, "rename", &old);
        Ok(renamed)
    }

    /// Writes down other limits; whatever runs is limited by `apply` first, by all that hold
    /// then: some are worked out from several.
    pub fn limit(
        &self,
        id: &str,
        (newer, restart): (&Resources, Option<Policy>),
        apply: impl FnOnce(&Container, &Resources) -> Result<()>,
    ) -> Result<()> {
        let gone = || Error::NoSuchContainer(id.to_owned());
        let _life = self.lock_container(id)?.ok_or_else(gone)?;
        let container = self.read(id)?;
        if container.record.auto_remove && restart.is_some_and(|policy| policy != Policy::No) {
            return Err(Error::RestartOfVanishing);
        }
        let resources = container.record.resources.with(newer);
        let restart = restart.unwrap_or(container.record.restart);
        apply(&container, &resources)?;
        let limited = Record { resources, restart, ..container.record };
        self.write_record(&limited)?;
        events::container(self.paths(), &limited, "update", &[]);
        Ok(())
    }
}
