//! Errors of the client.
//!
//! # Invariants
//!
//! No message shows a user's name or a password, even of a URL that cannot be read.

use std::fmt;

/// An error reply: its code, which is the first word, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The code, such as `ERR`, `WRONGTYPE` or `AGGFULL`.
    pub code: String,
    /// The text behind the code.
    pub detail: String,
}

impl ServerError {
    /// Reads the text of an error reply.
    pub fn parse(text: &str) -> ServerError {
        let (code, detail) = text.split_once(' ').unwrap_or((text, ""));
        ServerError {
            code: code.to_owned(),
            detail: detail.to_owned(),
        }
    }

    /// Returns whether the user lacks the right to the command or the key.
    pub fn is_permission_denied(&self) -> bool {
        self.code == "NOPERM"
    }

    /// Returns whether the user may not run the command with any key, if the permission is denied. The words are the same
    /// in all versions of Redis and Valkey since 6.0.
    pub fn denies_command(&self) -> bool {
        self.is_permission_denied() && self.detail.contains("to run the")
    }

    /// Returns whether a server rejects all writes at present: it is a replica that was the primary or will be, has too few
    /// replicas, cannot save, or is beyond its `maxmemory`; or the slot of the node is on another member of the cluster.
    pub fn rejects_writes(&self) -> bool {
        let codes = ["READONLY", "NOREPLICAS", "MISCONF", "OOM", "MOVED", "ASK"];
        codes.contains(&self.code.as_str())
    }

    /// Returns whether the key is not, or no longer, a node on this server: it holds another type, or its slot is on
    /// another server.
    pub fn is_elsewhere(&self) -> bool {
        ["WRONGTYPE", "MOVED", "ASK"].contains(&self.code.as_str())
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => f.write_str(&self.code),
            detail => write!(f, "{} {detail}", self.code),
        }
    }
}

impl std::error::Error for ServerError {}

/// The reason why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection was made.
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable {
        /// The server.
        endpoint: String,
        /// The reason.
        reason: String,
    },
    /// The connection failed. Commands without a reply may or may not have been carried out.
    #[error("lost {endpoint}: {reason}")]
    Lost {
        /// The server.
        endpoint: String,
        /// The reason.
        reason: String,
    },
    /// The server cannot answer at present: it loads its data, or a script is running.
    #[error("{endpoint} cannot answer now: {error}")]
    Unavailable {
        /// The server.
        endpoint: String,
        /// The reply.
        error: ServerError,
    },
    /// A member of a cluster reports that the cluster is down.
    #[error("{endpoint} reports that its cluster is down; its view of the cluster is ignored")]
    ClusterDown {
        /// The member.
        endpoint: String,
    },
    /// The server requires a password and none was given.
    #[error("{endpoint} requires a password{}", appended(": ", .help))]
    PasswordRequired {
        /// The server.
        endpoint: String,
        /// The advice of the program: [`Access::password_help`](crate::connect::Access::password_help).
        help: &'static str,
    },
    /// The user or the password is wrong.
    #[error("{endpoint} does not accept the user or password")]
    PasswordRejected {
        /// The server.
        endpoint: String,
    },
    /// The server does not know the module's commands.
    #[error(
        "the server {endpoint} does not have the aggregator module: start it with --loadmodule libaggregator.so"
    )]
    NoModule {
        /// The server.
        endpoint: String,
    },
    /// The server rejects a command that all further work depends on.
    #[error("{endpoint} rejects {what}: {error}")]
    Rejected {
        /// The server.
        endpoint: String,
        /// The command, or what it is for.
        what: String,
        /// The reply.
        error: ServerError,
    },
    /// A command was answered with an error.
    #[error(transparent)]
    Command(#[from] ServerError),
    /// A reply is not one of the command.
    #[error(
        "{endpoint} sent an unexpected reply to {command}; are client and server of the same version?"
    )]
    UnexpectedReply {
        /// The server.
        endpoint: String,
        /// The command.
        command: String,
    },
    /// Another server named an address outside of the networks that are allowed.
    #[error(
        "not connecting to {endpoint} and not sending it a password: another server named it, and {address} is \
         outside of {networks}{}",
        appended("; ", .help)
    )]
    NotAllowed {
        /// The server.
        endpoint: String,
        /// Its address.
        address: String,
        /// The networks that are allowed, and where they come from.
        networks: String,
        /// The advice of the program: [`Allowlist::with_help`](crate::connect::Allowlist::with_help).
        help: &'static str,
    },
    /// A Sentinel does not know a service.
    #[error(
        "the Sentinel {endpoint} does not know the service {service:?}, or this user may not ask for it"
    )]
    UnknownService {
        /// The Sentinel.
        endpoint: String,
        /// The service.
        service: String,
    },
}

