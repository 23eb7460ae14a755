//! Documents in OpenSearch, Elasticsearch and compatible servers, by bulk requests.
//!
//! # Invariants
//!
//! The `_id` of a document is that of its record, so a record that is written twice is one document: windows and log
//! entries are created once, states of errors and objects replace only older ones.

mod document;
mod identity;
mod reply;
mod setup;
mod template;

use async_trait::async_trait;

use crate::config::OpenSearch as Settings;

use super::bisect::{Rejected, Reply};
use super::encoded::{Encoded, convert};
use super::http_client::{HttpClient, Response};
use super::post::{Post, Protocol};
use super::{BatchLimits, Rejection, Sink, SinkError, lines};

/// A sink of documents.
pub struct OpenSearch {
    settings: Settings,
    post: Post<Bulk>,
}

impl OpenSearch {
    /// Creates a sink. Nothing is sent yet.
    pub fn new(settings: Settings) -> OpenSearch {
        let post = Post::new(settings.post.clone(), Bulk(settings.clone()));
        OpenSearch { settings, post }
    }
}

#[async_trait]
impl Sink for OpenSearch {
    fn limits(&self) -> BatchLimits {
        self.post.limits()
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        self.post.connect().await
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let mut encoded = Encoded::default();
        let mut rejections = convert(records, |index, record| {
            encoded.push(index, document::lines(record, &self.settings)?);
            Ok(())
        });
        rejections.extend(encoded.write_to(&mut self.post).await?);
        Ok(rejections)
    }
}

/// Bulk requests. Their records are actions with documents.
struct Bulk(Settings);

impl Protocol for Bulk {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn body(&self, records: &[&[u8]]) -> Vec<u8> {
        lines(records)
    }

    fn is_stored(&self, _: &Response) -> bool {
        // The items of the response say it.
        false
    }

    fn confirm(&self, response: &Response, records: &[&[u8]]) -> Option<Reply> {
        reply::read(response, records.len())
    }

    fn classify(&self, response: &Response, _: &[&[u8]]) -> Option<Reply> {
        // Of the whole request: the server could not read its actions.
        (response.status == 400).then(|| {
            Reply::Rejected(Rejected {
                reason: response.error(),
                ..Rejected::default()
            })
        })
    }

    async fn describe(&self, client: &HttpClient) -> Result<String, SinkError> {
        Ok(setup::describe(client, &self.0).await?.text())
    }

    async fn prepare(&self, client: &HttpClient) -> Result<(), SinkError> {
        match self.0.templates {
            true => setup::create_templates(client, &self.0).await,
            false => Ok(()),
        }
    }
}
