//! Name lookups, limited in number.
//!
//! A running lookup cannot be cancelled: while a name server does not answer, each lookup occupies a thread of tokio's
//! blocking pool long after its caller gave up. The limit leaves threads of the pool (512 by default) for files.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The maximum number of lookups that run at the same time in a process; further ones wait.
const MAX_LOOKUPS: usize = 64;

static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Returns the addresses of a host. An IP address is returned as it is, without waiting for lookups.
///
/// # Errors
///
/// Returns an error if the name cannot be resolved.
pub async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let lookup = spawn_blocking(move || {
        // Kept until the lookup ends, even if nobody waits for the result any more.
        let _permit = permit;
        (host.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect)
    });
    lookup.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn name_needs_a_permit_and_an_ip_address_none() {
        let all = LOOKUPS.acquire_many(MAX_LOOKUPS as u32).await.unwrap();
        let addresses = lookup("::1", 7777).await.unwrap();
        assert_eq!(addresses, ["[::1]:7777".parse().unwrap()]);
        let waits = timeout(Duration::from_millis(50), lookup("localhost", 7777));
        assert!(waits.await.is_err(), "a name needs a permit");
        drop(all);
        assert!(!lookup("localhost", 7777).await.unwrap().is_empty());
    }
}
