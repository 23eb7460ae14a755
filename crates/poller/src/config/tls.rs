//! TLS settings of the connections of sinks.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// A client certificate with its chain, and its private key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The TLS settings of a sink: its CA bundle and client certificate.
#[derive(Clone)]
pub struct TlsSettings {
    /// The settings as the client library takes them.
    pub config: Arc<ClientConfig>,
    /// The settings for an https:// proxy: the same CA certificates, and no client certificate.
    pub for_proxy: Arc<ClientConfig>,
    /// The contents of the files, by which settings are compared.
    pub(super) files: Vec<Vec<u8>>,
}

impl PartialEq for TlsSettings {
    fn eq(&self, other: &TlsSettings) -> bool {
        self.files == other.files
    }
}

impl Eq for TlsSettings {}

/// Creates settings with the trusted CA certificates and the client certificate.
///
/// # Errors
///
/// Returns an error if certificate and key do not belong together.
pub fn with(roots: RootCertStore, identity: Option<Identity>) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    }
    .into())
}

/// Returns the CA certificates of the system. If there are none, a connection fails with "unknown issuer".
pub fn roots_of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Returns the settings that trust the system's CA certificates. They are read once.
pub fn of_system() -> Arc<ClientConfig> {
    static SETTINGS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let create = || match with(roots_of_system(), None) {
        Ok(settings) => settings,
        // The provider supports the default versions.
        Err(error) => unreachable!("{error}"),
    };
    SETTINGS.get_or_init(create).clone()
}
