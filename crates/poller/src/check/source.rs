//! Finds the servers of a source once, and checks whether the poller could drain them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, timeout};

use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection, Server};
use agg_client::discovery::Source;
use agg_client::discovery::probe::{self, State};
use agg_client::discovery::scan::{Progress, Scan};
use agg_client::nodes::NodeScan;
use agg_client::permissions::{Denied, denied};
use aggregator_protocol::NodeName;
use aggregator_protocol::format::{count, grouped};

use super::outcome::Check;

/// The commands of the module without which nothing is drained.
const REQUIRED: [&str; 4] = ["AGG.FETCH", "AGG.ACK", "AGG.NACK", "AGG.EXTEND"];
/// The command that reads the state of the queues, without which records are drained all the same.
const INFO: &str = "AGG.INFO";
/// The commands that read live values, besides AGG.INFO.
const LIVE: [&str; 3] = ["AGG.SCAN", "AGG.RANGE", "INFO"];
/// The name of a node that does not exist.
const NO_NODE: &[u8] = b"\0agg check";
/// The id of a record that does not exist: ids are times.
const NO_ID: u64 = 1;
/// The time in which the nodes of a server are listed: it may have many other keys.
const LISTING: Duration = Duration::from_secs(3);
/// The maximum number of nodes for which the key patterns of the user are checked.
const MAX_CHECKED: usize = 1000;
/// The maximum number of names in a message.
const MAX_NAMED: usize = 3;

/// The servers of a source.
pub struct Found {
    /// The servers, which are still to be checked.
    pub servers: Vec<Server>,
    /// The result of the search, unless the source lists its servers.
    pub check: Option<Check>,
}

/// Finds the servers of a source.
pub async fn find(source: &Source, limit: Duration) -> Found {
    let (subject, found) = match source {
        Source::Urls(servers) => {
            return Found {
                servers: servers.clone(),
                check: None,
            };
        }
        Source::Range(range) => {
            let (addresses, port) = (range.scan.hosts.count(), range.scan.port);
            let subject = format!(
                "range of {}, port {port}",
                of(addresses, "address", "addresses")
            );
            (subject, scan(&range.scan, limit).await)
        }
        Source::Cluster(cluster) => {
            let seed = cluster.seeds.first().map_or("", Server::endpoint);
            let found = resolved(limit, cluster.resolve()).await;
            let found =
                found.map(|servers| (of(servers.len() as u64, "primary", "primaries"), servers));
            (format!("cluster {seed}"), found)
        }
        Source::Sentinel(sentinel) => {
            let found = resolved(limit, sentinel.resolve()).await;
            let found = found.map(|server| {
                let text = format!("the primary is {}", server.endpoint());
                (text, vec![server])
            });
            (
                format!("service {:?} of Sentinels", sentinel.service),
                found,
            )
        }
    };
    let (servers, result) = match found {
        Ok((text, servers)) => (servers, Ok(text)),
        Err(error) => (Vec::new(), Err(error)),
    };
    Found {
        servers,
        check: Some(Check { subject, result }),
    }
}

fn of(number: u64, one: &str, several: &str) -> String {
    let what = if number == 1 { one } else { several };
    format!("{} {what}", grouped(number))
}

async fn resolved<T>(
    limit: Duration,
    search: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, String> {
    match timeout(limit, search).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no result within {limit:?}")),
    }
}

/// Scans a range until its end or the limit.
async fn scan(scan: &Scan, limit: Duration) -> Result<(String, Vec<Server>), String> {
    let progress = Arc::new(Progress::default());
    let (tell, mut seen) = unbounded_channel();
    // The limit ends it, too.
    let _ = timeout(limit, async {
        scan.run(&progress, &tell).await;
    })
    .await;
    drop(tell);
    let (mut servers, mut others, mut denied) = (Vec::new(), 0, None);
    while let Ok(one) = seen.try_recv() {
        match one.about.state {
            State::Ok => servers.push(one.server),
            State::WantsPassword | State::WrongPassword | State::Rejects => {
                denied = denied.or(one.about.why);
            }
            State::Replica | State::NoModule | State::NoServer => others += 1,
        }
    }
    let done = progress.done.load(Ordering::Relaxed);
    let tried = match done < scan.hosts.count() {
        true => {
            let tried = of(done, "address", "addresses");
            format!("{tried} tried within {limit:?}: ")
        }
        false => String::new(),
    };
    let others = match others {
        0 => String::new(),
        others => format!(", {others} that the poller does not drain"),
    };
    match (servers.len() as u64, denied) {
        (_, Some(why)) => Err(why),
        (0, None) => Err(format!("{tried}no server with the module{others}")),
        (found, None) => Ok((
            format!("{tried}{}{others}", count(found, "server")),
            servers,
        )),
    }
}

