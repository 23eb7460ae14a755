//! Checks standard output before records are removed from queues to be written to it.
//!
//! A closed standard output seems to be open: when a program starts, Rust opens the null device in its place, and writes
//! to it are lost without an error.

use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, major, minor};

/// Major and minor number of the null device.
const NULL_DEVICE: (u32, u32) = (1, 3);

/// Standard output is closed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot write: standard output is closed; redirect it to /dev/null to discard records")]
pub struct OutputError;

/// Checks that standard output is open.
///
/// A user's `>/dev/null` is distinguished from Rust's replacement: the shell opens the null device for writing, Rust for
/// reading and writing.
///
/// # Errors
/// Standard output is closed.
pub fn check() -> Result<(), OutputError> {
    match is_lost(&std::io::stdout()) {
        true => Err(OutputError),
        false => Ok(()),
    }
}

fn is_lost(output: &impl AsFd) -> bool {
    let Ok(flags) = fcntl_getfl(output) else {
        return true;
    };
    let is_null = || {
        fstat(output).is_ok_and(|found| {
            FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
                && (major(found.st_rdev), minor(found.st_rdev)) == NULL_DEVICE
        })
    };
    match flags & OFlags::RWMODE {
        OFlags::WRONLY => false,
        OFlags::RDWR => is_null(),
        // Rust ignores the error of a write to such a descriptor.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn replacement_of_a_closed_output_is_detected() {
        let open = |read, write, path: &str| {
            let file = OpenOptions::new()
                .read(read)
                .write(write)
                .open(path)
                .unwrap();
            is_lost(&file)
        };
        assert!(open(true, true, "/dev/null"));
        assert!(open(true, false, "/dev/null"));
        assert!(!open(false, true, "/dev/null"));
        assert!(open(true, false, "/dev/zero"));
        assert!(!open(true, true, "/dev/zero"));
        let (_reader, writer) = std::io::pipe().unwrap();
        assert!(!is_lost(&writer));
    }
}
