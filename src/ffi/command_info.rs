//! What the server is told of our commands: flags, arity, key specs, arguments, ACL categories.

use super::api::{Ctx, call};
use super::callbacks;
use crate::commands::{COMMANDS, Call};
use redis_module::raw;
use std::ffi::{CStr, c_int};
use std::ptr;

/// A command.
pub struct CommandSpec {
    /// As in `AGG.STAT`.
    pub name: &'static CStr,
    /// Runs it.
    pub handler: fn(&Call<'_>),
    /// The server's flags, as in `write deny-oom fast`.
    pub flags: &'static CStr,
    /// What it does with the key.
    pub access: Access,
    /// Its ACL categories, all of them.
    pub categories: &'static CStr,
    /// The number of arguments, its name among them; negative: at least.
    pub arity: c_int,
    /// For COMMAND DOCS.
    pub summary: &'static CStr,
    /// For COMMAND DOCS.
    pub complexity: &'static CStr,
    /// For COMMAND DOCS; the first is the key.
    pub args: &'static [Arg],
}

/// What a command does with its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Changes it and tells nothing of what it holds: `%W~` is enough.
    Report,
    /// Takes out of it.
    Drain,
    /// Reads it.
    Read,
    /// Replaces it.
    Everything,
}

impl Access {
    fn flags(self) -> u32 {
        match self {
            Access::Report => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_UPDATE,
            Access::Drain => {
                raw::REDISMODULE_CMD_KEY_RW
                    | raw::REDISMODULE_CMD_KEY_ACCESS
                    | raw::REDISMODULE_CMD_KEY_DELETE
            }
            Access::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
            Access::Everything => {
                raw::REDISMODULE_CMD_KEY_RW
                    | raw::REDISMODULE_CMD_KEY_ACCESS
                    | raw::REDISMODULE_CMD_KEY_UPDATE
            }
        }
    }
}

/// An argument, as COMMAND DOCS shows it.
#[derive(Clone, Copy)]
pub struct Arg {
    name: &'static CStr,
    kind: Kind,
    token: Option<&'static CStr>,
    is_optional: bool,
    is_multiple: bool,
    args: &'static [Arg],
}

/// What an argument is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The node.
    Key,
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A time.
    Time,
    /// A glob.
    Pattern,
    /// A word.
    Token,
    /// One of the arguments in it.
    OneOf,
    /// The arguments in it, one after the other.
    Block,
}

impl Arg {
    /// An argument without more.
    pub const fn new(name: &'static CStr, kind: Kind) -> Arg {
        Arg {
            name,
            kind,
            token: None,
            is_optional: false,
            is_multiple: false,
            args: &[],
        }
    }

    /// The node.
    pub const fn key() -> Arg {
        Arg::new(c"node", Kind::Key)
    }

    /// A word that stands for itself.
    pub const fn word(name: &'static CStr, word: &'static CStr) -> Arg {
        Arg::new(name, Kind::Token).behind(word)
    }

    /// One of some.
    pub const fn one_of(name: &'static CStr, args: &'static [Arg]) -> Arg {
        Arg {
            args,
            ..Arg::new(name, Kind::OneOf)
        }
    }

    /// Some, one after the other.
    pub const fn block(name: &'static CStr, args: &'static [Arg]) -> Arg {
        Arg {
            args,
            ..Arg::new(name, Kind::Block)
        }
    }

    /// It stands behind a word.
    pub const fn behind(self, token: &'static CStr) -> Arg {
        Arg {
            token: Some(token),
            ..self
        }
    }

    /// It may be left out.
    pub const fn optional(self) -> Arg {
        Arg {
            is_optional: true,
            ..self
        }
    }

    /// It may be repeated.
    pub const fn multiple(self) -> Arg {
        Arg {
            is_multiple: true,
            ..self
        }
    }
}

/// The layout of the structures below, as this module was built.
static LAYOUT: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
    version: 1,
    sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
    sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
    sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
};

/// The categories that the contract promises, where the server lets a module add some.
const CATEGORIES: [&CStr; 3] = [c"agg-report", c"agg-drain", c"agg-read"];

