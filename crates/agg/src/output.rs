//! Whether standard output is there, before records are taken out of queues for it. One that is closed looks open: at a
//! program's start Rust puts the null device in its place, and what is written there is lost without an error.

use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, major, minor};

/// The null device's number.
const NULL: (u32, u32) = (1, 3);

/// Returns an error if what is written to standard output is lost, where that is not wanted: `>/dev/null` opens the
/// null device to write, Rust opens it to read and to write in place of what is closed.
pub fn check() -> Result<(), String> {
    match is_lost(&std::io::stdout()) {
        true => Err(
            "cannot write: standard output is closed; what is to be thrown away goes to >/dev/null"
                .into(),
        ),
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
                && (major(found.st_rdev), minor(found.st_rdev)) == NULL
        })
    };
    match flags & OFlags::RWMODE {
        OFlags::WRONLY => false,
        OFlags::RDWR => is_null(),
        // Rust takes the error of a write for success here.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn what_was_opened_in_place_of_a_closed_output_is_lost() {
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
