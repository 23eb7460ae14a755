//! Tests of rotation: what is appended, rotated, compressed and removed.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use flate2::read::GzDecoder;

use super::super::compactor::compact;
use super::super::settings::Compression;
use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    (dir, path)
}

fn at_size(size: u64) -> Rotation {
    Rotation {
        size: Some(size),
        ..Rotation::default()
    }
}

#[test]
fn incomplete_line_of_a_crash_is_removed() {
    for (left, kept) in [
        ("", ""),
        ("a\n", "a\n"),
        ("a\nhal", "a\n"),
        ("hal", ""),
        (&format!("a\n{}", "x".repeat(200_000)), "a\n"),
    ] {
        let (_dir, path) = folder();
        fs::write(&path, left).unwrap();
        Appender::new(path.clone(), Rotation::default())
            .append(b"new\n")
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{kept}new\n"));
    }
}

#[test]
fn files_are_created_for_their_owner_and_group_and_keep_their_mode() {
    for (mode, expected) in [(Mode::Private, 0o640), (Mode::Exact(0o664), 0o664)] {
        for compression in [Compression::Zstd, Compression::Gzip] {
            let (dir, path) = folder();
            let rotation = Rotation {
                size: Some(6),
                compress: Some(compression),
                ..Rotation::default()
            };
            let mut appender = Appender::new(path.clone(), rotation).with_mode(mode);
            for line in ["aa\n", "bb\n", "cc\n"] {
                appender.append(line.as_bytes()).unwrap();
            }
            let packed = dir.path().join(match compression {
                Compression::Zstd => "out.1.zst",
                Compression::Gzip => "out.1.gz",
            });
            let start = Instant::now();
            while !packed.exists() || dir.path().join("out.1").exists() {
                assert!(start.elapsed() < Duration::from_secs(120));
                std::thread::sleep(Duration::from_millis(5));
            }
            for file in [&path, &packed] {
                let bits = file.metadata().unwrap().permissions().mode() & 0o7777;
                // The umask may remove more bits.
                let known = mode == Mode::Private && bits & !expected == 0 && bits >= 0o600;
                assert!(bits == expected || known, "{file:?}: {bits:o}");
            }
        }
    }
}

#[test]
fn existing_file_keeps_its_permissions() {
    let (_dir, path) = folder();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let appender = Appender::new(path.clone(), Rotation::default());
    appender
        .with_mode(Mode::Exact(0o660))
        .append(b"x\n")
        .unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o604);
}

#[test]
fn full_file_is_rotated() {
    let (dir, path) = folder();
    fs::write(dir.path().join("out.7"), "old").unwrap();
    let mut appender = Appender::new(path.clone(), at_size(6));
    for line in ["aa\n", "bb\n", "cc\n", "longer than all\n", "dd\n"] {
        appender.append(line.as_bytes()).unwrap();
    }
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("out.7"), "old");
    assert_eq!(read("out.8"), "aa\nbb\n");
    assert_eq!(read("out.9"), "cc\n");
    assert_eq!(read("out.10"), "longer than all\n");
    assert_eq!(read("out"), "dd\n");
}

