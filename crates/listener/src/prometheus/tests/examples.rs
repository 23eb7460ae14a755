//! Examples of scrapes.

use super::*;

#[test]
fn types_decide_what_is_reported() {
    let body = "\
# HELP http_requests_total The total number of HTTP requests, with a \\n and \"quotes\".
# TYPE http_requests_total counter
http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000
http_requests_total{method=\"post\",code=\"400\"}    3 1395066363000

# A comment that is no description.
no_type{} 7
# TYPE temperature gauge
temperature -3.5e+1
# TYPE rpc_seconds summary
rpc_seconds{quantile=\"0.5\"} 4773
rpc_seconds{quantile=\"0.99\"} NaN
rpc_seconds_sum 1.7560473e+07
rpc_seconds_count 2693
# TYPE other untyped
other .5
";
    assert_eq!(
        samples(body),
        [
            "http_requests_total DIFF 1027 method=post code=200 at=1395066363000",
            "http_requests_total DIFF 3 method=post code=400 at=1395066363000",
            "no_type ABS 7",
            "temperature ABS -35",
            "rpc_seconds ABS 4773 quantile=0.5",
            "rpc_seconds_sum DIFF 17560473",
            "rpc_seconds_count DIFF 2693",
            "other ABS 0.5",
        ]
    );
    let (_, summary) = parse_text(body);
    assert_eq!(summary.skipped_nan, 1);
    assert!(summary.is_complete);
}

#[test]
fn open_metrics_has_units_exemplars_and_seconds() {
    let body = "\
# TYPE acme_http_router_request_seconds summary
# UNIT acme_http_router_request_seconds seconds
# HELP acme_http_router_request_seconds Latency of the router.
acme_http_router_request_seconds_sum{path=\"/api\",method=\"GET\"} 9036.32 1520879607.789
acme_http_router_request_seconds_count{path=\"/api\",method=\"GET\"} 807283.0
acme_http_router_request_seconds_created{path=\"/api\",method=\"GET\"} 1605281325.0
# TYPE foo counter
foo_total 17.0 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67
foo_total{a=\"b\"} 5 # {trace_id=\"x # y\"} 0.67 1520879607.5
foo_created 1520872607.123
# TYPE build info
build_info{version=\"8.2.7\"} 1
# TYPE power stateset
power{power=\"on\"} 1
power{power=\"off\"} 0
# TYPE any unknown
any 1
# EOF
";
    let (recorded, summary) = parse_open_metrics(body);
    assert_eq!(
        recorded.samples,
        [
            "acme_http_router_request_seconds_sum DIFF 9036.32 path=/api method=GET unit=seconds \
             at=1520879607789",
            "acme_http_router_request_seconds_count DIFF 807283 path=/api method=GET",
            "foo_total DIFF 17 at=1520879607789",
            "foo_total DIFF 5 a=b",
            "build_info ABS 1 version=8.2.7",
            "power ABS 1 power=on",
            "power ABS 0 power=off",
            "any ABS 1",
        ]
    );
    assert_eq!(recorded.invalid, Vec::<String>::new());
    assert_eq!(summary.skipped_created, 2);
    assert!(summary.is_complete);
}

#[test]
fn missing_end_is_invalid() {
    for (body, invalid) in [
        ("a 1\nb 2\n", vec!["no # EOF: "]),
        // The number may have more digits.
        ("a 1\nb 2", vec!["a line without an end: b 2", "no # EOF: "]),
        ("a 1\n# EOF", vec![]),
        ("a 1\n# EOF\nb 2\n", vec!["text after # EOF: b 2\n"]),
    ] {
        let (recorded, summary) = parse_open_metrics(body);
        assert_eq!(recorded.samples[0], "a ABS 1");
        assert_eq!(recorded.invalid, invalid, "{body}");
        assert_eq!(summary.is_complete, body.contains("EOF"));
    }
    // A comment in the other format.
    assert_eq!(samples("a 1\n# EOF\nb 2"), ["a ABS 1", "b ABS 2"]);
}

#[test]
fn labels_are_unescaped() {
    for (line, expected) in [
        (
            r#"m{path="C:\\DIR\\FILE.TXT",error="Cannot find:\n\"x\""} 1"#,
            "m ABS 1 path=C:\\DIR\\FILE.TXT error=Cannot find:\n\"x\"",
        ),
        (r#"m{a="\x\\n",b="}, 5 #"} 1"#, r"m ABS 1 a=\x\n b=}, 5 #"),
        ("m\t{ a = \"b\" , c=\"d\" , }\t1 \r", "m ABS 1 a=b c=d"),
        (r#"m{a="",b="c"}1"#, "m ABS 1 b=c"),
        (
            r#"{"my.metric","a.b"="c",d="é"} 1"#,
            "my.metric ABS 1 a.b=c d=é",
        ),
        (r#"{a="b","größe \"x\""} 1 5"#, "größe \"x\" ABS 1 a=b at=5"),
        (":a:b_1 +1", ":a:b_1 ABS 1"),
    ] {
        assert_eq!(samples(line), [expected]);
    }
    let quoted =
        "# TYPE \"my.counter\" counter\n{\"my.counter\"} 1\n# TYPE a.b counter\n{\"a.b\"} 2";
    assert_eq!(samples(quoted), ["my.counter DIFF 1", "a.b DIFF 2"]);
}

#[test]
fn invalid_lines_do_not_affect_others() {
    for (line, reason) in [
        ("<html>", "no name"),
        ("5 5", "no name"),
        ("{} 5", "no name"),
        ("{a=\"b\"} 5", "no name"),
        ("foo-bar 5", "an invalid name"),
        ("foo", "an invalid value"),
        ("foo{a=\"b\"}", "an invalid value"),
        ("foo five", "an invalid value"),
        ("foo 0x10", "an invalid value"),
        ("foo 1e999", "an invalid value"),
        ("foo +Inf", "an infinite value"),
        ("foo -inf", "an infinite value"),
        ("foo 5 now", "an invalid time"),
        ("foo 5 1.5", "an invalid time"),
        ("foo 5 1 1", "text after a sample"),
        ("foo 5 # {a=\"b\"} 1", "text after a sample"),
        ("foo{a=\"b} 5", "a quoted text without an end"),
        ("foo{a=\"b\\\"} 5", "a quoted text without an end"),
        ("foo{a=\"b\\", "a quoted text without an end"),
        ("foo{a=b} 5", "a value of a label without quotes"),
        ("foo{a} 5", "a label without a value"),
        ("foo{\"a\"} 5", "a label without a value"),
        ("{\"foo\",\"bar\"} 5", "a label without a value"),
        ("foo{a=\"b\" 5", "labels without an end"),
        ("foo{a=\"b\"c=\"d\"} 5", "labels without an end"),
        ("foo{1=\"b\"} 5", "an invalid name of a label"),
        ("foo{\"\"=\"b\"} 5", "an invalid name of a label"),
        ("foo{,} 5", "an invalid name of a label"),
        ("# TYPE", "a comment without a name"),
        ("# TYPE \"a", "a quoted text without an end"),
        ("# TYPE foo number", "an unknown type"),
        ("# TYPE foo", "an unknown type"),
        ("c -1", "a negative value of a counter"),
        ("h 1", "a sample that its type does not have"),
        ("h_bucket 1", "a bucket without le"),
        ("h_bucket{le=\"x\"} 1", "an invalid le"),
        ("h_bucket{le=\"NaN\"} 1", "an invalid le"),
        ("h_bucket{le=\"-Inf\"} 1", "an invalid le"),
        ("h_bucket{le=\"1\"} -1", "an invalid number of values"),
        ("h_sum -1", "a negative value of a counter"),
        ("h_bucket{le=\"1\"} 1", "a histogram without a last bucket"),
    ] {
        let body = format!("# TYPE c counter\n# TYPE h histogram\na 1\n{line}\nb 2\n");
        let (recorded, _) = parse_text(&body);
        assert_eq!(recorded.samples, ["a ABS 1", "b ABS 2"], "{line}");
        assert_eq!(recorded.invalid, [format!("{reason}: {line}")]);
    }
}

#[test]
fn samples_far_from_their_type_have_it() {
    let body = "\
# TYPE a counter
# TYPE b counter
# TYPE b_count gauge
a_total 1
a 2
b_total 3
b_count 4
c_total 5
# TYPE a gauge
a 6
";
    assert_eq!(
        samples(body),
        [
            "a_total DIFF 1",
            "a DIFF 2",
            "b_total DIFF 3",
            "b_count ABS 4",
            "c_total ABS 5",
            "a ABS 6",
        ]
    );
}

#[test]
fn target_has_labels() {
    let labels = [
        Attribute::new("job", "node"),
        Attribute::new("instance", "db:9100"),
    ];
    let of_target = Scrape {
        labels: &labels,
        ..scrape(Format::Text)
    };
    let body = "a{job=\"own\",x=\"y\"} 1 5\nb 2\n";
    let (recorded, _) = parse_with(body, &of_target, &mut State::default());
    assert_eq!(
        recorded.samples,
        [
            "a ABS 1 exported_job=own x=y job=node instance=db:9100 at=5",
            "b ABS 2 job=node instance=db:9100",
        ]
    );
    let honored = Scrape {
        honor_labels: true,
        honor_timestamps: false,
        ..of_target
    };
    let (recorded, _) = parse_with(body, &honored, &mut State::default());
    assert_eq!(
        recorded.samples,
        [
            "a ABS 1 job=own x=y instance=db:9100",
            "b ABS 2 job=node instance=db:9100",
        ]
    );
}

#[test]
fn format_is_by_content_type() {
    for (content_type, format) in [
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::OpenMetrics,
        ),
        ("Application/OpenMetrics-Text", Format::OpenMetrics),
        ("text/plain; version=0.0.4", Format::Text),
        ("", Format::Text),
    ] {
        assert_eq!(Format::of_content_type(content_type), format);
    }
}

#[test]
fn labels_are_limited() {
    for (n, is_valid) in [(line::MAX_LABELS, true), (line::MAX_LABELS + 1, false)] {
        let labels: String = (0..n).map(|i| format!("l{i}=\"v\",")).collect();
        let (recorded, _) = parse_text(&format!("m{{{labels}}} 1\n"));
        assert_eq!(recorded.samples.len() == 1, is_valid);
    }
}
