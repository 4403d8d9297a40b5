//! One endpoint and the connection to it.

use etcd_client::{Client, ConnectOptions, Error as ClientError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connect::Reach;
use super::files::Access;
use crate::Cause;

/// One endpoint and the connection to it.
pub(super) struct Slot {
    pub(super) url: String,
    // Held while connecting, so that many calls at once authenticate once.
    made: Mutex<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    client: Client,
    /// Which state of the files it was made with.
    number: u64,
    /// Not the same connection as one with another number here.
    serial: u64,
    /// When a newer state of the files was found not to work.
    renewal_failed: Option<Instant>,
}

impl Slot {
    pub(super) fn new(url: String) -> Self {
        Self { url, made: Mutex::default() }
    }

    /// Runs `rpc` on the connection that is there, else on a new one.
    ///
    /// A connection is replaced when the files changed, when nothing comes through it, and when
    /// etcd does not know us on it any more: its token may have ended, or the users may have
    /// changed. Then `rpc` runs once more on the new one.
    pub(super) async fn run<T, E, F>(
        &self,
        reach: &Reach,
        rpc: impl Fn(Client) -> F,
    ) -> Result<T, Cause>
    where
        E: Into<Cause>,
        F: Future<Output = Result<T, E>>,
    {
        let Some(known) = self.made.lock().await.clone() else {
            return self.afresh(reach, None, &rpc).await;
        };
        let access = reach.files.lately();
        if known.is_outdated((reach, &access))
            && let Some(answer) = self.renewed((reach, &access), &known, &rpc).await
        {
            return answer;
        }
        match rpc(known.client.clone()).await.map_err(Into::into) {
            Err(cause) if cause.is_of_connection() => {
                self.afresh(reach, Some(known.serial), &rpc).await
            }
            answer => answer,
        }
    }

    /// Whoever comes next connects anew.
    pub(super) fn forget(&self) {
        // Whoever holds it is connecting anew right now.
        if let Ok(mut made) = self.made.try_lock() {
            *made = None;
        }
    }

    /// Tries what is in the files now; `None` if it does not work while the old may.
    async fn renewed<T, E, F>(
        &self,
        (reach, access): (&Reach, &Access),
        known: &Made,
        rpc: &impl Fn(Client) -> F,
    ) -> Option<Result<T, Cause>>
    where
        E: Into<Cause>,
        F: Future<Output = Result<T, E>>,
    {
        let serial = known.serial + 1;
        let tried = async {
            let made = self.connect((reach, access), serial).await?;
            let answer = rpc(made.client.clone()).await.map_err(Into::into);
            match answer {
                Err(cause) if cause.is_of_connection() => Err(cause),
                answer => Ok((made, answer)),
            }
        };
        let (made, answer) = match tried.await {
            Ok((made, answer)) => (made, Some(answer)),
            Err(cause) => {
                tracing::warn!(
                    endpoint = self.url, %cause,
                    "the renewed certificates or password do not work: keeping the old connection"
                );
                (Made { renewal_failed: Some(Instant::now()), ..known.clone() }, None)
            }
        };
        let mut current = self.made.lock().await;
        if current.as_ref().is_some_and(|current| current.serial == known.serial) {
            *current = Some(made);
        }
        answer
    }

    /// Runs on a connection that is not the one that failed.
    async fn afresh<T, E, F>(
        &self,
        reach: &Reach,
        failed: Option<u64>,
        rpc: &impl Fn(Client) -> F,
    ) -> Result<T, Cause>
    where
        E: Into<Cause>,
        F: Future<Output = Result<T, E>>,
    {
        let made = {
            let mut current = self.made.lock().await;
            match &*current {
                // Somebody else was here first.
                Some(made) if Some(made.serial) != failed => made.clone(),
                _ => {
                    *current = None;
                    let serial = failed.map_or(0, |serial| serial + 1);
                    let made = self.connect((reach, &reach.files.now()), serial).await?;
                    current.insert(made).clone()
                }
            }
        };
        let answer = rpc(made.client).await.map_err(Into::into);
        if answer.as_ref().is_err_and(Cause::is_of_connection) {
            self.forget();
        }
        answer
    }

    async fn connect(
        &self,
        (reach, access): (&Reach, &Access),
        serial: u64,
    ) -> Result<Made, Cause> {
        let options = reach.for_endpoint(access, &self.url);
        let client = match access.user() {
            Some((name, password)) => {
                let known = options.clone().with_user(name, password).with_auto_token_refresh(true);
                match self.client(known).await {
                    // As for etcd's own client: whoever has a name may come where nobody needs one.
                    Err(error) if is_without_users(&error) => self.client(options).await,
                    other => other,
                }
            }
            None => self.client(options).await,
        };
        Ok(Made { client: client?, number: access.number, serial, renewal_failed: None })
    }

    async fn client(&self, options: ConnectOptions) -> Result<Client, ClientError> {
        Client::connect([&self.url], Some(options)).await
    }
}

impl Made {
    fn is_outdated(&self, (reach, access): (&Reach, &Access)) -> bool {
        let rest = reach.limits.reread;
        self.number != access.number
            && self.renewal_failed.is_none_or(|moment| moment.elapsed() > rest)
    }
}

fn is_without_users(error: &ClientError) -> bool {
    matches!(error, ClientError::GRpcStatus(status)
        if status.message().contains("authentication is not enabled"))
}
