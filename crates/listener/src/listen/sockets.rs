//! The sockets that are open, by their addresses.
//!
//! # Invariants
//!
//! A socket whose address is in the old and in the new configuration is the same, and so is its protocol: connections that
//! stay open are read by the protocol that they began with.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use tokio::task::JoinSet;

use crate::net::datagram::Datagrams;
use crate::net::http::Routes;
use crate::net::stream::Streams;
use crate::net::{Address, ListenError};

/// Attempts to find a port that is free for datagrams and connections.
const MAX_PORT_ATTEMPTS: u32 = 16;

/// See the [module](self).
#[derive(Clone, Default)]
pub(super) struct Sockets {
    protocols: HashMap<Address, &'static str>,
    datagrams: HashMap<Address, Arc<Datagrams>>,
    streams: HashMap<Address, Arc<Streams>>,
    /// The routes of those of `streams` that serve HTTP.
    routes: HashMap<Address, Arc<Routes>>,
}

impl Sockets {
    /// Reserves an address for a protocol.
    ///
    /// # Errors
    ///
    /// It had another protocol in `old`.
    pub fn reserve(
        &mut self,
        old: &Sockets,
        address: &Address,
        protocol: &'static str,
    ) -> Result<(), ListenError> {
        if let Some(before) = old.protocols.get(address)
            && *before != protocol
        {
            return Err(ListenError {
                address: address.clone(),
                error: io::Error::other(format!(
                    "a reload cannot change its protocol from {before} to {protocol}; restart the listener"
                )),
            });
        }
        self.protocols.insert(address.clone(), protocol);
        Ok(())
    }

    /// Returns the socket for the datagrams of an address: that of `old`, or a new one. `buffer` is the size of a new one's
    /// queue in the kernel, bytes.
    pub fn datagrams(
        &mut self,
        old: &Sockets,
        address: &Address,
        buffer: usize,
    ) -> Result<Arc<Datagrams>, ListenError> {
        let socket = match old.datagrams.get(address) {
            Some(socket) => socket.clone(),
            None => Arc::new(Datagrams::bind(address, buffer)?),
        };
        self.datagrams.insert(address.clone(), socket.clone());
        Ok(socket)
    }

    /// Returns the socket for the connections of an address: that of `old`, or a new one.
    pub async fn streams(
        &mut self,
        old: &Sockets,
        address: &Address,
    ) -> Result<Arc<Streams>, ListenError> {
        let socket = match old.streams.get(address) {
            Some(socket) => socket.clone(),
            None => Arc::new(Streams::bind(address).await?),
        };
        self.streams.insert(address.clone(), socket.clone());
        Ok(socket)
    }

    /// Returns the routes of an address: those of `old`, which still have to be replaced, or new ones.
    pub fn routes(&mut self, old: &Sockets, address: &Address, router: &Router) -> Arc<Routes> {
        let routes = match old.routes.get(address) {
            Some(routes) => routes.clone(),
            None => Arc::new(Routes::new(router.clone())),
        };
        self.routes.insert(address.clone(), routes.clone());
        routes
    }

    /// Closes the connections of the sockets that are not in `kept`, and waits for them.
    pub async fn close(self, kept: &Sockets) {
        let mut closing = JoinSet::new();
        for (address, socket) in self.streams {
            if !kept.streams.contains_key(&address) {
                closing.spawn(async move { socket.close().await });
            }
        }
        closing.join_all().await;
    }

    /// Returns the sockets for datagrams and, unless it is a Unix socket, for connections. With port 0 both have the same
    /// port, which the system has chosen.
    pub async fn both(
        &mut self,
        old: &Sockets,
        address: &Address,
        buffer: usize,
    ) -> Result<(Arc<Datagrams>, Option<Arc<Streams>>), ListenError> {
        let Address::Ip(ip) = address else {
            return Ok((self.datagrams(old, address, buffer)?, None));
        };
        let mut attempts = if ip.port() == 0 { MAX_PORT_ATTEMPTS } else { 1 };
        loop {
            let streams = self.streams(old, address).await?;
            attempts -= 1;
            match self.datagrams(old, streams.address(), buffer) {
                Ok(datagrams) => return Ok((datagrams, Some(streams))),
                // The port that was free for connections is not free for datagrams.
                Err(_) if attempts > 0 => drop(self.streams.remove(address)),
                Err(error) => return Err(error),
            }
        }
    }
}
