//! `/api/range`: the windows of a metric as JSON, with the parameters of AGG.RANGE.
//!
//! # Invariants
//!
//! - A request reads at most as many windows as one AGG.RANGE returns, and says whether there are more.
//! - Bad input gets one error, which names the parameter. A metric that no server has is no error: it has no windows.

use std::sync::Arc;

use agg_client::command::{MetricWindow, Range, Window};
use agg_client::connect::Connection;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::reader::within;
use super::settings::Settings;
use super::targets::{Target, Targets};

/// The most windows of a reply: those of one AGG.RANGE.
const MAX_WINDOWS: usize = 5000;
/// The longest query.
const MAX_QUERY: usize = 8192;
/// The longest name, bytes.
const MAX_NAME: usize = 4096;

/// A request for the windows of a metric.
#[derive(Debug, PartialEq)]
pub struct Request {
    node: Vec<u8>,
    metric: Vec<u8>,
    window: Window,
    from: Option<i64>,
    to: Option<i64>,
    limit: usize,
    server: Option<String>,
}

/// A request that cannot be answered; the reason is for its sender.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(String);

fn bad<T>(why: String) -> Result<T, BadRequest> {
    Err(BadRequest(why))
}

impl Request {
    /// Parses the query of a URL. Names of parameters and the word of the window may be in any case.
    ///
    /// # Errors
    ///
    /// The first parameter that is unknown, missing, given twice or invalid.
    pub fn parse(query: &str) -> Result<Request, BadRequest> {
        const NAMES: [&str; 7] = ["node", "metric", "window", "from", "to", "limit", "server"];
        if query.len() > MAX_QUERY {
            return bad(format!("the query is longer than {MAX_QUERY} bytes"));
        }
        let mut values: [Option<Vec<u8>>; NAMES.len()] = Default::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).to_ascii_lowercase();
            let Some(at) = NAMES.iter().position(|known| known.as_bytes() == name) else {
                let name = String::from_utf8_lossy(&name).into_owned();
                return bad(format!(
                    "unknown parameter {name:?}: there are node, metric, window, from, to, limit and server"
                ));
            };
            let value = decoded(value);
            if value.len() > MAX_NAME {
                return bad(format!("{} is longer than {MAX_NAME} bytes", NAMES[at]));
            }
            if values[at].replace(value).is_some() {
                return bad(format!("{} is given twice", NAMES[at]));
            }
        }
        // As a form sends fields that are not filled in.
        let [node, metric, window, from, to, limit, server] =
            values.map(|value| value.filter(|value| !value.is_empty()));
        let required = |value: Option<Vec<u8>>, name| {
            value.ok_or_else(|| BadRequest(format!("{name} is missing")))
        };
        let window = match window.as_deref() {
            None => Window::Min,
            Some(word) if word.eq_ignore_ascii_case(b"MIN") => Window::Min,
            Some(word) if word.eq_ignore_ascii_case(b"HOUR") => Window::Hour,
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                return bad(format!("window: expected MIN or HOUR, not {other:?}"));
            }
        };
        let (from, to) = (time(from, "from")?, time(to, "to")?);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return bad(format!("from ({from}) is after to ({to})"));
        }
        let limit = match limit {
            None => MAX_WINDOWS,
            Some(text) => match number(&text).and_then(|n| usize::try_from(n).ok()) {
                Some(limit) if (1..=MAX_WINDOWS).contains(&limit) => limit,
                _ => return bad(format!("limit: expected a number from 1 to {MAX_WINDOWS}")),
            },
        };
        Ok(Request {
            node: required(node, "node")?,
            metric: required(metric, "metric")?,
            window,
            from,
            to,
            limit,
            server: server.map(|server| String::from_utf8_lossy(&server).into_owned()),
        })
    }
}

/// Decodes a part of a query.
fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses a time, Unix milliseconds.
fn time(text: Option<Vec<u8>>, name: &str) -> Result<Option<i64>, BadRequest> {
    let Some(text) = text else { return Ok(None) };
    match number(&text).filter(|time| *time >= 0) {
        Some(time) => Ok(Some(time)),
        None => {
            let text = String::from_utf8_lossy(&text);
            bad(format!("{name}: expected Unix milliseconds, not {text:?}"))
        }
    }
}

/// The windows of a metric.
#[derive(Serialize)]
pub struct Windows {
    server: Option<String>,
    node: String,
    metric: String,
    window: &'static str,
    /// True if there may be further windows, from the end of the last one on.
    truncated: bool,
    windows: Vec<Value>,
}

/// The servers cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// There is no such server.
    #[error("there is no server {0:?}")]
    UnknownServer(String),
    /// The patterns select other nodes or metrics.
    #[error("not served: the patterns of nodes or metrics do not match it")]
    NotServed,
    /// A server did not answer, and no other has the metric.
    #[error("{0}")]
    Unanswered(String),
}

