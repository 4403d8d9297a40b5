//! Authorities, certificates and keys, in a directory of their own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use twill_store::Tls;

use crate::support::command;

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// Authorities, certificates and keys: `NAME.pem` and `NAME.key` of each.
pub(crate) struct Certificates {
    dir: TempDir,
}

/// What a certificate says.
#[derive(Clone, Copy)]
pub(crate) struct Says<'a> {
    pub(crate) authority: &'a str,
    /// Common name.
    pub(crate) name: &'a str,
    pub(crate) address: &'a str,
    /// From now; negative when it is over.
    pub(crate) days: i32,
}

impl Default for Says<'_> {
    fn default() -> Self {
        Self { authority: "ca", name: "etcd", address: "IP:127.0.0.1", days: 2 }
    }
}

impl Certificates {
    /// An authority `ca`, which signed `server`, and an authority `other`.
    pub(crate) fn new() -> Self {
        let certificates = Self { dir: tempfile::tempdir().unwrap() };
        certificates.authority("ca");
        certificates.authority("other");
        certificates.sign("server", Says::default());
        certificates
    }

    pub(crate) fn authority(&self, name: &str) {
        let subject = format!("-subj /CN={name}");
        self.openssl(&format!("req -x509 {KEY} -keyout {name}.key -out {name}.pem {subject}"));
    }

    pub(crate) fn sign(&self, file: &str, says: Says<'_>) {
        let Says { authority, name, address, days } = says;
        self.openssl(&format!("req {KEY} -keyout {file}.key -out {file}.csr -subj /CN={name}"));
        std::fs::write(self.dir.path().join("ext"), format!("subjectAltName={address}\n")).unwrap();
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
             -days {days} -extfile ext -out {file}.pem"
        ));
    }

    /// Puts one file into the place of another at once, as whoever renews certificates does.
    pub(crate) fn replace(&self, old: &str, new: &str) {
        let aside = self.dir.path().join("aside");
        std::fs::copy(self.dir.path().join(new), &aside).unwrap();
        std::fs::rename(aside, self.dir.path().join(old)).unwrap();
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.dir.path().join(file), text).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// etcd's own options.
    pub(crate) fn server(&self, name: &str) -> Vec<String> {
        let file = |end: &str| self.file(&format!("{name}.{end}"));
        vec!["--cert-file".to_owned(), file("pem"), "--key-file".to_owned(), file("key")]
    }

    /// The same, and who its clients' certificates must be of.
    pub(crate) fn strict(&self, name: &str, authority: &str) -> Vec<String> {
        let mut options = self.server(name);
        options.extend(["--client-cert-auth".to_owned(), "--trusted-ca-file".to_owned()]);
        options.push(self.file(&format!("{authority}.pem")));
        options
    }

    /// A client's.
    pub(crate) fn client(&self, authority: &str, identity: Option<&str>) -> Tls {
        let file = |name: &str, end: &str| self.path(&format!("{name}.{end}"));
        Tls {
            ca_file: Some(file(authority, "pem")),
            cert_file: identity.map(|name| file(name, "pem")),
            key_file: identity.map(|name| file(name, "key")),
        }
    }

    pub(crate) fn openssl(&self, arguments: &str) {
        let dir: &Path = self.dir.path();
        let output = command("openssl").args(arguments.split(' ')).current_dir(dir).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
