//! A real broker that speaks Kafka's protocol (Tansu, which scripts/servers.sh fetches) on a free loopback port. It keeps
//! its messages in memory. It ends with its value, by its process id. Tests read by the client library of the sink.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::error::Error;
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};

use super::certs::Certs;
use super::proxy::Proxy;
use super::{fetched_servers, free_port, missing, tls_front, until};

/// A running broker. Its clients connect through the proxy, whose address it tells them.
pub struct Kafka {
    child: Child,
    port: u16,
    pub proxy: Proxy,
    schemas: Option<tempfile::TempDir>,
}

/// A message with its partition.
#[derive(Clone, Debug)]
pub struct Message {
    pub partition: i32,
    pub key: String,
    pub value: String,
    pub headers: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub time: i64,
}

impl Kafka {
    /// Starts an empty one; `None` if the program is missing.
    pub fn start() -> Option<Kafka> {
        Kafka::with_schemas(&[])
    }

    /// Starts one that accepts only messages of a topic that match its JSON schema.
    pub fn with_schemas(schemas: &[(&str, &str)]) -> Option<Kafka> {
        if !program().exists() {
            return missing("tansu, which scripts/servers.sh fetches,");
        }
        let dir = (!schemas.is_empty()).then(|| tempfile::tempdir().unwrap());
        for (topic, schema) in schemas {
            let path = dir.as_ref().unwrap().path().join(format!("{topic}.json"));
            std::fs::write(path, schema).unwrap();
        }
        let port = free_port();
        let proxy = Proxy::start(port);
        let child = spawn(port, proxy.port, dir.as_ref().map(tempfile::TempDir::path));
        let mut kafka = Kafka {
            child,
            port,
            proxy,
            schemas: dir,
        };
        kafka.wait_for_answer();
        Some(kafka)
    }

    /// Starts one that is reached by TLS with a client certificate. Returns its URI too.
    pub fn encrypted(certs: &Certs) -> Option<(Kafka, String)> {
        let mut kafka = Kafka::start()?;
        let port = tls_front::start(certs, kafka.port);
        kafka.stop();
        // The broker names the front to its clients.
        kafka.child = spawn(kafka.port, port, None);
        kafka.wait_for_answer();
        Some((kafka, format!("kafkas://127.0.0.1:{port}")))
    }

    /// Restarts it so that clients have to authenticate. It has no user.
    pub fn require_authentication(&mut self) {
        self.stop();
        self.child = command(self.port, self.proxy.port)
            .arg("--authentication")
            .spawn()
            .unwrap();
        until("tansu accepts connections", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    pub fn uri(&self) -> String {
        format!("kafka://127.0.0.1:{}", self.proxy.port)
    }

    /// Kills it, as a crash does. Its messages are lost.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Restarts it without messages and topics.
    pub fn restart(&mut self) {
        self.stop();
        let schemas = self.schemas.as_ref().map(tempfile::TempDir::path);
        self.child = spawn(self.port, self.proxy.port, schemas);
        self.wait_for_answer();
    }

    fn wait_for_answer(&mut self) {
        until("tansu answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("tansu ended with {status}");
            }
            self.run(async |client| client.list_topics().await).ok()
        });
    }

    /// Runs calls of a client that is connected directly, not through the proxy.
    fn run<T>(&self, calls: impl AsyncFn(&Client) -> Result<T, Error>) -> Result<T, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let retry = BackoffConfig {
                deadline: Some(Duration::from_millis(100)),
                ..BackoffConfig::default()
            };
            let broker = format!("127.0.0.1:{}", self.port);
            let client = ClientBuilder::new(vec![broker])
                .backoff_config(retry)
                .build()
                .await?;
            calls(&client).await
        })
    }

    /// Returns the number of partitions of each topic.
    pub fn topics(&self) -> BTreeMap<String, usize> {
        let topics = self.run(async |client| client.list_topics().await);
        let topics = topics.unwrap().into_iter();
        topics
            .map(|topic| (topic.name, topic.partitions.len()))
            .collect()
    }

    pub fn create_topic(&self, name: &str, partitions: i32) {
        let create = async |client: &Client| {
            let controller = client.controller_client()?;
            controller.create_topic(name, partitions, 1, 5000).await
        };
        self.run(create).unwrap();
    }

    /// Returns the messages of a topic that may not exist yet, in the order of each partition.
    pub fn messages(&self, topic: &str) -> Vec<Message> {
        let partitions = self.topics().get(topic).copied().unwrap_or_default();
        let read = async |client: &Client| {
            let mut found = Vec::new();
            for id in 0..partitions as i32 {
                let partition = client
                    .partition_client(topic, id, UnknownTopicHandling::Retry)
                    .await?;
                let end = partition.get_offset(OffsetAt::Latest).await?;
                let mut at = 0;
                while at < end {
                    let (records, _) = partition.fetch_records(at, 1..1 << 20, 1000).await?;
                    for record in records {
                        at = record.offset + 1;
                        let record = record.record;
                        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                        found.push(Message {
                            partition: id,
                            key: text(record.key.unwrap()),
                            value: text(record.value.unwrap()),
                            headers: { record.headers.into_iter() }
                                .map(|(name, value)| (name, text(value)))
                                .collect(),
                            time: record.timestamp.timestamp_millis(),
                        });
                    }
                }
            }
            Ok(found)
        };
        self.run(read).unwrap()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> std::path::PathBuf {
    fetched_servers().join("tansu")
}

fn command(port: u16, advertised: u16) -> Command {
    let url = |port: u16| format!("tcp://127.0.0.1:{port}");
    let mut command = Command::new(std::fs::canonicalize(program()).unwrap());
    command
        .args(["--listener-url", &url(port)])
        .args(["--advertised-listener-url", &url(advertised)])
        .args(["--storage-engine", "memory://tansu/"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn spawn(port: u16, advertised: u16, schemas: Option<&Path>) -> Child {
    let mut command = command(port, advertised);
    if let Some(schemas) = schemas {
        // It takes the path of the URL to be relative to its directory.
        command.current_dir(schemas);
        command.args(["--schema-registry", "file://./"]);
    }
    command.spawn().unwrap()
}
