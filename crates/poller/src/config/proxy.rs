//! Selects the proxy of an HTTP sink: its `proxy`, otherwise HTTP_PROXY, HTTPS_PROXY or ALL_PROXY of the environment,
//! unless NO_PROXY lists the host.

use std::net::IpAddr;

use hyper::Uri;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use toml::Spanned;

use super::error::ConfigError;
use super::post::Proxy;

/// A proxy of the environment that agg does not support. The message does not show the value, since it may contain a
/// password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} of the environment is not a proxy such as http://HOST:PORT, which is the only kind that agg supports"
)]
pub struct UnsupportedProxy(pub String);

/// Describes a valid proxy.
const EXPECTED: &str = "expected a proxy such as http://HOST:PORT, or none";

/// Reads the setting of a sink. `None` stands for a direct connection.
pub fn of_setting(setting: &Spanned<String>) -> Result<Option<Proxy>, ConfigError> {
    match setting.get_ref().as_str() {
        "none" => Ok(None),
        // Not shown, since it may contain a password.
        text if text.contains('@') => Err(ConfigError::at(
            setting,
            "user and password of a proxy belong in HTTPS_PROXY or HTTP_PROXY, not in this file",
        )),
        text => match parse(text) {
            Some(proxy) => Ok(Some(proxy)),
            None => Err(ConfigError::at(setting, EXPECTED)),
        },
    }
}

/// Selects the proxy for a URL by the environment, which `variable` reads. `None` stands for a direct connection.
///
/// # Errors
///
/// Returns an error with the name of the variable if agg does not support the proxy.
pub fn of_environment(
    url: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, UnsupportedProxy> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let either = |name: &str| {
        let read = |name: String| {
            let text = variable(&name)?;
            Some((name, text))
        };
        read(name.to_lowercase())
            .or_else(|| read(name.to_uppercase()))
            .filter(|(_, text)| !text.is_empty())
    };
    let is_excluded = || either("no_proxy").is_some_and(|(_, list)| excludes(&list, authority));
    match either(&format!("{scheme}_proxy")).or_else(|| either("all_proxy")) {
        Some((name, text)) if !is_loopback(host(authority)) && !is_excluded() => {
            parse(&text).map(Some).ok_or(UnsupportedProxy(name))
        }
        _ => Ok(None),
    }
}

/// Parses the address of a proxy. Returns `None` if it is invalid, or of another kind than an HTTP proxy.
fn parse(text: &str) -> Option<Proxy> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = scheme.to_lowercase();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((credentials, address)) => (Some(credentials), address),
        None => (None, authority),
    };
    let uri: Uri = format!("{scheme}://{address}/").parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty())?;
    // The parser ignores a port that is not a number.
    let has_port = address.rsplit(']').next()?.contains(':');
    if has_port && uri.port_u16().is_none() {
        return None;
    }
    let port = uri.port_u16().unwrap_or(default_port);
    let uri = format!("{scheme}://{host}:{port}/").parse().ok()?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials = credentials.map(|credentials| {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        (decode(user), decode(password))
    });
    Some(Proxy { uri, credentials })
}

/// Returns the host of `HOST:PORT`, without the brackets of an IPv6 address.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// Returns whether a host is this machine, which is not reached by a proxy, whatever the environment says.
fn is_loopback(host: &str) -> bool {
    let is = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is)
}

/// Returns whether a list as in NO_PROXY contains it: `*`, a domain with its subdomains, an address or a network, each
/// with or without a port.
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

    /// Returns the host and port of the selected proxy.
    fn selected(url: &str, environment: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.to_string())
        };
        let proxy = of_environment(url, variable).unwrap();
        proxy.map(|proxy| proxy.uri.authority().unwrap().to_string())
    }

    #[test]
    fn environment_has_a_proxy_for_each_scheme() {
        let environment = [
            ("HTTP_PROXY", "http://plain:3128"),
            ("https_proxy", "http://user:s3cret@safe:3129"),
        ];
        let of = |url| selected(url, &environment);
        assert_eq!(
            of("http://db.example:8086/write"),
            Some("plain:3128".into())
        );
        assert_eq!(of("https://db.example/write"), Some("safe:3129".into()));
        assert_eq!(
            selected("http://h/", &[("ALL_PROXY", "other:1")]),
            Some("other:1".into())
        );
        assert_eq!(selected("http://h/", &[("HTTPS_PROXY", "other:1")]), None);
        assert_eq!(selected("http://h/", &[("HTTP_PROXY", "")]), None);
        for local in [
            "http://localhost:8086",
            "http://127.0.0.1",
            "https://[::1]:1/x",
        ] {
            assert_eq!(of(local), None);
        }
    }

    #[test]
    fn no_proxy_lists_hosts_domains_and_networks() {
        let is_direct =
            |list, url| selected(url, &[("HTTP_PROXY", "p:1"), ("NO_PROXY", list)]).is_none();
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

    #[test]
    fn unsupported_proxy_of_the_environment_is_named() {
        for (name, text) in [
            ("ALL_PROXY", "socks5://p:1080"),
            ("https_proxy", "socks5h://user:s3cret@p:1080"),
            ("HTTPS_PROXY", "http://"),
        ] {
            let variable = |other: &str| (other == name).then(|| text.to_owned());
            let result = of_environment("https://db.example/", variable);
            assert_eq!(result.err(), Some(UnsupportedProxy(name.to_owned())));
        }
    }

    #[test]
    fn address_of_a_proxy_is_parsed() {
        let proxy = |text| parse(text).map(|proxy| (proxy.uri.to_string(), proxy.credentials));
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, uri, credentials) in [
            ("p:3128", "http://p:3128/", None),
            ("HTTP://p", "http://p:80/", None),
            ("https://p/x", "https://p:443/", None),
            ("http://[::1]:1", "http://[::1]:1/", None),
            ("http://u:s%40@p:1", "http://p:1/", pair("u", "s@")),
            ("http://u@p:1", "http://p:1/", pair("u", "")),
        ] {
            assert_eq!(proxy(text), Some((uri.to_owned(), credentials)), "{text}");
        }
        for text in ["", "http://", "http://p:port", "socks5://p:1", "http://u@"] {
            assert_eq!(proxy(text), None, "{text}");
        }
    }
}
