//! What the documents say about sizes: compares tables with a real server, and formulas with tables.

use redis::Value;

use crate::page;
use testkit::*;

/// How far a measurement may deviate from the page, and from its formulas.
const MARGIN: f64 = 0.10;
const ROUGH: f64 = 0.15;

const HOUR: i64 = 3_600_000;
const MIN: i64 = 300_000;

fn table(heading: &str) -> Vec<Vec<String>> {
    let text = page::read("docs/operations.md");
    let rows = page::rows(page::section(&text, heading));
    assert!(!rows.is_empty(), "{heading} has no table");
    rows
}

/// Parses a number as the page writes it: `1,152`, `6,192 bytes`.
fn number(cell: &str) -> f64 {
    let digits: String = cell
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',' || *c == '.')
        .filter(|c| *c != ',')
        .collect();
    digits.parse().unwrap_or_else(|_| panic!("{cell:?}"))
}

fn close(what: &str, measured: f64, said: f64) {
    within(MARGIN, what, measured, said);
}

fn within(margin: f64, what: &str, measured: f64, said: f64) {
    let off = (measured - said).abs() / said;
    assert!(
        off <= margin,
        "{what}: measured {measured:.1}, the page says {said}"
    );
}

fn held(server: &Server) -> f64 {
    // The first use of the module allocates its buffers, which belong to no node.
    let _: String = server.ask("INFO agg");
    server.info_field("agg", "agg_held")
}

/// Returns the bytes that a record of a queue counts for.
fn of_entry(server: &Server, queue: &str) -> f64 {
    let of = |field| of_queue(server, "n", queue, field) as f64;
    of("bytes") / of("length")
}

/// Metrics with samples of one kind of values, and their last totals.
struct Metrics<'a> {
    server: &'a Server,
    connection: redis::Connection,
    count: usize,
    values: &'a str,
    seed: u64,
    totals: Vec<u64>,
    /// Bytes of a record in MIN and HOUR, as last seen.
    of_record: [f64; 2],
}

impl Metrics<'_> {
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    fn value(&mut self, i: usize) -> String {
        let random = self.random();
        match self.values {
            "short" => format!("{}", (random % 1000) as f64 / 10.0),
            "full" => format!("{}", (random >> 11) as f64 / (1u64 << 53) as f64),
            "counter" => {
                self.totals[i] += random % 100_000;
                self.totals[i].to_string()
            }
            "increments" => (random % 100).to_string(),
            "histogram" => format!("{}", (random % 1000) as f64 / 10.0),
            other => panic!("values {other:?}"),
        }
    }

    /// Sends one sample of each metric.
    fn sample(&mut self, at: Option<i64>) {
        let mut pipe = redis::pipe();
        for first in (0..self.count).step_by(100) {
            let option = match self.values {
                "counter" => "DIFF",
                "increments" => "INC",
                "histogram" => "HIST",
                _ => "ABS",
            };
            let mut command = redis::cmd("AGG.MSTAT");
            command.arg("n").arg(option);
            if let Some(at) = at {
                command.arg("AT").arg(at);
            }
            command.arg("VALUES");
            for i in first..(first + 100).min(self.count) {
                command.arg(format!("disk.iops@s{i:05}")).arg(self.value(i));
            }
            pipe.add_command(command);
        }
        let _: Vec<Value> = pipe.query(&mut self.connection).unwrap();
    }

    /// Consumes all records and records the size of one of each queue just before: the timer may queue some at any
    /// time.
    fn take_all(&mut self) {
        loop {
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("AGG.INFO").arg("n");
            pipe.cmd("AGG.POP").arg("n").arg(&["MIN", "HOUR"]);
            pipe.arg("COUNT").arg(10_000);
            let (info, taken): (Value, Value) = pipe.query(&mut self.connection).unwrap();
            let queues = at(&info, "queues").unwrap();
            for (queue, bytes) in ["MIN", "HOUR"].iter().zip(&mut self.of_record) {
                let queue = at(queues, queue).unwrap();
                let length = int(queue, "length");
                if length > 0 {
                    *bytes = int(queue, "bytes") as f64 / length as f64;
                }
            }
            if list(&taken).is_empty() {
                break;
            }
        }
    }

    fn is_closed(&self) -> bool {
        let last = self.count - 1;
        let get = format!("AGG.GET n METRIC disk.iops@s{last:05}");
        let metric: Value = self.server.ask(&get);
        list(at(&metric, "min").unwrap()).is_empty()
            && list(at(&metric, "hour").unwrap()).is_empty()
    }
}

