//! Detection of changed files by inode, size and times. A time alone is the same for two changes within a tick of the
//! clock.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Inode, size and times of a file; none if there is no file.
type Stamp = Option<(u64, u64, (i64, i64), (i64, i64))>;

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    let written = (data.mtime(), data.mtime_nsec());
    Some((
        data.ino(),
        data.size(),
        written,
        (data.ctime(), data.ctime_nsec()),
    ))
}

/// Files that were read, as they were before they were read.
#[derive(Clone, Debug, Default)]
pub struct FileStamps(Vec<(PathBuf, Stamp)>);

impl FileStamps {
    /// Notes the state of a file. Call this before the file is read, so that a change while it is read is noticed.
    pub fn note(&mut self, path: &Path) {
        if !self.0.iter().any(|(noted, _)| noted == path) {
            self.0.push((path.to_owned(), stamp(path)));
        }
    }

    /// Returns whether one of the files has changed.
    pub fn changed(&self) -> bool {
        self.0.iter().any(|(path, before)| stamp(path) != *before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_of_any_kind_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let noted = || {
            let mut stamps = FileStamps::default();
            stamps.note(&path);
            stamps
        };
        let none = noted();
        std::fs::write(&path, "one").unwrap();
        assert!(none.changed());
        let one = noted();
        assert!(!one.changed());
        // Another file of the same size and time replaces it.
        std::fs::write(dir.path().join("new"), "two").unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(dir.path().join("new"));
        file.unwrap().set_modified(time).unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(one.changed());
        let two = noted();
        std::fs::remove_file(&path).unwrap();
        assert!(two.changed());
    }
}
