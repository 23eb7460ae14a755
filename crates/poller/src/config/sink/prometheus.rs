//! The settings and checks of a sink for Prometheus' remote write.

use toml::Spanned;

use super::super::error::ConfigError;
use super::super::post::Post;
use super::http;
use super::raw::RawSink;
use super::timestamp::{self, Timestamp};

/// The keys of a sink for remote write. There is no `writers`: Prometheus may drop a sample without an error if requests
/// with older and newer samples of a series overtake each other. There is no `gzip`: bodies are compressed with snappy.
pub const KEYS: [&str; 16] = [
    "url",
    "user",
    "password-file",
    "password-env",
    "token-file",
    "token-env",
    "headers",
    "timestamp",
    "native-histograms",
    "proxy",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "batch-lines",
    "batch-bytes",
    "timeout",
];

/// The header of the version of the protocol, and the version.
const VERSION: (&str, &str) = ("x-prometheus-remote-write-version", "0.1.0");

/// The settings of a sink for remote write.
#[derive(Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// The requests.
    pub post: Post,
    /// The time of the samples of a window.
    pub timestamp: Timestamp,
    /// True if the histogram of a window becomes a native histogram.
    pub native_histograms: bool,
}

/// Checks a sink for remote write.
pub fn check(name: &str, sink: &Spanned<RawSink>) -> Result<Prometheus, ConfigError> {
    let raw = sink.get_ref();
    let url = http::url(sink)?;
    let mut headers = http::headers_and_credentials(sink, "Bearer")?;
    if let Some(given) = &raw.headers
        && headers.iter().any(|(name, _)| name == VERSION.0)
    {
        let text = format!("the header {:?} is set by agg", VERSION.0);
        return Err(ConfigError::at(given, text));
    }
    headers.push((VERSION.0.into(), VERSION.1.into()));
    let post = http::post(name, sink, url.to_owned(), headers, (1000, 1))?;
    if post.url.path() == "/" {
        let text =
            "expected the path of remote write: /api/v1/write for Prometheus and VictoriaMetrics";
        return Err(match &raw.url {
            Some(url) => ConfigError::at(url, text),
            None => ConfigError::at(sink, text),
        });
    }
    let histograms = raw.native_histograms.as_ref();
    Ok(Prometheus {
        post,
        timestamp: timestamp::check(&raw.timestamp, Timestamp::End)?,
        native_histograms: histograms.is_some_and(|histograms| *histograms.get_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(settings: &str) -> Result<Prometheus, String> {
        let text = format!("type = \"prometheus\"\nurl = \"http://h/api/v1/write\"\n{settings}");
        let raw: Spanned<RawSink> = Spanned::new(0..0, toml::from_str(&text).unwrap());
        check("db", &raw).map_err(|error| error.text)
    }

    #[test]
    fn settings_have_defaults() {
        let settings = checked("").unwrap();
        assert_eq!(settings.timestamp, Timestamp::End);
        assert!(!settings.native_histograms);
        assert_eq!(settings.post.url.port_u16(), Some(80));
        assert_eq!(
            (settings.post.writers, settings.post.batch_lines),
            (1, 1000)
        );
        let version = ("x-prometheus-remote-write-version".into(), "0.1.0".into());
        assert_eq!(settings.post.headers, [version]);
        let settings = checked(
            "timestamp = \"start\"\nnative-histograms = true\nheaders = { X-Scope-OrgID = \"a\" }",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.timestamp, Timestamp::Start);
        assert!(settings.native_histograms);
        assert_eq!(
            settings.post.headers[0],
            ("x-scope-orgid".into(), "a".into())
        );
    }

    #[test]
    fn errors_say_what_is_expected() {
        for (settings, expected) in [
            (
                "timestamp = \"middle\"",
                "expected start or end, not \"middle\"",
            ),
            (
                "headers = { X-Prometheus-Remote-Write-Version = \"2.0.0\" }",
                "the header \"x-prometheus-remote-write-version\" is set by agg",
            ),
            (
                "headers = { Content-Encoding = \"gzip\" }",
                "the header \"content-encoding\" is set by agg",
            ),
        ] {
            assert_eq!(checked(settings).err().unwrap(), expected);
        }
    }
}
