//! Options of encrypted connections.

use std::path::PathBuf;

use agg_client::connect::TlsFiles;

/// The files of certificates and keys.
#[derive(clap::Args)]
pub struct TlsOptions {
    /// rediss://: the authorities that are trusted, a PEM file; without it those of the system
    #[arg(
        long = "tls-ca",
        global = true,
        value_name = "FILE",
        env = "AGG_TLS_CA"
    )]
    ca: Option<PathBuf>,
    /// rediss://: our certificate, a PEM file
    #[arg(
        long = "tls-cert",
        global = true,
        value_name = "FILE",
        env = "AGG_TLS_CERT"
    )]
    cert: Option<PathBuf>,
    /// rediss://: the key of our certificate, a PEM file
    #[arg(
        long = "tls-key",
        global = true,
        value_name = "FILE",
        env = "AGG_TLS_KEY"
    )]
    key: Option<PathBuf>,
    /// rediss://: the name that the server's certificate has to be of, where the URL has another
    #[arg(long = "tls-server-name", global = true, value_name = "NAME")]
    server_name: Option<String>,
}

impl From<TlsOptions> for TlsFiles {
    fn from(options: TlsOptions) -> TlsFiles {
        TlsFiles {
            ca: options.ca,
            cert: options.cert,
            key: options.key,
            server_name: options.server_name,
        }
    }
}
