//! Two hosts with one node id: asking whether the other lives, and answering.

use std::time::Duration;

use tokio::time::timeout;
use twill_core::ids::{Revision, Underlay};
use twill_core::lease::Lease;
use twill_core::ownership::{Challenge, Doubt};
use twill_store::{Asked, Error, Question, Scope, Seen, Store, Watch};

use super::tenant::Tenant;

/// A host that lives answers within some round trips to etcd.
const PATIENCE: Duration = Duration::from_secs(3);
/// Questions outlive who asked them for a moment, never for long.
const QUESTION_TTL: Duration = Duration::from_secs(5);

impl<S: Store> Tenant<S> {
    /// Asks whether the host lives that wrote this lease, which carries our node id. `None` if another
    /// host was asking: decide anew, with what came of that.
    pub(super) async fn ask(
        &mut self,
        double: &Lease,
        holding: bool,
    ) -> Result<Option<Doubt>, Error> {
        let at = double.value.public_ip;
        tracing::warn!(
            subnet = %double.subnet(), %at,
            "another address has our node id, asking whether it lives"
        );
        let challenge = Challenge {
            public_ip: self.wish.public_ip(),
            hostname: self.wish.hostname.clone(),
            answer: None,
        };
        let silent = Doubt::Silent { about: double.revision };
        match self.store.ask(self.wish.node, &challenge, QUESTION_TTL).await? {
            Asked::Placed(revision, question) => {
                let answer = self.answer_to(revision).await;
                self.store.unask(question).await;
                if let Some(answer) = answer? {
                    return Ok(Some(Doubt::Answered(answer)));
                }
                tracing::warn!(%at, "nobody answered there");
                Ok(Some(silent))
            }
            // We told it ourselves that we live: it leaves.
            Asked::There(other) if other.challenge.answer == Some(challenge.public_ip) => {
                Ok(Some(silent))
            }
            Asked::There(other) => {
                // Whoever has a subnet answers first; whoever has none waits for the end of it.
                if !holding {
                    self.end_of(other.revision).await?;
                }
                Ok(None)
            }
        }
    }

    async fn answer_to(&self, placed: Revision) -> Result<Option<Underlay>, Error> {
        let answered = |question: Option<Question>| question.and_then(|it| it.challenge.answer);
        self.hear(placed, (PATIENCE, answered)).await
    }

    async fn end_of(&self, placed: Revision) -> Result<(), Error> {
        let gone = |question: Option<Question>| question.is_none().then_some(());
        self.hear(placed, (2 * QUESTION_TTL, gone)).await.map(|_gone_or_not| ())
    }

    /// The first word about questions to us that means something; `None` if none came in time.
    async fn hear<T>(
        &self,
        after: Revision,
        (patience, means): (Duration, impl Fn(Option<Question>) -> Option<T>),
    ) -> Result<Option<T>, Error> {
        let mut watch = self.store.watch(after, Scope::Host(self.wish.node)).await?;
        let heard = async {
            loop {
                match watch.next().await? {
                    Seen::Question(question, _) => {
                        if let Some(meaning) = means(question) {
                            return Ok(meaning);
                        }
                    }
                    Seen::Compacted => std::future::pending().await,
                    Seen::Event(_) | Seen::Config(..) | Seen::Network(_) => {}
                }
            }
        };
        timeout(patience, heard).await.ok().transpose()
    }

    /// Answers a host that asks whether we live.
    pub(super) async fn answer(&self, question: &Question) -> Result<(), Error> {
        let Question { challenge, .. } = question;
        let here = self.wish.public_ip();
        if challenge.public_ip == here || challenge.answer.is_some() {
            return Ok(());
        }
        tracing::error!(
            at = %challenge.public_ip, host = challenge.hostname,
            "another host has the node id of this one, telling it to take a new one"
        );
        let challenge = Challenge { answer: Some(here), ..challenge.clone() };
        self.store.answer(self.wish.node, &Question { challenge, ..*question }).await
    }
}
