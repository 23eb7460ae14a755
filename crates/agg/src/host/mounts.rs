//! The mounted file systems, from Linux' mountinfo. Reading that list touches no file system, so that one that hangs
//! cannot delay it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The mount point.
    pub point: OsString,
    /// The mounted device, or what the file system reports instead.
    pub source: OsString,
    /// The file system's type.
    pub kind: String,
    /// The device number, as in `/sys/dev/block`.
    pub number: String,
}

/// Returns the file systems by mount point; a later one hides an earlier one at the same mount point. Returns `None` if
/// the system has no such list.
pub fn list() -> Option<BTreeMap<OsString, Mount>> {
    let text = std::fs::read("/proc/self/mountinfo").ok()?;
    Some(parse(&text))
}

/// Parses lines such as `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/sda1 rw`, with any number of fields
/// before the hyphen. Other lines are left out, and file systems without storage of their own.
fn parse(text: &[u8]) -> BTreeMap<OsString, Mount> {
    let mounts = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ').filter(|w| !w.is_empty());
        let number = words.nth(2)?;
        let point = unescaped(words.nth(1)?);
        let mut words = words.skip_while(|word| *word != b"-").skip(1);
        let kind = String::from_utf8_lossy(words.next()?).into_owned();
        let source = unescaped(words.next()?);
        let mount = Mount {
            point: OsString::from_vec(point),
            source: OsString::from_vec(source),
            kind,
            number: String::from_utf8_lossy(number).into_owned(),
        };
        is_storage(&mount).then(|| (mount.point.clone(), mount))
    });
    mounts.collect()
}

/// Returns whether the file system stores files on this machine. File systems of other machines are reported there.
fn is_storage(mount: &Mount) -> bool {
    const WITHOUT_STORAGE: [&str; 19] = [
        "autofs",
        "cgroup",
        "cgroup2",
        "cifs",
        "devpts",
        "devtmpfs",
        "hugetlbfs",
        "iso9660",
        "mqueue",
        "nfs",
        "nfs4",
        "proc",
        "pstore",
        "ramfs",
        "rootfs",
        "rpc_pipefs",
        "squashfs",
        "sysfs",
        "tmpfs",
    ];
    // Compared by components: /system is not below /sys.
    let point = std::path::Path::new(&mount.point);
    !WITHOUT_STORAGE.contains(&mount.kind.as_str())
        && !["/sys", "/proc"].iter().any(|it| point.starts_with(it))
        && (!point.starts_with("/run") || point.starts_with("/run/media"))
}

/// Resolves the escapes of a field: a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let byte = (*first == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[3..] } else { tail };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 27 0:20 / /sys rw,nosuid - sysfs sysfs rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 27 8:1 /data /mnt/with\\040blank\\134 rw shared:5 master:1 - xfs /dev/sda1 rw
31 27 0:44 / /run/user/0 rw - tmpfs tmpfs rw
32 27 0:45 / /run/media/stick rw - vfat /dev/sdb1 rw
33 27 0:46 / /mnt/far rw - nfs4 far:/export rw
34 27 8:2 / /data rw - ext4 /dev/sda2 rw
35 34 0:47 / /data rw - fuse.sshfs me@far:/x rw
36 27 8:3
garbage
";

    #[test]
    fn mountinfo_is_parsed() {
        let mounts = parse(TEXT.as_bytes());
        let points: Vec<_> = mounts.keys().map(|point| point.to_str().unwrap()).collect();
        assert_eq!(
            points,
            ["/", "/data", "/mnt/with blank\\", "/run/media/stick"]
        );
        let root = &mounts[std::ffi::OsStr::new("/")];
        assert_eq!(
            (root.kind.as_str(), root.number.as_str()),
            ("ext4", "254:1")
        );
        assert_eq!(root.source, "/dev/vda1");
        // It hides the ext4 below it.
        assert_eq!(mounts[std::ffi::OsStr::new("/data")].kind, "fuse.sshfs");
    }

    #[test]
    fn escapes_are_octal() {
        assert_eq!(unescaped(b"a\\040b\\012\\134"), b"a b\n\\");
        assert_eq!(unescaped(b"\\04 \\999 \\"), b"\\04 \\999 \\");
        assert_eq!(unescaped(b"\\377"), b"\xff");
    }
}
