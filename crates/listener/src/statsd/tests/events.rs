//! Events and service checks.

use super::*;

#[test]
fn events_are_log_records() {
    for (line, expected) in [
        (
            "_e{21,36}:An exception occurred|Cannot parse CSV file from 10.0.0.17|t:warning|#err_type:bad_file",
            "5 An exception occurred: Cannot parse CSV file from 10.0.0.17 err_type=bad_file",
        ),
        (
            r"_e{21,42}:An exception occurred|Cannot parse JSON request:\\n{'foo: 'bar'}|p:low|#err_type:bad_request",
            "1 An exception occurred: Cannot parse JSON request:\\\n{'foo: 'bar'} err_type=bad_request",
        ),
        (
            "_e{5,4}:title|text|d:1656581400|h:web1|p:normal|t:error|k:key|s:nagios|#host:other,a:b",
            "7 title: text host=other a=b host=web1 source=nagios aggregation_key=key at=1656581400000",
        ),
        (r"_e{4,4}:a\nb|c\nd|t:success", "3 a\nb: c\nd"),
        (
            "_e{1,3}:a|b|c|t:info|c:container|e:data|card:low",
            "3 a: b|c",
        ),
        ("_e{1,1}:a|b|t:error|p:low", "7 a: b"),
        ("_e{1,0}:a||", "3 a"),
        ("_e{0,1}:|b\r", "3 b"),
        ("_e{3,4}:\u{2603}|\u{e9}\u{e9}", "3 \u{2603}: \u{e9}\u{e9}"),
    ] {
        let received = received(line);
        assert_eq!(received.logs, [expected]);
        assert!(received.invalid.is_empty(), "{:?}", received.invalid);
    }
}

#[test]
fn lengths_of_events_are_of_bytes_as_sent() {
    let received = received(b"_e{2,1}:\xe9\xff|x|#\xff\n_e{1,1}:a|b");
    assert_eq!(received.logs, ["3 \u{fffd}\u{fffd}: x \u{fffd}=", "3 a: b"]);
}

#[test]
fn invalid_events_are_counted_with_a_reason() {
    for line in [
        "_e{",
        "_e{1,1}",
        "_e{1,1}:",
        "_e{1,1}:a",
        "_e{1,1}:a|",
        "_e{1,1}:ab|c",
        "_e{1,1}:a|bc",
        "_e{1}:a|b",
        "_e{1,}:a|b",
        "_e{-1,1}:a|b",
        "_e{1,1:a|b",
        "_e{99,1}:a|b",
        "_e{18446744073709551615,18446744073709551615}:a|b",
        "_e{1,99999999999999999999}:a|b",
    ] {
        assert_eq!(refusal(line), "an event with invalid lengths", "{line}");
    }
    assert_eq!(refusal("_e{0,0}:||t:error"), "an event without text");
    let received = received("_e{1,1}:a|b|t:fatal|p:high|d:now|z|#x");
    assert_eq!(received.logs, ["3 a: b x="]);
    assert_eq!(
        received.invalid,
        [
            "an unknown field: t:fatal",
            "an unknown field: p:high",
            "an invalid timestamp: d:now",
            "an unknown field: z"
        ]
    );
}

#[test]
fn service_checks_are_objects() {
    for (line, expected) in [
        (
            "_sc|Redis connection|2|#env:dev|m:Redis connection timed out after 10s",
            r#"Redis connection service.Check {"status":"critical","message":"Redis connection timed out after 10s"} env=dev"#,
        ),
        ("_sc|db|0", r#"db service.Check {"status":"ok"}"#),
        (
            "_sc|db|1|d:1656581400|h:web1|c:id",
            r#"db@web1 service.Check {"status":"warning"}"#,
        ),
        (
            "_sc|db|3|h:|m:a|b|c:id|e:data|card:low",
            r#"db service.Check {"status":"unknown","message":"a|b"}"#,
        ),
        (
            "_sc|db|0|m:say \"a\\b\"\\nm\\: \t\u{1}\u{e9}\r",
            "db service.Check {\"status\":\"ok\",\"message\":\"say \\\"a\\\\b\\\"\\nm: \\t\\u0001\u{e9}\"}",
        ),
    ] {
        let received = received(line);
        assert_eq!(received.objects, [expected]);
        assert!(received.invalid.is_empty(), "{:?}", received.invalid);
    }
}

#[test]
fn invalid_service_checks_are_counted_with_a_reason() {
    assert_eq!(refusal("_sc||0"), "no name");
    assert_eq!(refusal("_sc|"), "no name");
    for line in ["_sc|a", "_sc|a|", "_sc|a|4", "_sc|a|ok", "_sc|a|00|h:b"] {
        assert_eq!(
            refusal(line),
            "an unknown status of a service check",
            "{line}"
        );
    }
    let received = received("_sc|a|0|d:x|y:z|#b");
    assert_eq!(received.objects, [r#"a service.Check {"status":"ok"} b="#]);
    assert_eq!(
        received.invalid,
        ["an invalid timestamp: d:x", "an unknown field: y:z"]
    );
}
