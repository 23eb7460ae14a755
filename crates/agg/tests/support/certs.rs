//! Certificates of a test CA, in files.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A directory with `ca.pem`, and `server.pem` and `client.pem` with their keys in `server.key` and `client.key`.
/// `other.pem` is a CA that signed none of them.
pub struct Certs(tempfile::TempDir);

impl Certs {
    /// Creates the files; the certificate of the server has only this name.
    pub fn new(name: &str) -> Certs {
        let certs = Certs(tempfile::tempdir().unwrap());
        let authority = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ca, other) = (authority("an authority"), authority("another"));
        let write = |file: &str, text: String| std::fs::write(certs.path(file), text).unwrap();
        write("ca.pem", ca.pem());
        write("other.pem", other.pem());
        for (file, name) in [("server", name), ("client", "client.example")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            // With the subject of the CA it would pass for the certificate of the CA.
            params.distinguished_name.push(DnType::CommonName, name);
            write(
                &format!("{file}.pem"),
                params.signed_by(&key, &ca).unwrap().pem(),
            );
            write(&format!("{file}.key"), key.serialize_pem());
        }
        certs
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir().join(file)
    }

    /// Returns the arguments of a server with mTLS on this port.
    pub fn arguments(&self, port: u16) -> Vec<String> {
        let path = |file: &str| self.path(file).display().to_string();
        let pairs = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path("server.pem")),
            ("--tls-key-file", path("server.key")),
            ("--tls-ca-cert-file", path("ca.pem")),
            ("--tls-auth-clients", "yes".into()),
        ];
        let words = pairs.into_iter().flat_map(|(n, v)| [n.to_owned(), v]);
        words.collect()
    }
}
