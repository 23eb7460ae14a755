//! The settings and checks of a sink for OTLP over HTTP.

use hyper::Uri;
use toml::Spanned;

use super::super::error::ConfigError;
use super::super::post::Post;
use super::super::value::timeout;
use super::http;
use super::raw::RawSink;

/// The keys of a sink for OTLP. There is no `writers`: requests follow one another, so that those that are stored are known.
pub const KEYS: [&str; 15] = [
    "url",
    "user",
    "password-file",
    "password-env",
    "token-file",
    "token-env",
    "headers",
    "proxy",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "gzip",
    "batch-lines",
    "batch-bytes",
    "timeout",
];

/// The paths below the URL, as the protocol defines them.
const METRICS: &str = "/v1/metrics";
const LOGS: &str = "/v1/logs";

/// The settings of a sink for OTLP.
#[derive(Clone, PartialEq, Eq)]
pub struct Otlp {
    /// The requests of metrics.
    pub metrics: Post,
    /// The requests of logs.
    pub logs: Post,
}

/// Checks a sink for OTLP.
pub fn check(name: &str, sink: &Spanned<RawSink>) -> Result<Otlp, ConfigError> {
    let (raw, base) = (sink.get_ref(), http::base(sink)?);
    for path in [METRICS, LOGS] {
        if let (true, Some(url)) = (base.ends_with(path), &raw.url) {
            let text = format!("expected the URL without {path}, which agg adds");
            return Err(ConfigError::at(url, text));
        }
    }
    let headers = http::headers_and_credentials(sink, "Bearer")?;
    let mut metrics = http::post(name, sink, format!("{base}{METRICS}"), headers, (1000, 1))?;
    metrics.timeout = timeout(&raw.timeout)?;
    let logs = Post {
        url: replace_end(&metrics.url).ok_or_else(|| ConfigError::at(sink, http::EXPECTED))?,
        ..metrics.clone()
    };
    Ok(Otlp { metrics, logs })
}

/// Replaces the path of metrics by that of logs.
fn replace_end(url: &Uri) -> Option<Uri> {
    let text = url.to_string();
    let base = text.strip_suffix(METRICS)?;
    format!("{base}{LOGS}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(settings: &str) -> Result<Otlp, String> {
        let text = format!("type = \"otlp\"\nproxy = \"none\"\n{settings}");
        let raw: Spanned<RawSink> = Spanned::new(0..0, toml::from_str(&text).unwrap());
        check("o", &raw).map_err(|error| error.text)
    }

    #[test]
    fn signals_have_their_paths() {
        let settings = checked("url = \"https://h/sub/\"\ntoken-env = \"PATH\"").unwrap();
        assert_eq!(settings.metrics.url, "https://h:443/sub/v1/metrics");
        assert_eq!(settings.logs.url, "https://h:443/sub/v1/logs");
        let (name, value) = &settings.logs.headers[0];
        assert_eq!(name, "authorization");
        assert!(value.starts_with("Bearer "));
        assert_eq!(settings.logs.batch_lines, 1000);
    }

    #[test]
    fn path_of_a_signal_is_not_part_of_the_url() {
        let error = checked("url = \"http://h:4318/v1/logs\"").err().unwrap();
        assert_eq!(error, "expected the URL without /v1/logs, which agg adds");
    }
}
