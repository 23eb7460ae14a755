//! `agg report`: the page shows what was requested of a node, and hostile names as text.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use redis::Value;

use crate::support::{Server, agg, err, now_ms, out, run, until};

const HOSTILE: [&str; 4] = [
    "<img src=x onerror=\"document.title='ran'\">",
    "</script><script>document.title='ran'</script>",
    "--></title></style></svg><svg onload=document.title='ran'>",
    "a\u{7}\u{202e}b&amp;'\"",
];

fn page(server: &Server, line: &str) -> String {
    let output = run(&server.url(), &format!("report -o - {line}"), b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(err(&output), "");
    let page = out(&output);
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</body></html>\n"));
    page
}

/// Writes the page to a directory of its own.
fn file(server: &Server, line: &str) -> (tempfile::TempDir, Output) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = agg(&server.url(), &format!("report {line}"));
    let output = command.current_dir(dir.path()).output().unwrap();
    (dir, output)
}

/// Reports a sample per minute for the last minutes; each is 60 larger than the one before.
fn report_samples(server: &Server, node: &str, metric: &str, kind: &str, minutes: i64) {
    let now = now_ms();
    for minute in (0..=minutes).rev() {
        let value = (1000 + 60 * (minutes - minute)).to_string();
        let at = (now - minute * 60_000).to_string();
        let words = [
            "AGG.STAT",
            node,
            metric,
            &value,
            kind,
            "TAGS",
            "unit:orders",
            "AT",
            &at,
        ];
        let _: Value = server.send(&words.map(str::as_bytes));
    }
}

