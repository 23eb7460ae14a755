//! Requests about what is held by name: AGG.FORGET, AGG.REQUEUE.

use super::args::Args;
use crate::Node;
use crate::error::{Refusal, Refused};
use crate::node::parts::{Family, Queue};
use crate::node::{Act, MOST_REQUEUED, RequeueRefused};
use crate::reply::Reply;
use crate::text::glob::Glob;

const FAMILIES: [&str; 3] = ["METRIC", "ERROR", "REALITY"];

/// The family that an argument names.
pub(super) fn family(args: &mut Args<'_, '_>) -> Result<Family, Refusal> {
    let i = args.one_of("the kind", &FAMILIES)?;
    Ok([Family::Metric, Family::Error, Family::Reality][i])
}

/// AGG.FORGET.
pub(super) struct Forget<'a> {
    family: Family,
    name: &'a [u8],
}

impl<'a> Forget<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Forget<'a>, Refusal> {
        let forget = Forget {
            family: family(args)?,
            name: args.name("name")?,
        };
        args.finish()?;
        Ok(forget)
    }

    pub fn cost(&self, node: &Node, closely: bool) -> u64 {
        match (self.family, closely) {
            (Family::Metric, true) => node.forget_cost(self.name),
            (Family::Metric, false) => node.closing_bound(1),
            _ => 0,
        }
    }

    pub fn run(&self, node: &mut Node, act: &mut Act<'_>, reply: &mut dyn Reply) {
        reply.int(node.forget(self.family, self.name, act).into());
    }
}

/// AGG.REQUEUE.
pub(super) struct Requeue {
    queue: Queue,
    pattern: Option<Glob>,
}

impl Requeue {
    pub fn parse(args: &mut Args<'_, '_>) -> Result<Requeue, Refusal> {
        let queue =
            [Queue::Error, Queue::Reality][args.one_of("the queue", &["ERROR", "REALITY"])?];
        let mut pattern = None;
        while !args.is_empty() {
            args.option(&["MATCH"])?;
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
        act: &mut Act<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), Refusal> {
        let refused = match node.requeue(self.queue, self.pattern.as_ref(), act) {
            Ok(queued) => {
                reply.int(queued as i64);
                return Ok(());
            }
            Err(refused) => refused,
        };
        node.count_refused(Refused::Argument, act);
        let what = match self.queue {
            Queue::Error => "errors",
            _ => "objects",
        };
        Err(Refusal::argument(match refused {
            RequeueRefused::Entries => format!(
                "AGG.REQUEUE: more than {MOST_REQUEUED} {what} match: queue fewer at a time with MATCH"
            ),
            RequeueRefused::Pattern => format!(
                "AGG.REQUEUE: matching the names of the {what} takes too long: use a shorter pattern, or one that does \
                 not begin with *"
            ),
        }))
    }
}
