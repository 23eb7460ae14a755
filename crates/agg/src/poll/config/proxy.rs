//! Which proxy an HTTP sink is reached by: its `proxy`, else that of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, unless
//! NO_PROXY names the sink's host.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::Spanned;
use ureq::Proxy;

use super::Mistake;

/// The proxy of a sink; none: it is connected to directly.
///
/// `variable` reads the environment.
pub fn choose(
    setting: &Option<Spanned<String>>,
    url: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, Mistake> {
    if let Some(setting) = setting {
        return match setting.get_ref().as_str() {
            "none" => Ok(None),
            // Not shown: it may hold a password.
            text if text.contains('@') => Err(Mistake::at(
                setting,
                "a proxy's user and password stand in HTTPS_PROXY or HTTP_PROXY, not in this file",
            )),
            text => read(text)
                .map(Some)
                .map_err(|why| Mistake::at(setting, why)),
        };
    }
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let either = |name: &str| {
        let given = variable(&name.to_lowercase()).or_else(|| variable(&name.to_uppercase()));
        given.filter(|text| !text.is_empty())
    };
    let is_local = || either("no_proxy").is_some_and(|list| excludes(&list, authority));
    match either(&format!("{scheme}_proxy")).or_else(|| either("all_proxy")) {
        Some(text) if !is_loopback(host(authority)) && !is_local() => read(&text)
            .map(Some)
            .map_err(|why| Mistake::missing(&format!("the proxy of the environment: {why}"))),
        _ => Ok(None),
    }
}

fn read(text: &str) -> Result<Proxy, &'static str> {
    const EXPECTED: &str = "expected a proxy as http://HOST:PORT, or none";
    let (scheme, _) = text.split_once("://").unwrap_or(("http", text));
    match scheme.to_lowercase().as_str() {
        "http" | "https" => Proxy::new(text).map_err(|_| EXPECTED),
        _ => Err(EXPECTED),
    }
}

/// The host of `HOST:PORT`, without the brackets of an address of IPv6.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// This machine is not reached by a proxy, whatever the environment says.
fn is_loopback(host: &str) -> bool {
    let is = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is)
}

/// Whether a list of NO_PROXY names it: `*`, a domain with all in it, an address, a network; each may have a port.
fn excludes(list: &str, authority: &str) -> bool {
    let name = host(authority).to_lowercase();
    let address: Option<IpAddr> = name.parse().ok();
    list.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" || entry.eq_ignore_ascii_case(authority) {
                return true;
            }
            if let Some(address) = address {
                let network = entry.parse::<IpNet>().ok();
                let network = network.or_else(|| host(entry).parse().ok().map(IpAddr::into));
                let network = network.or_else(|| entry.parse().ok().map(IpAddr::into));
                return network.is_some_and(|network: IpNet| network.contains(&address));
            }
            let (entry, port) = entry.split_once(':').unwrap_or((entry, ""));
            if !port.is_empty() && !authority.ends_with(&format!(":{port}")) {
                return false;
            }
            let domain = entry
                .trim_start_matches('*')
                .trim_start_matches('.')
                .to_lowercase();
            name.strip_suffix(&domain)
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host and port of the proxy that is chosen.
    fn chosen(url: &str, environment: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.to_string())
        };
        let proxy = choose(&None, url, variable).unwrap();
        proxy.map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        let environment = [
            ("HTTP_PROXY", "http://plain:3128"),
            ("https_proxy", "http://user:s3cret@safe:3129"),
        ];
        let of = |url| chosen(url, &environment);
        assert_eq!(
            of("http://db.example:8086/write"),
            Some("plain:3128".into())
        );
        assert_eq!(of("https://db.example/write"), Some("safe:3129".into()));
        assert_eq!(
            chosen("http://h/", &[("ALL_PROXY", "other:1")]),
            Some("other:1".into())
        );
        assert_eq!(chosen("http://h/", &[("HTTPS_PROXY", "other:1")]), None);
        assert_eq!(chosen("http://h/", &[("HTTP_PROXY", "")]), None);
        for local in [
            "http://localhost:8086",
            "http://127.0.0.1",
            "https://[::1]:1/x",
        ] {
            assert_eq!(of(local), None);
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_networks() {
        let is_direct =
            |list, url| chosen(url, &[("HTTP_PROXY", "p:1"), ("NO_PROXY", list)]).is_none();
        for list in [
            "*",
            "db.example",
            "x, .example",
            "EXAMPLE",
            "*.example",
            "db.example:8086",
        ] {
            assert!(is_direct(list, "http://db.example:8086/x"), "{list}");
        }
        for list in ["", "b.example", "db", "db.example:80", "10.0.0.0/8"] {
            assert!(!is_direct(list, "http://db.example:8086/x"), "{list}");
        }
        for list in ["10.1.2.3", "10.0.0.0/8", "10.1.2.3:80"] {
            assert!(is_direct(list, "http://10.1.2.3:80/"), "{list}");
        }
        assert!(is_direct("fd00::/8", "http://[fd00::7]/"));
        assert!(is_direct("fd00::7", "http://[fd00::7]:80/"));
        assert!(!is_direct("10.1.2.4,fd00::/8", "http://10.1.2.3/"));
    }
}
