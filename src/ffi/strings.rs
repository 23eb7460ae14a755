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
    /// Its bytes, as a command needs them several times and the server takes 20 instructions to return them.
    bytes: &'a [u8],
}

impl<'a> KeyName<'a> {
    /// # Safety
    /// `raw` is null or a string that lives during `'a`.
    pub(super) unsafe fn new(raw: *mut raw::RedisModuleString) -> KeyName<'a> {
        // SAFETY: the caller's promise.
        let bytes = unsafe { string_bytes(raw) };
        KeyName { raw, bytes }
    }

    /// Returns the bytes of the name; none for a null string.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }
}

/// Returns the bytes of a string; none for a null string.
///
/// # Safety
/// `raw` is null or a string that lives during `'a` and does not change.
#[inline]
unsafe fn string_bytes<'a>(raw: *mut raw::RedisModuleString) -> &'a [u8] {
    if raw.is_null() {
        return &[];
    }
    let mut len = 0;
    // SAFETY: the string lives during 'a, and with it its bytes.
    unsafe {
        let bytes = call!(RedisModule_StringPtrLen(raw, &mut len) else ptr::null());
        if bytes.is_null() {
            &[]
        } else {
            std::slice::from_raw_parts(bytes.cast(), len)
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
        // SAFETY: the string lives as long as this value.
        unsafe { KeyName::new(self.raw) }
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
    #[inline]
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

    /// Calls `f` with the bytes of the arguments. Those before the first that is wanted are empty: each takes 30
    /// instructions. Up to 16 are lent without an allocation.
    #[inline]
    pub(super) fn with_bytes<R>(self, first: usize, f: impl FnOnce(&[&'a [u8]]) -> R) -> R {
        // The arguments of most samples are few: clearing 16 places took 40 instructions.
        match self.len() {
            ..=4 => self.with_bytes_on_stack::<4, R>(first, f),
            5..=8 => self.with_bytes_on_stack::<8, R>(first, f),
            9..=16 => self.with_bytes_on_stack::<16, R>(first, f),
            len => {
                let mut args: Vec<&[u8]> = vec![&[]; len];
                self.fill(first, &mut args);
                f(&args)
            }
        }
    }

    /// Does so for up to `N` arguments.
    #[inline]
    fn with_bytes_on_stack<const N: usize, R>(
        self,
        first: usize,
        f: impl FnOnce(&[&'a [u8]]) -> R,
    ) -> R {
        let mut args: [&[u8]; N] = [&[]; N];
        let len = self.len().min(N);
        self.fill(first, &mut args[..len]);
        f(&args[..len])
    }

    #[inline]
    fn fill(self, first: usize, args: &mut [&'a [u8]]) {
        for (i, arg) in args.iter_mut().enumerate().skip(first) {
            *arg = self.get(i).bytes();
        }
    }

    /// Returns the argument at `i`, whose bytes are known.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(super) fn get_with(self, i: usize, bytes: &'a [u8]) -> KeyName<'a> {
        assert!(i < self.len());
        // SAFETY: `argv` holds that many strings, which live during 'a.
        let raw = unsafe { *self.argv.add(i) };
        KeyName { raw, bytes }
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
        // SAFETY: the string lives as long as this value.
        unsafe { KeyName::new(self.raw) }
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