#[test]
fn concurrent_writers_of_one_file_lose_no_line() {
    let (dir, path) = folder();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let mut appender = Appender::new(path.clone(), at_size(400));
            std::thread::spawn(move || {
                for n in 0..25 {
                    appender
                        .append(format!("{thread}.{n}\n").as_bytes())
                        .unwrap();
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let files = fs::read_dir(dir.path()).unwrap();
    let text: String = files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 100);
}

#[test]
fn file_of_a_past_period_is_rotated_compressed_and_finally_removed() {
    let (dir, path) = folder();
    let rotation = Rotation {
        every: Some(Duration::from_secs(3600)),
        compress: Some(Compression::Zstd),
        keep: Some(2),
        ..Rotation::default()
    };
    let mut appender = Appender::new(path.clone(), rotation);
    let now = SystemTime::now();
    for hour in 0..4 {
        // The file was modified now, so each append falls into another hour than the last.
        let at = now + Duration::from_secs(3600 * hour);
        appender
            .append_at(format!("{hour}\n").as_bytes(), at)
            .unwrap();
        appender.append_at(b"more\n", now).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "3\nmore\n");
    let start = Instant::now();
    loop {
        let names = fs::read_dir(dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        if names == ["out", "out.2.zst", "out.3.zst"] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{names:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let packed = File::open(dir.path().join("out.3.zst")).unwrap();
    assert_eq!(zstd::decode_all(packed).unwrap(), b"2\nmore\n");
}

#[test]
fn device_is_rejected() {
    let mut appender = Appender::new("/dev/null".into(), Rotation::default());
    assert!(appender.append(b"x\n").is_err());
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.into_iter().collect()
}

fn unpack(path: &Path) -> String {
    let (bytes, mut text) = (fs::read(path).unwrap(), String::new());
    let read = match path.extension().unwrap() == "zst" {
        true => zstd::Decoder::new(&bytes[..])
            .unwrap()
            .read_to_string(&mut text),
        false => GzDecoder::new(&bytes[..]).read_to_string(&mut text),
    };
    read.unwrap();
    text
}

fn rotation(compress: Option<Compression>, keep: Option<usize>) -> Rotation {
    Rotation {
        compress,
        keep,
        ..Rotation::default()
    }
}

#[test]
fn rotated_files_are_compressed_completely() {
    for compression in [Compression::Zstd, Compression::Gzip] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let long = "a line\n".repeat(50_000);
        for (name, text) in [
            ("out", "now\n"),
            ("out.1", &*long),
            // Left by crashes: a partly compressed file, and a plain one beside a complete one.
            ("out.2", "two\n"),
            ("out.2.zst.tmp", "half"),
            ("out.2.gz.tmp", "half"),
            // Files of others.
            ("out.x", "x"),
            ("out.3.txt", "x"),
            ("other.1", "x"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let end = compression.extension();
        fs::write(dir.path().join("out.4"), "four\n").unwrap();
        assert_eq!(compact(&path, &rotation(Some(compression), None)), [""; 0]);
        fs::write(dir.path().join("out.4"), "four\n").unwrap();
        assert_eq!(compact(&path, &rotation(Some(compression), None)), [""; 0]);
        let packed = [1, 2, 4].map(|number| format!("out.{number}.{end}"));
        let mut expected = vec!["other.1", "out", "out.3.txt", "out.x"];
        expected.extend(packed.iter().map(|name| &**name));
        expected.sort_unstable();
        assert_eq!(names(dir.path()), expected);
        assert_eq!(unpack(&dir.path().join(&packed[0])), long);
        assert_eq!(unpack(&dir.path().join(&packed[2])), "four\n");
        // A file with other contents is neither overwritten nor removed.
        fs::write(dir.path().join("out.4"), "five\n").unwrap();
        let faults = compact(&path, &rotation(Some(compression), None));
        assert!(
            faults[0].ends_with("already exists with other contents"),
            "{faults:?}"
        );
        assert!(dir.path().join("out.4").exists());
        rotate(&path).unwrap();
        assert!(dir.path().join("out.5").exists());
    }
}

#[test]
fn oldest_files_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    for name in [
        "out",
        "out.8",
        "out.9",
        "out.9.zst.tmp",
        "out.10.gz",
        "out.11",
        "out.x",
    ] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    assert_eq!(compact(&path, &rotation(None, Some(2))), [""; 0]);
    assert_eq!(names(dir.path()), ["out", "out.10.gz", "out.11", "out.x"]);
    assert_eq!(
        compact(Path::new("/no/such/out"), &rotation(None, Some(2))),
        [""; 0]
    );
}

#[test]
fn file_that_another_program_compresses_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    fs::write(dir.path().join("out.1"), "x").unwrap();
    let file = File::open(dir.path().join("out.1")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    assert_eq!(
        compact(&path, &rotation(Some(Compression::Zstd), None)),
        [""; 0]
    );
    assert_eq!(names(dir.path()), ["out.1"]);
}

#[test]
fn file_is_due_at_multiples_of_its_period() {
    let hourly = Rotation {
        every: Some(Duration::from_secs(3600)),
        ..Rotation::default()
    };
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert!(!hourly.is_due(1, at(3600), 1, at(7199)));
    assert!(hourly.is_due(1, at(3600), 1, at(7200)));
    assert!(hourly.is_due(1, at(7199), 1, at(7200)));
    // Empty, or written by a clock that was ahead.
    assert!(!hourly.is_due(0, at(3600), 1, at(7200)));
    assert!(!hourly.is_due(1, at(7200), 1, at(3600)));
}

#[test]
fn compactor_that_panicked_is_started_again() {
    is_started_again(|_, _| Compactor::ended());
}

#[test]
fn compactor_that_could_not_start_is_started_again() {
    is_started_again(Compactor::not_started);
}

fn is_started_again(compactor: fn(&Path, &Rotation) -> Compactor) {
    let (dir, path) = folder();
    let rotation = Rotation {
        compress: Some(Compression::Gzip),
        ..at_size(6)
    };
    let mut appender = Appender::new(path, rotation);
    appender.compactor = compactor(&appender.path, &appender.rotation);
    for line in ["aa\n", "bb\n", "cc\n"] {
        appender.append(line.as_bytes()).unwrap();
    }
    let start = Instant::now();
    while !dir.path().join("out.1.gz").exists() {
        assert!(start.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(10));
    }
}
