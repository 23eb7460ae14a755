//! The name lookups of the HTTP client, which count against the limit of all lookups of the program.
//!
//! hyper-util's own resolver has no limit: while a name server does not answer, its lookups could take every thread of
//! tokio's blocking pool, on which files are written.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use agg_client::connect::lookup;

/// A resolver of names.
#[derive(Clone)]
pub struct Resolver;

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        // The connector sets the port.
        Box::pin(async move { Ok(lookup(name.as_str(), 0).await?.into_iter()) })
    }
}
