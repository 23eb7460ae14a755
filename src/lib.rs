//! The aggregator as a module of Redis and Valkey: `redis-server --loadmodule libaggregator.so`.
//!
//! The module is a thin shell around `aggregator-core`: it turns calls of the server into calls of the core, and the
//! core's results into replies and replication. This file only composes: it passes the commands, the data type, the
//! settings and the hooks to [`ffi`], which is the only place with `unsafe`.
#![deny(unsafe_code)]

mod blocking;
mod commands;
mod config;
mod data_type;
#[allow(unsafe_code)]
mod ffi;
mod info;
mod key_registry;
mod memory;
mod replication;
mod reply;
mod stored_node;
mod suspects;
mod timer;
mod totals;
mod transaction;

use config::ServerConfig;
use ffi::{Ctx, Hooks, InfoWriter, Level, ServerEvent};
use std::ffi::CStr;
use stored_node::StoredNode;

/// The module as the server calls it.
struct Aggregator;

ffi::export_module!(Aggregator);

impl Hooks for Aggregator {
    const NAME: &'static CStr = c"agg";

    fn load(ctx: Ctx<'_>, args: &[&[u8]]) -> Result<(), String> {
        if let Some(function) = ffi::missing_function() {
            return Err(format!(
                "unsupported server: it lacks {function}; Redis 7.0 or newer, or Valkey is required"
            ));
        }
        config::read_arguments(args)?;
        ffi::settings::register::<ServerConfig>(ctx)?;
        config::check_values()?;
        ffi::register_data_type::<StoredNode>(ctx)?;
        ffi::register_commands(ctx, &commands::commands())?;
        transaction::init();
        ffi::subscribe::<Aggregator>(ctx);
        replication::set_cluster(ctx.flags().is_cluster());
        timer::request_scan();
        warn_of_eviction(ctx);
        Ok(())
    }

    fn on_event(event: ServerEvent) {
        match event {
            ServerEvent::RoleChanged => {
                replication::role_may_have_changed();
                stored_node::start_epoch();
                timer::request_scan();
            }
            ServerEvent::Loading => replication::role_may_have_changed(),
            ServerEvent::Loaded => {
                replication::role_may_have_changed();
                stored_node::start_epoch();
                timer::request_scan();
                // Leased records are available again (DEBUG RELOAD), and the server wakes no client for what it loads.
                blocking::all_changed();
            }
            ServerEvent::AsyncLoading => {
                replication::role_may_have_changed();
                timer::request_scan();
            }
            ServerEvent::SlotImportStarted(slots) => replication::import_started(&slots),
            ServerEvent::SlotImportEnded(slots) => {
                replication::import_ended(&slots);
                timer::request_scan();
            }
            ServerEvent::DbFlushed(db) => key_registry::clear(db),
            ServerEvent::DbsSwapped(a, b) => key_registry::swap(a, b),
        }
    }

    fn on_tick(ctx: Ctx<'_>) -> u64 {
        timer::tick(ctx)
    }

    fn write_info(info: &mut InfoWriter, for_crash_report: bool) {
        info::write(info, for_crash_report);
    }
}

/// Warns if the server may evict keys that do not expire.
fn warn_of_eviction(ctx: Ctx<'_>) {
    let policy = ctx
        .server_info(c"memory", c"maxmemory_policy")
        .unwrap_or_default();
    if policy.starts_with("allkeys-") {
        let text = format!(
            "maxmemory-policy is {policy}: the server may evict whole nodes; use noeviction"
        );
        ctx.log(Level::Warning, &text);
    }
}
