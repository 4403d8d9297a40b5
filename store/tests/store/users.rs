//! The users of an etcd, made by its root.

use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, Permission, TlsOptions, UserAddOptions,
};
use twill_store::Tls;

use crate::support::Throwaway;

/// What root may do. Logs in anew each time, because a login ends with each change of the users.
pub(crate) struct Users {
    url: String,
    tls: Option<TlsOptions>,
    login: Option<(&'static str, &'static str)>,
}

impl Users {
    /// Makes root, the role of a host, and nothing else; until [`Users::insist`], nobody is asked.
    pub(crate) async fn of(etcd: &Throwaway, tls: Option<&Tls>) -> Self {
        let users = Self { url: etcd.url(), tls: tls.map(options), login: None };
        let mut root = users.root().await;
        root.role_add("root").await.unwrap();
        root.user_add("root", "secret", None).await.unwrap();
        root.user_grant_role("root", "root").await.unwrap();
        root.role_add("host").await.unwrap();
        let all = Permission::read_write("/coreos.com/network/").with_prefix();
        root.role_grant_permission("host", all).await.unwrap();
        users
    }

    /// Those of an etcd that insists on them already.
    pub(crate) fn with_login(etcd: &Throwaway, login: (&'static str, &'static str)) -> Self {
        Self { url: etcd.url(), tls: None, login: Some(login) }
    }

    pub(crate) async fn add(&mut self, name: &str, password: &str) {
        self.add_without_role(name, password).await;
        self.root().await.user_grant_role(name, "host").await.unwrap();
    }

    pub(crate) async fn add_without_role(&mut self, name: &str, password: &str) {
        let options = Some(UserAddOptions::new());
        self.root().await.user_add(name, password, options).await.unwrap();
    }

    pub(crate) async fn change(&mut self, name: &str, password: &str) {
        self.root().await.user_change_password(name, password).await.unwrap();
    }

    /// From now on etcd asks everybody who they are.
    pub(crate) async fn insist(&mut self) {
        self.root().await.auth_enable().await.unwrap();
        self.login = Some(("root", "secret"));
    }

    /// Writes a lease of somebody else.
    pub(crate) async fn put(&self, third: u8) {
        let key = format!("/coreos.com/network/subnets/10.88.{third}.0-24");
        self.root().await.put(key, r#"{"PublicIP":"192.0.2.1"}"#, None).await.unwrap();
    }

    async fn root(&self) -> Client {
        let mut options = ConnectOptions::new();
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.clone());
        }
        if let Some((name, password)) = self.login {
            options = options.with_user(name, password);
        }
        Client::connect([&self.url], Some(options)).await.unwrap()
    }
}

fn options(tls: &Tls) -> TlsOptions {
    let read = |path: &Option<_>| path.as_ref().map(|path| std::fs::read(path).unwrap());
    let authority = Certificate::from_pem(read(&tls.ca_file).unwrap());
    let options = TlsOptions::new().ca_certificate(authority);
    match (read(&tls.cert_file), read(&tls.key_file)) {
        (Some(certificate), Some(key)) => options.identity(Identity::from_pem(certificate, key)),
        _none => options,
    }
}
