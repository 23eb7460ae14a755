//! Typed commands and replies against a server, and the examples.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use agg_client::command::{
    Ack, Cmd, Command as _, Error, ErrorType, Extend, Fetch, Forget, GetError, GetMetric,
    GetObject, Hist, Import, Info, Kind, Level, Log, Mstat, Nack, ObjectState, Peek, Pop, Range,
    Reality, RejectedSample, Report as _, Requeue, Sample, SampleType, Scan, Stat, StoredType,
    Window,
};
use agg_client::{
    Access, ClientError, Connection, Delivery, Numbering, Outbox, Queue, RecordFormat,
};
use testkit::{Server, cluster::Cluster, proxy::Proxy};

/// A server with windows that do not close while a test runs, and a connection to it.
async fn start() -> Option<(Server, Connection)> {
    let settings = "min-window 2419200 hour-window 2419200";
    let server = Server::with_module(&[], settings)?;
    let connection = agg_client::Server::parse(&server.url(), &Access::default())
        .unwrap()
        .connect()
        .await
        .unwrap();
    Some((server, connection))
}

#[tokio::test]
async fn samples_are_reported_and_read() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let first = Stat::new("n", "load", 1.5).tags("unit:percent word");
    assert!(connection.run(&first).await.unwrap());
    assert!(connection.run(&Stat::new("n", "load", 2)).await.unwrap());
    let counter = Stat::new("n", "rx", u64::MAX).sample_type(SampleType::Diff);
    assert!(connection.run(&counter).await.unwrap());

    let metric = GetMetric::new("n", "load");
    let metric = connection.run(&metric).await.unwrap().unwrap();
    assert_eq!((metric.name.as_str(), metric.last.as_str()), ("load", "2"));
    assert_eq!((metric.metric_type.as_str(), metric.samples), ("ABS", 2));
    assert_eq!(metric.tags["unit"], "percent");
    assert_eq!(metric.tags["word"], "true");
    let range = Range::new("n", "load", Window::Min);
    let windows = connection.run(&range).await.unwrap();
    assert_eq!(windows, metric.min);
    assert_eq!((windows[0].count, windows[0].avg), (2, 1.75));
    assert!(!windows[0].closed && windows[0].start < windows[0].end);
    let later = range.from(windows[0].end);
    assert_eq!(connection.run(&later).await.unwrap(), []);
    let none = connection.run(&GetMetric::new("n", "other")).await.unwrap();
    assert_eq!(none, None);

    assert!(
        connection
            .run(&Forget::new("n", Kind::Metric, "load"))
            .await
            .unwrap()
    );
    assert!(
        !connection
            .run(&Forget::new("n", Kind::Metric, "load"))
            .await
            .unwrap()
    );
}

/// Sends a command as it is, and expects no error.
async fn send(connection: &mut Connection, words: &str) {
    let mut words = words.split(' ');
    let mut command = Cmd::new(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    connection.call(&command).await.unwrap().unwrap();
}

#[tokio::test]
async fn percentiles_totals_and_types_are_read() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let mut setting = Cmd::new("CONFIG");
    setting.arg("SET").arg("agg.percentiles").arg("99.9 50");
    connection.call(&setting).await.unwrap().unwrap();
    for value in [12, 15, 840] {
        send(&mut connection, &format!("AGG.STAT n ms {value} HIST")).await;
    }
    send(&mut connection, "AGG.STAT n hits 40 INC").await;
    send(&mut connection, "AGG.STAT n hits 2.5 INC").await;
    let get = async |connection: &mut Connection, name| {
        let metric = connection.run(&GetMetric::new("n", name)).await.unwrap();
        metric.unwrap()
    };
    let ms = get(&mut connection, "ms").await;
    let expected = [("p50".to_owned(), 15.0), ("p99_9".to_owned(), 840.0)];
    assert_eq!(ms.min[0].percentiles, expected);
    assert_eq!(ms.hour[0].percentile("p50"), Some(15.0));
    assert_eq!((ms.metric_type, ms.total), (StoredType::Abs, None));
    let range = Range::new("n", "ms", Window::Min);
    assert_eq!(connection.run(&range).await.unwrap(), ms.min);
    let hits = get(&mut connection, "hits").await;
    assert_eq!(
        (hits.metric_type, hits.total),
        (StoredType::Inc, Some(42.5))
    );
    assert_eq!(
        (hits.last.as_str(), hits.min[0].percentiles.len()),
        ("2.5", 0)
    );
    send(&mut connection, "AGG.LOG n hello SEQ me 1").await;
    let info = connection.run(&Info::new("n")).await.unwrap().unwrap();
    assert_eq!(
        (info.inc_slot_s, info.sources, info.sources_dropped),
        (10, 1, 0)
    );
    assert_eq!(
        (info.suspect_diff, info.forgotten, info.forgotten_dropped),
        (0, 0, 0)
    );
    let record = r#"{"node":"n","queue":"LOG","id":5,"message":"up","level":3,"severity":"INFO","tags":{},"epoch":0}"#;
    for _ in 0..2 {
        let import = Import::new("n", Queue::Log, [(5, record)]).floor(1);
        assert_eq!(connection.run(&import).await.unwrap(), 1);
    }
    let info = connection.run(&Info::new("n")).await.unwrap().unwrap();
    assert_eq!(
        (info.imported, info.import_duplicates, info.import_refused),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn rejected_samples_do_not_affect_the_others() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let bad = Mstat::new("n", [("a", 1.0), ("b", f64::INFINITY), ("c", 3.0)]);
    let reply = connection.run(&bad).await.unwrap();
    assert_eq!((reply.counted, reply.late), (2, 0));
    assert_eq!(reply.rejected.len(), 1);
    assert_eq!(reply.rejected[0].index, 1);
    let error = connection.run(&bad.clone().atomic()).await.unwrap_err();
    let ClientError::Command(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.code, "ERR");
    // The connection can be used further, and a pipeline has an answer for each.
    let stats = [
        Stat::new("n", "a", 1),
        Stat::new("n", "", 1),
        Stat::new("n", "c", 1),
    ];
    let answers = connection.run_all(&stats).await.unwrap();
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok());
}

