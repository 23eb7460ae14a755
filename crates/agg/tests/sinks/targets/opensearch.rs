//! Documents of an osmem, which keeps them in memory: instead of a crash its connections are cut. A full disk is the block
//! that a server puts on its indexes then.

use serde_json::{Value, json};

use crate::support::opensearch;
use crate::support::proxy::Proxy;

use super::super::target::{Fault, Guarantee, Target};

pub struct OpenSearch(opensearch::OpenSearch);

const INDEXES: [&str; 2] = ["agg-logs", "agg-statistics"];

impl OpenSearch {
    fn block(&self, is_full: bool) {
        for index in INDEXES {
            let settings = json!({ "index": { "blocks.read_only_allow_delete": is_full } });
            self.0.put(&format!("{index}/_settings"), &settings);
        }
    }
}

impl Target for OpenSearch {
    const NAME: &'static str = "opensearch";
    const SERVER: &'static str = "osmem";
    const GUARANTEE: Guarantee = Guarantee::Once;

    fn start(_: Fault) -> Option<OpenSearch> {
        opensearch::OpenSearch::start().map(OpenSearch)
    }

    fn sink(&self) -> String {
        format!(
            "type = \"opensearch\"\nurl = \"{}\"\nbatch-lines = 100\ntimeout = \"5s\"",
            self.0.url()
        )
    }

    fn stored(&self) -> Vec<String> {
        let documents = INDEXES.iter().flat_map(|index| self.0.all(index));
        let key = |hit: Value| super::super::target::by_id(&hit["_source"]);
        documents.map(key).collect()
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.0.proxy)
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        match fault {
            Fault::Away => {
                self.0.proxy.cut();
                ""
            }
            Fault::Slow => "nothing within 5s",
            Fault::Reject => {
                let message = json!({ "properties": { "message": { "type": "double" } } });
                self.0.put("agg-logs", &json!({ "mappings": message }));
                "400 mapper_parsing_exception: failed to parse"
            }
            Fault::Full => {
                self.block(true);
                "429 cluster_block_exception: "
            }
            Fault::Conflict => {
                for index in INDEXES {
                    self.0.put(index, &json!({}));
                    self.0.post(&format!("{index}/_close"));
                }
                "400 index_closed_exception: "
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        match fault {
            Fault::Away => self.0.proxy.repair(),
            Fault::Full => self.block(false),
            Fault::Conflict => {
                for index in INDEXES {
                    self.0.post(&format!("{index}/_open"));
                }
            }
            _ => {}
        }
    }
}
