//! AGG.SCAN: iterates over the names of a family.

use std::collections::BTreeSet;

use super::*;

/// Runs a whole scan and returns all names in order and the number of calls; `between` runs between two calls.
fn scan(
    server: &Server,
    family: &str,
    options: &str,
    mut between: impl FnMut(),
) -> (Vec<String>, usize) {
    let mut connection = server.connection();
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    for calls in 1..10_000 {
        let line = format!("AGG.SCAN n {family} {cursor}{options}");
        let (next, names): (String, Vec<String>) = ask(&mut connection, &line);
        next.parse::<u64>().unwrap();
        all.extend(names);
        cursor = next;
        if cursor == "0" {
            return (all, calls);
        }
        between();
    }
    panic!("the scan does not end");
}

#[test]
fn scan_visits_all_names_and_terminates() {
    let Some(server) = Server::start() else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        let all = some("name", 57);
        add_all(&server, family, &all);
        let expected: BTreeSet<String> = all.into_iter().collect();
        let mut calls = Vec::new();
        for options in ["", " COUNT 1", " COUNT 7", " count 10000"] {
            let (found, n) = scan(&server, family, options, || ());
            // Each once, while nothing is added or removed.
            assert_eq!(found.len(), 57, "{family}{options}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
            calls.push(n);
        }
        assert!(calls[1] > calls[2] && calls[2] > calls[3], "{calls:?}");
    }
}

#[test]
fn scan_lists_matching_names() {
    let Some(server) = Server::start() else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        let names = [
            "disk@sda", "disk@sdb", "disk@sdc", "nic@eth0", "a*b", "axb", "Disk",
        ];
        add_all(&server, family, &names.map(str::to_owned));
        for (glob, expected) in [
            ("*", &names[..]),
            ("disk*", &names[..3]),
            ("disk@sd[ab]", &names[..2]),
            ("disk@sd[^ab]", &names[2..3]),
            ("????@eth?", &[]),
            ("???@eth?", &names[3..4]),
            ("a\\*b", &names[4..5]),
            ("a*b", &names[4..6]),
            ("disk@sda", &names[..1]),
            ("none", &[]),
            ("", &[]),
        ] {
            // Names that do not match do not end the scan either.
            for count in ["", " COUNT 1"] {
                let options = format!(" MATCH {glob}{count}");
                let (mut found, _) = scan(&server, family, &options, || ());
                found.sort();
                let mut expected = expected.to_vec();
                expected.sort();
                assert_eq!(found, expected, "{family}{options}");
            }
        }
    }
}

#[test]
fn scan_withvalues_gives_each_name_with_the_reply_of_get() {
    let Some(server) = Server::start() else {
        return;
    };
    for (family, fields) in [("METRIC", METRIC), ("ERROR", ERROR), ("REALITY", OBJECT)] {
        let names = some("name", 3);
        add_all(&server, family, &names);
        let line = format!("AGG.SCAN n {family} 0 withvalues COUNT 100 MATCH *[02]");
        let reply = look(&server, &line);
        let [cursor, Value::Array(items)] = list(&reply) else {
            panic!("{reply:?}");
        };
        assert_eq!(bulk(cursor), "0");
        assert_eq!(items.len(), 4);
        let mut found = BTreeSet::new();
        for pair in items.chunks(2) {
            let name = bulk(&pair[0]);
            let line = format!("AGG.GET n {family} {name}");
            assert_eq!(map(&server, &line, fields), pair[1], "{name}");
            found.insert(name);
        }
        let expected = [names[0].clone(), names[2].clone()];
        assert_eq!(found, BTreeSet::from(expected));
    }
}

