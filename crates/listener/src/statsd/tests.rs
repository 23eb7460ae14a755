//! Tests of what is passed on for packets.

mod events;
mod samples;

use proptest::prelude::*;

use super::*;
use crate::recorded::Recorded;

fn received(packet: impl AsRef<[u8]>) -> Recorded {
    let mut recorded = Recorded::default();
    parse(packet.as_ref(), &mut recorded);
    recorded
}

/// The samples of a packet in which nothing is invalid.
#[track_caller]
fn samples(packet: impl AsRef<[u8]>) -> Vec<String> {
    let received = received(packet);
    assert_eq!(received.invalid, [""; 0]);
    assert!(received.logs.is_empty() && received.objects.is_empty());
    received.samples
}

/// The only reason why a packet is invalid and nothing of it is used.
#[track_caller]
fn refusal(packet: impl AsRef<[u8]>) -> String {
    let received = received(&packet);
    assert!(received.samples.is_empty() && received.logs.is_empty() && received.objects.is_empty());
    let [invalid] = &received.invalid[..] else {
        panic!("{:?}", received.invalid);
    };
    let (reason, input) = invalid.split_once(": ").expect("a reason");
    let packet = String::from_utf8_lossy(packet.as_ref());
    assert_eq!(input, packet.trim_end_matches('\r'));
    reason.to_owned()
}

/// A piece of a line that is often valid.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<Vec<u8>> = [
        "a",
        "b.c",
        ":",
        "|",
        ",",
        "#",
        "@",
        "0.1",
        "1",
        "-1",
        "+2",
        "1e308",
        "c",
        "g",
        "ms",
        "h",
        "s",
        "T1656581400",
        "_e{",
        "_e{1,1}:a|b",
        "}",
        "_sc|a|0",
        "|m:",
        "|d:",
        "|h:x",
        "|t:error",
        "\\n",
        "\r",
        "\n",
        "\n",
        "\u{2603}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    prop_oneof![
        6 => proptest::sample::select(pieces),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_used_or_counted(pieces in proptest::collection::vec(piece(), 0..40)) {
        let packet = pieces.concat();
        let lines: Vec<&[u8]> = packet.split(|byte| *byte == b'\n').collect();
        let mut together = Recorded::default();
        for line in &lines {
            let received = received(line);
            let is_blank = line.is_empty() || *line == b"\r";
            let is_taken = received != Recorded::default();
            prop_assert!(is_taken != is_blank, "{:?}", String::from_utf8_lossy(line));
            together.samples.extend(received.samples);
            together.logs.extend(received.logs);
            together.objects.extend(received.objects);
            together.invalid.extend(received.invalid);
        }
        prop_assert_eq!(received(&packet), together);
    }

    #[test]
    fn written_samples_are_read(
        name in "[^:|\r\n_]{1,10}",
        tags in proptest::collection::vec(("[^:|,\r\n]{1,5}", "[^|,\r\n]{0,5}"), 0..20),
        value in 0u32..1000,
        n in 1u64..100,
        time in proptest::option::of(0i64..2_000_000_000),
    ) {
        let list: Vec<String> = tags.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let at = time.map_or(String::new(), |time| format!("|T{time}"));
        let line = format!("{name}:{value}|h|@{}|#{}{at}", 1.0 / n as f64, list.join(","));
        let mut expected = format!("{name} HIST {value}");
        if n > 1 {
            expected += &format!(" x{n}");
        }
        for (name, value) in &tags {
            expected += &format!(" {name}={value}");
        }
        if let Some(time) = time {
            expected += &format!(" at={}", time * 1000);
        }
        prop_assert_eq!(samples(line), [expected]);
    }
}
