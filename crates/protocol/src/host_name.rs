//! Host names of HTTP requests: which of them a page on this machine may be requested by.

use std::net::{IpAddr, Ipv6Addr};

/// Returns whether a page may be requested by a host, which may include a port: an address, `localhost`, the name of this
/// machine, `own`, or one of `allowed`, in lower case, where `*` is any.
///
/// A web page whose name resolves to this address (DNS rebinding) cannot read anything then.
pub fn is_allowed(host: &str, own: &str, allowed: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    if inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        || name.parse::<IpAddr>().is_ok()
    {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
    name == "localhost"
        || name == own.to_lowercase()
        || allowed.iter().any(|other| *other == name || other == "*")
}

/// Returns a host name of a list of allowed ones as [`is_allowed`] compares it, or none if it is no host name without a
/// port, and not `*`.
pub fn allowed(name: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || ".-_".contains(c);
    match name {
        "*" => Some(name.to_owned()),
        name if !name.is_empty() && name.chars().all(plain) => {
            Some(name.trim_end_matches('.').to_lowercase())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_known_names_are_allowed() {
        let allowed = ["grid.example".to_owned()];
        for host in [
            "127.0.0.1",
            "10.0.0.5:9777",
            "[::1]:9777",
            "[fd00::1]",
            "localhost:9777",
            "LOCALHOST.",
            "Grid.example:80",
            "web1",
            "WEB1:9777",
        ] {
            assert!(is_allowed(host, "Web1", &allowed), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9777",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "grid.example.evil.example",
            "[evil]",
            "127.0.0.1@evil.example",
        ] {
            assert!(!is_allowed(host, "Web1", &allowed), "{host}");
            assert!(is_allowed(host, "Web1", &["*".to_owned()]), "{host}");
        }
    }

    #[test]
    fn allowed_name_is_a_host_name_without_a_port() {
        assert_eq!(allowed("Grid.Example.").as_deref(), Some("grid.example"));
        assert_eq!(allowed("*").as_deref(), Some("*"));
        for name in ["", "a:80", "http://a", "*.example", "a b"] {
            assert_eq!(allowed(name), None, "{name}");
        }
    }
}