impl ClientError {
    /// Returns whether the same call may succeed later without a change of the configuration or of the server.
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            ClientError::Unreachable { .. }
                | ClientError::Lost { .. }
                | ClientError::Unavailable { .. }
                | ClientError::ClusterDown { .. }
        )
    }

    /// Returns the error of a reply that speaks of the server rather than of one command.
    /// `password_help` is that of the server's [`Access`](crate::connect::Access).
    pub(crate) fn of_server(
        error: &ServerError,
        endpoint: &str,
        password_help: &'static str,
    ) -> Option<ClientError> {
        let endpoint = || endpoint.to_owned();
        match error.code.as_str() {
            // A module of version 0.1 has all commands but this one.
            "ERR" if error.detail.starts_with("unknown command 'AGG.HIST'") => None,
            "ERR" if error.detail.starts_with("unknown command") => Some(ClientError::NoModule {
                endpoint: endpoint(),
            }),
            "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => {
                Some(ClientError::Unavailable {
                    endpoint: endpoint(),
                    error: error.clone(),
                })
            }
            "NOAUTH" => Some(ClientError::PasswordRequired {
                endpoint: endpoint(),
                help: password_help,
            }),
            _ => None,
        }
    }
}

/// Returns an advice with what separates it from the message before it; nothing if there is no advice.
fn appended(separator: &str, help: &str) -> String {
    match help {
        "" => String::new(),
        help => format!("{separator}{help}"),
    }
}

impl From<ClientError> for String {
    fn from(error: ClientError) -> String {
        error.to_string()
    }
}

/// An error in a server's URL. It is safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The URL has a mistake.
    #[error(
        "the server's URL {url:?} is not usable ({reason}): expected redis://[user][:password]@host[:port][/db], \
         rediss:// likewise, or unix:///path"
    )]
    Invalid {
        /// The URL without user and password.
        url: String,
        /// The reason why it cannot be read.
        reason: String,
    },
    /// The connection is to be encrypted, and that is not possible.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<UrlError> for String {
    fn from(error: UrlError) -> String {
        error.to_string()
    }
}

/// The reason why connections cannot be encrypted as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates cannot be read.
    #[error("cannot read certificates from {path}: {reason}")]
    UnreadableCertificates {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A file has no certificate.
    #[error("there is no certificate in {path}")]
    NoCertificate {
        /// The file.
        path: String,
    },
    /// A CA bundle has something that cannot be trusted.
    #[error("cannot trust what is in {path}: {reason}")]
    Untrusted {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A key cannot be read.
    #[error("cannot read a key from {path}: {reason}")]
    UnreadableKey {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// Certificate and key are of different pairs.
    #[error("{certificate} and {key} do not fit together: {reason}")]
    Mismatch {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// The reason.
        reason: String,
    },
    /// One of certificate and key is missing.
    #[error("a client certificate needs its key, and a key its certificate")]
    Incomplete,
    /// The system has no CA certificates, and no CA bundle was named.
    #[error("this system has no CA certificates: name a CA bundle")]
    NoSystemCertificates,
    /// The name that the server's certificate is to have is not one.
    #[error("{name:?} is not the name of a server")]
    InvalidServerName {
        /// The name.
        name: String,
    },
    /// The TLS library rejects its settings.
    #[error("cannot encrypt connections: {0}")]
    Setup(String),
}

impl From<TlsError> for String {
    fn from(error: TlsError) -> String {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_error_keeps_its_text() {
        for text in ["ERR no such key", "WRONGTYPE", "AGGFULL agg.max-memory: x"] {
            assert_eq!(ServerError::parse(text).to_string(), text);
        }
        let error = ServerError::parse("AGGFULL agg.max-memory");
        assert_eq!(
            (error.code.as_str(), error.detail.as_str()),
            ("AGGFULL", "agg.max-memory")
        );
    }

    #[test]
    fn errors_of_the_server_differ_from_those_of_a_command() {
        let of_server = |text: &str| {
            ClientError::of_server(&ServerError::parse(text), "redis://h:1", "set PASSWORD")
        };
        let unknown = "ERR unknown command 'AGG.LOG', with args beginning with: 'n'";
        assert_eq!(
            of_server(unknown).unwrap().to_string(),
            "the server redis://h:1 does not have the aggregator module: start it with --loadmodule \
             libaggregator.so"
        );
        let newer = "ERR unknown command 'AGG.HIST', with args beginning with: 'n'";
        assert_eq!(of_server(newer), None);
        assert!(of_server("LOADING x").unwrap().is_retriable());
        let no_auth = of_server("NOAUTH x").unwrap();
        assert!(!no_auth.is_retriable());
        assert_eq!(
            no_auth.to_string(),
            "redis://h:1 requires a password: set PASSWORD"
        );
        let no_auth = ClientError::of_server(&ServerError::parse("NOAUTH"), "redis://h:1", "");
        assert_eq!(
            no_auth.unwrap().to_string(),
            "redis://h:1 requires a password"
        );
        assert_eq!(of_server("AGGFULL x"), None);
        assert_eq!(of_server("ERR bad value"), None);
    }
}