/// Registers all commands.
///
/// # Errors
/// The command that the server refused.
pub fn register(ctx: Ctx<'_>) -> Result<(), String> {
    // SAFETY: the context lives, the names are static; called inside OnLoad, as the server demands.
    let has_categories = CATEGORIES.iter().all(|name| unsafe {
        call!(RedisModule_AddACLCategory(ctx.raw, name.as_ptr()) else 1) == 0
    });
    for (row, handler) in COMMANDS.iter().zip(callbacks::HANDLERS) {
        register_one(ctx, row, handler, has_categories).ok_or_else(|| {
            format!(
                "the server refused the command {}",
                row.name.to_string_lossy()
            )
        })?;
    }
    Ok(())
}

fn register_one(
    ctx: Ctx<'_>,
    row: &CommandSpec,
    handler: callbacks::Handler,
    has_categories: bool,
) -> Option<()> {
    let done = |status: c_int| (status == 0).then_some(());
    // SAFETY: all strings are static, and the server copies what the structures below hold before they end.
    unsafe {
        done(call!(RedisModule_CreateCommand(
            ctx.raw, row.name.as_ptr(), Some(handler), row.flags.as_ptr(), 1, 1, 1
        ) else 1))?;
        let command =
            call!(RedisModule_GetCommand(ctx.raw, row.name.as_ptr()) else ptr::null_mut());
        let mut subargs = Vec::new();
        let mut args = lower(row.args, &mut subargs);
        let mut key_specs: [raw::RedisModuleCommandKeySpec; 2] = std::mem::zeroed();
        key_specs[0].flags = row.access.flags().into();
        key_specs[0].begin_search_type =
            raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
        key_specs[0].bs.index.pos = 1;
        key_specs[0].find_keys_type =
            raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
        key_specs[0].fk.range = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 {
            lastkey: 0,
            keystep: 1,
            limit: 0,
        };
        let info = raw::RedisModuleCommandInfo {
            version: &LAYOUT,
            summary: row.summary.as_ptr(),
            complexity: row.complexity.as_ptr(),
            since: c"0.1.0".as_ptr(),
            history: ptr::null_mut(),
            tips: ptr::null(),
            arity: row.arity,
            key_specs: key_specs.as_mut_ptr(),
            args: args.as_mut_ptr(),
        };
        done(call!(RedisModule_SetCommandInfo(command, &info) else 1))?;
        if has_categories {
            done(
                call!(RedisModule_SetCommandACLCategories(command, row.categories.as_ptr()) else 1),
            )?;
        }
    }
    Some(())
}

/// The server's form of arguments, ended by a zeroed one; `kept` holds what they point to.
fn lower(
    args: &[Arg],
    kept: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> Vec<raw::RedisModuleCommandArg> {
    let mut lowered: Vec<_> = args.iter().map(|arg| lower_one(arg, kept)).collect();
    // SAFETY: a structure of pointers and integers, for which zero is a value; here it marks the end.
    lowered.push(unsafe { std::mem::zeroed() });
    lowered
}

fn lower_one(
    arg: &Arg,
    kept: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
) -> raw::RedisModuleCommandArg {
    use raw::*;
    let type_ = match arg.kind {
        Kind::Key => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY,
        Kind::Text => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
        Kind::Integer => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
        Kind::Time => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_UNIX_TIME,
        Kind::Pattern => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PATTERN,
        Kind::Token => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
        Kind::OneOf => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF,
        Kind::Block => RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK,
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
        let mut lowered = lower(arg.args, kept);
        let subargs = lowered.as_mut_ptr();
        // The vector's heap block stays where it is when the vector moves.
        kept.push(lowered);
        subargs
    };
    RedisModuleCommandArg {
        name: arg.name.as_ptr(),
        type_,
        key_spec_index: if matches!(arg.kind, Kind::Key) { 0 } else { -1 },
        token: arg.token.map_or(ptr::null(), CStr::as_ptr),
        summary: ptr::null(),
        since: ptr::null(),
        flags: flags as c_int,
        deprecated_since: ptr::null(),
        subargs,
        display_text: ptr::null(),
    }
}
