//! FORMAT LINE: records in InfluxDB's line protocol, which no name can break or forge.

use super::*;

/// Returns the line of a MIN window with one sample of 0.1, and the start of the window.
fn line(server: &Server, node: &[u8], metric: &[u8], tags: &[u8]) -> (String, i64) {
    let start = past_hour();
    let at = start.to_string();
    let taken: i64 = server.send(&[
        b"AGG.STAT",
        node,
        metric,
        b"0.1",
        b"TAGS",
        tags,
        b"AT",
        at.as_bytes(),
    ]);
    assert_eq!(taken, 1);
    close(server, node, metric);
    let reply: Value = server.send(&[b"AGG.POP", node, b"MIN", b"FORMAT", b"LINE"]);
    let [record] = queued_records(&reply).try_into().expect("one record");
    // The next line is of the same window.
    server.send::<()>(&[b"DEL", node]);
    (record.text, start)
}

#[test]
fn lines_are_influxdb_line_protocol() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for (value, seconds) in [("1", 0), ("-2.5", 10), ("1e300", 20)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!(
            "AGG.STAT n1 disk.iops@sda {value} TAGS dim:iops AT {at}"
        ));
    }
    close(&server, b"n1", b"disk.iops@sda");
    for (queue, window) in [("MIN", "300s"), ("HOUR", "3600s")] {
        let expected = format!(
            "disk.iops,dim=iops,instance=sda,node=n1,window={window} \
             avg={:?},max=1e300,min=-2.5,sum=1e300,last=1e300,count=3i {start}000000",
            1e300 / 3.0
        );
        for command in ["PEEK", "FETCH"] {
            let record = only(&server, &format!("AGG.{command} n1 {queue} FORMAT LINE"));
            assert_eq!((&*record.queue, &*record.text), (queue, &*expected));
        }
    }
}

#[test]
fn floats_of_a_line_parse_to_the_same_value() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = past_hour();
    for value in ["0.1", "0.2"] {
        server.ask::<()>(&format!("AGG.STAT n m {value} AT {start}"));
    }
    server.ask::<()>(&format!("AGG.STAT n m 3 AT {}", start + 300_000));
    server.ask::<()>(&format!("AGG.STAT n m 0 AT {}", start + 600_000));
    server.ask::<()>(&format!("AGG.STAT n m 5e-324 AT {}", start + 900_000));
    close(&server, b"n", b"m");
    let lines: Vec<String> = take(&server, "AGG.POP n MIN FORMAT LINE")
        .into_iter()
        .map(|e| e.text)
        .collect();
    let fields = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    let sum = 0.1 + 0.2;
    let expected = [
        format!(
            "avg={:?},max=0.2,min=0.1,sum={sum:?},last=0.2,count=2i",
            sum / 2.0
        ),
        "avg=3.0,max=3.0,min=3.0,sum=3.0,last=3.0,count=1i".to_owned(),
        "avg=0.0,max=0.0,min=0.0,sum=0.0,last=0.0,count=1i".to_owned(),
        "avg=5e-324,max=5e-324,min=5e-324,sum=5e-324,last=5e-324,count=1i".to_owned(),
    ];
    let found: Vec<String> = lines.iter().map(|line| fields(line)).collect();
    assert_eq!(found, expected);
}

/// Checks a line up to its fields.
fn check_line(server: &Server, node: &[u8], metric: &[u8], tags: &[u8], expected: &str) {
    let (line, start) = line(server, node, metric, tags);
    let fields = "avg=0.1,max=0.1,min=0.1,sum=0.1,last=0.1,count=1i";
    assert_eq!(line, format!("{expected} {fields} {start}000000"));
}

