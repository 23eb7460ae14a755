//! Reads one server: INFO, the names of its nodes, and their metrics. Only commands that read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agg_client::ServerError;
use agg_client::command::{Cmd, Info, NodeInfo};
use agg_client::connect::{ClientError, Connection, CursorWalk, RawReply, Server};
use agg_client::nodes::NodeScan;
use agg_client::reply;
use aggregator_protocol::NodeName;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::SILENCE;
use super::info::ServerInfo;
use super::metric::{NodeSeries, cursor};
use super::series::{SeriesSet, labels};
use super::settings::Settings;
use crate::prometheus_name::text;

/// The number of nodes in one pipeline. A reply has about a mebibyte.
const NODES_PER_CALL: usize = 32;
/// The metrics that a page is to have; the server ends it sooner, after some milliseconds.
const PAGE: usize = 10_000;
/// The time for which a list of nodes is used before it is read again.
const LIST_LIFETIME: Duration = Duration::from_secs(5);
/// The time of a reading for the list of nodes, if an older list can be used: a server may have many other keys.
const LIST_TIME: Duration = Duration::from_secs(1);

/// The result of reading a server.
pub struct Reading {
    /// Its report about itself.
    pub info: ServerInfo,
    /// The series of its nodes.
    pub series: SeriesSet,
    /// The number of nodes that were read.
    pub nodes: u64,
    /// The number of nodes whose metrics are left out, as they have had no sample for a while.
    pub old_nodes: u64,
}

/// The state that successive readings of a server share.
#[derive(Default)]
pub struct Reader {
    connection: Option<Connection>,
    /// The values that are read over the connection.
    values: Values,
    names: NodeNames,
}

/// The option of AGG.SCAN for values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Values {
    /// WITHLAST: what is served, and no more.
    #[default]
    Last,
    /// WITHVALUES, of a server that does not know WITHLAST: about five times the bytes.
    All,
}

/// The names of a server's nodes. A long list is read in parts.
#[derive(Default)]
struct NodeNames {
    names: Vec<NodeName>,
    /// The list that is being read.
    scan: Option<NodeScan>,
    /// The time at which `names` was complete.
    read_at: Option<Instant>,
}

impl Reader {
    /// Reads the server. `permits` bounds how many servers are read at the same time, and so the memory that takes.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, is silent, or rejects what the user has to be allowed to read.
    pub async fn read(
        &mut self,
        id: &str,
        server: &Server,
        settings: &Settings,
        permits: &Semaphore,
    ) -> Result<Reading, ClientError> {
        // Kept again only after a success, as a connection that failed cannot be used again.
        let kept = self.connection.take();
        let kept = kept.filter(|connection| connection.endpoint() == server.endpoint());
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                self.values = Values::default();
                within(server.endpoint(), server.connect()).await?
            }
        };
        let info = info(&mut connection, server).await?;
        self.names.refresh(&mut connection).await?;
        // Semaphores that are not closed do not fail.
        let _permit = permits.acquire().await;
        let mut reading = Reading {
            info,
            series: SeriesSet::new(settings.max_series),
            nodes: 0,
            old_nodes: 0,
        };
        let names = self.names.names.iter();
        let names: Vec<&NodeName> = names.filter(|name| settings.has_node(&name.0)).collect();
        for names in names.chunks(NODES_PER_CALL) {
            let values = &mut self.values;
            read_nodes(&mut connection, id, names, values, settings, &mut reading).await?;
        }
        self.connection = Some(connection);
        Ok(reading)
    }
}

impl NodeNames {
    /// Continues to read the list if it is due.
    async fn refresh(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let is_fresh = self.read_at.is_some_and(|at| at.elapsed() < LIST_LIFETIME);
        if self.scan.is_none() && is_fresh {
            return Ok(());
        }
        let since = Instant::now();
        let mut scan = self.scan.take().unwrap_or_default();
        let endpoint = connection.endpoint().to_owned();
        while !within(&endpoint, scan.step(connection)).await? {
            if self.read_at.is_some() && since.elapsed() > LIST_TIME {
                self.scan = Some(scan);
                return Ok(());
            }
        }
        self.names = scan.found();
        self.read_at = Some(Instant::now());
        Ok(())
    }
}