impl Request {
    /// Asks the servers, and returns the windows of the first that has any.
    ///
    /// # Errors
    ///
    /// The settings leave the node or the metric out, the server that is asked for does not exist, or no server has
    /// windows and one did not answer.
    pub async fn run(&self, targets: &Targets, settings: &Settings) -> Result<Windows, RangeError> {
        if !settings.has_node(&self.node) || !settings.has_metric(&self.metric) {
            return Err(RangeError::NotServed);
        }
        let mut all = targets.all();
        if let Some(server) = &self.server {
            all.retain(|target| target.id == *server);
            if all.is_empty() {
                return Err(RangeError::UnknownServer(server.clone()));
            }
        }
        let asked = futures_util::future::join_all(all.iter().map(|target| self.ask(target)));
        let mut failed = None;
        for (target, asked) in all.iter().zip(asked.await) {
            match asked {
                Ok(windows) if !windows.is_empty() => {
                    return Ok(self.windows(Some(target), windows));
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(RangeError::Unanswered(error)),
            None => Ok(self.windows(None, Vec::new())),
        }
    }

    async fn ask(&self, target: &Arc<Target>) -> Result<Vec<MetricWindow>, String> {
        let server = target.address.lock().clone();
        let mut range = Range::new(&self.node, &self.metric, self.window);
        if let Some(from) = self.from {
            range = range.from(from);
        }
        if let Some(to) = self.to {
            range = range.to(to);
        }
        let asked = async {
            let mut connection: Connection = server.connect().await?;
            connection.run(&range).await
        };
        let asked = within(server.endpoint(), asked).await;
        asked.map_err(|error| error.to_string())
    }

    fn windows(&self, target: Option<&Arc<Target>>, mut windows: Vec<MetricWindow>) -> Windows {
        // A full reply may not be all.
        let truncated = windows.len() > self.limit || windows.len() == MAX_WINDOWS;
        windows.truncate(self.limit);
        Windows {
            server: target.map(|target| target.id.clone()),
            node: String::from_utf8_lossy(&self.node).into_owned(),
            metric: String::from_utf8_lossy(&self.metric).into_owned(),
            window: self.window.as_str(),
            truncated,
            windows: windows.into_iter().map(window).collect(),
        }
    }
}

/// Returns a window with its percentiles as fields.
fn window(window: MetricWindow) -> Value {
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    add("start", json!(window.start));
    add("end", json!(window.end));
    add("count", json!(window.count));
    add("sum", json!(window.sum));
    add("avg", json!(window.avg));
    add("min", json!(window.min));
    add("max", json!(window.max));
    add("last", json!(window.last));
    for (name, value) in window.percentiles {
        add(&name, json!(value));
    }
    add("closed", json!(window.closed));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_agg_range() {
        let request = Request::parse("node=web%201&METRIC=disk.iops%40sda&window=hour&from=5&to=7");
        let expected = Request {
            node: b"web 1".to_vec(),
            metric: b"disk.iops@sda".to_vec(),
            window: Window::Hour,
            from: Some(5),
            to: Some(7),
            limit: 5000,
            server: None,
        };
        assert_eq!(request, Ok(expected));
        let least = Request::parse("node=a+b&metric=m&from=&limit=1").unwrap();
        assert_eq!(
            (&*least.node, least.window, least.limit),
            (&b"a b"[..], Window::Min, 1)
        );
        assert_eq!(least.from, None);
        let bytes = Request::parse("node=%ff&metric=m").unwrap();
        assert_eq!(bytes.node, b"\xff");
    }

    #[test]
    fn bad_parameters_are_named() {
        for (query, expected) in [
            ("", "node is missing"),
            ("node=a", "metric is missing"),
            ("node=&metric=m", "node is missing"),
            ("node=a&metric=m&node=b", "node is given twice"),
            (
                "node=a&metric=m&window=DAY",
                "window: expected MIN or HOUR, not \"DAY\"",
            ),
            (
                "node=a&metric=m&from=1.5",
                "from: expected Unix milliseconds, not \"1.5\"",
            ),
            (
                "node=a&metric=m&to=-1",
                "to: expected Unix milliseconds, not \"-1\"",
            ),
            ("node=a&metric=m&from=2&to=1", "from (2) is after to (1)"),
            (
                "node=a&metric=m&limit=0",
                "limit: expected a number from 1 to 5000",
            ),
            (
                "node=a&metric=m&limit=5001",
                "limit: expected a number from 1 to 5000",
            ),
            (
                "node=a&metric=m&step=1",
                "unknown parameter \"step\": there are node, metric, window, from, to, limit and server",
            ),
        ] {
            assert_eq!(
                Request::parse(query).unwrap_err().to_string(),
                expected,
                "{query}"
            );
        }
        let long = Request::parse(&format!("node={}", "x".repeat(4097))).unwrap_err();
        assert_eq!(long.to_string(), "node is longer than 4096 bytes");
        let long = Request::parse(&"x".repeat(8193)).unwrap_err();
        assert_eq!(long.to_string(), "the query is longer than 8192 bytes");
    }
}
