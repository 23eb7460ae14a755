//! Checks again whether a waiting client may still run its command.
//!
//! The server checks a command when it arrives. The data that a blocked client waits for may come much later, and its
//! user may have lost the permission for the command or the key meanwhile.

use super::api::Ctx;
use super::raw::{self, call};
use super::strings::{KeyName, SharedString};
use std::ffi::c_int;
use std::ptr;

/// The user that a client had when it began to wait.
#[derive(Clone)]
pub struct User(Vec<u8>);

impl User {
    /// Returns the user of a client. `None` if the ACL knows no user of that name: another module made it, and that
    /// module decides what the client may do.
    pub fn of(ctx: Ctx<'_>, client_id: u64) -> Option<User> {
        let name = UserName::of(ctx, client_id);
        name.handle()
            .is_known()
            .then(|| User(name.bytes().to_vec()))
    }

    /// Returns whether the client still has this user, and the user may run the command.
    pub fn may_run(&self, ctx: Ctx<'_>, client_id: u64, command: &[SharedString]) -> bool {
        let name = UserName::of(ctx, client_id);
        // The clients of a deleted user are closed a moment later, and have the default user until then.
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

/// The name of a client's user; null if the client has disconnected.
struct UserName(*mut raw::RedisModuleString);

impl UserName {
    fn of(ctx: Ctx<'_>, client_id: u64) -> UserName {
        // SAFETY: the context lives; the server looks the client up. Automatic memory is off, so the caller frees the
        // string.
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
            // SAFETY: the server made the string for `of`, and it is released once.
            unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.0) else ()) }
        }
    }
}

/// A handle of a user of the ACL. It is dropped before the callback that made it returns, so the user is not deleted
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
            // SAFETY: the server made the handle for `UserName::handle`, and it is freed once. The user itself belongs
            // to the ACL and stays.
            unsafe { call!(RedisModule_FreeModuleUser(self.0) else ()) }
        }
    }
}
