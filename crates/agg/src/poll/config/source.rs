//! A source as it is written, and its checks by kind.

use std::fmt::Formatter;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use agg_client::connect::{Access, Allowlist, Server, Tls, TlsFiles};
use agg_client::discovery::scan::Scan;
use agg_client::discovery::{Cluster, Hosts, Range, Sentinel, Source};

use super::Mistake;
use super::file::Time;
use super::sink::secret;

/// All keys of all sources: an enum by kind would lose the places of what is in it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawSource {
    urls: Option<Spanned<Urls>>,
    range: Option<Spanned<Ranges>>,
    cluster: Option<Spanned<Urls>>,
    sentinel: Option<Spanned<Urls>>,
    service: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    sentinel_user: Option<Spanned<String>>,
    sentinel_password_file: Option<Spanned<PathBuf>>,
    sentinel_password_env: Option<Spanned<String>>,
    tls: Option<Spanned<bool>>,
    tls_ca: Option<Spanned<PathBuf>>,
    tls_cert: Option<Spanned<PathBuf>>,
    tls_key: Option<Spanned<PathBuf>>,
    tls_server_name: Option<Spanned<String>>,
    port: Option<Spanned<u64>>,
    scan_interval: Option<Spanned<Time>>,
    connect_timeout: Option<Spanned<Time>>,
    scan_parallel: Option<Spanned<u64>>,
    scan_rate: Option<Spanned<u64>>,
    forget_after: Option<Spanned<Time>>,
    allow: Option<Spanned<Networks>>,
}

const KINDS: [&str; 4] = ["urls", "range", "cluster", "sentinel"];

/// Keys of all kinds.
const COMMON: [&str; 7] = [
    "user",
    "password-file",
    "password-env",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "tls-server-name",
];

fn keys(kind: &str) -> Vec<&'static str> {
    let own: &[&str] = match kind {
        "range" => &[
            "range",
            "port",
            "tls",
            "scan-interval",
            "connect-timeout",
            "scan-parallel",
            "scan-rate",
            "forget-after",
        ],
        "cluster" => &["cluster", "allow", "tls"],
        "sentinel" => &[
            "sentinel",
            "service",
            "allow",
            "tls",
            "sentinel-user",
            "sentinel-password-file",
            "sentinel-password-env",
        ],
        _ => &["urls"],
    };
    own.iter().chain(&COMMON).copied().collect()
}

