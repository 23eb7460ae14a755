//! The addresses to which a server may lead the client: a member of a cluster, or a Sentinel, may name any address, and
//! whoever listens there is sent a user and a password.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::future::join_all;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::lookup::lookup;

/// The maximum number of networks that a message shows.
const SHOWN: usize = 8;

/// The addresses that are allowed: those of the networks that the configuration lists, or else of the networks of the
/// servers that it names; and always these servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowlist {
    listed: Option<Vec<IpNet>>,
    /// The hosts that the configuration names. They are resolved when they matter, as names may lead elsewhere later.
    named: Vec<String>,
    /// The advice to a user of the program on allowing another network.
    help: &'static str,
}

impl Allowlist {
    /// Allows the networks that are listed, or without a list the networks around the hosts that are named; and these
    /// hosts.
    pub fn new(listed: Option<Vec<IpNet>>, named: Vec<String>) -> Allowlist {
        Allowlist {
            listed,
            named,
            help: "",
        }
    }

    /// Sets how a user of the program allows another network, such as `add the network to NETWORKS`. The error for an
    /// address that is not allowed ends with it.
    pub fn with_help(self, help: &'static str) -> Allowlist {
        Allowlist { help, ..self }
    }

    /// Returns how a user of the program allows another network; empty if the program does not say.
    pub(super) fn help(&self) -> &'static str {
        self.help
    }

    /// Returns those of the addresses that are allowed.
    ///
    /// The listed networks are checked first: the named hosts are resolved only if an address is outside of the list,
    /// and all at once, as a name that nobody knows takes seconds.
    ///
    /// # Errors
    ///
    /// None of the addresses is allowed. The error names the networks that are.
    pub(super) async fn permitted(
        &self,
        mut addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, String> {
        let within = |networks: &[IpNet], address: &SocketAddr| {
            let ip = address.ip().to_canonical();
            networks.iter().any(|network| network.contains(&ip))
        };
        let mut networks = self.listed.clone().unwrap_or_default();
        if !addresses.is_empty() && addresses.iter().all(|address| within(&networks, address)) {
            return Ok(addresses);
        }
        networks.extend(self.resolve().await);
        networks.sort_unstable();
        networks.dedup();
        addresses.retain(|address| within(&networks, address));
        match addresses.is_empty() {
            true => Err(self.describe(&networks)),
            false => Ok(addresses),
        }
    }

    /// The networks of the named hosts at present.
    async fn resolve(&self) -> Vec<IpNet> {
        let lookups = self.named.iter().map(|host| lookup(host, 0));
        // A name that is not known at present adds nothing.
        let resolved = join_all(lookups).await.into_iter().flatten().flatten();
        let network = |address: SocketAddr| {
            let ip = address.ip().to_canonical();
            match self.listed {
                Some(_) => IpNet::from(ip),
                None => around(ip),
            }
        };
        resolved.map(network).collect()
    }

    fn describe(&self, networks: &[IpNet]) -> String {
        let source = match self.listed {
            Some(_) => "the allowed networks and the configured servers",
            None => "the networks of the configured servers",
        };
        let shown: Vec<String> = networks.iter().take(SHOWN).map(IpNet::to_string).collect();
        format!("{source} ({})", shown.join(", "))
    }
}

/// Returns the network that an address is taken to belong to: for a private address all addresses of its kind, as
/// machines and containers of one site are in several networks; else what a provider gives to one customer. A loopback
/// address stands for itself.
fn around(address: IpAddr) -> IpNet {
    let v4 = |a, b, c, d, length| Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length);
    let v6 = |first, length| Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length);
    match address {
        IpAddr::V4(address) if address.is_loopback() => IpNet::from(IpAddr::V4(address)),
        IpAddr::V4(address) => {
            let kinds = [
                v4(10, 0, 0, 0, 8),
                v4(172, 16, 0, 0, 12),
                v4(192, 168, 0, 0, 16),
                v4(100, 64, 0, 0, 10),
                v4(169, 254, 0, 0, 16),
            ];
            let kind = kinds.into_iter().find(|kind| kind.contains(&address));
            kind.unwrap_or_else(|| Ipv4Net::new_assert(address, 24).trunc())
                .into()
        }
        IpAddr::V6(address) if address.is_loopback() => IpNet::from(IpAddr::V6(address)),
        IpAddr::V6(address) => {
            let kinds = [v6(0xfc00, 7), v6(0xfe80, 10)];
            let kind = kinds.into_iter().find(|kind| kind.contains(&address));
            kind.unwrap_or_else(|| Ipv6Net::new_assert(address, 56).trunc())
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_belongs_to_the_network_of_its_kind() {
        for (address, network) in [
            ("10.1.2.3", "10.0.0.0/8"),
            ("172.17.0.2", "172.16.0.0/12"),
            ("192.168.7.1", "192.168.0.0/16"),
            ("100.100.1.1", "100.64.0.0/10"),
            ("127.0.0.1", "127.0.0.1/32"),
            ("203.0.113.9", "203.0.113.0/24"),
            ("172.32.0.1", "172.32.0.0/24"),
            ("fd00::7", "fc00::/7"),
            ("::1", "::1/128"),
            ("2001:db8:1:2ff::7", "2001:db8:1:200::/56"),
        ] {
            assert_eq!(around(address.parse().unwrap()).to_string(), network);
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 1);
        texts.iter().map(address).collect()
    }

    async fn permitted(allowlist: &Allowlist, texts: &[&str]) -> Result<Vec<String>, String> {
        let permitted = allowlist.permitted(addresses(texts)).await?;
        Ok(permitted.iter().map(|a| a.ip().to_string()).collect())
    }

    fn allowlist(listed: Option<&str>, named: &[&str]) -> Allowlist {
        let listed = listed.map(|text| vec![text.parse().unwrap()]);
        Allowlist::new(listed, named.iter().map(|&host| host.into()).collect())
    }

    #[tokio::test]
    async fn list_replaces_the_networks_of_the_servers_but_not_the_servers() {
        let open = allowlist(None, &["10.1.2.3", "::1"]);
        let all = ["10.200.0.1", "::1", "::2"];
        assert_eq!(permitted(&open, &all).await.unwrap(), ["10.200.0.1", "::1"]);
        assert_eq!(
            permitted(&open, &["192.0.2.1"]).await.unwrap_err(),
            "the networks of the configured servers (10.0.0.0/8, ::1/128)"
        );
        let listed = allowlist(Some("10.9.0.0/16"), &["10.1.2.3", "::1"]);
        let all = ["10.9.1.1", "10.1.2.3", "10.1.2.4"];
        assert_eq!(
            permitted(&listed, &all).await.unwrap(),
            ["10.9.1.1", "10.1.2.3"]
        );
        assert_eq!(
            permitted(&listed, &["10.1.2.4"]).await.unwrap_err(),
            "the allowed networks and the configured servers (10.1.2.3/32, 10.9.0.0/16, ::1/128)"
        );
    }

    #[tokio::test]
    async fn listed_address_needs_no_resolution() {
        // Without I/O there is nothing to wait for: the future is ready when it is polled for the first time.
        let listed = allowlist(Some("10.0.0.0/8"), &["name.invalid"]);
        let first =
            futures_util::FutureExt::now_or_never(listed.permitted(addresses(&["10.1.1.1"])));
        assert_eq!(first, Some(Ok(addresses(&["10.1.1.1"]))));
    }

    #[tokio::test]
    async fn no_address_is_not_allowed() {
        assert!(
            permitted(&allowlist(Some("10.0.0.0/8"), &[]), &[])
                .await
                .is_err()
        );
    }
}
