//! Encryption of connections: the CA bundle that is trusted, and the client certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::error::TlsError;
use crate::file_stamps::FileStamps;

/// The files of certificates and keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CA bundle, a PEM file; without it the CA certificates of the system are trusted.
    pub ca: Option<PathBuf>,
    /// The client certificate (mTLS), a PEM file.
    pub cert: Option<PathBuf>,
    /// The key of the client certificate, a PEM file.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate has to have, where the URL has another.
    pub server_name: Option<String>,
}

/// The encryption of connections. Files that have changed are read again for each new connection, as certificates are
/// renewed while a program runs.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    /// The name that the server's certificate has to have, where it is not the address's.
    pub(super) server_name: Option<ServerName<'static>>,
    /// The contents of the files; all clones share them.
    loaded: Arc<Mutex<Loaded>>,
}

/// The contents of the files.
struct Loaded {
    config: Arc<ClientConfig>,
    /// The bytes of the files, by which two values are compared.
    contents: Vec<Vec<u8>>,
    stamps: FileStamps,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Tls) -> bool {
        if self.files != other.files {
            return false;
        }
        if Arc::ptr_eq(&self.loaded, &other.loaded) {
            return true;
        }
        // One after the other: two comparisons in opposite order would otherwise wait for each other.
        let contents = self.loaded().contents.clone();
        contents == other.loaded().contents
    }
}

impl Eq for Tls {}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// A file cannot be read or does not have what it should; the error names the file.
    pub fn new(files: &TlsFiles) -> Result<Tls, TlsError> {
        let loaded = Loaded::read(files)?;
        let name = |text: &String| {
            ServerName::try_from(text.clone())
                .map_err(|_| TlsError::InvalidServerName { name: text.clone() })
        };
        Ok(Tls {
            server_name: files.server_name.as_ref().map(name).transpose()?,
            loaded: Arc::new(Mutex::new(loaded)),
            files: files.clone(),
        })
    }

    /// Returns trust and identity by the files as they are now. While the files are not consistent (one was replaced,
    /// the other not yet) the previous contents are used.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let mut loaded = self.loaded();
        if loaded.stamps.changed() {
            match Loaded::read(&self.files) {
                Ok(fresh) => *loaded = fresh,
                Err(error) => {
                    tracing::warn!("{error}; the previous certificates stay in use");
                    // One message for each change.
                    loaded.stamps = stamps(&self.files);
                }
            }
        }
        loaded.config.clone()
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock()
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
    fn read(files: &TlsFiles) -> Result<Loaded, TlsError> {
        let stamps = stamps(files);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .with_root_certificates(roots(files.ca.as_deref())?);
        let config = match (&files.cert, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let secret =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::UnreadableKey {
                        path: key.display().to_string(),
                        reason: error.to_string(),
                    })?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| TlsError::Mismatch {
                        certificate: cert.display().to_string(),
                        key: key.display().to_string(),
                        reason: error.to_string(),
                    })?
            }
            _ => return Err(TlsError::Incomplete),
        };
        // A file that is not given and one that cannot be read a second time count as empty.
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

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| TlsError::Untrusted {
                        path: path.display().to_string(),
                        reason: error.to_string(),
                    })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemCertificates);
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable =
        |error: tokio_rustls::rustls::pki_types::pem::Error| TlsError::UnreadableCertificates {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect();
    match read.map_err(unreadable)? {
        none if none.is_empty() => Err(TlsError::NoCertificate {
            path: path.display().to_string(),
        }),
        some => Ok(some),
    }
}
