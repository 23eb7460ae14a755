//! The addresses of ranges, one after another: never all in memory, each once however ranges overlap.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The maximum number of addresses that are scanned: with more, a mistake in a prefix is more likely than such a site.
const LIMIT: u128 = 1 << 24;

/// An error in a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// The text is neither a range nor an address.
    #[error("expected a range or address such as 10.1.0.0/16 or 10.1.0.7, not {0:?}")]
    Invalid(String),
    /// The port is 0.
    #[error("expected a port from 1 on in {0:?}")]
    PortZero(String),
    /// There are too many addresses.
    #[error("{what} is more than {limit} addresses (an IPv4 /8): name smaller ranges", limit = LIMIT)]
    TooMany {
        /// The range.
        what: String,
    },
}

impl From<HostsError> for String {
    fn from(error: HostsError) -> String {
        error.to_string()
    }
}

/// A set of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<Stretch>);

/// Consecutive addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    v6: bool,
    from: u128,
    to: u128,
}

impl Hosts {
    /// Reads a CIDR range or an address. The network address and the broadcast address of an IPv4 range are not hosts.
    ///
    /// # Errors
    ///
    /// The text is neither, or has too many addresses.
    pub fn parse(text: &str) -> Result<Hosts, HostsError> {
        // An IPv6 address as in URLs and in the table of agg scan.
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let bare = bare.filter(|bare| bare.parse::<Ipv6Addr>().is_ok());
        let net = match bare.unwrap_or(text).parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text
                .parse::<IpNet>()
                .map_err(|_| HostsError::Invalid(text.to_owned()))?,
        };
        let (v6, from, to) = match (net.network(), net.broadcast()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (from, to) = (u128::from(from.to_bits()), u128::from(to.to_bits()));
                match net.prefix_len() {
                    31.. => (false, from, to),
                    _ => (false, from + 1, to - 1),
                }
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => (true, from.to_bits(), to.to_bits()),
            _ => unreachable!("both ends of a network are of one kind"),
        };
        let hosts = Hosts(vec![Stretch { v6, from, to }]);
        hosts.limited(text)
    }

    /// Reads a range, an address, or an address with a port, as `10.0.0.7:7777` or `[::1]:7777`.
    ///
    /// # Errors
    ///
    /// The text is none of them, or has too many addresses.
    pub fn parse_with_port(text: &str) -> Result<(Hosts, Option<u16>), HostsError> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => Err(HostsError::PortZero(text.to_owned())),
            Ok(address) => {
                let hosts = Hosts::parse(&address.ip().to_string())?;
                Ok((hosts, Some(address.port())))
            }
            Err(_) => Hosts::parse(text).map(|hosts| (hosts, None)),
        }
    }

    /// Returns the union.
    ///
    /// # Errors
    ///
    /// There are too many addresses.
    pub fn all(several: impl IntoIterator<Item = Hosts>) -> Result<Hosts, HostsError> {
        let mut all: Vec<Stretch> = several.into_iter().flat_map(|hosts| hosts.0).collect();
        all.sort_unstable();
        let mut merged: Vec<Stretch> = Vec::new();
        for next in all {
            match merged.last_mut() {
                Some(last) if last.v6 == next.v6 && next.from <= last.to => {
                    last.to = last.to.max(next.to);
                }
                _ => merged.push(next),
            }
        }
        Hosts(merged).limited("all of this together")
    }

    fn limited(self, what: &str) -> Result<Hosts, HostsError> {
        let sizes = self.0.iter().map(|stretch| stretch.to - stretch.from);
        let sum = sizes.fold(0u128, |sum, size| sum.saturating_add(size));
        if sum >= LIMIT {
            return Err(HostsError::TooMany {
                what: what.to_owned(),
            });
        }
        Ok(self)
    }

    /// Returns the number of addresses.
    pub fn count(&self) -> u64 {
        let sizes = self.0.iter().map(|stretch| stretch.to - stretch.from + 1);
        sizes.sum::<u128>() as u64
    }

    /// Returns the addresses in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + Send + use<'_> {
        self.0.iter().flat_map(|stretch| {
            let address = |bits: u128| match stretch.v6 {
                true => IpAddr::V6(bits.into()),
                // The bits of an IPv4 address are 32.
                false => IpAddr::V4((bits as u32).into()),
            };
            (stretch.from..=stretch.to).map(address)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(hosts: &Hosts) -> Vec<String> {
        hosts.iter().map(|address| address.to_string()).collect()
    }

    fn all(texts: &[&str]) -> Result<Hosts, HostsError> {
        Hosts::all(texts.iter().map(|text| Hosts::parse(text).unwrap()))
    }

    #[test]
    fn network_and_broadcast_addresses_are_not_hosts() {
        let of = |text| texts(&Hosts::parse(text).unwrap());
        assert_eq!(of("10.0.0.4/30"), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(of("10.0.0.7/30"), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(of("10.0.0.4/31"), ["10.0.0.4", "10.0.0.5"]);
        assert_eq!(of("10.0.0.4/32"), ["10.0.0.4"]);
        assert_eq!(of("10.0.0.4"), ["10.0.0.4"]);
        assert_eq!(of("fd00::4"), ["fd00::4"]);
        assert_eq!(of("[fd00::4]"), ["fd00::4"]);
        assert_eq!(
            of("fd00::4/126"),
            ["fd00::4", "fd00::5", "fd00::6", "fd00::7"]
        );
        let wide = Hosts::parse("10.1.0.0/16").unwrap();
        assert_eq!(wide.count(), 65_534);
        assert_eq!(wide.iter().count(), 65_534);
        assert_eq!(wide.iter().last().unwrap().to_string(), "10.1.255.254");
        assert_eq!(Hosts::parse("255.255.255.255").unwrap().iter().count(), 1);
    }

    #[test]
    fn address_may_have_a_port() {
        let read = |text| {
            let (hosts, port) = Hosts::parse_with_port(text).unwrap();
            (texts(&hosts).join(" "), port)
        };
        assert_eq!(read("[::1]:7777"), ("::1".into(), Some(7777)));
        assert_eq!(read("10.0.0.7:1"), ("10.0.0.7".into(), Some(1)));
        assert_eq!(read("[::1]"), ("::1".into(), None));
        assert_eq!(read("10.0.0.4/31"), ("10.0.0.4 10.0.0.5".into(), None));
        for bad in [
            "10.0.0.0/24:7",
            "[10.0.0.1]",
            "[::1]:0",
            "[::1",
            "::1]",
            "[::/120]",
        ] {
            assert!(Hosts::parse_with_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn address_counts_once() {
        let hosts = all(&["10.0.0.0/29", "10.0.0.3", "10.0.0.4/29", "10.0.0.8", "::1"]).unwrap();
        assert_eq!(hosts.count(), 8);
        assert_eq!(
            texts(&hosts),
            [
                "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.8",
                "::1"
            ]
        );
    }

    #[test]
    fn invalid_or_large_range_is_rejected() {
        for bad in ["", "10.0.0", "10.0.0.0/33", "host", "10.0.0.1:7777", "::/x"] {
            let error = Hosts::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("expected a range or address"), "{error}");
        }
        assert_eq!(
            Hosts::parse("0.0.0.0/0").unwrap_err().to_string(),
            "0.0.0.0/0 is more than 16777216 addresses (an IPv4 /8): name smaller ranges"
        );
        assert!(Hosts::parse("fd00::/64").is_err() && Hosts::parse("::/0").is_err());
        assert_eq!(Hosts::parse("10.0.0.0/8").unwrap().count(), (1 << 24) - 2);
        assert!(all(&["10.0.0.0/8", "11.0.0.0/8"]).is_err());
    }

    #[test]
    fn first_of_millions_takes_no_time() {
        let hosts = Hosts::parse("10.0.0.0/8").unwrap();
        assert_eq!(hosts.iter().next().unwrap().to_string(), "10.0.0.1");
    }
}