#[test]
fn page_shows_everything_about_a_node() {
    let Some(server) = Server::start() else {
        return;
    };
    report_samples(&server, "n1", "pool.busy@0", "ABS", 30);
    report_samples(&server, "n1", "pool.busy@1", "ABS", 30);
    report_samples(&server, "n1", "shop.orders", "DIFF", 30);
    for _ in 0..3 {
        let words = [
            "AGG.ERROR",
            "n1",
            "disk sda: read failed",
            "TYPE",
            "OPS",
            "LEVEL",
            "7",
            "FILE",
            "disk.c",
            "FUNC",
            "read_block",
            "CODE",
            "E5",
            "BACKTRACE",
            "disk.c:1\nmain.c:2",
        ];
        let _: Value = server.send(&words.map(str::as_bytes));
    }
    let _: Value = server.ask("AGG.ERROR n1 younger AT 1760000000000");
    let _: i64 = server.ask("AGG.REALITY n1 sda system.Disk {\"size\":1e3,\"mounted\":true}");
    let _: i64 = server.ask("AGG.LOG n1 finished LEVEL 3 TAGS job:nightly");
    let page = page(&server, "");
    assert!(page.contains("<h1>n1</h1>") && page.contains(&server.url()));
    // Two instances share a plot; a counter is a rate, here of one per second.
    assert_eq!(page.matches("<figure>").count(), 2);
    assert!(page.contains("aria-label=\"pool.busy: from 1k to 2.8k\""));
    assert!(page.contains("<span class=\"name\">0</span> <small>avg</small>"));
    assert!(page.contains("aria-label=\"shop.orders: from 1 to 1\""));
    assert!(page.contains("<small>orders/s</small>"));
    // 30 minutes have about seven windows of 5 minutes, without a gap between them.
    let orders = page.split("aria-label=\"shop.orders").nth(1).unwrap();
    let line = orders.split("class=\"line s0\" d=\"").nth(1).unwrap();
    let steps = line.split('"').next().unwrap().matches('H').count();
    assert!((6..=8).contains(&steps), "{line}");
    assert!(page.contains("Requested 1 d; data is available for the last 3"));
    assert!(page.contains("<code>agg.hour-history</code>"));
    // Errors are ordered by time, latest first.
    let (first, second) = (page.find("disk sda: read failed"), page.find("younger"));
    assert!(first.unwrap() < second.unwrap());
    let row = page.split("disk sda: read failed").nth(1).unwrap();
    let row = row.split("</tr>").next().unwrap();
    for part in [
        "data-label=\"Occurrences\">3</td>",
        "data-label=\"Level\">ERROR</td>",
        "OPS",
        "disk.c",
        "read_block",
        "E5",
    ] {
        assert!(row.contains(part), "{part} in {row}");
    }
    assert!(row.contains("<pre>disk.c:1\nmain.c:2</pre>"), "{row}");
    assert!(
        page.contains("<pre>{\n  &quot;size&quot;: 1e3,\n  &quot;mounted&quot;: true\n}</pre>")
    );
    assert!(page.contains("<h3>system.Disk <small>1</small></h3>"));
    assert!(page.contains("finished") && page.contains("<span class=\"tag\">job:nightly</span>"));
    assert!(page.contains("<th scope=\"row\">LOG</th><td class=\"n\">1</td>"));
    // Reading removed nothing.
    assert_eq!(server.peek("n1", "LOG").len(), 1);
    for outside in ["src=", "href=\"http", "url(", "<script", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn histograms_have_bands_and_increments_are_rates() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = now_ms() / 300_000 * 300_000 - 3_600_000;
    let mut pipe = redis::pipe();
    for window in 0..6 {
        let at = start + window * 300_000;
        for n in 1..=10 {
            // The first two windows have no histogram.
            let option = if window < 2 { "ABS" } else { "HIST" };
            let ms = if n == 10 { 9000 } else { 100 + n + window };
            let words = [
                "AGG.STAT",
                "n1",
                "http.ms",
                &ms.to_string(),
                option,
                "AT",
                &at.to_string(),
            ];
            pipe.cmd(words[0]).arg(&words[1..]);
            let words = [
                "AGG.STAT",
                "n1",
                "http.hits",
                "30",
                "INC",
                "AT",
                &(at + n * 1000).to_string(),
            ];
            pipe.cmd(words[0]).arg(&words[1..]);
        }
    }
    let _: Vec<i64> = pipe.query(&mut server.connection()).unwrap();
    let _: i64 = server.ask("AGG.STAT n1 http.ms 50");
    let page = page(&server, "");
    let plot = |name: &str| {
        let mut plots = page.split("<figure>").skip(1);
        plots
            .find(|plot| plot.contains(&format!("title=\"{name}\"")))
            .unwrap()
    };
    let steps = |plot: &str, class: &str| {
        let path = plot
            .split(&format!("<path class=\"{class}\" d=\""))
            .nth(1)
            .unwrap();
        path.split('"').next().unwrap().matches('H').count()
    };
    let ms = plot("http.ms");
    // Four windows of the past and the open one have a histogram; the band goes there and back.
    assert_eq!((steps(ms, "line s0"), steps(ms, "line dotted s0")), (5, 2));
    assert_eq!(
        (steps(ms, "band inner s0"), steps(ms, "band outer s0")),
        (10, 10)
    );
    assert!(ms.contains("<small>p50</small> 50–110"), "{ms}");
    assert!(ms.contains("<small>p90</small> 50–114"), "{ms}");
    assert!(ms.contains("<small>p99</small> 50–9k"), "{ms}");
    let hits = plot("http.hits");
    assert!(hits.contains("<small>/s</small>"), "{hits}");
    assert!(
        hits.contains("band s0") && !hits.contains("dotted"),
        "{hits}"
    );
    let table = page.split("<summary>Table</summary>").nth(1).unwrap();
    for title in ["p50", "p90", "p95", "p99", "Total"] {
        assert!(table.contains(&format!(">{title}</th>")), "{title}");
    }
    // 6 windows of 10 increments of 30.
    assert!(table.contains("<td class=\"n\">1.8k</td>"), "{table}");
    assert!(page.contains("A dotted step is the average of a window without a histogram."));
    assert!(!page.contains("suspect-diff"));
}

#[test]
fn requested_items_are_shown_and_the_others_counted() {
    let Some(server) = Server::start() else {
        return;
    };
    report_samples(&server, "n1", "cpu.load", "ABS", 200);
    for n in 0..30 {
        let _: i64 = server.ask(&format!("AGG.STAT n1 disk.used@{n} {n}"));
        let _: Value = server.ask(&format!("AGG.ERROR n1 e{n}"));
        let _: i64 = server.ask(&format!("AGG.REALITY n1 o{n} m {{}}"));
    }
    let page = |line: &str| page(&server, line);
    let few = page("--limit 10 --node n1");
    for kind in ["metrics", "errors", "objects"] {
        let all = if kind == "metrics" { 31 } else { 30 };
        assert!(
            few.contains(&format!("Showing 10 of {all} {kind}, ")),
            "{kind}"
        );
    }
    let some = page("--metric disk.*@1? --metric cpu.*");
    assert!(some.contains("Only: <code>disk.*@1?</code>, <code>cpu.*</code>"));
    assert!(some.contains("cpu.load") && some.contains("disk.used@19"));
    assert!(!some.contains("disk.used@2<") && !some.contains(" of 31 metrics"));
    // Long windows fill the requested time before the short ones.
    let hour = page("--since 1h --metric cpu.*");
    assert!(
        hour.contains("(1 h).") && !hour.contains("Requested"),
        "{hour}"
    );
    let long = page("--since 3h --metric cpu.*");
    assert!(long.contains("(3 h).") && !long.contains("Requested"));
    let steps = |page: &str| {
        let line = page.split("class=\"line s0\" d=\"").nth(1).unwrap();
        line.split('"').next().unwrap().matches('H').count()
    };
    assert!(steps(&hour) >= 12, "{}", steps(&hour));
    assert!(steps(&long) > steps(&hour) && steps(&long) < 20);
    // A second page is equal but for the time.
    let body = |page: String| page.split("<h2 id=\"errors\">").nth(1).unwrap().to_owned();
    let age = |text: String| text.split("<h2 id=\"queues\">").next().unwrap().to_owned();
    assert_eq!(age(body(page(""))), age(body(page(""))));
}

#[test]
fn node_is_named_or_the_only_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let (dir, output) = file(&server, "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        err(&output),
        format!("agg: {} has no nodes yet\n", server.url())
    );
    let _: i64 = server.ask("AGG.STAT n1 m 1");
    let (one, output) = file(&server, "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let summary = "agg: report.html: node n1, 1 metric, 0 errors, 0 objects, ";
    assert!(err(&output).starts_with(summary), "{}", err(&output));
    let data = one.path().join("report.html").metadata().unwrap();
    assert_eq!(
        data.permissions().mode() & 0o137,
        0,
        "for owner and group alone"
    );
    assert_eq!(std::fs::read_dir(one.path()).unwrap().count(), 1);
    let _: i64 = server.ask("AGG.STAT n2 m 1");
    let (_, output) = file(&server, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).ends_with("has 2 nodes: choose one with --node: n1, n2\n"));
    let (_, output) = file(&server, "--node n3");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).ends_with("has no node n3; its nodes are n1, n2\n"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let _: Value = server.ask("SET s x");
    let (_, output) = file(&server, "--node s");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("WRONGTYPE"), "{}", err(&output));
}