/// A list of URLs. What is no list is refused without being shown: it may hold a password.
struct Urls(Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Urls;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("a list of URLs")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Urls, E> {
                Err(E::custom("expected a list of URLs: put it in [ ]"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Urls, A::Error> {
                list(items).map(Urls)
            }
        }
        from.deserialize_any(List)
    }
}

/// A range, or a list of them with the place of each.
enum Ranges {
    One(String),
    Several(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Ranges;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("a range such as \"10.1.0.0/16\", or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Ranges, E> {
                Ok(Ranges::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Ranges, A::Error> {
                list(items).map(Ranges::Several)
            }
        }
        from.deserialize_any(Any)
    }
}

fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Vec<Spanned<String>>, A::Error> {
    let mut list = Vec::new();
    while let Some(item) = items.next_element()? {
        list.push(item);
    }
    Ok(list)
}

/// Whom to be where a source does not say it.
#[derive(Default)]
pub struct Everywhere {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl Everywhere {
    /// Reads the keys outside of all sources.
    pub fn check(
        user: &Option<Spanned<String>>,
        file: &Option<Spanned<PathBuf>>,
        env: &Option<Spanned<String>>,
    ) -> Result<Everywhere, Mistake> {
        let password = secret("password", file, env)?;
        let user = user_with(user, password.is_some())?;
        Ok(Everywhere { user, password })
    }
}

/// The servers that a source names, each with its place in the file.
type Named = Vec<(usize, String)>;

/// What a source became, and whom it names.
pub struct Checked {
    pub source: Source,
    pub named: Named,
}

impl RawSource {
    /// The files that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = [
            &self.password_file,
            &self.sentinel_password_file,
            &self.tls_ca,
            &self.tls_cert,
            &self.tls_key,
        ];
        let given = all.into_iter().flatten();
        given.map(|file| file.get_ref().clone()).collect()
    }

    /// Turns it into the source; `at` is where it begins, `all` what holds for every source.
    ///
    /// Returns the first mistake.
    pub fn check(&self, at: usize, all: &Everywhere) -> Result<Checked, Mistake> {
        let kind = self.kind(at)?;
        let encrypted = self.tls.as_ref().is_some_and(|tls| *tls.get_ref());
        let mut access = self.access(all)?;
        access.tls = self.tls(kind, encrypted)?;
        let (source, named) = match (&self.urls, &self.range, &self.cluster, &self.sentinel) {
            (Some(urls), ..) => {
                let (servers, named) = servers(urls, &access, false)?;
                (Source::Urls(servers), named)
            }
            (_, Some(range), ..) => {
                let range = self.range(range, access, encrypted)?;
                (Source::Range(range), Vec::new())
            }
            (.., Some(urls), _) => {
                let (seeds, named) = servers(urls, &access, encrypted)?;
                if let Some(index) = seeds.iter().position(|seed| seed.host().is_none()) {
                    let text =
                        "expected redis:// or rediss://: a member of a cluster has an address";
                    return Err(Mistake::at(&urls.get_ref().0[index], text));
                }
                let allow = self.allow(&seeds)?;
                let seeds = seeds.into_iter().map(|seed| seed.allowing(&allow));
                let seeds = seeds.collect();
                (Source::Cluster(Cluster { seeds }), named)
            }
            (.., Some(urls)) => {
                let (sentinel, named) = self.sentinel(urls, at, &access, encrypted)?;
                (Source::Sentinel(sentinel), named)
            }
            _ => return Err(no_kind(at)),
        };
        Ok(Checked { source, named })
    }

    /// Which kind it is; that it has the keys of this kind alone.
    fn kind(&self, at: usize) -> Result<&'static str, Mistake> {
        let given = self.given();
        let mut kinds = given.iter().filter(|(key, _)| KINDS.contains(key));
        let Some((kind, _)) = kinds.next() else {
            return Err(no_kind(at));
        };
        if let Some((other, at)) = kinds.next() {
            let text = format!("{kind:?} and {other:?} are two sources: write [[source]] for each");
            return Err(Mistake {
                at: Some(*at),
                text,
            });
        }
        let keys = keys(kind);
        if let Some((key, at)) = given.iter().find(|(key, _)| !keys.contains(key)) {
            let text = match (*key, *kind) {
                ("tls", "urls") => "URLs say it themselves: write rediss://".to_owned(),
                _ => format!(
                    "a source with {kind:?} has no {key:?}: it takes {}",
                    keys.join(", ")
                ),
            };
            return Err(Mistake {
                at: Some(*at),
                text,
            });
        }
        Ok(kind)
    }

    /// The keys that stand there, and where their values do.
    fn given(&self) -> Vec<(&'static str, usize)> {
        fn at<T>(value: &Option<Spanned<T>>) -> Option<usize> {
            value.as_ref().map(|value| value.span().start)
        }
        let all = [
            ("urls", at(&self.urls)),
            ("range", at(&self.range)),
            ("cluster", at(&self.cluster)),
            ("sentinel", at(&self.sentinel)),
            ("service", at(&self.service)),
            ("user", at(&self.user)),
            ("password-file", at(&self.password_file)),
            ("password-env", at(&self.password_env)),
            ("sentinel-user", at(&self.sentinel_user)),
            ("sentinel-password-file", at(&self.sentinel_password_file)),
            ("sentinel-password-env", at(&self.sentinel_password_env)),
            ("tls", at(&self.tls)),
            ("tls-ca", at(&self.tls_ca)),
            ("tls-cert", at(&self.tls_cert)),
            ("tls-key", at(&self.tls_key)),
            ("tls-server-name", at(&self.tls_server_name)),
            ("port", at(&self.port)),
            ("scan-interval", at(&self.scan_interval)),
            ("connect-timeout", at(&self.connect_timeout)),
            ("scan-parallel", at(&self.scan_parallel)),
            ("scan-rate", at(&self.scan_rate)),
            ("forget-after", at(&self.forget_after)),
            ("allow", at(&self.allow)),
        ];
        all.into_iter()
            .filter_map(|(key, at)| Some((key, at?)))
            .collect()
    }

    /// Who we are to its servers: what the source names, else what holds for all. A password of its own has a user of
    /// its own.
    fn access(&self, all: &Everywhere) -> Result<Access, Mistake> {
        let own = secret("password", &self.password_file, &self.password_env)?;
        let other = match own {
            Some(_) => None,
            None => all.user.clone(),
        };
        let password = own.or_else(|| all.password.clone());
        // A URL may have the password for it.
        let sure = password.is_some() || self.urls.is_some() || self.cluster.is_some();
        let user = user_with(&self.user, sure)?.or(other);
        Ok(Access {
            user,
            password,
            tls: None,
        })
    }

    /// How its encrypted connections are made, where there are any.
    fn tls(&self, kind: &str, encrypted: bool) -> Result<Option<Tls>, Mistake> {
        let path = |path: &Option<Spanned<PathBuf>>| path.as_ref().map(|p| p.get_ref().clone());
        let files = TlsFiles {
            ca: path(&self.tls_ca),
            cert: path(&self.tls_cert),
            key: path(&self.tls_key),
            server_name: self.tls_server_name.as_ref().map(|n| n.get_ref().clone()),
        };
        let given = self.given();
        let first = given.iter().find(|(key, _)| key.starts_with("tls"));
        let Some(&(_, at)) = first else {
            return Ok(None);
        };
        let url = |urls: &Option<Spanned<Urls>>| {
            let mut urls = urls.iter().flat_map(|urls| &urls.get_ref().0);
            urls.any(|url| Server::scheme_encrypts(url.get_ref()))
        };
        let any = encrypted
            || [&self.urls, &self.cluster, &self.sentinel]
                .map(url)
                .contains(&true);
        if !any {
            if files == TlsFiles::default() {
                return Ok(None);
            }
            let way = match kind {
                "urls" => "write rediss://",
                _ => "write tls = true",
            };
            let text = format!("nothing here is encrypted: {way}");
            return Err(Mistake { at: Some(at), text });
        }
        let tls = Tls::new(&files).map_err(|error| {
            let text = error.to_string();
            // The file that the message names, else the first key.
            let named = [&self.tls_ca, &self.tls_cert, &self.tls_key]
                .into_iter()
                .flatten()
                .find(|path| text.contains(&path.get_ref().display().to_string()));
            let at = named.map_or(at, |path| path.span().start);
            Mistake { at: Some(at), text }
        })?;
        Ok(Some(tls))
    }

    /// Where the servers that it names may lead us.
    fn allow(&self, named: &[Server]) -> Result<Arc<Allowlist>, Mistake> {
        let network = |text: &Spanned<String>| {
            let written = text.get_ref();
            let network = written.parse::<IpNet>().map(|network| network.trunc());
            let address = || written.parse::<IpAddr>().map(IpNet::from);
            network.or_else(|_| address()).map_err(|_| {
                Mistake::at(
                    text,
                    format!("expected a network such as 10.0.0.0/8, not {written:?}"),
                )
            })
        };
        let listed = match &self.allow {
            Some(networks) if networks.get_ref().0.is_empty() => {
                return Err(Mistake::at(networks, "expected at least one network"));
            }
            Some(networks) => {
                let networks = networks.get_ref().0.iter().map(network);
                Some(networks.collect::<Result<_, _>>()?)
            }
            None => None,
        };
        let hosts = named.iter().filter_map(Server::host).map(str::to_owned);
        Ok(Arc::new(Allowlist::new(listed, hosts.collect())))
    }

    fn range(
        &self,
        range: &Spanned<Ranges>,
        access: Access,
        encrypted: bool,
    ) -> Result<Range, Mistake> {
        let hosts = match range.get_ref() {
            Ranges::One(text) => {
                vec![Hosts::parse(text).map_err(|why| Mistake::at(range, why))?]
            }
            Ranges::Several(texts) if texts.is_empty() => {
                return Err(Mistake::at(range, "expected at least one range"));
            }
            Ranges::Several(texts) => {
                let parse = |text: &Spanned<String>| {
                    Hosts::parse(text.get_ref()).map_err(|why| Mistake::at(text, why))
                };
                texts.iter().map(parse).collect::<Result<_, _>>()?
            }
        };
        let hosts = Hosts::all(hosts).map_err(|why| Mistake::at(range, why))?;
        let time = |time: &Option<Spanned<Time>>, default| {
            time.as_ref().map_or(default, |time| time.get_ref().0)
        };
        let port = within(&self.port, u64::from(Scan::PORT), 65_535)?;
        let scan = Scan {
            hosts,
            port: u16::try_from(port).unwrap_or(Scan::PORT),
            access,
            encrypted,
            timeout: time(&self.connect_timeout, Scan::TIMEOUT),
            parallel: within(&self.scan_parallel, Scan::PARALLEL as u64, 10_000)? as usize,
            rate: within(&self.scan_rate, Scan::RATE, 100_000)?,
        };
        Ok(Range {
            scan,
            interval: time(&self.scan_interval, Range::INTERVAL),
            forget_after: time(&self.forget_after, Range::FORGET_AFTER),
        })
    }

    fn sentinel(
        &self,
        urls: &Spanned<Urls>,
        at: usize,
        access: &Access,
        encrypted: bool,
    ) -> Result<(Sentinel, Named), Mistake> {
        let service = match &self.service {
            Some(service) if !service.get_ref().is_empty() => service.get_ref().clone(),
            Some(service) => return Err(Mistake::at(service, "expected a name")),
            None => {
                return Err(Mistake {
                    at: Some(at),
                    text: "expected \"service\": what the Sentinels call it".into(),
                });
            }
        };
        let password = secret(
            "sentinel-password",
            &self.sentinel_password_file,
            &self.sentinel_password_env,
        )?;
        let own = Access {
            user: self.sentinel_user.as_ref().map(|u| u.get_ref().clone()),
            password,
            tls: access.tls.clone(),
        };
        let (sentinels, mut named) = servers(urls, &own, false)?;
        // Sentinels watch several services.
        for (_, name) in &mut named {
            name.push_str(&format!(" for {service:?}"));
        }
        let pattern = Server::at("", 0, access, encrypted).map_err(|why| Mistake::at(urls, why))?;
        let pattern = pattern.allowing(&self.allow(&sentinels)?);
        let sentinel = Sentinel {
            sentinels,
            service,
            pattern,
        };
        Ok((sentinel, named))
    }
}

