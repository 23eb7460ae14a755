//! Requests about what is held by name: AGG.FORGET, AGG.REQUEUE.

use super::args::Args;
use crate::Node;
use crate::error::Refusal;
use crate::node::Act;
use crate::node::parts::{Family, Queue};
use crate::reply::Reply;

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

    pub fn run(&self, node: &mut Node, act: &mut Act<'_>, reply: &mut dyn Reply) {
        reply.int(node.forget(self.family, self.name, act).into());
    }
}

/// AGG.REQUEUE.
pub(super) struct Requeue<'a> {
    queue: Queue,
    pattern: Option<&'a [u8]>,
}

impl<'a> Requeue<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Requeue<'a>, Refusal> {
        let queue =
            [Queue::Error, Queue::Reality][args.one_of("the queue", &["ERROR", "REALITY"])?];
        let mut pattern = None;
        while !args.is_empty() {
            args.option(&["MATCH"])?;
            pattern = Some(args.pattern()?);
        }
        Ok(Requeue { queue, pattern })
    }

    pub fn cost(&self, node: &Node) -> u64 {
        node.requeue_cost(self.queue)
    }

    pub fn run(&self, node: &mut Node, act: &mut Act<'_>, reply: &mut dyn Reply) {
        reply.int(node.requeue(self.queue, self.pattern, act) as i64);
    }
}
