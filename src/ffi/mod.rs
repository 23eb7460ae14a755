//! The boundary with the server, and the only place with `unsafe`.
//!
//! The lowest layer of the module: it imports nothing from the rest of `src/`, and nothing of the core but the table of
//! commands. What the server calls is passed in by `lib.rs`: a [`Handler`] for each command, a [`DataType`],
//! [`Settings`](settings::Settings) and [`Hooks`].
//!
//! # Invariants
//! - Every function that the server calls runs inside [`guard`](guard::guard): a panic becomes a message in the server's
//!   log and an error for the client. It never unwinds through C.
//! - Handles ([`Ctx`], [`Key`], [`KeyName`]) live no longer than the callback that they were made in.

mod acl;
pub mod alloc;
mod api;
pub mod blocking;
mod command;
mod data_type;
mod guard;
mod key;
mod main_thread;
pub mod raw;
pub mod settings;
mod strings;
pub mod trampolines;

pub use acl::User;
pub use api::{Ctx, InfoWriter, Level, cached_time_us, unix_time_us, uptime_ms};
pub use command::{Call, Handler, register_commands};
pub use data_type::{DataType, LoadInput, TypeHandle, register_data_type};
pub use key::{Content, Key, Mode, ScanCursor, scan};
pub use main_thread::MainThread;
pub use raw::missing_function;
pub use strings::{KeyName, OwnedString, SharedString};
pub use trampolines::{Hooks, ServerEvent, SlotRange, subscribe};

/// Defines the function by which the server loads the module, from a type that implements [`Hooks`].
macro_rules! export_module {
    ($hooks:ty) => {
        /// Loads the module.
        ///
        /// # Safety
        /// Called by the server, once, on its main thread.
        #[allow(unsafe_code, non_snake_case)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn RedisModule_OnLoad(
            ctx: *mut $crate::ffi::raw::RedisModuleCtx,
            argv: *mut *mut $crate::ffi::raw::RedisModuleString,
            argc: std::ffi::c_int,
        ) -> std::ffi::c_int {
            // SAFETY: the server calls this function once, with its context and the arguments of `loadmodule`.
            unsafe { $crate::ffi::trampolines::on_load::<$hooks>(ctx, argv, argc) }
        }
    };
}
pub(crate) use export_module;
