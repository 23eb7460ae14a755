//! Reads from Linux' /proc what sysinfo lacks: the operations and the busy time of each device, and the number of
//! processes without reading each of them. On other systems the functions return nothing.

use std::fs;
use std::path::Path;

/// The totals of a device since boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIo {
    /// The name without `/dev/`.
    pub name: String,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub operations: Option<Operations>,
}

/// The operations of a device since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations {
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
    /// Time with I/O in progress, ms.
    pub busy_ms: u64,
}

/// Returns the devices that are not backed by memory or by files; no partitions, whose I/O would count twice.
pub fn devices() -> Vec<DeviceIo> {
    let text = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let mut devices = parse_diskstats(&text);
    devices.retain(|device| is_real(&device.name) && is_whole(&device.name));
    devices
}

/// Returns the number of processes.
pub fn processes() -> Option<u64> {
    let entries = fs::read_dir("/proc").ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let count = names
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .count();
    (count > 0).then_some(count as u64)
}

fn is_real(name: &str) -> bool {
    !["loop", "ram", "zram", "fd", "sr"].iter().any(|kind| {
        name.strip_prefix(kind)
            .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn is_whole(name: &str) -> bool {
    // sysfs replaces the slash in names such as cciss/c0d0.
    Path::new("/sys/block")
        .join(name.replace('/', "!"))
        .exists()
}

/// Parses /proc/diskstats: major, minor, name, reads, reads merged, sectors read, ms, writes, writes merged, sectors
/// written, ms, in flight, ms busy, and what newer kernels add. Other lines are left out.
fn parse_diskstats(text: &str) -> Vec<DeviceIo> {
    // The unit of this file, whatever the sector size of the device.
    const SECTOR: u64 = 512;
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(2);
        let name = words.next()?.to_owned();
        let totals: Vec<u64> = words.take(10).map_while(|word| word.parse().ok()).collect();
        let [
            reads,
            _,
            read_sectors,
            _,
            writes,
            _,
            write_sectors,
            _,
            _,
            busy_ms,
        ] = totals[..]
        else {
            return None;
        };
        Some(DeviceIo {
            name,
            read_bytes: read_sectors.saturating_mul(SECTOR),
            write_bytes: write_sectors.saturating_mul(SECTOR),
            operations: Some(Operations {
                reads,
                writes,
                busy_ms,
            }),
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diskstats_are_parsed() {
        let text = "\
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 39204 10817 9133202 26997 8741 18934 4551288 19884 0 9552 47752 5718 37 382488 834 555 35
   8       1 sda1 1 2 3 4 5 6 7 8 9 10 11
";
        let devices = parse_diskstats(text);
        assert_eq!(devices.len(), 3);
        assert_eq!(
            devices[1],
            DeviceIo {
                name: "vda".into(),
                read_bytes: 9_133_202 * 512,
                write_bytes: 4_551_288 * 512,
                operations: Some(Operations {
                    reads: 39_204,
                    writes: 8_741,
                    busy_ms: 9_552
                }),
            }
        );
        assert_eq!(devices[2].operations.unwrap().busy_ms, 10);
    }

    #[test]
    fn malformed_lines_are_left_out() {
        for text in [
            "",
            "\n",
            "8 0 sda",
            "8 0 sda 1 2 3 4 x 6 7 8 9 10 11",
            "8 0 sda 1 2 3 4 5 6 7 8 9",
        ] {
            assert_eq!(parse_diskstats(text), [], "{text:?}");
        }
        assert_eq!(
            parse_diskstats("8 0 s 1 2 18446744073709551615 4 5 6 7 8 9 10")[0].read_bytes,
            u64::MAX
        );
    }

    #[test]
    fn memory_and_file_backed_devices_are_left_out() {
        for name in ["loop0", "ram15", "zram0", "sr0", "fd0"] {
            assert!(!is_real(name), "{name}");
        }
        for name in [
            "sda", "vda", "nvme0n1", "dm-0", "md127", "mmcblk0", "rampart1",
        ] {
            assert!(is_real(name), "{name}");
        }
    }
}
