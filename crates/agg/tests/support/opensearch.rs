//! A real server that speaks the HTTP API of OpenSearch (osmem, which scripts/servers.sh fetches) on a free loopback port.
//! It keeps its documents in memory. It ends with its value, by its process id.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::proxy::Proxy;
use super::stub::{Answer, Request};
use super::{fetched_servers, free_port, missing, until};

/// A running server. The poller of a test connects through the proxy.
pub struct OpenSearch {
    child: Child,
    pub port: u16,
    pub proxy: Proxy,
}

impl OpenSearch {
    /// Starts an empty one; `None` if the program is missing.
    pub fn start() -> Option<OpenSearch> {
        if !fetched_servers().join("osmem").exists() {
            return missing("osmem, which scripts/servers.sh fetches,");
        }
        let port = free_port();
        let mut server = OpenSearch {
            child: spawn(port),
            port,
            proxy: Proxy::start(port),
        };
        server.wait_for_answer();
        Some(server)
    }

    /// Returns the URL of the proxy.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.port)
    }

    /// Kills it, as a crash does. What it has is lost.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty.
    pub fn restart(&mut self) {
        self.child = spawn(self.port);
        self.wait_for_answer();
    }

    fn wait_for_answer(&mut self) {
        let url = format!("http://127.0.0.1:{}/", self.port);
        until("osmem answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("osmem ended with {status}");
            }
            ureq::get(&url).call().ok()
        });
    }

    /// Sends JSON to a path.
    pub fn put(&self, path: &str, body: &Value) {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let request = ureq::put(url).header("content-type", "application/json");
        request.send(body.to_string()).unwrap();
    }

    /// Sends nothing to a path.
    pub fn post(&self, path: &str) {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        ureq::post(&url).send_empty().unwrap();
    }

    /// Returns what passes requests on to it, for a stub in front of it.
    pub fn pass(&self) -> impl Fn(&Request) -> Answer + Send + Sync + use<> {
        let port = self.port;
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        move |request| {
            let method = request.head[0].split(' ').next().unwrap();
            let url = format!("http://127.0.0.1:{port}{}", request.path);
            let request = ureq::http::Request::builder()
                .method(method)
                .uri(url)
                .header("content-type", "application/json")
                .body(request.body.clone())
                .unwrap();
            let mut response = match method {
                "GET" => agent.run(request.map(|_| ())),
                _ => agent.run(request),
            }
            .unwrap();
            let config = response.body_mut().with_config().limit(64 << 20);
            let body = config.read_to_string().unwrap();
            (response.status().as_u16(), "", body)
        }
    }

    pub fn get(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let text = ureq::get(url).call().unwrap().body_mut().read_to_string();
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    /// Returns the documents of an index or pattern that match, with `_id`, `_index`, `_version` and `_source`.
    pub fn search(&self, index: &str, query: &Value) -> Vec<Value> {
        let port = self.port;
        let url = format!("http://127.0.0.1:{port}/{index}/_search?ignore_unavailable=true");
        let body = json!({ "query": query, "size": 10_000, "version": true }).to_string();
        let request = ureq::post(url).header("content-type", "application/json");
        let mut response = request.send(body).unwrap();
        let config = response.body_mut().with_config().limit(64 << 20);
        let json: Value = serde_json::from_str(&config.read_to_string().unwrap()).unwrap();
        json["hits"]["hits"].as_array().unwrap().clone()
    }

    pub fn all(&self, index: &str) -> Vec<Value> {
        self.search(index, &json!({ "match_all": {} }))
    }
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(port: u16) -> Child {
    Command::new(fetched_servers().join("osmem"))
        .args(["-no-ja", "-no-stdin-watch", "-addr"])
        .arg(format!("127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