/// Returns the bytes of a metric with a full history, and of its records in MIN and HOUR.
fn measure(history: (usize, usize), values: &str, count: usize) -> Option<(f64, f64, f64)> {
    let (minutes, hours) = history;
    let server = Server::with_settings(&format!(
        "max-memory 2gb max-series 1000000 flush-delay-ms 60000 min-history {minutes} hour-history {hours}"
    ))?;
    let before = held(&server);
    let mut metrics = Metrics {
        server: &server,
        connection: server.connection(),
        count,
        values,
        seed: 88_172_645_463_325_252,
        totals: vec![0; count],
        of_record: [0.0; 2],
    };
    // One window of five minutes in each hour, then every window of five minutes, all in the past.
    let first = now_ms() / HOUR * HOUR - (hours + minutes / 12 + 4) as i64 * HOUR;
    let mut starts: Vec<i64> = (0..=hours as i64).map(|i| first + i * HOUR).collect();
    let last = starts[hours];
    starts.extend((1..=minutes.max(12) as i64 + 6).map(|i| last + i * MIN));
    for start in starts {
        for i in 0..3 {
            metrics.sample(Some(start + 1000 + i * 60_000));
        }
        metrics.take_all();
    }
    // Until now no window was to close: a late sample would be counted in its metric.
    server.ask::<()>("CONFIG SET agg.flush-delay-ms 100");
    until("all windows have closed", || {
        metrics.take_all();
        metrics.is_closed().then_some(())
    });
    // A window that ends during the measurement would be counted as a record besides, so the measurement is repeated.
    let held = until("no window ends during a measurement", || {
        let window = now_ms() / MIN;
        metrics.sample(None);
        metrics.take_all();
        // Buffers of a burst are freed by the next visits of the timer.
        let steady = until("no more memory is given back", || {
            let before = held(&server);
            std::thread::sleep(std::time::Duration::from_millis(500));
            let after = held(&server);
            (after == before).then_some(after)
        });
        (now_ms() / MIN == window).then_some(steady)
    });
    let [of_min, of_hour] = metrics.of_record;
    Some(((held - before) / count as f64, of_min, of_hour))
}

/// Returns the size of a metric by the formula of the page.
fn by_formula(minutes: f64, hours: f64, values: &str) -> f64 {
    let fixed = match (minutes > 0.0, hours > 0.0) {
        (false, false) => 0.0,
        (true, true) => 280.0,
        _ => 180.0,
    };
    let (of_type, window) = match values {
        "short" => (0.0, 13.0),
        "full" => (0.0, 32.0),
        "counter" => (112.0, 32.0),
        "increments" => (112.0, 13.0),
        // Percentiles of few digits.
        "histogram" => (136.0, 13.0 + 14.0),
        other => panic!("values {other:?}"),
    };
    let is_without_history = fixed == 0.0 && of_type > 0.0;
    let fixed = if is_without_history { 96.0 } else { fixed };
    195.0 + fixed + of_type + (minutes + hours) * window
}

/// Compares a row of the table of metrics with a server of its own.
fn check_metric(row: &[String]) {
    let (minutes, hours) = row[0].split_once(", ").unwrap();
    let (minutes, hours) = (minutes.parse().unwrap(), hours.parse().unwrap());
    let said = number(&row[3]);
    let formula = by_formula(minutes as f64, hours as f64, &row[1]);
    assert_eq!(said, formula, "{row:?}");
    let count = if minutes > 100 { 200 } else { 2000 };
    let Some((bytes, ..)) = measure((minutes, hours), &row[1], count) else {
        return;
    };
    close(&format!("{row:?}"), bytes, number(&row[2]));
    within(ROUGH, &format!("{row:?} by the formula"), bytes, formula);
}

#[test]
fn memory_of_a_metric_matches_the_table() {
    let rows = table("### Metrics");
    // Most of the time is spent waiting for windows to close.
    std::thread::scope(|scope| {
        for row in &rows {
            scope.spawn(|| check_metric(row));
        }
    });
}

