//! How a sink reaches a target that is a server.

use crate::support::proxy::Proxy;

use super::super::target::Fault;

/// A proxy in front of a server, and the port that the sink connects to.
pub struct Route {
    pub proxy: Proxy,
    /// Of the server itself when it is to be down, so that it is the connection that fails.
    pub port: u16,
}

impl Route {
    /// Returns the way to the port of a server.
    pub fn to(server: u16, fault: Fault) -> Route {
        let proxy = Proxy::start(server);
        let port = match fault {
            Fault::Away => server,
            _ => proxy.port,
        };
        Route { proxy, port }
    }
}
