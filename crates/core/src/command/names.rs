//! Commands about items that have names: AGG.FORGET, AGG.REQUEUE.

use super::args::Args;
use crate::context::WriteContext;
use crate::counters::RejectReason;
use crate::error::CommandError;
use crate::model::{ItemKind, Queue};
use crate::node::{MAX_REQUEUED, Node, RequeueError};
use crate::reply::Reply;
use aggregator_protocol::glob::Glob;

/// Takes the kind of an item.
pub(super) fn item_kind(args: &mut Args<'_, '_>) -> Result<ItemKind, CommandError> {
    args.one_of("kind", &ItemKind::ALL, ItemKind::name)
}

/// The arguments of AGG.FORGET.
pub(super) struct Forget<'a> {
    item_kind: ItemKind,
    name: &'a [u8],
}

impl<'a> Forget<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Forget<'a>, CommandError> {
        let forget = Forget {
            item_kind: item_kind(args)?,
            name: args.name("name")?,
        };
        args.finish()?;
        Ok(forget)
    }

    pub fn cost(&self, node: &Node, closely: bool) -> u64 {
        match (self.item_kind, closely) {
            (ItemKind::Metric, true) => node.forget_cost(self.name),
            (ItemKind::Metric, false) => node.closing_bound(1),
            _ => 0,
        }
    }

    pub fn run(&self, node: &mut Node, ctx: &mut WriteContext<'_>, reply: &mut dyn Reply) {
        reply.int(node.forget(self.item_kind, self.name, ctx).into());
    }
}

/// The arguments of AGG.REQUEUE.
pub(super) struct Requeue {
    queue: Queue,
    pattern: Option<Glob>,
}

impl Requeue {
    pub fn parse(args: &mut Args<'_, '_>) -> Result<Requeue, CommandError> {
        let queue = args.one_of("queue", &Queue::REFERENCES, Queue::name)?;
        let mut pattern = None;
        while !args.is_empty() {
            args.option()?;
            pattern = Some(Glob::new(args.pattern()?));
        }
        Ok(Requeue { queue, pattern })
    }

    pub fn cost(&self, node: &Node, closely: bool) -> u64 {
        node.requeue_cost(self.queue, closely)
    }

    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let rejected = match node.requeue(self.queue, self.pattern.as_ref(), ctx) {
            Ok(queued) => {
                reply.int(queued as i64);
                return Ok(());
            }
            Err(rejected) => rejected,
        };
        ctx.count_rejected(RejectReason::Argument);
        let what = match self.queue {
            Queue::Error => "errors",
            _ => "objects",
        };
        Err(CommandError::argument(
            "AGG.REQUEUE",
            match rejected {
                RequeueError::Records => format!(
                    "more than {MAX_REQUEUED} {what} match: queue fewer at a time with MATCH"
                ),
                RequeueError::Pattern => format!(
                    "matching the names of the {what} takes too long: use a shorter pattern, or one that does \
                 not begin with *"
                ),
            },
        ))
    }
}
