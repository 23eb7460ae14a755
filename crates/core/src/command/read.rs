//! Commands that read: AGG.GET, AGG.RANGE, AGG.SCAN, AGG.INFO.

use super::args::Args;
use super::names::item_kind;
use crate::error::CommandError;
use crate::model::histogram::Percentiles;
use crate::model::{ItemKind, Window};
use crate::node::{Node, Scan, ScanValues};
use crate::reply::Reply;
use crate::settings::MAX_ITEMS;
use aggregator_protocol::glob::Glob;

/// The arguments of AGG.GET.
pub(super) struct Get<'a> {
    item_kind: ItemKind,
    name: &'a [u8],
    percentiles: Percentiles,
    now_ms: i64,
}

impl<'a> Get<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Get<'a>, CommandError> {
        let get = Get {
            item_kind: item_kind(args)?,
            name: args.name("name")?,
            percentiles: args.settings.rules.percentiles,
            now_ms: args.now_ms(),
        };
        args.finish()?;
        Ok(get)
    }

    pub fn read(&self, name: &[u8], node: &Node, reply: &mut dyn Reply) {
        let open = (self.percentiles, self.now_ms);
        node.get(self.item_kind, self.name, name, open, reply);
    }
}

/// The arguments of AGG.RANGE.
pub(super) struct Range<'a> {
    metric: &'a [u8],
    window: Window,
    from: i64,
    to: i64,
    percentiles: Percentiles,
    now_ms: i64,
}

impl<'a> Range<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Range<'a>, CommandError> {
        let metric = args.name("metric")?;
        let window = args.one_of("window", &Window::ALL, Window::name)?;
        let mut range = Range {
            metric,
            window,
            from: 0,
            to: i64::MAX,
            percentiles: args.settings.rules.percentiles,
            now_ms: args.now_ms(),
        };
        while !args.is_empty() {
            match args.option()? {
                "FROM" => range.from = args.ms("FROM")?,
                _ => range.to = args.ms("TO")?,
            }
        }
        Ok(range)
    }

    pub fn read(&self, node: &Node, reply: &mut dyn Reply) {
        let (times, open) = ((self.from, self.to), (self.percentiles, self.now_ms));
        node.range(self.metric, self.window, times, open, reply);
    }
}

/// The arguments of AGG.SCAN.
pub(super) struct ScanRequest(Scan);

impl ScanRequest {
    pub fn parse(args: &mut Args<'_, '_>) -> Result<ScanRequest, CommandError> {
        let item_kind = item_kind(args)?;
        let cursor = args.integer("cursor", 0..=u64::MAX)?;
        let mut scan = Scan {
            item_kind,
            cursor,
            pattern: None,
            count: 10,
            values: None,
            open: (args.settings.rules.percentiles, args.now_ms()),
        };
        while !args.is_empty() {
            match args.option()? {
                "MATCH" => scan.pattern = Some(Glob::new(args.pattern()?)),
                "COUNT" => scan.count = args.integer("COUNT", 1..=MAX_ITEMS as u64)? as usize,
                option => {
                    let is_given = |values: &ScanValues| values.name() == option;
                    let values = ScanValues::BOTH.into_iter().find(is_given);
                    if std::mem::replace(&mut scan.values, values).is_some() {
                        let [all, last] = ScanValues::BOTH.map(ScanValues::name);
                        return Err(args
                            .reject(format_args!("{last} and {all} are both given: choose one")));
                    }
                }
            }
        }
        Ok(ScanRequest(scan))
    }

    pub fn read(&self, name: &[u8], node: &Node, reply: &mut dyn Reply) {
        node.scan(&self.0, name, reply);
    }

    /// Writes the reply for a node that does not exist: the end of the scan.
    pub fn missing(reply: &mut dyn Reply) {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
    }
}