#[test]
fn no_node_breaks_or_forges_a_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let cases: &[(&[u8], &str)] = &[
        (b"n", "n"),
        (b"n 1,a=b", "n\\ 1\\,a\\=b"),
        (b"n\n\r\t\0\x1f\x7f", "n______"),
        (b"n\nforged v=1 0", "n_forged\\ v\\=1\\ 0"),
        (b"n\\", "n\\_"),
        (b"n\\\\", "n_\\_"),
        (b"\\,", "_\\,"),
        (b"#n", "#n"),
        (b"n\xff", "n\u{fffd}"),
        ("größe".as_bytes(), "größe"),
    ];
    for (node, written) in cases {
        let expected = format!("m,node={written},window=300s");
        check_line(&server, node, b"m", b"", &expected);
    }
}

#[test]
fn no_metric_breaks_or_forges_a_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let cases: &[(&[u8], &str)] = &[
        // The measurement: an equals sign is an ordinary character in it.
        (b"a b,c=d", "a\\ b\\,c=d"),
        (b"a\ncpu,x=y v=1i 0", "a_cpu\\,x=y\\ v=1i\\ 0"),
        (b"a\r\t\0\x7f", "a____"),
        (b"m\\", "m\\_"),
        (b"m\\\\", "m_\\_"),
        (b"\\", "\\_"),
        (b"a\\b", "a\\b"),
        (b"a\\,b", "a_\\,b"),
        (b"#m", "_m"),
        (b"#", "_"),
        (b"m#", "m#"),
        (b"\xff", "\u{fffd}"),
        ("größe".as_bytes(), "größe"),
        // The instance: after the first @.
        (b"m@sda", "m,instance=sda"),
        (b"m@a@b", "m,instance=a@b"),
        (b"m@", "m"),
        (b"@x", "_,instance=x"),
        (b"@", "_"),
        (b"#@#", "_,instance=#"),
        (b"m@a=b, c\n", "m,instance=a\\=b\\,\\ c_"),
        (b"m\\@i\\", "m\\_,instance=i\\_"),
    ];
    for (metric, written) in cases {
        let expected = format!("{written},node=n,window=300s");
        check_line(&server, b"n", metric, b"", &expected);
    }
}

#[test]
fn no_tag_breaks_or_forges_a_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let cases: &[(&[u8], &str)] = &[
        // Sorted by the bytes of their names, including those of the module.
        (
            b"z:1 Z:2 o:3 a:4 x:5",
            "Z=2,a=4,node=n,o=3,window=300s,x=5,z=1",
        ),
        (b"ab:1 a:2 a-:3", "a=2,a-=3,ab=1,node=n,window=300s"),
        (b"k,=:v,=", "k\\,=:v\\,\\=,node=n,window=300s"),
        (b"b=2 a:b=c a,=", "a=b\\=c,b=2,node=n,window=300s"),
        (b"a:b:c", "a=b:c,node=n,window=300s"),
        (b"k\n:v\nw", "k_=v_w,node=n,window=300s"),
        (b"k\\:v\\", "k\\_=v\\_,node=n,window=300s"),
        (b"k:#\xff", "k=#\u{fffd},node=n,window=300s"),
        // Without a value, and with an empty one.
        (b"flag", "flag=true,node=n,window=300s"),
        (b"k:", "node=n,window=300s"),
        // Of repeated names the last counts.
        (b"a:1 b a:2 b:3", "a=2,b=3,node=n,window=300s"),
        (b"a:1 a:", "node=n,window=300s"),
        // Tags and fields of the module override.
        (b"node:x window:y", "node=n,node_=x,window=300s,window_=y"),
        (b"instance:x", "instance_=x,node=n,window=300s"),
        (b"time:x", "node=n,time_=x,window=300s"),
        (
            b"avg:1 max:2 min:3",
            "avg_=1,max_=2,min_=3,node=n,window=300s",
        ),
        (
            b"sum:4 last:5 count:6",
            "count_=6,last_=5,node=n,sum_=4,window=300s",
        ),
        (b"Node:x TIME:y", "Node=x,TIME=y,node=n,window=300s"),
    ];
    for (tags, written) in cases {
        check_line(&server, b"n", b"m", tags, &format!("m,{written}"));
    }
    let expected = "m,a=1,instance=i,instance_=x,node=n,window=300s";
    check_line(&server, b"n", b"m@i", b"instance:x a:1", expected);
}
