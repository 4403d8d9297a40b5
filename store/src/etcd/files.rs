//! The files that say who we are to etcd, and who etcd may be: read again when they change.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{Certificate, Identity, TlsOptions};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::connect::{Options, Password, Tls, User};
use crate::Error;

/// The files, and what was in them when they last made sense.
///
/// Whoever renews certificates writes several files, one after the other. What is there in between,
/// such as a new certificate beside the old key, is not used: the last good state stays until the
/// next one is whole.
pub(super) struct Files {
    tls: Tls,
    user: Option<User>,
    every: Duration,
    state: Mutex<State>,
}

struct State {
    access: Arc<Access>,
    looked: Instant,
    complaint: Option<String>,
}

/// What was in the files at one moment. Never printed: it has the key and the password.
pub(super) struct Access {
    /// Larger for what was read later.
    pub(super) number: u64,
    contents: Contents,
}

#[derive(Default, Eq, PartialEq)]
struct Contents {
    authority: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    user: Option<(String, String)>,
}

impl Files {
    /// Reads them for the first time, when everything has to be right.
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        let (tls, user) = (options.tls.clone(), options.user.clone());
        let contents = Contents::read(&tls, user.as_ref())?;
        let access = Arc::new(Access { number: 0, contents });
        let state = Mutex::new(State { access, looked: Instant::now(), complaint: None });
        Ok(Self { tls, user, every: options.reread, state })
    }

    /// What is in the files, as of a while ago at most.
    pub(super) fn lately(&self) -> Arc<Access> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < self.every {
            return Arc::clone(&state.access);
        }
        drop(state);
        self.now()
    }

    /// What is in the files now. They are few and small: reading them holds nobody up.
    pub(super) fn now(&self) -> Arc<Access> {
        let found = Contents::read(&self.tls, self.user.as_ref());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.looked = Instant::now();
        match found {
            Ok(contents) if contents == state.access.contents => state.complaint = None,
            Ok(contents) => {
                tracing::info!("the certificates or the password for etcd were renewed");
                let number = state.access.number + 1;
                state.access = Arc::new(Access { number, contents });
                state.complaint = None;
            }
            Err(error) => {
                let complaint = Some(error.to_string());
                if state.complaint != complaint {
                    tracing::warn!(
                        "{error}: going on with the certificates and the password of before"
                    );
                    state.complaint = complaint;
                }
            }
        }
        Arc::clone(&state.access)
    }
}

impl Access {
    /// For an `https://` endpoint.
    pub(super) fn tls(&self) -> TlsOptions {
        let mut options = TlsOptions::new();
        options = match &self.contents.authority {
            Some(pem) => options.ca_certificate(Certificate::from_pem(pem)),
            None => options.with_enabled_roots(),
        };
        match &self.contents.identity {
            Some((certificate, key)) => options.identity(Identity::from_pem(certificate, key)),
            None => options,
        }
    }

    /// Name and password.
    pub(super) fn user(&self) -> Option<(&str, &str)> {
        self.contents.user.as_ref().map(|(name, password)| (name.as_str(), password.as_str()))
    }
}

impl Contents {
    fn read(tls: &Tls, user: Option<&User>) -> Result<Self, Error> {
        let authority = tls.ca_file.as_deref().map(authority).transpose()?;
        let identity = match (&tls.cert_file, &tls.key_file) {
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            (None, None) => None,
            (Some(_), None) => return Err(Error::HalfIdentity { missing: "key" }),
            (None, Some(_)) => return Err(Error::HalfIdentity { missing: "certificate" }),
        };
        let user = match user {
            Some(User { name, password }) => Some((name.clone(), word(password)?)),
            None => None,
        };
        Ok(Self { authority, identity, user })
    }
}

fn authority(path: &Path) -> Result<Vec<u8>, Error> {
    let text = read(path)?;
    certificates(path, &text)?;
    Ok(text)
}

/// A certificate and its key, if they belong together.
fn identity(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let (chain, secret) = (read(certificate)?, read(key)?);
    let parsed = certificates(certificate, &chain)?;
    let nothing = || Error::NotPem { path: key.to_owned(), wanted: "private key" };
    let parsed_key = PrivateKeyDer::from_pem_slice(&secret).map_err(|_not_pem| nothing())?;
    CertifiedKey::from_der(parsed, parsed_key, &ring::default_provider()).map_err(|source| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Error::Identity { certificate, key, source }
    })?;
    Ok((chain, secret))
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wanted = "certificate";
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let found = found.ok().filter(|certificates| !certificates.is_empty());
    found.ok_or_else(|| Error::NotPem { path: path.to_owned(), wanted })
}

fn word(password: &Password) -> Result<String, Error> {
    let path = match password {
        Password::Word(word) => return Ok(word.clone()),
        Password::File(path) => path,
    };
    let text = read(path)?;
    let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
    if line.is_empty() {
        return Err(Error::NoPassword { path: path.to_owned() });
    }
    Ok(line)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::ReadFile { path: path.to_owned(), source })
}
