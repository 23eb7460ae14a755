//! The settings and checks of a sink of OpenSearch documents.

use toml::Spanned;

use super::super::error::ConfigError;
use super::super::post::Post;
use super::super::value::timeout;
use super::http;
use super::raw::RawSink;

/// The keys of a sink of OpenSearch documents, besides those of all sinks that are reached by HTTP.
pub const KEYS: [&str; 9] = [
    "user",
    "password-file",
    "password-env",
    "token-file",
    "token-env",
    "headers",
    "prefix",
    "index-by",
    "templates",
];

/// The maximum number of bytes of a prefix: the name of an index may have 255.
const MAX_PREFIX: usize = 200;

/// The settings of a sink of OpenSearch documents.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenSearch {
    /// The settings of requests. The URL is that of bulk requests.
    pub post: Post,
    /// The path of the server, without a slash at its end.
    pub path: String,
    /// The beginning of the names of the indexes.
    pub prefix: String,
    /// The division of windows and log entries among indexes.
    pub by: IndexBy,
    /// True if missing index templates are created.
    pub templates: bool,
}

/// A division of windows and log entries among indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexBy {
    /// Not at all.
    Nothing,
    /// By the day of their ids.
    Day,
    /// By the month of their ids.
    Month,
}

/// Checks a sink of OpenSearch documents.
pub fn check(name: &str, sink: &Spanned<RawSink>) -> Result<OpenSearch, ConfigError> {
    let (raw, base) = (sink.get_ref(), http::base(sink)?);
    let prefix = match &raw.prefix {
        None => "agg-".into(),
        Some(prefix) => {
            let text = prefix.get_ref();
            check_prefix(text).map_err(|error| ConfigError::at(prefix, error))?;
            text.clone()
        }
    };
    let by = match &raw.index_by {
        None => IndexBy::Nothing,
        Some(by) => match by.get_ref().as_str() {
            "day" => IndexBy::Day,
            "month" => IndexBy::Month,
            other => {
                let text = format!("expected day or month, not {other:?}");
                return Err(ConfigError::at(by, text));
            }
        },
    };
    // Of each item the response has no more than the reason of a failure.
    let items = "items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason";
    let url = format!("{base}/_bulk?filter_path=errors,items.*.status,{items}");
    let headers = http::headers_and_credentials(sink, "ApiKey")?;
    let mut post = http::post(name, sink, url, headers, (5000, 2))?;
    post.timeout = timeout(&raw.timeout)?;
    let path = post.url.path();
    let path = path.strip_suffix("/_bulk").unwrap_or(path).to_owned();
    Ok(OpenSearch {
        post,
        path,
        prefix,
        by,
        templates: raw.templates.as_ref().is_none_or(|on| *on.get_ref()),
    })
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.len() > MAX_PREFIX {
        return Err(format!("expected at most {MAX_PREFIX} bytes"));
    }
    // What servers allow, without what a URL or a pattern would take for something else.
    let is_valid =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let is_start_valid = prefix.starts_with(|c: char| c.is_ascii_alphanumeric());
    match prefix.is_empty() || (is_start_valid && prefix.chars().all(is_valid)) {
        true => Ok(()),
        false => Err(
            "expected lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit"
                .into(),
        ),
    }
}

#[cfg(test)]
impl OpenSearch {
    /// Returns the settings of a server that is not there.
    pub fn example() -> OpenSearch {
        let raw: RawSink = toml::from_str(
            "type = \"opensearch\"\nurl = \"http://127.0.0.1:9/sub/\"\nproxy = \"none\"",
        )
        .unwrap_or_else(|error| panic!("{error}"));
        match check("s", &Spanned::new(0..0, raw)) {
            Ok(settings) => settings,
            Err(error) => panic!("{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_url_is_below_the_path_of_the_server() {
        let settings = OpenSearch::example();
        assert_eq!(settings.path, "/sub");
        assert_eq!(settings.post.url.path(), "/sub/_bulk");
        assert_eq!(settings.prefix, "agg-");
    }

    #[test]
    fn prefixes_are_checked() {
        for valid in ["", "agg-", "a.b_c-"] {
            assert_eq!(check_prefix(valid), Ok(()));
        }
        for bad in [
            "-a",
            "_a",
            ".a",
            "A",
            "a/",
            "a*",
            "a b",
            "ä",
            &"x".repeat(201),
        ] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }
}