#[test]
fn failures_to_write_or_read_are_reported() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.STAT n1 m 1");
    let (_dir, output) = file(&server, "-o nowhere/report.html");
    assert_eq!(output.status.code(), Some(1));
    let message = "agg: cannot write nowhere/report.html: No such file";
    assert!(err(&output).starts_with(message), "{}", err(&output));
    for wrong in [
        "--since 5",
        "--since 0s",
        "--limit 0",
        "--metric",
        "--since 400d",
    ] {
        let (_, output) = file(&server, wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", err(&output));
    }
    let (_dir, output) = file(&server, "--metric nothing*");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        err(&output).starts_with("agg: no metric matches --metric\n"),
        "{}",
        err(&output)
    );
    // A user without some permissions gets the rest, and a note.
    let rules = "on nopass ~* -@all +agg.info +agg.scan +agg.get +agg.peek";
    let _: Value = server.ask(&format!("ACL SETUSER few {rules}"));
    let url = format!("redis://few:x@127.0.0.1:{}", server.port);
    let output = run(&url, "report --node n1 -o -", b"");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("cannot read some statistics: NOPERM"));
    assert!(out(&output).contains("This report is incomplete"));
    let output = run("redis://127.0.0.1:1", "report", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("cannot reach"), "{}", err(&output));
}

