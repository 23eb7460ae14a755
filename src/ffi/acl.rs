//! Asks the server's ACL again whether a client that waits may still run its command.
//!
//! The server checks a command when it comes. What a blocked client waits for may arrive much later, and its user may
//! have lost the command or the key meanwhile.

use super::api::{Ctx, KeyName, SharedString, call};
use redis_module::raw;
use std::ffi::c_int;
use std::ptr;

/// The user of a client when it began to wait.
#[derive(Clone)]
pub struct User(Vec<u8>);

impl User {
    /// The user of a client. `None`: the ACL knows no user of that name, because another module made it; then that
    /// module decides what the client may do.
    pub fn of(ctx: Ctx<'_>, client_id: u64) -> Option<User> {
        let name = UserName::of(ctx, client_id);
        name.handle()
            .is_known()
            .then(|| User(name.bytes().to_vec()))
    }

    /// Whether the client is still of this user, and may still run this command.
    pub fn may_run(&self, ctx: Ctx<'_>, client_id: u64, command: &[SharedString]) -> bool {
        let name = UserName::of(ctx, client_id);
        // A deleted user's clients are closed a moment later, and belong to the default user until then.
        if name.bytes() != self.0 {
            return false;
        }
        let user = name.handle();
        let mut argv: Vec<_> = command.iter().map(|word| word.name().raw).collect();
        // SAFETY: the handle and the words live during the call.
        user.is_known()
            && unsafe {
                call!(RedisModule_ACLCheckCommandPermissions(
                    user.0,
                    argv.as_mut_ptr(),
                    argv.len() as c_int
                ) else 1)
            } == 0
    }
}

/// A user's name as the server gave it to us; null where the client has gone.
struct UserName(*mut raw::RedisModuleString);

impl UserName {
    fn of(ctx: Ctx<'_>, client_id: u64) -> UserName {
        // SAFETY: the context lives; the server looks the client up. Automatic memory is off, so the string is ours.
        UserName(unsafe {
            call!(RedisModule_GetClientUserNameById(ctx.raw, client_id) else ptr::null_mut())
        })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the string lives as long as this value.
        unsafe { KeyName::new(self.0) }.bytes()
    }

    fn handle(&self) -> Handle {
        if self.0.is_null() {
            return Handle(ptr::null_mut());
        }
        // SAFETY: the string lives.
        Handle(unsafe { call!(RedisModule_GetModuleUserFromUserName(self.0) else ptr::null_mut()) })
    }
}

impl Drop for UserName {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it was made for us and is released once.
            unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.0) else ()) }
        }
    }
}

/// A user of the ACL, for its functions. Dropped before the callback that made it returns, so no user is deleted
/// meanwhile.
struct Handle(*mut raw::RedisModuleUser);

impl Handle {
    fn is_known(&self) -> bool {
        !self.0.is_null()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.is_known() {
            // SAFETY: it was made for us and is freed once; the user itself is the ACL's and stays.
            unsafe { call!(RedisModule_FreeModuleUser(self.0) else ()) }
        }
    }
}
