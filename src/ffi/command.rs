//! The commands: their table ([`CommandSpec`]), how the server calls them, and what it shows of them.

use super::alloc;
use super::api::Ctx;
use super::guard::guard;
use super::raw::{self, call};
use super::strings::{ArgVector, KeyName};
use std::ffi::{CStr, c_int};
use std::mem;
use std::ptr;

/// A command as the server registers it: flags, arity, key spec, ACL categories, COMMAND DOCS.
pub struct CommandSpec {
    /// The name, as in `AGG.STAT`.
    pub name: &'static CStr,
    /// The function that runs it.
    pub handler: Handler,
    /// The server's flags, as in `write deny-oom fast`.
    pub flags: &'static CStr,
    /// What it does with its key.
    pub access: Access,
    /// Its ACL categories, all of them.
    pub categories: &'static CStr,
    /// The number of arguments, the name included; negative for a minimum.
    pub arity: c_int,
    /// The summary of COMMAND DOCS.
    pub summary: &'static CStr,
    /// The complexity of COMMAND DOCS.
    pub complexity: &'static CStr,
    /// The arguments of COMMAND DOCS. The first is the key.
    pub args: &'static [Arg],
}

/// A running command.
pub struct Call<'a> {
    /// Its context.
    pub ctx: Ctx<'a>,
    /// The bytes of its name and arguments.
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
        let (key, bytes_before) = (argv.get(1), alloc::main_thread_bytes());
        argv.with_bytes(|args| {
            handler(&Call {
                ctx,
                args,
                argv,
                key,
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

/// What a command does with its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Changes the value and replies with nothing of its content: `%W~` suffices.
    Report,
    /// Takes something out of the value.
    Drain,
    /// Reads the value.
    Read,
    /// Replaces the value.
    Replace,
}

impl Access {
    fn flags(self) -> u64 {
        use raw::*;
        match self {
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
}

/// An argument, as COMMAND DOCS shows it.
#[derive(Clone, Copy)]
pub struct Arg {
    name: &'static CStr,
    kind: ArgKind,
    token: Option<&'static CStr>,
    is_optional: bool,
    is_multiple: bool,
    args: &'static [Arg],
}

/// The kind of an argument.
#[derive(Clone, Copy)]
pub enum ArgKind {
    /// The key.
    Key,
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A Unix time.
    Time,
    /// A glob.
    Pattern,
    /// A literal word.
    Token,
    /// One of the nested arguments.
    OneOf,
    /// All of the nested arguments, in their order.
    Block,
}

impl Arg {
    /// Creates a required argument.
    pub const fn new(name: &'static CStr, kind: ArgKind) -> Arg {
        Arg {
            name,
            kind,
            token: None,
            is_optional: false,
            is_multiple: false,
            args: &[],
        }
    }

    /// Creates the argument for the key.
    pub const fn key() -> Arg {
        Arg::new(c"node", ArgKind::Key)
    }

    /// Creates a literal word.
    pub const fn word(name: &'static CStr, word: &'static CStr) -> Arg {
        Arg::new(name, ArgKind::Token).after(word)
    }

    /// Creates a choice.
    pub const fn one_of(name: &'static CStr, args: &'static [Arg]) -> Arg {
        Arg {
            args,
            ..Arg::new(name, ArgKind::OneOf)
        }
    }

    /// Creates a sequence.
    pub const fn block(name: &'static CStr, args: &'static [Arg]) -> Arg {
        Arg {
            args,
            ..Arg::new(name, ArgKind::Block)
        }
    }

    /// Puts a literal word before the argument.
    pub const fn after(self, token: &'static CStr) -> Arg {
        Arg {
            token: Some(token),
            ..self
        }
    }

    /// Makes the argument optional.
    pub const fn optional(self) -> Arg {
        Arg {
            is_optional: true,
            ..self
        }
    }

    /// Lets the argument be repeated.
    pub const fn multiple(self) -> Arg {
        Arg {
            is_multiple: true,
            ..self
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

/// Registers commands. `categories` are the ACL categories of the module; servers before 7.4 have none for modules.
///
/// # Errors
/// The command that the server refused.
pub fn register_commands(
    ctx: Ctx<'_>,
    categories: &[&'static CStr],
    commands: &[&CommandSpec],
) -> Result<(), String> {
    // SAFETY: the context lives, the names are static; called inside OnLoad, as the server demands.
    let has_categories = categories.iter().all(|name| unsafe {
        call!(RedisModule_AddACLCategory(ctx.raw, name.as_ptr()) else raw::REDISMODULE_ERR)
            == raw::REDISMODULE_OK
    });
    for spec in commands {
        register_one(ctx, spec, has_categories).ok_or_else(|| {
            let name = spec.name.to_string_lossy();
            format!("the server refused the command {name}")
        })?;
    }
    Ok(())
}

fn register_one(ctx: Ctx<'_>, spec: &CommandSpec, has_categories: bool) -> Option<()> {
    let done = |status: c_int| (status == raw::REDISMODULE_OK).then_some(());
    let mut nested = Vec::new();
    let mut args = c_args(spec.args, &mut nested);
    // SAFETY: all strings are static, and the server copies what the structures below hold before they are dropped.
    unsafe {
        done(call!(RedisModule_CreateCommand(
            ctx.raw, spec.name.as_ptr(), Some(spec.handler.0), spec.flags.as_ptr(), 1, 1, 1
        ) else raw::REDISMODULE_ERR))?;
        let command =
            call!(RedisModule_GetCommand(ctx.raw, spec.name.as_ptr()) else ptr::null_mut());
        let mut key_specs = [key_spec(spec.access), mem::zeroed()];
        let info = raw::RedisModuleCommandInfo {
            version: &LAYOUT,
            summary: spec.summary.as_ptr(),
            complexity: spec.complexity.as_ptr(),
            since: c"0.1.0".as_ptr(),
            history: ptr::null_mut(),
            tips: ptr::null(),
            arity: spec.arity,
            key_specs: key_specs.as_mut_ptr(),
            args: args.as_mut_ptr(),
        };
        done(call!(RedisModule_SetCommandInfo(command, &info) else raw::REDISMODULE_ERR))?;
        if has_categories {
            let categories = spec.categories.as_ptr();
            done(
                call!(RedisModule_SetCommandACLCategories(command, categories)
                else raw::REDISMODULE_ERR),
            )?;
        }
    }
    Some(())
}

/// Returns the key spec of a command whose first argument is its only key.
fn key_spec(access: Access) -> raw::RedisModuleCommandKeySpec {
    raw::RedisModuleCommandKeySpec {
        notes: ptr::null(),
        flags: access.flags(),
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

/// Returns arguments in the server's form, ended by a zeroed one. `nested` owns the lists that they point to.
fn c_args(
    args: &[Arg],
    nested: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> Vec<raw::RedisModuleCommandArg> {
    let mut list: Vec<_> = args.iter().map(|arg| c_arg(arg, nested)).collect();
    // SAFETY: a structure of pointers and integers, for which zero is a value. Here it marks the end.
    list.push(unsafe { mem::zeroed() });
    list
}

fn c_arg(
    arg: &Arg,
    nested: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> raw::RedisModuleCommandArg {
    use raw::*;
    let type_ = match arg.kind {
        ArgKind::Key => REDISMODULE_ARG_TYPE_KEY,
        ArgKind::Text => REDISMODULE_ARG_TYPE_STRING,
        ArgKind::Integer => REDISMODULE_ARG_TYPE_INTEGER,
        ArgKind::Time => REDISMODULE_ARG_TYPE_UNIX_TIME,
        ArgKind::Pattern => REDISMODULE_ARG_TYPE_PATTERN,
        ArgKind::Token => REDISMODULE_ARG_TYPE_PURE_TOKEN,
        ArgKind::OneOf => REDISMODULE_ARG_TYPE_ONEOF,
        ArgKind::Block => REDISMODULE_ARG_TYPE_BLOCK,
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
        let mut list = c_args(arg.args, nested);
        let subargs = list.as_mut_ptr();
        // The heap block of the list does not move when the list is moved.
        nested.push(list);
        subargs
    };
    RedisModuleCommandArg {
        name: arg.name.as_ptr(),
        type_,
        key_spec_index: if matches!(arg.kind, ArgKind::Key) {
            0
        } else {
            -1
        },
        token: arg.token.map_or(ptr::null(), CStr::as_ptr),
        summary: ptr::null(),
        since: ptr::null(),
        flags,
        deprecated_since: ptr::null(),
        subargs,
        display_text: ptr::null(),
    }
}
