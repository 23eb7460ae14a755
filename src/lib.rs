//! The aggregator as a module of Redis and Valkey: `redis-server --loadmodule libaggregator.so`.
//!
//! A thin shell around `aggregator-core`: it turns the server's calls into calls of the core, and the core's answers
//! into replies and replication. What belongs to the server is reached through [`ffi`], the only place with `unsafe`.
#![deny(unsafe_code)]

mod blocking;
mod commands;
mod config;
#[allow(unsafe_code)]
mod ffi;
mod info;
mod key_registry;
mod memory;
mod replication;
mod reply;
mod stored_node;
mod timer;
mod transaction;

use ffi::api::{Ctx, Level, missing};

/// Loads the module, once the server's functions are known; `args`: of `loadmodule`.
///
/// # Errors
/// Why it cannot be loaded, for the log.
fn load(ctx: Ctx<'_>, args: &[&[u8]]) -> Result<(), String> {
    if let Some(function) = missing() {
        return Err(format!(
            "this server is too old: it has no {function}; Redis 7.0 or Valkey is needed"
        ));
    }
    config::read_arguments(args)?;
    // A refused load takes commands, settings and types back, but no timer or subscription: those come last.
    ffi::settings::register(ctx)?;
    config::check().map_err(|e| e.to_string_lossy().into_owned())?;
    ffi::datatype::register(ctx)?;
    ffi::command_info::register(ctx)?;
    transaction::begin();
    ffi::callbacks::begin(ctx);
    replication::set_cluster(ctx.flags().is_cluster());
    timer::request_scan();
    let policy = ctx
        .server_info(c"memory", c"maxmemory_policy")
        .unwrap_or_default();
    if policy.starts_with("allkeys-") {
        let text = format!(
            "maxmemory-policy is {policy}: an eviction takes a whole node; noeviction is safer"
        );
        ctx.log(Level::Warning, &text);
    }
    Ok(())
}