#[tokio::test]
async fn samples_of_all_types_are_reported_in_one_command() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let samples = || {
        [
            Sample::new("gauge", 5).tags("a:b"),
            Sample::new("gauge", -2).sample_type(SampleType::Add),
            Sample::new("total", 100).sample_type(SampleType::Diff),
            Sample::new("requests", 1)
                .sample_type(SampleType::Inc)
                .times(10),
            Sample::new("seconds", 0.5).hist().tags("unit:s"),
            Sample::new("total", 1).sample_type(SampleType::Inc),
            Sample::new("gauge", 1).at(1_760_000_000_000),
        ]
    };
    let reply = connection.run(&Mstat::new("n", samples())).await.unwrap();
    assert_eq!((reply.counted, reply.late), (5, 1));
    let [RejectedSample { index, reason }] = &reply.rejected[..] else {
        panic!("{reply:?}")
    };
    assert_eq!(*index, 5);
    assert!(reason.contains("metric 'total' is DIFF"), "{reason}");

    let mut last = async |metric: &str| {
        let metric = GetMetric::new("n", metric);
        connection.run(&metric).await.unwrap().unwrap()
    };
    assert_eq!(last("gauge").await.last, "3");
    let requests = last("requests").await;
    assert_eq!((requests.samples, requests.min[0].sum), (10, 10.0));
    assert_eq!(last("seconds").await.tags["unit"], "s");

    // The same samples one by one.
    let stats = samples().map(|sample| Stat::of("m", sample));
    let counted = connection.run_all(&stats).await.unwrap();
    let counted: Vec<Option<bool>> = counted.into_iter().map(Result::ok).collect();
    let expected = [Some(true); 5].into_iter().chain([None, Some(false)]);
    assert_eq!(counted, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn aggregated_values_are_reported() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let mut numbering = Numbering::new();
    let hist = Hist::new("n", "seconds", [(0.25, 3), (0.5, 1)]).tags("unit:s");
    let exact = hist.clone().sum(1.3).min(0.2).max(0.55);
    assert!(connection.run(&exact).await.unwrap());
    let numbered = hist.numbered(numbering.next());
    assert_eq!(connection.run(&numbered).await.unwrap(), Some(true));
    assert_eq!(connection.run(&numbered).await.unwrap(), None);
    let late = Hist::new("n", "seconds", [(1, 1)]).at(1_760_000_000_000);
    assert!(!connection.run(&late).await.unwrap());
    let metric = GetMetric::new("n", "seconds");
    let metric = connection.run(&metric).await.unwrap().unwrap();
    let window = &metric.min[0];
    assert_eq!((window.count, window.sum), (8, 2.55));
    assert_eq!((window.min, window.max), (0.2, 0.55));
    assert_eq!(
        (metric.last.as_str(), metric.tags["unit"].as_str()),
        ("0.5", "s")
    );
}