#[test]
fn scan_withlast_gives_the_latest_values_of_get() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let start = past_hour();
    for (line, at) in [
        ("abs 1 TAGS rack:a1,b", 0),
        ("abs 2 TAGS rack:a1,b", 300_000),
        ("inc 3 INC", 0),
        ("diff 5 DIFF", 0),
        ("diff 7.5 DIFF", 60_000),
        ("hist 1 HIST", 0),
        ("hist 9 HIST", 300_000),
    ] {
        server.ask::<()>(&format!("AGG.STAT n {line} AT {}", start + at));
    }
    let reply = look(&server, "AGG.SCAN n METRIC 0 WITHLAST");
    let [cursor, Value::Array(items)] = list(&reply) else {
        panic!("{reply:?}");
    };
    assert_eq!(bulk(cursor), "0");
    assert_eq!(items.len(), 8);
    for pair in items.chunks(2) {
        let (name, last) = (bulk(&pair[0]), &pair[1]);
        let all = look(&server, &format!("AGG.GET n METRIC {name}"));
        let fields = match &*name {
            "abs" => "type tags last at",
            "hist" => "type tags last at p50 p90 p95 p99",
            _ => "type tags last at total",
        };
        assert_eq!(names(last), fields, "{name}");
        let Some(Value::Array(open)) = at(&all, "min") else {
            panic!("{all:?}");
        };
        for field in fields.split(' ') {
            let expected = match field.starts_with('p') {
                true => at(open.last().unwrap(), field),
                false => at(&all, field),
            };
            assert_eq!(at(last, field), expected, "{name} {field}");
        }
    }
    for family in ["ERROR", "REALITY"] {
        add_all(&server, family, &some("name", 3));
        let [all, last] = ["WITHVALUES", "WITHLAST"]
            .map(|option| look(&server, &format!("AGG.SCAN n {family} 0 {option}")));
        assert_eq!(all, last);
    }
}

#[test]
fn scan_lists_all_stable_names_while_others_come_and_go() {
    let Some(server) = Server::start() else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        for round in 0..3 {
            let stays: BTreeSet<String> = some("stays", 200).into_iter().collect();
            let goes = some(&format!("goes{round}."), 200);
            let before = some(&format!("before{round}."), 50);
            // Alternately, so that removed names leave gaps everywhere.
            let mixed: Vec<String> = stays
                .iter()
                .zip(&goes)
                .flat_map(|(a, b)| [a.clone(), b.clone()])
                .collect();
            add_all(&server, family, &before);
            add_all(&server, family, &mixed);
            let forget = |names: &[String]| {
                let mut pipe = redis::pipe();
                for name in names {
                    pipe.cmd("AGG.FORGET")
                        .arg("n")
                        .arg(family)
                        .arg(name)
                        .ignore();
                }
                // A gone object is removed with its delivery.
                pipe.cmd("AGG.POP")
                    .arg("n")
                    .arg("REALITY")
                    .arg("COUNT")
                    .arg(10_000);
                pipe.query::<()>(&mut server.connection()).unwrap();
            };
            forget(&before);
            let mut calls = 0;
            let (found, _) = scan(&server, family, " COUNT 10", || {
                if let Some(some) = goes.chunks(7).nth(calls) {
                    forget(some);
                }
                add_all(&server, family, &some(&format!("comes{round}.{calls}."), 5));
                calls += 1;
            });
            let found: BTreeSet<String> = found.into_iter().collect();
            let missed: Vec<_> = stays.difference(&found).collect();
            assert!(missed.is_empty(), "{family}: {missed:?}");
            let ghosts: Vec<_> = found.iter().filter(|name| before.contains(name)).collect();
            assert!(ghosts.is_empty(), "{family}: {ghosts:?}");
        }
        server.ask::<()>("DEL n");
    }
}

#[test]
fn scan_from_a_vanished_cursor_terminates() {
    let Some(server) = Server::start() else {
        return;
    };
    add_all(&server, "METRIC", &some("name", 100));
    let (cursor, _): (String, Vec<String>) = server.ask("AGG.SCAN n METRIC 0 COUNT 50");
    assert_ne!(cursor, "0");
    server.ask::<()>("DEL n");
    add_all(&server, "METRIC", &some("name", 3));
    // Such a cursor stands for the current end, at most for everything.
    for cursor in [&*cursor, "4294967296", "18446744073709551615"] {
        let line = format!("AGG.SCAN n METRIC {cursor}");
        let (next, names): (String, Vec<String>) = server.ask(&line);
        assert_eq!((&*next, names.len()), ("0", 3), "{cursor}");
    }
}