/// Checks whether the poller could drain a server, and read its live values if it `serves` them.
///
/// # Errors
///
/// Returns the reason for which it could not drain it.
pub async fn examine(server: &Server, serves: bool) -> Result<String, String> {
    let mut connection = server.connect().await?;
    let about = probe::examine(&mut connection).await;
    match about.state {
        State::Ok => {}
        State::Replica => return Err("a replica: only its primary can be drained".into()),
        State::NoModule => {
            let endpoint = server.endpoint().to_owned();
            return Err(ClientError::NoModule { endpoint }.into());
        }
        state => return Err(about.why.unwrap_or_else(|| state.words().to_owned())),
    }
    let (nodes, is_complete) = nodes(&mut connection).await?;
    let restriction = permissions(&mut connection, &nodes, serves).await?;
    let at_least = if is_complete { "" } else { "at least " };
    let nodes = count(nodes.len() as u64, "node");
    Ok(format!(
        "{}, {at_least}{nodes}{restriction}",
        about.description()
    ))
}

/// Lists the nodes. Returns false if there was no time for all keys of the server.
async fn nodes(connection: &mut Connection) -> Result<(Vec<NodeName>, bool), ClientError> {
    let end = Instant::now() + LISTING;
    let mut scan = NodeScan::default();
    loop {
        if scan.step(connection).await? {
            return Ok((scan.found(), true));
        }
        if Instant::now() > end {
            return Ok((scan.found(), false));
        }
    }
}

/// Checks what the user may do. Returns what restricts the poller without stopping it.
async fn permissions(
    connection: &mut Connection,
    nodes: &[NodeName],
    serves: bool,
) -> Result<String, String> {
    let none = NodeName(NO_NODE.to_vec());
    let live = LIVE.into_iter().filter(|_| serves);
    let names = REQUIRED.into_iter().chain([INFO]).chain(live);
    let commands: Vec<Cmd> = names.clone().map(|name| harmless(name, &none)).collect();
    let found = denied(connection, &commands).await?;
    let is_denied = |(name, denied)| (denied == Some(Denied::Command)).then_some(name);
    let denied_commands: Vec<&str> = names.zip(found).filter_map(is_denied).collect();
    let required: Vec<&str> = (denied_commands.iter().copied())
        .filter(|name| REQUIRED.contains(name))
        .collect();
    if !required.is_empty() {
        return Err(format!("the user may not run {}", required.join(", ")));
    }
    let checked = &nodes[..nodes.len().min(MAX_CHECKED)];
    let commands: Vec<Cmd> = (checked.iter())
        .map(|node| harmless("AGG.ACK", node))
        .collect();
    let found = denied(connection, &commands).await?;
    let is_denied = |(node, denied): (_, Option<Denied>)| denied.map(|_| node);
    let denied_nodes: Vec<&NodeName> = checked.iter().zip(found).filter_map(is_denied).collect();
    if !denied_nodes.is_empty() {
        let named = denied_nodes.iter().take(MAX_NAMED);
        let named: Vec<String> = named.map(|node| node.to_string()).collect();
        let more = denied_nodes.len() > MAX_NAMED;
        return Err(format!(
            "the user may not drain {} of {}: {}{}",
            denied_nodes.len(),
            count(nodes.len() as u64, "node"),
            named.join(", "),
            if more { ", ..." } else { "" }
        ));
    }
    let mut restrictions = String::new();
    if denied_commands.contains(&INFO) {
        restrictions +=
            &format!("; the lengths of queues are unknown, as the user may not run {INFO}");
    }
    if serves && !denied_commands.is_empty() {
        let denied = denied_commands.join(", ");
        restrictions += &format!("; live values are missing, as the user may not run {denied}");
    }
    Ok(restrictions)
}

/// Returns a command about what does not exist, which changes nothing. AGG.FETCH leases records of a node that
/// exists.
fn harmless(name: &str, node: &NodeName) -> Cmd {
    if name == "INFO" {
        let mut command = Cmd::new(name);
        command.arg("agg");
        return command;
    }
    let mut command = Cmd::of_node(name, node);
    match name {
        INFO => {}
        "AGG.SCAN" => {
            command.arg("METRIC").arg(0);
        }
        "AGG.RANGE" => {
            command.arg("agg check").arg("MIN");
        }
        "AGG.FETCH" => {
            command.arg("LOG");
        }
        "AGG.EXTEND" => {
            command.arg("LOG").arg(1000).arg(NO_ID);
        }
        _ => {
            command.arg("LOG").arg(NO_ID);
        }
    }
    command
}
