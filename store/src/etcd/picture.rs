//! Everything that a host decides on, in one read.

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use twill_core::ids::{NodeId, Revision};
use twill_core::lease::Listing;

use super::Etcd;
use super::call::LARGEST_ANSWER;
use super::watch::{question, row};
use crate::{ConfigText, Error, Operation, Picture};

impl Etcd {
    /// Three reads in one transaction, so that they belong to one revision.
    pub(super) async fn read_picture(&self, node: NodeId) -> Result<Picture, Error> {
        let layout = &self.endpoints.layout;
        let (config, leases, double) = (layout.config(), layout.leases(), layout.double(node));
        let reads = vec![
            TxnOp::get(config.as_str(), None),
            TxnOp::get(leases.as_str(), Some(GetOptions::new().with_prefix())),
            TxnOp::get(double.as_str(), None),
        ];
        let txn = Txn::new().and_then(reads);
        let answer = self
            .endpoints
            .call((Operation::ReadPicture, layout.root()), |client| {
                let mut client = client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        let revision = Revision(answer.header().map_or(0, etcd_client::ResponseHeader::revision));
        let mut rows = answer.op_responses().into_iter().map(rows);
        let mut next = || rows.next().unwrap_or_default();
        let (config, leases_found, asked) = (next(), next(), next());
        Ok(Picture {
            config: config.first().map(config_text),
            listing: listing(&leases, revision, &leases_found),
            question: asked.first().and_then(question),
        })
    }
}

fn rows(answer: TxnOpResponse) -> Vec<KeyValue> {
    match answer {
        TxnOpResponse::Get(mut found) => found.take_kvs(),
        _ => Vec::new(),
    }
}

pub(super) fn config_text(row: &KeyValue) -> ConfigText {
    ConfigText { text: row.value().to_vec(), revision: Revision(row.mod_revision()) }
}

/// Sorts the rows under `subnets/` into leases and what is none.
pub(super) fn listing(prefix: &str, revision: Revision, rows: &[KeyValue]) -> Listing {
    let mut listing = Listing { revision, ..Listing::default() };
    for found in rows {
        match row(prefix, found).lease() {
            Ok(lease) => listing.leases.push(lease),
            Err(malformed) => listing.malformed.push(malformed),
        }
    }
    listing
}
