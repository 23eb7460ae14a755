//! AGG.HELP: the commands with their arguments, one line each.

use crate::ffi::Ctx;
use aggregator_core::command::{COMMANDS, Group};

/// Runs AGG.HELP. Internal commands are left out.
pub fn help(ctx: Ctx<'_>) {
    let commands = COMMANDS.iter().filter(|spec| spec.group != Group::Internal);
    ctx.reply_array(commands.clone().count());
    commands.for_each(|spec| ctx.reply_bulk(spec.help().as_bytes()));
}