/// Networks, each with its place.
#[derive(Deserialize)]
struct Networks(Vec<Spanned<String>>);

fn no_kind(at: usize) -> Mistake {
    Mistake {
        at: Some(at),
        text: "expected one of urls, range, cluster and sentinel: where the servers are".into(),
    }
}

/// The servers of URLs, all of them encrypted if that is said; and their names with their places.
fn servers(
    urls: &Spanned<Urls>,
    access: &Access,
    encrypted: bool,
) -> Result<(Vec<Server>, Named), Mistake> {
    if urls.get_ref().0.is_empty() {
        return Err(Mistake::at(urls, "expected at least one URL"));
    }
    let (mut servers, mut named) = (Vec::new(), Vec::new());
    for url in &urls.get_ref().0 {
        let text = match url.get_ref().split_once("://") {
            Some((scheme @ ("redis" | "valkey"), rest)) if encrypted => {
                &format!("{scheme}s://{rest}")
            }
            _ => url.get_ref(),
        };
        let server = Server::parse(text, access).map_err(|why| Mistake::at(url, why))?;
        named.push((url.span().start, server.endpoint().to_owned()));
        servers.push(server);
    }
    Ok((servers, named))
}

/// A user, who needs a password.
fn user_with(user: &Option<Spanned<String>>, password: bool) -> Result<Option<String>, Mistake> {
    match user {
        Some(user) if !password => Err(Mistake::at(
            user,
            "a user needs password-file or password-env",
        )),
        user => Ok(user.as_ref().map(|user| user.get_ref().clone())),
    }
}

