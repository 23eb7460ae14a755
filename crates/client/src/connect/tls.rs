//! Encrypted connections: whom they trust and who they say we are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::FileStamps;
use crate::messages::warn;

/// The files of certificates and keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CA bundle, a PEM file; without it the certificates of the system are trusted.
    pub ca: Option<PathBuf>,
    /// The client certificate (mTLS), a PEM file.
    pub cert: Option<PathBuf>,
    /// The key of the client certificate, a PEM file.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate has to have, where the URL has another.
    pub server_name: Option<String>,
}

/// How encrypted connections are made. The files are read again when they have changed, for each new connection: as
/// certificates are renewed while a program runs.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    /// The name that the server's certificate has to be of, where it is not the address's.
    pub server_name: Option<ServerName<'static>>,
    /// What was in the files; all copies have the same.
    loaded: Arc<Mutex<Loaded>>,
}

/// What was in the files.
struct Loaded {
    /// Trust and identity.
    config: Arc<ClientConfig>,
    /// The files as they are, by which it is compared.
    contents: Vec<Vec<u8>>,
    stamps: FileStamps,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Tls) -> bool {
        self.files == other.files
            && (Arc::ptr_eq(&self.loaded, &other.loaded)
                || self.loaded().contents == other.loaded().contents)
    }
}

impl Eq for Tls {}

impl Tls {
    /// Reads the files.
    ///
    /// Returns an error, which names the file, if one cannot be read or does not hold what it should.
    pub fn new(files: &TlsFiles) -> Result<Tls, String> {
        let loaded = Loaded::read(files)?;
        let name = |text: &String| {
            ServerName::try_from(text.clone())
                .map_err(|_| format!("{text:?} is not the name of a server"))
        };
        Ok(Tls {
            server_name: files.server_name.as_ref().map(name).transpose()?,
            loaded: Arc::new(Mutex::new(loaded)),
            files: files.clone(),
        })
    }

    /// Trust and identity, of the files as they are now. Where these are not as they should be (one was replaced and the
    /// other will be) what was read before holds.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut loaded = self.loaded();
        if loaded.stamps.changed() {
            match Loaded::read(&self.files) {
                Ok(fresh) => *loaded = fresh,
                Err(why) => {
                    warn(&format!("{why}; what was read before stays in force"));
                    // Told once for each change.
                    loaded.stamps = stamps(&self.files);
                }
            }
        }
        loaded.config.clone()
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(files: &TlsFiles) -> FileStamps {
    let mut stamps = FileStamps::default();
    for file in [&files.ca, &files.cert, &files.key].into_iter().flatten() {
        stamps.note(file);
    }
    stamps
}

impl Loaded {
    fn read(files: &TlsFiles) -> Result<Loaded, String> {
        let stamps = stamps(files);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(files.ca.as_deref())?);
        let config = match (&files.cert, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                    format!("cannot read a key from {}: {error}", key.display())
                })?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| {
                        let (cert, key) = (cert.display(), key.display());
                        format!("{cert} and {key} do not fit together: {error}")
                    })?
            }
            _ => {
                return Err(
                    "a certificate of ours needs its key, and a key its certificate".into(),
                );
            }
        };
        // Those that are not given, and those that cannot be read a second time, are alike.
        let given = [&files.ca, &files.cert, &files.key];
        let contents = given.map(|file| file.as_ref().and_then(|path| std::fs::read(path).ok()));
        Ok(Loaded {
            config: Arc::new(config),
            contents: contents
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect(),
            stamps,
        })
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                let place = path.display();
                roots
                    .add(certificate)
                    .map_err(|error| format!("cannot trust what is in {place}: {error}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no authorities to trust: name a file of them".into());
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let place = path.display();
    let unread = |error| format!("cannot read certificates from {place}: {error}");
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(unread)?
        .collect();
    match read.map_err(unread)? {
        none if none.is_empty() => Err(format!("there is no certificate in {place}")),
        some => Ok(some),
    }
}
