//! The checks of a source, by kind.

mod access;
mod raw;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use toml::Spanned;

use agg_client::connect::{Access, Allowlist, Server};
use agg_client::discovery::scan::Scan;
use agg_client::discovery::{Cluster, Hosts, Range, Sentinel, Source};

use super::error::ConfigError;
use super::value::{Time, secret, within};

use raw::{Ranges, Urls, no_kind};

pub use access::Defaults;
pub use raw::{KINDS, RawSource, keys};

/// The addresses that a source lists, each with its place in the file.
type Addresses = Vec<(usize, String)>;

/// A source, and the addresses that it lists.
pub struct CheckedSource {
    /// The source.
    pub source: Source,
    /// The addresses.
    pub addresses: Addresses,
}

/// Checks a source and converts it.
///
/// # Errors
///
/// Returns the first error.
pub fn check(
    source: &Spanned<RawSource>,
    defaults: &Defaults,
) -> Result<CheckedSource, ConfigError> {
    let (raw, at) = (source.get_ref(), source.span().start);
    let kind = raw.kind(at)?;
    let encrypted = raw.tls.as_ref().is_some_and(|tls| *tls.get_ref());
    let access = Access {
        tls: access::tls(raw, kind, encrypted)?,
        ..access::access(raw, defaults)?
    };
    let (source, addresses) = match (&raw.urls, &raw.range, &raw.cluster, &raw.sentinel) {
        (Some(urls), ..) => {
            let (servers, addresses) = servers(urls, &access, false)?;
            (Source::Urls(servers), addresses)
        }
        (_, Some(range), ..) => {
            let range = self::range(raw, range, access, encrypted)?;
            (Source::Range(range), Vec::new())
        }
        (.., Some(urls), _) => {
            let (seeds, addresses) = servers(urls, &access, encrypted)?;
            if let Some(index) = seeds.iter().position(|seed| seed.host().is_none()) {
                let text =
                    "expected redis:// or rediss://: a member of a cluster has a network address";
                return Err(ConfigError::at(&urls.get_ref().0[index], text));
            }
            let allow = allow(raw, &seeds)?;
            let seeds = seeds.into_iter().map(|seed| seed.allowing(&allow));
            let seeds = seeds.collect();
            (Source::Cluster(Cluster { seeds }), addresses)
        }
        (.., Some(urls)) => {
            let (sentinel, addresses) = self::sentinel(raw, urls, at, &access, encrypted)?;
            (Source::Sentinel(sentinel), addresses)
        }
        _ => return Err(no_kind(at)),
    };
    Ok(CheckedSource { source, addresses })
}

/// Returns the networks to which the listed servers may redirect.
fn allow(source: &RawSource, listed_servers: &[Server]) -> Result<Arc<Allowlist>, ConfigError> {
    let network = |text: &Spanned<String>| {
        let written = text.get_ref();
        let network = written.parse::<IpNet>().map(|network| network.trunc());
        let address = || written.parse::<IpAddr>().map(IpNet::from);
        network.or_else(|_| address()).map_err(|_| {
            ConfigError::at(
                text,
                format!("expected a network such as 10.0.0.0/8, not {written:?}"),
            )
        })
    };
    let listed = match &source.allow {
        Some(networks) if networks.get_ref().0.is_empty() => {
            return Err(ConfigError::at(networks, "expected at least one network"));
        }
        Some(networks) => {
            let networks = networks.get_ref().0.iter().map(network);
            Some(networks.collect::<Result<_, _>>()?)
        }
        None => None,
    };
    let hosts = listed_servers
        .iter()
        .filter_map(Server::host)
        .map(str::to_owned);
    let allowlist = Allowlist::new(listed, hosts.collect());
    Ok(Arc::new(allowlist.with_help(
        "to allow it, add its network to \"allow\" of the source",
    )))
}