#[test]
fn memory_of_a_record_matches_the_table() {
    let rows = table("### Pending records");
    let said = |name: &str| {
        let row = rows.iter().find(|row| row[0] == name);
        number(&row.unwrap_or_else(|| panic!("no row {name}"))[2])
    };
    // Names of 16 bytes, no tags.
    for (values, row) in [("short", "MIN, HOUR: short"), ("full", "MIN, HOUR: full")] {
        let Some((_, of_min, of_hour)) = measure((0, 0), values, 1000) else {
            return;
        };
        close(row, of_min, said(row));
        close(row, of_hour, said(row));
    }
    let server = Server::with_settings("max-memory 1gb").unwrap();
    let mut connection = server.connection();
    let text = "x".repeat(100);
    let mut before = held(&server);
    let mut grown = || {
        let now = held(&server);
        (std::mem::replace(&mut before, now) - now).abs() / 5000.0
    };
    let fill = |connection: &mut redis::Connection, command: &dyn Fn(usize) -> String| {
        let mut pipe = redis::pipe();
        for i in 0..5000 {
            pipe.add_command(redis::Cmd::new());
            for word in command(i).split(' ') {
                pipe.arg(word);
            }
        }
        let _: Vec<Value> = pipe.query(connection).unwrap();
    };
    fill(&mut connection, &|_| {
        format!("AGG.LOG n {text} TAGS app:shop12345678901234")
    });
    close("LOG", of_entry(&server, "LOG"), said("LOG"));
    grown();
    fill(&mut connection, &|i| {
        format!("AGG.ERROR e {i:06}{}", &text[6..])
    });
    close("ERROR", grown(), said("ERROR"));
    fill(&mut connection, &|i| {
        format!(
            "AGG.REALITY r disk{i:06} system.Disk {{\"x\":\"{}\"}}",
            &text[8..]
        )
    });
    close("REALITY", grown(), said("REALITY"));
    fill(&mut connection, &|_| {
        "AGG.FETCH n LOG COUNT 1 LEASE 600000".into()
    });
    close("a lease", grown(), said("a lease"));
    fill(&mut connection, &|i| {
        let id = 1_000_000 + 7 * i;
        let start = format!(r#"{{"node":"i","queue":"LOG","id":{id},"message":""#);
        let message = "x".repeat(300 - start.len() - 2);
        format!(r#"AGG.IMPORT i LOG {id} {start}{message}"}}"#)
    });
    close("imported", grown(), said("imported"));
}

/// Formats a duration as `4 h` or `3.3 days`.
fn duration(hours: f64) -> String {
    match hours {
        h if h < 1.0 => format!("{:.0} min", h * 60.0),
        h if h < 48.0 => format!("{h:.0} h"),
        h if h < 240.0 => format!("{:.1} days", h / 24.0),
        h => format!("{:.0} days", h / 24.0),
    }
}

#[test]
fn bridged_outages_follow_from_record_sizes() {
    for row in table("### How long an outage may last") {
        let per_hour = number(&row[1]);
        let (limit, bytes) = (number(&row[2]) * 1048576.0, number(&row[3]));
        let hours = limit / bytes / per_hour;
        assert_eq!(row[4], duration(hours), "{row:?}");
    }
}

#[test]
fn queue_keeps_as_many_records_as_its_limit_says() {
    let Some(server) = Server::with_settings("queue-log 1mb") else {
        return;
    };
    let text = "x".repeat(100);
    let mut pipe = redis::pipe();
    for _ in 0..10_000 {
        pipe.cmd("AGG.LOG").arg("n").arg(&text);
    }
    let _: Vec<Value> = pipe.query(&mut server.connection()).unwrap();
    let kept = of_queue(&server, "n", "LOG", "length") as f64;
    close("lines in 1 MiB", kept, 1048576.0 / 125.0);
    let dropped = of_queue(&server, "n", "LOG", "dropped");
    assert_eq!(kept as i64 + dropped, 10_000);
}

#[test]
fn number_of_metrics_that_fit_matches_the_table() {
    for row in table("### Memory limit") {
        let (mb, said, formula) = (number(&row[0]), number(&row[1]), number(&row[2]));
        let bytes = mb * 1048576.0;
        let slack = (bytes / 64.0).clamp(65_536.0, 2_097_152.0);
        let most = (bytes - slack) / (195.0 + 480.0);
        assert_eq!(formula, (most / 100.0).floor() * 100.0, "{row:?}");
        let settings = format!("max-memory {mb}mb max-series 10000000");
        let Some(server) = Server::with_settings(&settings) else {
            return;
        };
        let mut connection = server.connection();
        let mut taken = 0;
        loop {
            let mut command = redis::cmd("AGG.MSTAT");
            command.arg("n").arg("VALUES");
            for i in taken..taken + 100 {
                command.arg(format!("disk.iops@s{i:05}")).arg(i % 1000);
            }
            let (new, _, rejected): (usize, i64, Vec<Value>) =
                command.query(&mut connection).unwrap();
            taken += new;
            if !rejected.is_empty() {
                break;
            }
        }
        close(&format!("{row:?}"), taken as f64, said);
        within(
            ROUGH,
            &format!("{row:?} by the formula"),
            taken as f64,
            formula,
        );
    }
}

/// Returns the size of each command in the AOF, with its name.
fn aof_commands(server: &Server) -> Vec<(String, usize)> {
    let files = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    // Before a rewrite all commands are in the one incremental file.
    let file = files.find(|path| path.to_string_lossy().ends_with(".incr.aof"));
    let text = std::fs::read(file.unwrap()).unwrap();
    let mut rest = &text[..];
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let begin = rest.len();
        let words = header(&mut rest, b'*');
        let mut name = String::new();
        for word in 0..words {
            let length = header(&mut rest, b'$');
            if word == 0 {
                name = String::from_utf8_lossy(&rest[..length]).into_owned();
            }
            rest = &rest[length + 2..];
        }
        commands.push((name, begin - rest.len()));
    }
    commands
}

/// Reads a line such as `*3` or `$16`.
fn header(rest: &mut &[u8], kind: u8) -> usize {
    assert_eq!(rest[0], kind);
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
    let number = std::str::from_utf8(&rest[1..end - 1]).unwrap();
    let number = number.parse().unwrap();
    *rest = &rest[end + 1..];
    number
}

/// Returns the average size of the commands called `name` that were written after the first `before` commands.
fn average(server: &Server, before: usize, name: &str) -> f64 {
    let commands = aof_commands(server);
    let sizes = commands[before..].iter().filter(|(n, _)| n == name);
    let sizes: Vec<f64> = sizes.map(|(_, size)| *size as f64).collect();
    assert!(!sizes.is_empty(), "no {name} in the AOF");
    sizes.iter().sum::<f64>() / sizes.len() as f64
}

#[test]
fn aof_bytes_of_a_report_match_the_table() {
    let Some(server) = Server::with_module(&SYNCED_AOF, "") else {
        return;
    };
    let mut connection = server.connection();
    let mstat = |round: usize| {
        let samples: String = (0..1000)
            .map(|i| format!(" disk.iops@s{i:05} {}.5", i % 100 + round))
            .collect();
        format!("AGG.MSTAT node1 VALUES{samples}")
    };
    // The next command is not in the same millisecond, on any machine.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(2));
    let _: Value = ask(&mut connection, &mstat(0));
    let _: Value = ask(&mut connection, "AGG.ERROR node1 disk-failed");
    let text = "x".repeat(100);
    for row in table("## Persistence") {
        let name = row[0].split(' ').next().unwrap();
        let command: Box<dyn Fn(usize) -> String> = match name {
            "AGG.STAT" => Box::new(|i| format!("AGG.STAT node1 disk.iops@s{i:05} {}.5", i % 100)),
            "AGG.LOG" => Box::new(|_| format!("AGG.LOG node1 {text}")),
            "AGG.ERROR" => Box::new(|_| "AGG.ERROR node1 disk-failed".into()),
            "AGG.MSTAT" => {
                pause();
                let before = aof_commands(&server).len();
                let _: Value = ask(&mut connection, &mstat(1));
                let bytes = average(&server, before, "AGG.APPLY") / 1000.0;
                within(ROUGH, &row[0], bytes, number(&row[1]));
                continue;
            }
            // The other table.
            _ => continue,
        };
        let before = aof_commands(&server).len();
        for i in 0..100 {
            pause();
            let _: Value = ask(&mut connection, &command(i));
        }
        let alone = average(&server, before, "AGG.APPLY");
        close(&format!("{} alone", row[0]), alone, number(&row[1]));
        // Of many at once the first in each millisecond is written as an AGG.APPLY, the others verbatim.
        let before = aof_commands(&server).len();
        let mut pipe = redis::pipe();
        for i in 0..1000 {
            pipe.add_command(redis::Cmd::new());
            for word in command(i).split(' ') {
                pipe.arg(word);
            }
        }
        let _: Vec<Value> = pipe.query(&mut connection).unwrap();
        let further = average(&server, before, name);
        close(&format!("{} of many", row[0]), further, number(&row[2]));
    }
}

#[test]
fn other_pages_have_the_same_figures() {
    let text = page::read("docs/architecture.md");
    for (heading, row, cell) in [
        ("### Metrics", 0, 2),
        ("### Metrics", 3, 2),
        ("### Pending records", 0, 2),
        ("### Pending records", 5, 2),
    ] {
        let size = &table(heading)[row][cell];
        assert!(text.contains(size.as_str()), "{size}");
    }
    let choosing = page::read("docs/choosing-a-type.md");
    let without_history = |row: &&Vec<String>| row[0] == "0, 0";
    for row in table("### Metrics").iter().filter(without_history) {
        assert!(choosing.contains(&format!("| {}", row[2])), "{row:?}");
    }
    for row in table("## Persistence") {
        if row[0].starts_with("AGG.") {
            assert!(text.contains(&row[1]), "{row:?}");
        }
    }
}