/// Reads what the server reports about itself.
async fn info(connection: &mut Connection, server: &Server) -> Result<ServerInfo, ClientError> {
    let mut command = Cmd::new("INFO");
    command.arg("server").arg("agg");
    let reply = within(server.endpoint(), connection.call(&command)).await?;
    let reply = reply.map_err(|error| connection.rejected("INFO", &error))?;
    let text = reply::text(reply).ok_or_else(|| connection.unexpected_reply("INFO"))?;
    ServerInfo::parse(&text).ok_or_else(|| ClientError::NoModule {
        endpoint: server.endpoint().to_owned(),
    })
}

/// Reads the metrics of some nodes, and what the server reports about them.
async fn read_nodes(
    connection: &mut Connection,
    id: &str,
    names: &[&NodeName],
    values: &mut Values,
    settings: &Settings,
    reading: &mut Reading,
) -> Result<(), ClientError> {
    let endpoint = connection.endpoint().to_owned();
    let infos: Vec<Info> = names.iter().map(|name| Info::new(*name)).collect();
    let infos = within(&endpoint, connection.run_all(&infos)).await?;
    let mut nodes = read_first(connection, names, *values, settings).await?;
    if *values == Values::Last && nodes.iter().any(|(_, page)| is_unknown(page)) {
        *values = Values::All;
        nodes = read_first(connection, names, *values, settings).await?;
    }
    for (index, ((mut node, page), info)) in nodes.into_iter().zip(infos).enumerate() {
        let unexpected = || connection.unexpected_reply("AGG.SCAN");
        match page.ok_or_else(unexpected)? {
            Ok(cursor) => {
                read_rest(connection, names[index], cursor, *values, &mut node).await?;
            }
            Err(error) if error.code == "WRONGTYPE" => continue,
            Err(error) => return Err(connection.rejected("AGG.SCAN", &error)),
        }
        let info = info.map_err(|error| connection.rejected("AGG.INFO", &error))?;
        // It was deleted since its name was listed.
        let Some(info) = info else { continue };
        reading.nodes += 1;
        add_node(&mut reading.series, id, names[index], &info, node.newest);
        let now = reading.info.now_ms.unwrap_or_else(own_clock);
        let age = u64::try_from(now.saturating_sub(node.newest)).unwrap_or(0);
        match age <= settings.max_age.as_millis() as u64 {
            true => reading.series.extend(node.set),
            false => reading.old_nodes += 1,
        }
    }
    Ok(())
}

/// The next cursor of a page, or the server's error; none if the reply is no page.
type Next = Option<Result<Vec<u8>, ServerError>>;

/// Reads the first page of each of some nodes.
async fn read_first<'a>(
    connection: &mut Connection,
    names: &[&NodeName],
    values: Values,
    settings: &'a Settings,
) -> Result<Vec<(NodeSeries<'a>, Next)>, ClientError> {
    let endpoint = connection.endpoint().to_owned();
    let scans: Vec<Cmd> = names.iter().map(|name| scan(name, b"0", values)).collect();
    let mut nodes = Vec::with_capacity(names.len());
    let first_pages = connection.pipeline_raw(&scans, |index, page| {
        let mut node = NodeSeries::new(&names[index].0, settings);
        let next = match page {
            Ok(page) => add_page(&mut node, &page).map(Ok),
            Err(error) => Some(Err(error)),
        };
        nodes.push((node, next));
    });
    within(&endpoint, first_pages).await?;
    Ok(nodes)
}

/// Returns whether the server does not know an option. Other errors of a correct command are a missing permission, and
/// a key of another type by now: they have other codes.
fn is_unknown(page: &Next) -> bool {
    matches!(page, Some(Err(error)) if error.code == "ERR")
}

