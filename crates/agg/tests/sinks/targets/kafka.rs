//! Topics of a Tansu, which keeps its messages in memory: instead of a crash its connections are cut.

use crate::support::kafka;
use crate::support::proxy::Proxy;

use super::super::target::{Fault, Guarantee, Target};

pub struct Kafka {
    server: kafka::Kafka,
    creates_topics: bool,
}

const TOPICS: [&str; 2] = ["agg.log", "agg.min"];
/// Of messages of the log.
const SCHEMA: &str = r#"{"type":"object","properties":{"value":{"type":"object","properties":{
    "message":{"type":"string","pattern":"^1"}}}}}"#;

impl Target for Kafka {
    const NAME: &'static str = "kafka";
    const SERVER: &'static str = "Tansu";
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;
    // The broker names the proxy to its clients.
    const IS_READ_BY_PROXY: bool = true;

    fn support(fault: Fault) -> Result<(), &'static str> {
        match fault {
            Fault::Full => Err("Tansu has neither quotas nor a disk here"),
            _ => Ok(()),
        }
    }

    fn start(fault: Fault) -> Option<Kafka> {
        let server = match fault {
            Fault::Reject => kafka::Kafka::with_schemas(&[("agg.log", SCHEMA)])?,
            _ => kafka::Kafka::start()?,
        };
        let creates_topics = fault != Fault::Conflict;
        Some(Kafka {
            server,
            creates_topics,
        })
    }

    fn sink(&self) -> String {
        let create = match self.creates_topics {
            true => "create-topics = true\npartitions = 2\n",
            false => "",
        };
        format!(
            "type = \"kafka\"\nuri = \"{}\"\nbatch-lines = 100\ntimeout = \"6s\"\n{create}",
            self.server.uri()
        )
    }

    fn stored(&self) -> Vec<String> {
        let messages = TOPICS.iter().flat_map(|topic| self.server.messages(topic));
        let key = |message: kafka::Message| {
            let header = |name: &str| message.headers[name].clone();
            format!("{} {} {}", header("node"), header("queue"), header("id"))
        };
        messages.map(key).collect()
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.server.proxy)
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        match fault {
            Fault::Away => {
                self.server.proxy.cut();
                ""
            }
            Fault::Slow => "no answer within 6s",
            Fault::Reject => "INVALID_RECORD",
            Fault::Conflict => "there is no topic",
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        match fault {
            Fault::Away => self.server.proxy.repair(),
            Fault::Conflict => TOPICS
                .iter()
                .for_each(|topic| self.server.create_topic(topic, 2)),
            _ => {}
        }
    }
}
