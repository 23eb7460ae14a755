//! Addresses to which a server may lead us: a member of a cluster, or a Sentinel, may name any address, and whoever is
//! there is told a user and a password.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::net::lookup_host;

/// The addresses that are permitted: those of the networks that the settings list, or of the networks in which the
/// servers are that the settings name; and always these servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    listed: Option<Vec<IpNet>>,
    /// The hosts that the settings name. They are resolved when it matters, as names may lead elsewhere later.
    named: Vec<String>,
}

impl Allow {
    /// What is listed, else what is around the hosts that are named.
    pub fn new(listed: Option<Vec<IpNet>>, named: Vec<String>) -> Allow {
        Allow { listed, named }
    }

    /// The networks as of now.
    pub async fn networks(&self) -> Vec<IpNet> {
        let mut networks = self.listed.clone().unwrap_or_default();
        for host in &self.named {
            // One that is not known now adds nothing.
            let Ok(addresses) = lookup_host((host.as_str(), 0)).await else {
                continue;
            };
            networks.extend(addresses.map(|address| match self.listed {
                Some(_) => IpNet::from(address.ip().to_canonical()),
                None => around(address.ip().to_canonical()),
            }));
        }
        networks.sort_unstable();
        networks.dedup();
        networks
    }

    /// Where the networks come from, for a person.
    pub fn source(&self) -> &'static str {
        match self.listed {
            Some(_) => "allow and the servers of this source",
            None => "the networks of this source's servers",
        }
    }
}

/// The network that an address is taken to be of: of one that is not routed in the Internet all of its kind, as
/// machines and containers of one site are in several; else what a provider gives to one customer. A loopback address
/// stands for itself.
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
    fn an_address_is_of_the_network_of_its_kind() {
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

    #[test]
    fn a_list_stands_for_the_networks_but_not_for_the_servers_named() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let networks = |listed: Option<&str>| {
            let listed = listed.map(|text| vec![text.parse().unwrap()]);
            let allow = Allow::new(listed, vec!["10.1.2.3".into(), "::1".into()]);
            let networks = runtime.block_on(allow.networks()).into_iter();
            networks
                .map(|network| network.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(networks(None), ["10.0.0.0/8", "::1/128"]);
        assert_eq!(
            networks(Some("10.9.0.0/16")),
            ["10.1.2.3/32", "10.9.0.0/16", "::1/128"]
        );
    }
}