/// A number from 1 on.
fn within(value: &Option<Spanned<u64>>, default: u64, most: u64) -> Result<u64, Mistake> {
    match value {
        None => Ok(default),
        Some(value) if (1..=most).contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => Err(Mistake::at(
            value,
            format!("expected a number from 1 to {most}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, position};
    use super::*;
    use std::time::Duration;

    const REST: &str =
        "\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";

    fn read(sources: &str) -> Result<Vec<Source>, String> {
        let text = format!("{sources}{REST}");
        match Config::parse(&text) {
            Ok(config) => Ok(config.sources),
            Err(Mistake { at, text: why }) => {
                let (line, column) = position(&text, at.unwrap_or(0));
                Err(format!("{line}:{column}: {why}"))
            }
        }
    }

    fn one(source: &str) -> Source {
        read(&format!("[[source]]\n{source}")).unwrap().remove(0)
    }

    #[test]
    fn a_range() {
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
    fn a_cluster_and_a_service() {
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
        // Sentinels watch several services.
        let two = "[[source]]\nsentinel = [\"redis://a\"]\nservice = \"x\"\n\
                   [[source]]\nsentinel = [\"redis://a\"]\nservice = \"y\"\n";
        assert_eq!(read(two).unwrap().len(), 2);
    }

    #[test]
    fn all_of_a_cluster_are_encrypted_by_one_word() {
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
    fn one_password_for_all_or_for_one() {
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
    fn mistakes_are_told_with_line_and_column() {
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
                "3:7: URLs say it themselves: write rediss://",
            ),
            (
                "urls = [\"redis://h\"]\ntls-server-name = \"x\"",
                "3:19: nothing here is encrypted: write rediss://",
            ),
            (
                "range = \"10.0.0.1\"\ntls = false\ntls-ca = \"/x\"",
                "3:7: nothing here is encrypted: write tls = true",
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
            let told = read(&format!("[[source]]\n{source}")).err().unwrap();
            assert!(told.starts_with(expected), "{told}\nexpected {expected}");
        }
        let told = read("user = \"u\"\n[[source]]\nrange = \"::1\"\n")
            .err()
            .unwrap();
        assert_eq!(told, "1:8: a user needs password-file or password-env");
    }
}
