//! The question whether another host has our node id.

use std::time::Duration;

use etcd_client::{KeyValue, PutOptions, Txn, TxnOp};
use twill_core::ids::{NodeId, Revision};
use twill_core::ownership::Challenge;

use super::Etcd;
use super::rpc::{Granted, Put, absent, first_row, unchanged};
use super::watch::question;
use crate::{Asked, Error, Operation, Question};

impl Etcd {
    pub(super) async fn place_question(
        &self,
        node: NodeId,
        (challenge, ttl): (&Challenge, Duration),
    ) -> Result<Asked, Error> {
        let key = self.endpoints.layout.double(node);
        let granted = self.grant((Operation::Ask, &key), ttl).await?;
        let asked = self.place(&key, (challenge, granted)).await;
        if !matches!(asked, Ok(Asked::Placed(..))) {
            self.end(granted.id).await;
        }
        asked
    }

    async fn place(
        &self,
        key: &str,
        (challenge, granted): (&Challenge, Granted),
    ) -> Result<Asked, Error> {
        let mut when = absent(key);
        loop {
            let put = || Put {
                key: key.to_owned(),
                value: challenge.to_json(),
                lease_id: Some(granted.id),
            };
            if let Some(revision) = self.swap(Operation::Ask, vec![when], vec![put()]).await? {
                return Ok(Asked::Placed(revision, granted.id));
            }
            when = match self.row_at(key).await? {
                None => absent(key),
                Some(row) => match question(&row) {
                    Some(there) if there.challenge.public_ip != challenge.public_ip => {
                        return Ok(Asked::There(there));
                    }
                    // Ours, from before a crash; or nonsense.
                    Some(_) | None => unchanged(key, Revision(row.mod_revision())),
                },
            };
        }
    }

    async fn row_at(&self, key: &str) -> Result<Option<KeyValue>, Error> {
        let answer = self
            .endpoints
            .call((Operation::Ask, key), |mut client| async move { client.get(key, None).await })
            .await?;
        Ok(answer.kvs().first().cloned())
    }

    pub(super) async fn write_answer(
        &self,
        node: NodeId,
        answered: &Question,
    ) -> Result<(), Error> {
        let key = self.endpoints.layout.double(node);
        // It goes on ending when it would have ended.
        let options = PutOptions::new().with_ignore_lease();
        let value = answered.challenge.to_json();
        let txn = Txn::new()
            .when(vec![unchanged(&key, answered.revision)])
            .and_then(vec![TxnOp::put(key.as_str(), value, Some(options))])
            .or_else(vec![TxnOp::get(key.as_str(), None)]);
        let answer = self
            .endpoints
            .call((Operation::Answer, &key), |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        if let Some(now) = answer.op_responses().into_iter().find_map(first_row) {
            tracing::debug!(revision = now.mod_revision(), "the question is another one by now");
        }
        Ok(())
    }
}
