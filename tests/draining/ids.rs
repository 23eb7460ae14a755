//! Ids grow, do not repeat, and never have two contents.

use std::collections::BTreeMap;

use super::*;

fn now_us() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64
}

#[test]
fn ids_are_the_clock_in_microseconds_and_grow() {
    let Some(server) = Server::start() else {
        return;
    };
    let before = now_us();
    let logged: Vec<i64> = (0..100)
        .map(|i| log(&server, &format!("n{}", i % 3), "text"))
        .collect();
    let after = now_us();
    assert!(logged.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(logged.iter().all(|id| (before..=after).contains(id)));
    assert!(after < 1 << 53);
}

#[test]
fn ids_ahead_of_the_clock_do_not_repeat_after_del() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut pipe = redis::pipe();
    for key in 0..5000 {
        pipe.cmd("AGG.ERROR").arg("n").arg("text");
        pipe.arg("KEY").arg(key).ignore();
    }
    pipe.query::<()>(&mut server.connection()).unwrap();
    while !take(&server, "AGG.POP n ERROR COUNT 10000").is_empty() {}
    // 5000 new ids at one moment reach 5 ms into the future.
    let replies = together(
        &server,
        &[
            "AGG.REQUEUE n ERROR",
            "AGG.PEEK n ERROR REV COUNT 1",
            "DEL n",
            "AGG.LOG n text",
            "AGG.LOG other text",
        ],
    );
    assert_eq!(replies[0], Value::Int(5000));
    let highest = queued_records(&replies[1])[0].id;
    let [Value::Int(again), Value::Int(other)] = replies[3..] else {
        panic!("{replies:?}");
    };
    assert!(highest < again && again < other, "{replies:?}");
}

/// What pollers got: one content per id, and the newest content of each name.
#[derive(Default)]
struct Writer {
    by_id: BTreeMap<(String, i64), String>,
    newest: BTreeMap<(String, String), (i64, serde_json::Value)>,
}

impl Writer {
    fn write(&mut self, delivered: &[QueuedRecord]) {
        let mut last = BTreeMap::new();
        for delivered in delivered {
            let before = last.insert(&delivered.queue, delivered.id);
            assert!(before < Some(delivered.id), "the order of {delivered:?}");
            let held = self
                .by_id
                .entry((delivered.queue.clone(), delivered.id))
                .or_insert_with(|| delivered.text.clone());
            assert_eq!(*held, delivered.text, "two contents of one id");
            let record = delivered.json();
            let key = record["key"].as_str().unwrap().to_owned();
            let newest = self
                .newest
                .entry((delivered.queue.clone(), key))
                .or_insert((0, record.clone()));
            if newest.0 < delivered.id {
                *newest = (delivered.id, record);
            }
        }
    }
}

#[test]
fn ids_never_have_two_contents_and_the_newest_id_shows_the_latest() {
    let Some(server) = Server::with_settings("error-interval-ms 5") else {
        return;
    };
    let mut connection = server.connection();
    let mut writer = Writer::default();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut handed: Vec<(String, i64)> = Vec::new();
    for i in 0..4000 {
        let key = ["a", "b", "c"][random(3) as usize];
        let queue = ["ERROR", "REALITY"][random(2) as usize];
        match random(12) {
            0..=2 => ask(&mut connection, &format!("AGG.ERROR n text{i} KEY {key}")),
            3..=5 => ask(&mut connection, &format!("AGG.REALITY n {key} model {i}")),
            6 => ask(&mut connection, &format!("AGG.FORGET n REALITY {key}")),
            7 => ask(
                &mut connection,
                &format!("AGG.REQUEUE n {queue} MATCH {key}"),
            ),
            8..=9 => {
                let lease = 1 + random(20);
                let line = format!("AGG.FETCH n ERROR REALITY COUNT 2 LEASE {lease}");
                let fetched = queued_records(&ask(&mut connection, &line));
                handed.extend(fetched.iter().map(|e| (e.queue.clone(), e.id)));
                writer.write(&fetched);
            }
            10 => writer.write(&queued_records(&ask(
                &mut connection,
                "AGG.POP n ERROR REALITY COUNT 1",
            ))),
            _ if !handed.is_empty() => {
                let (queue, id) = handed.swap_remove(random(handed.len() as u64) as usize);
                let deed = ["ACK", "NACK"][random(2) as usize];
                ask(&mut connection, &format!("AGG.{deed} n {queue} {id}"))
            }
            _ => {}
        }
    }
    // Then the poller gets everything, and its state is the true one.
    let of = |queue: &str, key: &str| (queue.to_owned(), key.to_owned());
    for key in ["a", "b", "c"] {
        until("the newest is the truth", || {
            writer.write(&take(&server, "AGG.POP n ERROR REALITY"));
            let get: Value = server.ask(&format!("AGG.GET n ERROR {key}"));
            let error = &writer.newest[&of("ERROR", key)].1;
            let object = &writer.newest[&of("REALITY", key)].1;
            let is_true = match server.ask::<Value>(&format!("AGG.GET n REALITY {key}")) {
                Value::Nil => object["gone"] == true,
                get => {
                    object["gone"] == false
                        && object["json"] == text(&get, "json").parse::<i64>().unwrap()
                }
            };
            let occurrences = int(&get, "occurrences");
            (is_true
                && error["occurrences"] == occurrences
                && error["message"] == text(&get, "message"))
            .then_some(())
        });
    }
    assert!(writer.by_id.len() > 100, "{}", writer.by_id.len());
}
