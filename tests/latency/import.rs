//! AGG.IMPORT, and delivery of what it brought.

use crate::support::*;
use testkit::*;

/// A record with more members, which begin with a comma.
fn record(queue: &str, id: usize, more: &str) -> [Vec<u8>; 2] {
    let text = format!(r#"{{"node":"n","queue":"{queue}","id":{id}{more}}}"#);
    [id.to_string().into(), text.into()]
}

/// The members of a window with these tags.
fn window(tags: &str) -> String {
    format!(
        r#","metric":"cpu.load","window":300,"start":1760000100000,"count":3,"sum":1.5,"avg":0.5,"min":0.1,"max":1.1,"last":0.3,"p50":0.3,"p99":1.1,"tags":{{{tags}}}"#
    )
}

fn import(queue: &str, records: impl Iterator<Item = [Vec<u8>; 2]>) -> Words {
    with(&format!("AGG.IMPORT n {queue}"), records.flatten())
}

#[test]
pub fn import_of_many_records_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let tags: Vec<String> = (0..10).map(|i| format!(r#""t{i}":"v""#)).collect();
    let more = window(&tags.join(","));
    for (queue, more, count) in [("LOG", "", 10_000), ("MIN", &more, 5_500)] {
        timed.takes_less(
            &format!("AGG.IMPORT of many records of {queue}"),
            MANY,
            |timed| {
                timed.ask("DEL n");
                import(queue, (1..=count).map(|i| record(queue, 7 * i, more)))
            },
        );
        timed.takes_less(&format!("AGG.ACK of imports of {queue}"), MANY, |timed| {
            timed.ask("DEL n");
            timed.send([import(
                queue,
                (1..=count).map(|i| record(queue, 7 * i, more)),
            )]);
            let ids = (1..=count).map(|i| (7 * i).to_string().into_bytes());
            with(&format!("AGG.ACK n {queue}"), ids)
        });
    }
}

#[test]
pub fn import_of_long_records_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    let tags: Vec<String> = (0..32_768)
        .map(|i| format!(r#""{i:024}":"{:020}""#, i % 7))
        .collect();
    let members: Vec<String> = (0..160_000).map(|i| format!(r#""{i}":"""#)).collect();
    let percentiles: String = (1..=60).map(|i| format!(r#","p{i}_7":1"#)).collect();
    let escaped = r"\u0001\n".repeat(250_000);
    for (what, queue, more) in [
        ("many tags", "MIN", window(&tags.join(",")) + &percentiles),
        (
            "many members",
            "LOG",
            format!(r#","x":{{{}}}"#, members.join(",")),
        ),
        (
            "an escaped text",
            "LOG",
            format!(r#","message":"{escaped}""#),
        ),
        ("deep lists", "LOG", {
            let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
            format!(r#","x":[{}]"#, vec![deep; 10_000].join(","))
        }),
    ] {
        timed.takes_less(&format!("AGG.IMPORT of {what}"), MANY, |timed| {
            timed.ask("DEL n");
            import(queue, [record(queue, 1, &more)].into_iter())
        });
    }
    timed.takes_less("AGG.POP of many tags as a line", MANY, |timed| {
        timed.ask("DEL n");
        let more = window(&tags.join(",")) + &percentiles;
        timed.send([import("MIN", [record("MIN", 1, &more)].into_iter())]);
        with("AGG.POP n MIN FORMAT LINE", [] as [Vec<u8>; 0])
    });
}

#[test]
pub fn import_into_many_gaps_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    timed.takes_less("AGG.IMPORT that closes all gaps", MANY, |timed| {
        timed.ask("DEL n");
        for half in 0..2 {
            let ids = 1 + half * 8_000..=8_000 + half * 8_000;
            timed.send([import("LOG", ids.map(|i| record("LOG", 2 * i, "")))]);
        }
        // Most records are duplicates, and the first new one ends all gaps.
        let records = (7_000..17_000).map(|i| record("LOG", 2 * i, ""));
        let mut words = import("LOG", records);
        words.insert(3, b"FLOOR".to_vec());
        words.insert(4, b"1".to_vec());
        words
    });
}