#[test]
fn symbolic_link_stays_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.STAT n1 m 1");
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.html"), dir.path().join("link.html"));
    std::fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let output = run(&server.url(), &format!("report -o {}", link.display()), b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(link.is_symlink());
    assert!(
        std::fs::read_to_string(&real)
            .unwrap()
            .starts_with("<!DOCTYPE")
    );
}

#[test]
fn hostile_names_are_shown_as_text() {
    let Some(server) = Server::start() else {
        return;
    };
    let node = HOSTILE[2];
    for name in HOSTILE {
        let send = |words: &[&str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let _: Value = server.send(&words);
        };
        let tag = format!(
            "unit:{} x:{}",
            name.replace(' ', "_"),
            name.replace(' ', "_")
        );
        send(&["AGG.STAT", node, name, "1", "TAGS", &tag]);
        let json = serde_json::json!({ name: name }).to_string();
        send(&["AGG.STAT", node, &format!("m@{name}"), "1"]);
        send(&["AGG.REALITY", node, name, name, &json, "TAGS", &tag]);
        send(&["AGG.LOG", node, name, "TAGS", &tag]);
        send(&[
            "AGG.ERROR",
            node,
            name,
            "PUBLIC",
            name,
            "FILE",
            name,
            "FUNC",
            name,
            "CODE",
            name,
            "BACKTRACE",
            name,
            "TAGS",
            &tag,
        ]);
    }
    let page = page(&server, "");
    for part in ["<img", "<script", "</svg><svg onload", "\u{202e}", "\u{7}"] {
        assert!(!page.contains(part), "{part}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.html");
    std::fs::write(&path, &page).unwrap();
    let Some(dom) = browse(&path, dir.path()) else {
        return;
    };
    // The title is unchanged after a browser had the opportunity to run scripts.
    assert!(dom.contains("· agg report</title>"), "{}", &dom[..500]);
    assert!(!dom.contains("<title>ran</title>") && dom.contains("</html>"));
    assert!(dom.contains("m</figcaption>") || dom.contains(">m<"));
}

/// Returns the page as Chromium (Debian's package) parses it, or `None` if Chromium is missing.
fn browse(page: &Path, dir: &Path) -> Option<String> {
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--no-proxy-server",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", dir.join("user").display()))
        .arg(format!("file://{}", page.display()))
        .env("HOME", dir)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return crate::support::missing("chromium");
    };
    let mut out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut out, &mut text);
        text
    });
    until("chromium ends", || child.try_wait().unwrap());
    Some(reader.join().unwrap())
}

#[test]
fn windows_beyond_one_reply_are_read() {
    let settings = "min-window 1 hour-window 3600 min-history 10000 flush-delay-ms 0";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let start = now_ms() / 1000 * 1000 - 6_100_000;
    let mut pipe = redis::pipe();
    for i in 0..6000 {
        let mut sample = redis::cmd("AGG.STAT");
        sample
            .arg("n1")
            .arg("m")
            .arg(i)
            .arg("AT")
            .arg(start + i * 1000);
        pipe.add_command(sample);
    }
    let _: Vec<Value> = pipe.query(&mut server.connection()).unwrap();
    assert!(page(&server, "--since 3h").contains("aria-label=\"m: from 0 to 6k\""));
}