#[tokio::test]
async fn repeated_number_is_no_error() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let mut numbering = Numbering::new();
    let sequence = numbering.next();
    let stat = Stat::new("n", "m", 1)
        .sample_type(SampleType::Inc)
        .numbered(sequence);
    assert_eq!(connection.run(&stat).await.unwrap(), Some(true));
    assert_eq!(connection.run(&stat).await.unwrap(), None);
    let mstat = Mstat::new("n", [("a", 1)]).numbered(sequence);
    assert_eq!(connection.run(&mstat).await.unwrap(), None);
    let log = Log::new("n", "x").level(Level::DEBUG).numbered(sequence);
    assert_eq!(connection.run(&log).await.unwrap(), None);
    let error = Error::new("n", "x").key("k");
    let repeated = error.clone().numbered(sequence);
    assert_eq!(connection.run(&repeated).await.unwrap(), None);
    let next = error.numbered(numbering.next());
    assert_eq!(connection.run(&next).await.unwrap().unwrap().occurrences, 1);
}

#[tokio::test]
async fn increments_count_once_although_replies_are_lost() {
    let Some((server, mut direct)) = start().await else {
        return;
    };
    let proxy = Proxy::start(server.port);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let behind_proxy = agg_client::Server::parse(&url, &Access::default()).unwrap();
    let (mut outbox, mut taken, mut repeated) = (Outbox::default(), 0, 0);
    let mut count = |_, delivery| match delivery {
        Delivery::Taken(counted) => taken += u64::from(counted),
        Delivery::Repeated => repeated += 1,
        Delivery::Rejected(error) => panic!("{error}"),
    };
    let increment = Stat::new("n", "m", 1).sample_type(SampleType::Inc);
    for _ in 0..3 {
        let mut connection = behind_proxy.connect().await.unwrap();
        outbox.push(increment);
        outbox.send(&mut connection, &mut count).await.unwrap();
        (0..100).for_each(|_| outbox.push(increment));
        proxy.lose_replies(true);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            proxy.cut();
            proxy.lose_replies(false);
            proxy.repair();
        };
        let (sent, ()) = tokio::join!(outbox.send(&mut connection, &mut count), cut);
        assert!(sent.unwrap_err().is_retriable());
        assert_eq!(outbox.len(), 100);
    }
    outbox.send(&mut direct, &mut count).await.unwrap();
    assert_eq!((taken, repeated), (3, 300));
    let metric = GetMetric::new("n", "m");
    let metric = direct.run(&metric).await.unwrap().unwrap();
    assert_eq!((metric.samples, metric.total), (303, Some(303.0)));
}

#[tokio::test]
async fn records_are_leased_acknowledged_and_released() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let mut ids = Vec::new();
    for message in ["one", "two", "three"] {
        let log = Log::new("n", message)
            .level(Level::INFO)
            .tags("a:b")
            .at(1_760_000_000_000);
        ids.push(connection.run(&log).await.unwrap() as i64);
    }
    let queues = [Queue::Log];
    let lease = Duration::from_secs(60);
    let fetch = Fetch::new("n", &queues).count(2).lease(lease);
    let records = connection.run(&fetch).await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].queue, records[0].id), (Queue::Log, ids[0]));
    assert_eq!(records[0].deliveries, 1);
    let json: serde_json::Value = serde_json::from_slice(&records[0].record).unwrap();
    assert_eq!(
        (json["message"].as_str(), json["level"].as_u64()),
        (Some("one"), Some(3))
    );

    let extend = Extend::new("n", Queue::Log, lease, &ids[..2]);
    assert_eq!(connection.run(&extend).await.unwrap(), 2);
    assert_eq!(
        connection
            .run(&Ack::new("n", Queue::Log, &ids[..1]))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        connection
            .run(&Nack::new("n", Queue::Log, &ids[1..2]))
            .await
            .unwrap(),
        1
    );
    let newest = Peek::new("n", &queues).count(1).newest_first();
    assert_eq!(connection.run(&newest).await.unwrap()[0].id, ids[2]);
    let from = Peek::new("n", &queues).from(ids[2]);
    assert_eq!(connection.run(&from).await.unwrap().len(), 1);
    let rest = connection.run(&Pop::new("n", &queues)).await.unwrap();
    let rest: Vec<_> = rest.iter().map(|r| (r.id, r.deliveries)).collect();
    assert_eq!(rest, [(ids[1], 2), (ids[2], 1)]);
    let block = Fetch::new("n", &queues).block(Duration::from_millis(20));
    assert_eq!(connection.run(&block).await.unwrap(), []);
    // Line protocol has no logs.
    let line = fetch.format(RecordFormat::Line);
    assert!(connection.run(&line).await.is_err());
}

