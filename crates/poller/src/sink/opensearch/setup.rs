//! Asks a server what it is, and creates the index templates that it lacks.

use hyper::Method;
use serde_json::Value;

use crate::config::OpenSearch;
use crate::sink::SinkError;
use crate::sink::http_client::{HttpClient, Response};
use crate::sink::interface::shorten;

use super::template::{INDEXES, TagType, template};

/// The kind, version and cluster of a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Description {
    is_opensearch: bool,
    version: String,
    cluster: String,
}

impl Description {
    /// Returns the name, the version and the cluster.
    pub fn text(&self) -> String {
        let name = match self.is_opensearch {
            true => "OpenSearch",
            false => "Elasticsearch",
        };
        shorten(&format!(
            "{name} {}, cluster {}",
            self.version, self.cluster
        ))
    }
}

/// Asks a server for its name and version, which also checks the credentials.
///
/// # Errors
///
/// Returns an error if the server is down, refuses the user, or is another kind of server.
pub async fn describe(
    client: &HttpClient,
    settings: &OpenSearch,
) -> Result<Description, SinkError> {
    let path = format!("{}/", settings.path);
    let response = client.request(Method::GET, &path, None).await?;
    if response.status != 200 {
        return Err(failed("GET /", &response));
    }
    let json: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let Some(version) = json["version"]["number"].as_str() else {
        return Err(SinkError::retriable(format!(
            "GET / is not answered as by OpenSearch or Elasticsearch: {}",
            response.error()
        )));
    };
    Ok(Description {
        is_opensearch: json["version"]["distribution"] == "opensearch",
        version: version.to_owned(),
        cluster: json["cluster_name"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Creates the templates that are missing. Those that exist stay as they are.
///
/// # Errors
///
/// Returns an error if the server refuses.
pub async fn create_templates(client: &HttpClient, settings: &OpenSearch) -> Result<(), SinkError> {
    let mut types = match describe(client, settings).await?.is_opensearch {
        true => vec![TagType::Disabled, TagType::FlatObject],
        false => vec![TagType::Disabled, TagType::Flattened],
    };
    for index in INDEXES {
        let name = format!("{}{index}", settings.prefix);
        let path = format!("{}/_index_template/{name}", settings.path);
        let asked = format!("GET _index_template/{name}");
        let response = client.request(Method::GET, &path, None).await?;
        match response.status {
            200 => continue,
            404 => {}
            _ => return Err(failed(&asked, &response)),
        }
        let asked = format!("PUT _index_template/{name}");
        // Another poller may have created it in the meantime.
        let path = format!("{path}?create=true");
        loop {
            let tags = types.last().copied().unwrap_or(TagType::Disabled);
            let body = template(&settings.prefix, index, tags).to_string();
            let response = client.request(Method::PUT, &path, Some(body)).await?;
            match response.status {
                200 => break,
                400 if response.body.contains("already exists") => break,
                // An older version, or a distribution without the type.
                400 if response.body.contains("No handler for type") && types.len() > 1 => {
                    types.pop();
                }
                _ => return Err(failed(&asked, &response)),
            }
        }
    }
    Ok(())
}

fn failed(asked: &str, response: &Response) -> SinkError {
    let hint = match response.status {
        403 => "; the user may not manage index templates: create them, and set templates = false",
        _ => "",
    };
    SinkError::Retriable {
        reason: format!("{asked}: {}{hint}", response.error()),
        retry_after: response.retry_after,
    }
}
