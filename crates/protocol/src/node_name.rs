//! The name of a node.

use std::ffi::OsString;

/// The name of a node: any bytes, as the key of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(pub Vec<u8>);

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl From<OsString> for NodeName {
    fn from(name: OsString) -> Self {
        NodeName(name.into_encoded_bytes())
    }
}

impl AsRef<[u8]> for NodeName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