/// Checks a source that scans address ranges.
fn range(
    source: &RawSource,
    range: &Spanned<Ranges>,
    access: Access,
    encrypted: bool,
) -> Result<Range, ConfigError> {
    let hosts = match range.get_ref() {
        Ranges::One(text) => {
            vec![Hosts::parse(text).map_err(|error| ConfigError::at(range, error.to_string()))?]
        }
        Ranges::Several(texts) if texts.is_empty() => {
            return Err(ConfigError::at(range, "expected at least one range"));
        }
        Ranges::Several(texts) => {
            let parse = |text: &Spanned<String>| {
                Hosts::parse(text.get_ref())
                    .map_err(|error| ConfigError::at(text, error.to_string()))
            };
            texts.iter().map(parse).collect::<Result<_, _>>()?
        }
    };
    let hosts = Hosts::all(hosts).map_err(|error| ConfigError::at(range, error.to_string()))?;
    let time = |time: &Option<Spanned<Time>>, default| {
        time.as_ref().map_or(default, |time| time.get_ref().0)
    };
    let port = within(&source.port, u64::from(Scan::PORT), 65_535)?;
    let scan = Scan {
        hosts,
        port: u16::try_from(port).unwrap_or(Scan::PORT),
        access,
        encrypted,
        timeout: time(&source.connect_timeout, Scan::TIMEOUT),
        parallel: within(&source.scan_parallel, Scan::PARALLEL as u64, 10_000)? as usize,
        rate: within(&source.scan_rate, Scan::RATE, 100_000)?,
    };
    Ok(Range {
        scan,
        interval: time(&source.scan_interval, Range::INTERVAL),
        forget_after: time(&source.forget_after, Range::FORGET_AFTER),
    })
}

/// Checks a source that asks Sentinels.
fn sentinel(
    source: &RawSource,
    urls: &Spanned<Urls>,
    at: usize,
    access: &Access,
    encrypted: bool,
) -> Result<(Sentinel, Addresses), ConfigError> {
    let service = match &source.service {
        Some(service) if !service.get_ref().is_empty() => service.get_ref().clone(),
        Some(service) => return Err(ConfigError::at(service, "the name is empty")),
        None => {
            let text = "expected \"service\": the name of the service at the Sentinels";
            return Err(ConfigError {
                missing_key: Some("service"),
                ..ConfigError::at_byte(at, text)
            });
        }
    };
    let password = secret(
        "sentinel-password",
        &source.sentinel_password_file,
        &source.sentinel_password_env,
    )?;
    let own = Access {
        user: source.sentinel_user.as_ref().map(|u| u.get_ref().clone()),
        password,
        tls: access.tls.clone(),
        password_help: "set sentinel-password-file or sentinel-password-env of the source",
    };
    let (sentinels, mut addresses) = servers(urls, &own, false)?;
    // The same Sentinels may be listed for several services.
    for (_, name) in &mut addresses {
        name.push_str(&format!(" for {service:?}"));
    }
    let pattern = Server::at("", 0, access, encrypted)
        .map_err(|error| ConfigError::at(urls, error.to_string()))?;
    let pattern = pattern.allowing(&allow(source, &sentinels)?);
    let sentinel = Sentinel {
        sentinels,
        service,
        pattern,
    };
    Ok((sentinel, addresses))
}