#[tokio::test]
async fn errors_and_objects_are_reported_and_read() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let error = Error::new("n", "read failed")
        .error_type(ErrorType::Ops)
        .level(Level::ERROR)
        .code("EIO")
        .file("disk.c")
        .func("read")
        .public("Sorry")
        .backtrace("a b")
        .gid(1)
        .nid(2)
        .key("k")
        .tags("disk:sda");
    for occurrences in 1..=2 {
        let occurrence = connection.run(&error).await.unwrap();
        assert_eq!(
            (occurrence.key.as_str(), occurrence.occurrences),
            ("k", occurrences)
        );
    }
    let stored = connection
        .run(&GetError::new("n", "k"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (stored.message.as_str(), stored.error_type.as_str()),
        ("read failed", "OPS")
    );
    assert_eq!(
        (stored.code.as_str(), stored.level, stored.occurrences),
        ("EIO", 7, 2)
    );
    assert_eq!(stored.severity, "ERROR");
    assert_eq!(stored.tags["disk"], "sda");

    let report = |json| Reality::new("n", "sda", "system.Disk", json).ttl_s(60);
    let states = [
        (r#"{"a": 1}"#, ObjectState::Changed),
        (r#"{"a":1}"#, ObjectState::Unchanged),
    ];
    for (json, state) in states {
        assert_eq!(connection.run(&report(json)).await.unwrap(), state);
    }
    let old = report("{}").at(1_760_000_000_000);
    assert_eq!(connection.run(&old).await.unwrap(), ObjectState::Older);
    let object = connection
        .run(&GetObject::new("n", "sda"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (object.model.as_str(), object.json.as_str()),
        ("system.Disk", r#"{"a":1}"#)
    );
    assert!(!object.gone);

    let info = connection.run(&Info::new("n")).await.unwrap().unwrap();
    assert_eq!((info.errors, info.realities), (1, 1));
    assert_eq!(info.queues[&Queue::Error].length, 1);
    let taken = connection.run(&Pop::new("n", &Queue::ALL)).await.unwrap();
    assert_eq!(taken.len(), 2);
    let requeue = Requeue::new("n", Kind::Reality).matching("sd*");
    assert_eq!(connection.run(&requeue).await.unwrap(), 1);
    assert_eq!(connection.run(&Info::new("other")).await.unwrap(), None);
}

#[tokio::test]
async fn scan_returns_every_name() {
    let Some((_server, mut connection)) = start().await else {
        return;
    };
    let names: Vec<String> = (0..300).map(|n| format!("m{n}")).collect();
    let samples = Mstat::new("n", names.iter().map(|name| (name, 1)));
    assert_eq!(connection.run(&samples).await.unwrap().counted, 300);
    let (mut cursor, mut found) = (b"0".to_vec(), BTreeSet::new());
    loop {
        let page = Scan::new("n", Kind::Metric, &cursor)
            .matching("m*")
            .count(50);
        let page = connection.run(&page).await.unwrap();
        found.extend(page.names.iter().cloned());
        if page.is_last() {
            break;
        }
        cursor = page.cursor;
    }
    assert_eq!(found.len(), 300);
}

#[tokio::test]
async fn key_of_another_type_is_an_error_with_its_code() {
    let Some((server, mut connection)) = start().await else {
        return;
    };
    let () = server.ask("SET n x");
    let error = connection.run(&Log::new("n", "x")).await.unwrap_err();
    assert!(matches!(error, ClientError::Command(error) if error.code == "WRONGTYPE"));
}

#[test]
fn command_is_written_as_documented() {
    let ids = [1, 2];
    let packed = Ack::new("n", Queue::Log, &ids).to_cmd().to_bytes();
    let packed = String::from_utf8(packed).unwrap();
    assert_eq!(
        packed,
        "*5\r\n$7\r\nAGG.ACK\r\n$1\r\nn\r\n$3\r\nLOG\r\n$1\r\n1\r\n$1\r\n2\r\n"
    );
}

/// Runs an example, which cargo has built beside this test.
fn example(name: &str, arguments: &[&str]) -> Output {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().unwrap().parent().unwrap();
    let program = target.join("examples").join(name);
    Command::new(program).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn examples_run() {
    let Some(server) = Server::start() else {
        return;
    };
    let reported = lines(&example("report", &[&server.url()]));
    assert_eq!(reported[0], "sample 0: counted true");
    assert!(reported[2].starts_with("sample 2: ERR "), "{reported:?}");
    for line in [
        "counted 4, rejected []",
        "error disk-sda: 1",
        "object: Changed",
        "rejected: ERR",
        "2 metrics match mem.*",
        "6 metrics, 1 errors",
    ] {
        assert!(reported.iter().any(|l| l == line), "{line}: {reported:?}");
    }
    let drained = lines(&example("drain", &[&server.url()]));
    assert_eq!(drained.len(), 3, "{drained:?}");
    assert!(drained[0].starts_with("LOG {") && drained[1].starts_with("ERROR {"));
    assert_eq!(drained[2], "2 records");
}

#[test]
fn example_follows_a_cluster() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let found = lines(&example("watch", &[&cluster.servers[0].url(), "3"]));
    assert_eq!(found.len(), 3);
    assert!(
        found.iter().all(|line| line.starts_with("cluster:")),
        "{found:?}"
    );
}
