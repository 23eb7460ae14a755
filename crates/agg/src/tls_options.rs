//! Options of encrypted connections.

use std::path::PathBuf;

use agg_client::connect::TlsFiles;

/// The files of certificates and keys.
#[derive(clap::Args)]
pub struct TlsOptions {
    /// rediss://: PEM file of the CA bundle to trust [default: the system's]
    #[arg(
        long = "tls-ca",
        global = true,
        value_name = "FILE",
        env = "AGG_TLS_CA"
    )]
    ca: Option<PathBuf>,
    /// rediss://: PEM file of the client certificate (mTLS)
    #[arg(
        long = "tls-cert",
        global = true,
        value_name = "FILE",
        env = "AGG_TLS_CERT"
    )]
    cert: Option<PathBuf>,
    /// rediss://: PEM file of the client certificate's key
    #[arg(
        long = "tls-key",
        global = true,
        value_name = "FILE",
        env = "AGG_TLS_KEY"
    )]
    key: Option<PathBuf>,
    /// rediss://: the name to expect in the server's certificate [default: the host of the URL]
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