/// Parses URLs, which are all encrypted if `encrypted` is set. Returns the servers, and their addresses with their places.
fn servers(
    urls: &Spanned<Urls>,
    access: &Access,
    encrypted: bool,
) -> Result<(Vec<Server>, Addresses), ConfigError> {
    if urls.get_ref().0.is_empty() {
        return Err(ConfigError::at(urls, "expected at least one URL"));
    }
    let (mut servers, mut addresses) = (Vec::new(), Vec::new());
    for url in &urls.get_ref().0 {
        let text = match url.get_ref().split_once("://") {
            Some((scheme @ ("redis" | "valkey"), rest)) if encrypted => {
                &format!("{scheme}s://{rest}")
            }
            _ => url.get_ref(),
        };
        let server =
            Server::parse(text, access).map_err(|error| ConfigError::at(url, error.to_string()))?;
        addresses.push((url.span().start, server.endpoint().to_owned()));
        servers.push(server);
    }
    Ok((servers, addresses))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::error::position;
    use super::super::parse_one;
    use super::*;

    const REST: &str =
        "\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";

    fn read(sources: &str) -> Result<Vec<Source>, String> {
        let text = format!("{sources}{REST}");
        match parse_one(&text) {
            Ok(config) => Ok(config.sources),
            Err(ConfigError {
                at, text: reason, ..
            }) => {
                let (line, column) = position(&text, at.unwrap_or(0));
                Err(format!("{line}:{column}: {reason}"))
            }
        }
    }

    fn one(source: &str) -> Source {
        read(&format!("[[source]]\n{source}")).unwrap().remove(0)
    }

    #[test]
    fn range_has_its_defaults_and_settings() {
        let Source::Range(range) = one("range = \"10.1.0.0/16\"") else {
            panic!()
        };
        assert_eq!((range.scan.hosts.count(), range.scan.port), (65_534, 7777));
        assert_eq!(range.scan.timeout, Duration::from_millis(300));
        assert_eq!(range.interval, Duration::from_secs(60));
        assert_eq!(range.forget_after, Duration::from_secs(600));
        let more = "range = [\"10.1.0.0/24\", \"10.2.0.7\", \"fd00::7\"]\nport = 1\nscan-interval = \"5s\"\n\
                    connect-timeout = \"1s\"\nscan-parallel = 7\nscan-rate = 8\nforget-after = \"1h\"";
        let Source::Range(range) = one(more) else {
            panic!()
        };
        assert_eq!((range.scan.hosts.count(), range.scan.port), (256, 1));
        assert_eq!((range.scan.parallel, range.scan.rate), (7, 8));
        assert_eq!(range.scan.timeout, Duration::from_secs(1));
        assert_eq!(range.interval, Duration::from_secs(5));
        assert_eq!(range.forget_after, Duration::from_secs(3600));
        assert!(!range.scan.encrypted);
    }

    #[test]
    fn clusters_and_services_are_sources() {
        let Source::Cluster(cluster) = one("cluster = [\"redis://a:1\", \"redis://[::1]:2\"]")
        else {
            panic!()
        };
        let places: Vec<&str> = cluster.seeds.iter().map(Server::endpoint).collect();
        assert_eq!(places, ["redis://a:1", "redis://[::1]:2"]);
        let Source::Sentinel(sentinel) = one("sentinel = [\"redis://a\"]\nservice = \"grid\"")
        else {
            panic!()
        };
        assert_eq!(sentinel.service, "grid");
        assert_eq!(sentinel.sentinels[0].endpoint(), "redis://a:6379");
        // The same Sentinels may be listed for several services.
        let two = "[[source]]\nsentinel = [\"redis://a\"]\nservice = \"x\"\n\
                   [[source]]\nsentinel = [\"redis://a\"]\nservice = \"y\"\n";
        assert_eq!(read(two).unwrap().len(), 2);
    }

    #[test]
    fn all_servers_of_a_cluster_are_encrypted_by_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::generate_simple_self_signed(vec!["h".into()]).unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, key.cert.pem()).unwrap();
        let Source::Cluster(cluster) = one(&format!(
            "cluster = [\"redis://a:1\"]\ntls = true\ntls-ca = {ca:?}"
        )) else {
            panic!()
        };
        assert_eq!(cluster.seeds[0].endpoint(), "rediss://a:1");
        assert_eq!(
            cluster.seeds[0].elsewhere("b", 2).endpoint(),
            "rediss://b:2"
        );
        let named = format!("urls = [\"rediss://a\"]\ntls-ca = {ca:?}\ntls-server-name = \"h\"");
        assert!(matches!(one(&named), Source::Urls(_)));
    }

    #[test]
    fn password_is_for_all_sources_or_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let [all, own] = ["all", "own"].map(|name| {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        });
        let text = format!(
            "user = \"u\"\npassword-file = {all:?}\n[[source]]\nrange = \"10.0.0.0/24\"\n\
             [[source]]\nrange = \"10.0.1.0/24\"\npassword-file = {own:?}\n\
             [[source]]\nrange = \"10.0.2.0/24\"\nuser = \"v\"\n"
        );
        let of = |source: &Source| match source {
            Source::Range(range) => {
                let access = range.scan.access.clone();
                (access.user, access.password.unwrap())
            }
            _ => panic!(),
        };
        let sources: Vec<_> = read(&text).unwrap().iter().map(of).collect();
        let user = |name: &str| Some(name.to_owned());
        assert_eq!(
            sources,
            [
                (user("u"), "all".into()),
                (None, "own".into()),
                (user("v"), "all".into())
            ]
        );
    }

    #[test]
    fn errors_have_line_and_column() {
        for (source, expected) in [
            (
                "port = 7",
                "1:1: expected one of urls, range, cluster and sentinel",
            ),
            ("", "1:1: expected one of urls, range, cluster and sentinel"),
            (
                "range = \"10.0.0.0/24\"\nurls = [\"redis://h\"]",
                "2:9: \"urls\" and \"range\" are two sources: write [[source]] for each",
            ),
            (
                "urls = [\"redis://h\"]\nscan-rate = 5",
                "3:13: a source with \"urls\" has no \"scan-rate\": it takes urls, user, password-file",
            ),
            (
                "range = \"10.0.0.0/33\"",
                "2:9: expected a range or address such as",
            ),
            (
                "range = [\"10.0.0.1\", \"h\"]",
                "2:22: expected a range or address such as 10.1.0.0/16 or 10.1.0.7, not \"h\"",
            ),
            ("range = []", "2:9: expected at least one range"),
            (
                "range = 5",
                "2:9: invalid type: integer `5`, expected a range such as",
            ),
            (
                "range = \"0.0.0.0/4\"",
                "2:9: 0.0.0.0/4 is more than 16777216 addresses",
            ),
            (
                "range = \"10.0.0.1\"\nport = 70000",
                "3:8: expected a number from 1 to 65535",
            ),
            (
                "range = \"10.0.0.1\"\nscan-rate = 0",
                "3:13: expected a number from 1 to 100000",
            ),
            (
                "range = \"10.0.0.1\"\nscan-interval = \"5\"",
                "3:17: \"5\" has no unit",
            ),
            ("range = \"10.0.0.1\"\nrate = 5", "3:1: unknown key `rate`"),
            ("cluster = []", "2:11: expected at least one URL"),
            ("cluster = \"redis://h\"", "2:11: expected a list of URLs"),
            (
                "cluster = [\"unix:///x\"]",
                "2:12: expected redis:// or rediss://",
            ),
            ("sentinel = [\"redis://h\"]", "1:1: expected \"service\""),
            (
                "urls = [\"redis://h\"]\ntls = true",
                "3:7: this key is not for urls: write rediss:// in the URL",
            ),
            (
                "urls = [\"redis://h\"]\ntls-server-name = \"x\"",
                "3:19: no connection of this source is encrypted: write rediss://",
            ),
            (
                "range = \"10.0.0.1\"\ntls = false\ntls-ca = \"/x\"",
                "3:7: no connection of this source is encrypted: write tls = true",
            ),
            (
                "range = \"10.0.0.1\"\ntls = true\ntls-ca = \"/nonexistent/ca\"",
                "4:10: cannot read certificates from /nonexistent/ca: ",
            ),
            (
                "urls = [\"rediss://h\"]\ntls-cert = \"/nonexistent/c\"",
                "3:12: a client certificate needs its key",
            ),
            (
                "cluster = [\"redis://h\"]\nallow = [\"10.0.0.0/8\", \"h\"]",
                "3:24: expected a network such as 10.0.0.0/8, not \"h\"",
            ),
            (
                "cluster = [\"redis://h\"]\nallow = []",
                "3:9: expected at least one network",
            ),
            (
                "range = \"10.0.0.1\"\nallow = [\"10.0.0.0/8\"]",
                "3:9: a source with \"range\" has no \"allow\"",
            ),
            (
                "range = \"10.0.0.1\"\nuser = \"u\"",
                "3:8: a user needs password-file or password-env",
            ),
        ] {
            let error = read(&format!("[[source]]\n{source}")).err().unwrap();
            assert!(error.starts_with(expected), "{error}\nexpected {expected}");
        }
        let error = read("user = \"u\"\n[[source]]\nrange = \"::1\"\n")
            .err()
            .unwrap();
        assert_eq!(error, "1:8: a user needs password-file or password-env");
    }
}