/// Adds a page of a node and returns the next cursor, or none if it is no page.
fn add_page(node: &mut NodeSeries<'_>, page: &RawReply) -> Option<Vec<u8>> {
    let mut tokens = page.tokens();
    let next = cursor(&mut tokens)?;
    node.add_page(tokens)?;
    Some(next)
}

/// Reads the pages of a node after the first. While the server makes a page, the one before becomes series.
async fn read_rest(
    connection: &mut Connection,
    name: &NodeName,
    mut next: Vec<u8>,
    values: Values,
    node: &mut NodeSeries<'_>,
) -> Result<(), ClientError> {
    let endpoint = connection.endpoint().to_owned();
    let mut walk = CursorWalk::new("AGG.SCAN");
    let mut page: Option<RawReply> = None;
    loop {
        let is_last = walk.step(connection, next)?;
        let mut add = |page: &Option<RawReply>| match page {
            Some(page) => add_page(node, page).map(drop),
            None => Some(()),
        };
        if is_last {
            let added = add(&page);
            return added.ok_or_else(|| connection.unexpected_reply("AGG.SCAN"));
        }
        let command = [scan(name, walk.cursor(), values)];
        let mut received = None;
        let call = connection.pipeline_raw(&command, |_, reply| received = Some(reply));
        // The command is sent before the page is read.
        let (called, added) = tokio::join!(within(&endpoint, call), async { add(&page) });
        called?;
        added.ok_or_else(|| connection.unexpected_reply("AGG.SCAN"))?;
        let reply = match received {
            Some(Ok(reply)) => reply,
            Some(Err(error)) => return Err(connection.rejected("AGG.SCAN", &error)),
            None => return Err(connection.unexpected_reply("AGG.SCAN")),
        };
        next =
            cursor(&mut reply.tokens()).ok_or_else(|| connection.unexpected_reply("AGG.SCAN"))?;
        page = Some(reply);
    }
}

/// Adds the program's own series of a node.
fn add_node(set: &mut SeriesSet, id: &str, name: &NodeName, info: &NodeInfo, newest: i64) {
    let labels = labels([("node", &*text(&name.0)), ("server", id)]);
    let mut add = |family: &str, value: f64| {
        set.add([family, "{", &labels, "}"].concat().into(), value);
    };
    let queues = info.queues.values();
    let sum = |of: fn(&agg_client::command::QueueInfo) -> u64| queues.clone().map(of).sum::<u64>();
    let pending = info.queues.values().filter(|queue| queue.length > 0);
    let oldest = pending.map(|queue| queue.oldest_ms).max().unwrap_or(0);
    add("agg_node_metrics", info.metrics as f64);
    add("agg_node_errors", info.errors as f64);
    add("agg_node_objects", info.realities as f64);
    add("agg_node_memory_bytes", info.bytes as f64);
    add("agg_node_late_samples_total", info.late as f64);
    add("agg_node_suspect_diff_total", info.suspect_diff as f64);
    let refused: u64 = info.refused.values().sum();
    add("agg_node_refused_reports_total", refused as f64);
    add("agg_node_queue_records", sum(|queue| queue.length) as f64);
    add("agg_node_queue_oldest_seconds", oldest as f64 / 1000.0);
    add(
        "agg_node_dropped_records_total",
        sum(|queue| queue.dropped) as f64,
    );
    if newest > 0 {
        add(
            "agg_node_newest_sample_timestamp_seconds",
            newest as f64 / 1000.0,
        );
    }
}

fn scan(node: &NodeName, cursor: &[u8], values: Values) -> Cmd {
    let mut command = Cmd::of_node("AGG.SCAN", node);
    command.arg("METRIC").arg(cursor).arg("COUNT").arg(PAGE);
    command.arg(match values {
        Values::Last => "WITHLAST",
        Values::All => "WITHVALUES",
    });
    command
}

/// Waits for a call as long as a server may be silent.
pub async fn within<T>(
    endpoint: &str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match timeout(SILENCE, call).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Unreachable {
            endpoint: endpoint.to_owned(),
            reason: format!("no answer within {} s", SILENCE.as_secs()),
        }),
    }
}

/// The time of this machine, for servers that do not report theirs.
fn own_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
