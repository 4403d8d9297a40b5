//! Our table in nftables, kept by the program `nft`.

use twill_core::firewall::nftables::{FLANNELD, TABLE, is_same, transaction};

use super::{DEADLINE, generation};
use crate::Error;
use crate::process::Program;

/// Our table, and how this version of nft prints it.
#[derive(Debug, Default)]
pub(super) struct Nft {
    /// What we wrote, and what was listed when nothing else had happened since.
    seen: Option<(String, String)>,
}

impl Nft {
    /// Is the table there, and as it should be? What is wrong with it, if anything.
    pub(super) async fn lacks(&self, table: &str) -> Result<Option<String>, Error> {
        let found = list(&["inet", TABLE]).await?;
        if is_same(&found, table) || self.is_what_we_saw(&found, table) {
            return Ok(None);
        }
        Ok(Some(if found.is_empty() {
            format!("there is no table inet {TABLE} in nftables")
        } else {
            format!("the table inet {TABLE} in nftables is not as it was written")
        }))
    }

    fn is_what_we_saw(&self, found: &str, table: &str) -> bool {
        self.seen.as_ref().is_some_and(|(wrote, then)| wrote == table && then == found)
    }

    /// Brings the table about; empty is none. Tells whether anything had to be written.
    pub(super) async fn ensure(&mut self, table: &str) -> Result<bool, Error> {
        let found = list(&["inet", TABLE]).await?;
        // Another nft may print the same rules in other words: what it printed right after we wrote
        // them is as good.
        if self.is_what_we_saw(&found, table) || is_same(&found, table) {
            return Ok(false);
        }
        let before = generation::read()?;
        nft(&["-f", "-"], &transaction(table)).await?;
        let printed = list(&["inet", TABLE]).await?;
        let alone = generation::read()? == before.wrapping_add(1);
        self.seen = alone.then(|| (table.to_owned(), printed));
        Ok(true)
    }
}

/// One that cannot say its version is of no use either.
pub(super) async fn is_installed() -> bool {
    nft(&["--version"], "").await.is_ok()
}

/// Is our table there?
pub(super) async fn has_ours() -> Result<bool, Error> {
    Ok(!list(&["inet", TABLE]).await?.is_empty())
}

/// The names of all tables, a line each: `table inet twill`.
pub(super) async fn tables() -> Result<String, Error> {
    nft(&["list", "tables"], "").await
}

/// Removes what flanneld in its nftables mode left behind; a table of that name without flannel's
/// own remark is somebody else's.
pub(super) async fn drop_flannelds() -> Result<bool, Error> {
    let mut dropped = false;
    for (family, table, mark) in FLANNELD {
        if list(&[family, table]).await?.contains(mark) {
            nft(&["delete", "table", family, table], "").await?;
            dropped = true;
        }
    }
    Ok(dropped)
}

/// A table without its counters, names as numbers; empty if it is not there.
pub(super) async fn list(table: &[&str; 2]) -> Result<String, Error> {
    listing("-sn", table).await
}

/// The same without the elements of sets, of which nft writes each by itself.
pub(super) async fn list_rules(table: &[&str; 2]) -> Result<String, Error> {
    listing("-snt", table).await
}

async fn listing(form: &str, [family, name]: &[&str; 2]) -> Result<String, Error> {
    match nft(&[form, "list", "table", family, name], "").await {
        Err(Error::ProgramFailed { complaint, .. })
            if complaint.contains("No such file or directory") =>
        {
            Ok(String::new())
        }
        other => other,
    }
}

pub(super) async fn nft(arguments: &[&str], input: &str) -> Result<String, Error> {
    Program { name: "nft", arguments, input, deadline: DEADLINE }.run().await
}
