//! Strings of the server: borrowed ([`KeyName`], [`ArgVector`]), owned ([`OwnedString`]) and shared ([`SharedString`]).

use super::raw::{self, call};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr;

/// A string that the server lends: the name of a key.
#[derive(Clone, Copy)]
pub struct KeyName<'a> {
    pub(super) raw: *mut raw::RedisModuleString,
    lifetime: PhantomData<&'a ()>,
}

impl<'a> KeyName<'a> {
    /// # Safety
    /// `raw` is null or a string that lives during `'a`.
    pub(super) unsafe fn new(raw: *mut raw::RedisModuleString) -> KeyName<'a> {
        KeyName {
            raw,
            lifetime: PhantomData,
        }
    }

    /// Returns the bytes of the name; none for a null string.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        if self.raw.is_null() {
            return &[];
        }
        let mut len = 0;
        // SAFETY: the string lives during 'a, and with it its bytes.
        unsafe {
            let bytes = call!(RedisModule_StringPtrLen(self.raw, &mut len) else ptr::null());
            if bytes.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(bytes.cast(), len)
            }
        }
    }
}

/// A string that the module made and frees.
pub struct OwnedString {
    raw: *mut raw::RedisModuleString,
}

impl OwnedString {
    /// Copies `bytes` into a new string.
    pub fn new(bytes: &[u8]) -> OwnedString {
        // SAFETY: the bytes are copied. Without a context nobody but `drop` frees the string.
        let raw = unsafe {
            call!(RedisModule_CreateString(ptr::null_mut(), bytes.as_ptr().cast(), bytes.len()) else ptr::null_mut())
        };
        OwnedString { raw }
    }

    /// Returns the string as the name of a key.
    pub fn name(&self) -> KeyName<'_> {
        KeyName {
            raw: self.raw,
            lifetime: PhantomData,
        }
    }
}

impl Drop for OwnedString {
    fn drop(&mut self) {
        // SAFETY: `new` made the string, and it is freed once.
        unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.raw) else ()) }
    }
}

/// The arguments of a command as strings that the server lends.
#[derive(Clone, Copy)]
pub struct ArgVector<'a> {
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    lifetime: PhantomData<&'a ()>,
}

impl<'a> ArgVector<'a> {
    /// # Safety
    /// `argv` holds `argc` strings that live during `'a`.
    pub(super) unsafe fn new(argv: *mut *mut raw::RedisModuleString, argc: c_int) -> ArgVector<'a> {
        ArgVector {
            argv,
            argc,
            lifetime: PhantomData,
        }
    }

    /// Returns the number of arguments, the command's name included.
    pub(super) fn len(self) -> usize {
        usize::try_from(self.argc).unwrap_or(0)
    }

    /// Returns the argument at `i`.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn get(self, i: usize) -> KeyName<'a> {
        assert!(i < self.len());
        // SAFETY: `argv` holds that many strings, which live during 'a.
        unsafe { KeyName::new(*self.argv.add(i)) }
    }

    /// Returns references to the strings that outlive the callback.
    pub fn share(self) -> Vec<SharedString> {
        (0..self.len())
            .map(|i| SharedString::new(self.get(i)))
            .collect()
    }

    /// Calls `f` with the bytes of the arguments. Up to 16 of them are lent without an allocation.
    pub(super) fn with_bytes<R>(self, f: impl FnOnce(&[&[u8]]) -> R) -> R {
        const ON_STACK: usize = 16;
        let len = self.len();
        if len <= ON_STACK {
            let mut args: [&[u8]; ON_STACK] = [&[]; ON_STACK];
            for (i, arg) in args.iter_mut().take(len).enumerate() {
                *arg = self.get(i).bytes();
            }
            f(&args[..len])
        } else {
            let args: Vec<&[u8]> = (0..len).map(|i| self.get(i).bytes()).collect();
            f(&args)
        }
    }
}

/// A reference to a string of the server that outlives the callback which lent it.
///
/// The server counts references, so a reference costs nothing while the client that sent the string waits.
pub struct SharedString {
    raw: *mut raw::RedisModuleString,
}

impl SharedString {
    /// Takes a reference to a string.
    pub fn new(name: KeyName<'_>) -> SharedString {
        // SAFETY: the string lives. Without a context nobody but `drop` releases the reference.
        let raw = unsafe {
            call!(RedisModule_HoldString(ptr::null_mut(), name.raw) else ptr::null_mut())
        };
        SharedString { raw }
    }

    /// Returns the string as the name of a key.
    pub fn name(&self) -> KeyName<'_> {
        KeyName {
            raw: self.raw,
            lifetime: PhantomData,
        }
    }
}

impl Clone for SharedString {
    fn clone(&self) -> SharedString {
        SharedString::new(self.name())
    }
}

impl Drop for SharedString {
    fn drop(&mut self) {
        // SAFETY: `new` took the reference, and it is released once. References are kept on the main thread alone.
        unsafe { call!(RedisModule_FreeString(ptr::null_mut(), self.raw) else ()) }
    }
}

impl Borrow<[u8]> for SharedString {
    fn borrow(&self) -> &[u8] {
        self.name().bytes()
    }
}

impl PartialEq for SharedString {
    fn eq(&self, other: &SharedString) -> bool {
        self.name().bytes() == other.name().bytes()
    }
}

impl Eq for SharedString {}

impl PartialOrd for SharedString {
    fn partial_cmp(&self, other: &SharedString) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedString {
    fn cmp(&self, other: &SharedString) -> Ordering {
        self.name().bytes().cmp(other.name().bytes())
    }
}
