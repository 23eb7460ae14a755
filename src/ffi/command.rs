//! The commands: their registration, the function that the server calls, and their COMMAND DOCS.
//!
//! The table of commands is the core's ([`CommandSpec`]); registration, arity, flags, key specs, ACL categories and
//! COMMAND DOCS derive from it.

use super::alloc;
use super::api::Ctx;
use super::guard::guard;
use super::raw::{self, call};
use super::strings::{ArgVector, KeyName};
use aggregator_core::command::{Access, Arg, ArgType, CommandSpec, Flag};
use std::ffi::{CString, c_char, c_int};
use std::mem;
use std::ptr;

/// A running command.
pub struct Call<'a> {
    /// Its context.
    pub ctx: Ctx<'a>,
    /// The bytes of its arguments, which begin with the second; the first, its name, is empty.
    pub args: &'a [&'a [u8]],
    /// Name and arguments as strings of the server.
    pub argv: ArgVector<'a>,
    /// The name of its key.
    pub key: KeyName<'a>,
    /// [`alloc::main_thread_bytes`] when it began.
    pub bytes_before: i64,
}

/// The entry point of a command.
#[derive(Clone, Copy)]
pub struct Handler(raw::CommandFn);

impl Handler {
    /// Makes an entry point of a function or of a closure that captures nothing. Anything else does not compile.
    pub const fn new<F: Fn(&Call<'_>) + Copy + 'static>(_: F) -> Handler {
        const { assert!(size_of::<F>() == 0, "a handler captures nothing") };
        Handler(run::<F>)
    }

    /// Makes the entry point of a command without a key.
    pub const fn keyless<F: Fn(Ctx<'_>) + Copy + 'static>(_: F) -> Handler {
        const { assert!(size_of::<F>() == 0, "a handler captures nothing") };
        Handler(run_keyless::<F>)
    }
}

/// Runs a command. The server has no private data for commands, so the function is part of the type.
unsafe extern "C" fn run<F: Fn(&Call<'_>) + Copy + 'static>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: context and arguments live during this call. `F` has no bytes and is `Copy`, and `Handler::new` was given
    // a value of it, so another one may be made of nothing.
    let (ctx, argv, handler) = unsafe {
        let handler = ptr::NonNull::<F>::dangling().read();
        (Ctx::new(ctx), ArgVector::new(argv, argc), handler)
    };
    let has_replied = guard(false, || {
        // The server checks the arity. It does not if the registration of the command's details failed.
        if argv.len() < 2 {
            ctx.reply_error("ERR wrong number of arguments");
            return true;
        }
        let bytes_before = alloc::main_thread_bytes();
        // The name of the command is known.
        argv.with_bytes(1, |args| {
            handler(&Call {
                ctx,
                args,
                argv,
                key: argv.get_with(1, args[1]),
                bytes_before,
            });
        });
        true
    });
    if !has_replied {
        ctx.reply_error("ERR internal error: see the server's log");
    }
    raw::REDISMODULE_OK
}

/// Runs a command without a key; see [`run`].
unsafe extern "C" fn run_keyless<F: Fn(Ctx<'_>) + Copy + 'static>(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    // SAFETY: the context lives during this call. `F` has no bytes and is `Copy`, and `Handler::keyless` was given a
    // value of it, so another one may be made of nothing.
    let (ctx, handler) = unsafe { (Ctx::new(ctx), ptr::NonNull::<F>::dangling().read()) };
    let has_replied = guard(false, || {
        handler(ctx);
        true
    });
    if !has_replied {
        ctx.reply_error("ERR internal error: see the server's log");
    }
    raw::REDISMODULE_OK
}

/// Returns what a command does with its key, in the server's terms. A user needs `%W~` only for commands that report.
fn key_flags(access: Access) -> u64 {
    use raw::*;
    match access {
        Access::None => 0,
        Access::Report => REDISMODULE_CMD_KEY_RW | REDISMODULE_CMD_KEY_UPDATE,
        Access::Drain => {
            REDISMODULE_CMD_KEY_RW | REDISMODULE_CMD_KEY_ACCESS | REDISMODULE_CMD_KEY_DELETE
        }
        Access::Read => REDISMODULE_CMD_KEY_RO | REDISMODULE_CMD_KEY_ACCESS,
        Access::Replace => {
            REDISMODULE_CMD_KEY_RW | REDISMODULE_CMD_KEY_ACCESS | REDISMODULE_CMD_KEY_UPDATE
        }
    }
}

/// The layout of the structures that the server reads below.
static LAYOUT: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
    version: 1,
    sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
    sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
    sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
};

/// Registers commands and their ACL categories, which servers before 7.4 do not have for modules.
///
/// # Errors
/// The command that the server rejected.
pub fn register_commands(ctx: Ctx<'_>, commands: &[(&CommandSpec, Handler)]) -> Result<(), String> {
    let mut strings = CStrings::default();
    let mut categories: Vec<&str> = commands
        .iter()
        .filter_map(|(spec, _)| spec.group.category())
        .collect();
    categories.sort_unstable();
    categories.dedup();
    // SAFETY: the context and the names live; called inside OnLoad, as the server demands.
    let has_categories = categories.into_iter().all(|name| unsafe {
        let name = strings.add(name);
        call!(RedisModule_AddACLCategory(ctx.raw, name) else raw::REDISMODULE_ERR)
            == raw::REDISMODULE_OK
    });
    for (spec, handler) in commands {
        register_one(ctx, spec, *handler, has_categories)
            .ok_or_else(|| format!("the server rejected the command {}", spec.name))?;
    }
    Ok(())
}

fn register_one(
    ctx: Ctx<'_>,
    spec: &CommandSpec,
    handler: Handler,
    has_categories: bool,
) -> Option<()> {
    let done = |status: c_int| (status == raw::REDISMODULE_OK).then_some(());
    let (mut strings, mut nested) = (CStrings::default(), Vec::new());
    let mut args = c_args(spec.args, &mut strings, &mut nested);
    let flags: Vec<&str> = spec.flags.iter().copied().map(Flag::name).collect();
    let (name, flags) = (strings.add(spec.name), strings.add(&flags.join(" ")));
    let has_key = spec.access != Access::None;
    let key = c_int::from(has_key);
    // SAFETY: the server copies the strings and what the structures below hold; they are dropped at the end.
    unsafe {
        done(
            call!(RedisModule_CreateCommand(ctx.raw, name, Some(handler.0), flags, key, key, key)
                else raw::REDISMODULE_ERR),
        )?;
        let command = call!(RedisModule_GetCommand(ctx.raw, name) else ptr::null_mut());
        let mut key_specs = [key_spec(spec.access), mem::zeroed()];
        let info = raw::RedisModuleCommandInfo {
            version: &LAYOUT,
            summary: strings.add(spec.summary),
            complexity: strings.add(spec.complexity),
            since: strings.add(spec.since),
            history: ptr::null_mut(),
            tips: ptr::null(),
            arity: spec.arity(),
            key_specs: key_specs[usize::from(!has_key)..].as_mut_ptr(),
            args: args.as_mut_ptr(),
        };
        done(call!(RedisModule_SetCommandInfo(command, &info) else raw::REDISMODULE_ERR))?;
        if has_categories {
            let categories = strings.add(&spec.categories());
            done(
                call!(RedisModule_SetCommandACLCategories(command, categories)
                else raw::REDISMODULE_ERR),
            )?;
        }
    }
    Some(())
}

/// C strings that live as long as this value.
#[derive(Default)]
struct CStrings(Vec<CString>);

impl CStrings {
    /// Copies a text. The bytes of the copy do not move when the list grows.
    fn add(&mut self, text: &str) -> *const c_char {
        let string = CString::new(text).unwrap_or_default();
        let bytes = string.as_ptr();
        self.0.push(string);
        bytes
    }
}

/// Returns the key spec of a command whose first argument is its only key.
fn key_spec(access: Access) -> raw::RedisModuleCommandKeySpec {
    raw::RedisModuleCommandKeySpec {
        notes: ptr::null(),
        flags: key_flags(access),
        begin_search_type: raw::REDISMODULE_KSPEC_BS_INDEX,
        begin_search: raw::BeginSearch { index: 1 },
        find_keys_type: raw::REDISMODULE_KSPEC_FK_RANGE,
        find_keys: raw::FindKeys {
            range: raw::FindKeysRange {
                last_key: 0,
                key_step: 1,
                limit: 0,
            },
        },
    }
}

/// Returns arguments in the server's form, ended by a zeroed one. `strings` and `nested` own what they point to.
fn c_args(
    args: &[Arg],
    strings: &mut CStrings,
    nested: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> Vec<raw::RedisModuleCommandArg> {
    let mut list: Vec<_> = args.iter().map(|arg| c_arg(arg, strings, nested)).collect();
    // SAFETY: a structure of pointers and integers, for which zero is a value. Here it marks the end.
    list.push(unsafe { mem::zeroed() });
    list
}

fn c_arg(
    arg: &Arg,
    strings: &mut CStrings,
    nested: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> raw::RedisModuleCommandArg {
    use raw::*;
    let type_ = match arg.arg_type {
        ArgType::Key => REDISMODULE_ARG_TYPE_KEY,
        ArgType::Text => REDISMODULE_ARG_TYPE_STRING,
        ArgType::Integer => REDISMODULE_ARG_TYPE_INTEGER,
        ArgType::Time => REDISMODULE_ARG_TYPE_UNIX_TIME,
        ArgType::Pattern => REDISMODULE_ARG_TYPE_PATTERN,
        ArgType::Token => REDISMODULE_ARG_TYPE_PURE_TOKEN,
        ArgType::OneOf => REDISMODULE_ARG_TYPE_ONEOF,
        ArgType::Block => REDISMODULE_ARG_TYPE_BLOCK,
    };
    let mut flags = REDISMODULE_CMD_ARG_NONE;
    if arg.is_optional {
        flags |= REDISMODULE_CMD_ARG_OPTIONAL;
    }
    if arg.is_multiple {
        flags |= REDISMODULE_CMD_ARG_MULTIPLE;
    }
    let subargs = if arg.args.is_empty() {
        ptr::null_mut()
    } else {
        let mut list = c_args(arg.args, strings, nested);
        let subargs = list.as_mut_ptr();
        // The heap block of the list does not move when the list is moved.
        nested.push(list);
        subargs
    };
    RedisModuleCommandArg {
        name: strings.add(arg.name),
        type_,
        key_spec_index: if arg.arg_type == ArgType::Key { 0 } else { -1 },
        token: arg.token.map_or(ptr::null(), |token| strings.add(token)),
        summary: ptr::null(),
        since: ptr::null(),
        flags,
        deprecated_since: ptr::null(),
        subargs,
        display_text: ptr::null(),
    }
}
