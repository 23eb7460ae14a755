//! Samples.

use super::*;

#[test]
fn types_of_statsd_are_passed_on() {
    assert_eq!(samples("gorets:1|c"), ["gorets INC 1"]);
    assert_eq!(samples("gorets:1|c|@0.1"), ["gorets INC 10"]);
    assert_eq!(samples("glork:320|ms|@0.1"), ["glork HIST 320 x10 unit=ms"]);
    assert_eq!(samples("gaugor:333|g"), ["gaugor ABS 333"]);
    assert_eq!(
        samples("gaugor:-10|g\ngaugor:+4|g"),
        ["gaugor ADD -10", "gaugor ADD 4"]
    );
    assert_eq!(samples("uniques:765|s"), ["uniques MEMBER 765"]);
    assert_eq!(
        samples("song.length:240|h|@0.5"),
        ["song.length HIST 240 x2"]
    );
    assert_eq!(samples("size:-1.5|d"), ["size HIST -1.5"]);
}

#[test]
fn lines_end_with_a_newline() {
    let expected = [
        "gorets INC 1",
        "glork HIST 320 unit=ms",
        "uniques MEMBER 765",
    ];
    assert_eq!(samples("gorets:1|c\nglork:320|ms\nuniques:765|s"), expected);
    assert_eq!(
        samples("\ngorets:1|c\r\n\r\nglork:320|ms\n\nuniques:765|s\r\n"),
        expected
    );
    assert!(samples("").is_empty() && samples("\n\r\n").is_empty());
}

#[test]
fn examples_of_dogstatsd_are_passed_on() {
    for (line, expected) in [
        ("page.views:1|c", "page.views INC 1"),
        ("fuel.level:0.5|g", "fuel.level ABS 0.5"),
        ("song.length:240|h|@0.5", "song.length HIST 240 x2"),
        ("users.uniques:1234|s", "users.uniques MEMBER 1234"),
        (
            "users.online:1|c|#country:china",
            "users.online INC 1 country=china",
        ),
        (
            "users.online:1|c|@0.5|#country:china,environment:production",
            "users.online INC 2 country=china environment=production",
        ),
        (
            "page.views:1|g|#env:dev|c:83c0a99c0a54c0c187f461c7980e9b57f3f6a8b0c918c8d93df19a9de6f3fe1d",
            "page.views ABS 1 env=dev",
        ),
        (
            "page.views:15|c|#env:dev|T1656581400",
            "page.views INC 15 env=dev at=1656581400000",
        ),
        (
            "page.views:1|g|#env:dev|c:ci-83c0a99c|e:it-false,cn-redis,pu-810fe89d|card:low",
            "page.views ABS 1 env=dev",
        ),
        (
            "page.time.3:320|ms|#route:/pay,method:GET",
            "page.time.3 HIST 320 route=/pay method=GET unit=ms",
        ),
    ] {
        assert_eq!(samples(line), [expected]);
    }
}

#[test]
fn fields_may_have_any_order() {
    let expected = ["a INC 10 x=1 y= at=1656581400000"];
    for line in [
        "a:1|c|@0.1|#x:1,y|T1656581400|c:id",
        "a:1|c|c:id|T1656581400|#x:1,y|@0.1",
        "a:1|c|T1656581400|@0.1|e:data|#x:1|card:none|#y",
        "a:1|c||T1656581400|@0.1||#,x:1,,y,||",
    ] {
        assert_eq!(samples(line), expected, "{line}");
    }
}

#[test]
fn packed_values_are_samples_of_their_own() {
    assert_eq!(
        samples("a:1:2.5:3|ms|@0.5|#x:1"),
        [
            "a HIST 1 x2 x=1 unit=ms",
            "a HIST 2.5 x2 x=1 unit=ms",
            "a HIST 3 x2 x=1 unit=ms"
        ]
    );
    assert_eq!(samples("a:1:-2|g"), ["a ABS 1", "a ADD -2"]);
    assert_eq!(samples("a:1:2|s"), ["a MEMBER 1:2"]);
    let received = received("a:1:x::-4:5:|c");
    assert_eq!(received.samples, ["a INC 1", "a INC 5"]);
    assert_eq!(
        received.invalid,
        [
            "an invalid value: x",
            "no value: ",
            "a negative increment: -4",
            "no value: "
        ]
    );
}

#[test]
fn packed_values_with_long_tags_are_bounded() {
    let tags = "t".repeat(100_000);
    let values = "1:".repeat(100_000);
    let received = received(format!("a:{values}1|c|#{tags}"));
    assert_eq!(received.samples.len(), 10);
    assert_eq!(received.invalid, ["too many values with long tags: 1"]);
    // What a packet of the largest size that clients use may hold is complete.
    let values = "1:".repeat(500);
    assert_eq!(
        samples(format!("a:{values}1|c|#{}", "t".repeat(500))).len(),
        501
    );
}

#[test]
fn tags_are_split_at_the_first_colon() {
    assert_eq!(
        samples("a:1|g|#url:http://b:80/,c,d:"),
        ["a ABS 1 url=http://b:80/ c= d="]
    );
    let received = received("a:1|g|#:x,y:z");
    assert_eq!(received.samples, ["a ABS 1 y=z"]);
    assert_eq!(received.invalid, ["a tag without a name: :x"]);
}

#[test]
fn samples_may_have_many_tags() {
    let tags: Vec<String> = (0..40).map(|n| format!("tag{n}:{n}")).collect();
    let expected: String = (0..40).map(|n| format!(" tag{n}={n}")).collect();
    assert_eq!(
        samples(format!("a:1|g|#{}", tags.join(","))),
        [format!("a ABS 1{expected}")]
    );
}

#[test]
fn numbers_are_read_as_senders_print_them() {
    assert_eq!(
        samples("a:.5|g\na:5.|g\na:007|c"),
        ["a ABS 0.5", "a ABS 5", "a INC 7"]
    );
    assert_eq!(samples("a:+.5|g\na:-0|g"), ["a ADD 0.5", "a ADD 0"]);
    assert_eq!(samples("a:1e3|h"), ["a HIST 1000"]);
}

#[test]
fn invalid_samples_are_counted_with_a_reason() {
    for (line, reason) in [
        ("a", "no value"),
        ("a|c", "no value"),
        ("a:|c", "no value"),
        ("a:|s", "no value"),
        (":1|c", "no name"),
        ("a:1", "no type"),
        ("a:1|", "no type"),
        ("a:1||#x", "no type"),
        ("a:1|m", "an unknown type"),
        ("a:1|C", "an unknown type"),
        ("a:1|c:2|c", "an unknown type"),
        ("a:x|ms", "an invalid value"),
        ("a:1 |c", "an invalid value"),
        ("a:nan|g", "an invalid value"),
        ("a:-inf|g", "an invalid value"),
        ("a:1e999|g", "an invalid value"),
        ("a:-1|c", "a negative increment"),
        ("a:-0.5|c|@0.1\r", "a negative increment"),
        ("a:1e308|c|@0.001", "an increment that is too large"),
        ("a:1|c|@0", "an invalid sample rate"),
        ("a:1|c|@1.5", "an invalid sample rate"),
        ("a:1|g|@-1", "an invalid sample rate"),
        ("a:1|ms|@1e-300", "an invalid sample rate"),
        ("a:1|c|@", "an invalid sample rate"),
        ("a:1|g|T", "an invalid timestamp"),
        ("a:1|g|T-5", "an invalid timestamp"),
        ("a:1|g|T99999999999999999999", "an invalid timestamp"),
        ("_e:1|x", "an unknown type"),
    ] {
        assert_eq!(refusal(line), reason, "{line}");
    }
}

#[test]
fn unknown_fields_are_counted_and_the_sample_is_used() {
    let received = received("a:1|g|x:y|#b:1");
    assert_eq!(received.samples, ["a ABS 1 b=1"]);
    assert_eq!(received.invalid, ["an unknown field: x:y"]);
}

#[test]
fn invalid_line_does_not_affect_others() {
    let received = received("a:1|g\nbad\nb:2|g");
    assert_eq!(received.samples, ["a ABS 1", "b ABS 2"]);
    assert_eq!(received.invalid, ["no value: bad"]);
}

#[test]
fn text_that_is_not_utf_8_is_repaired() {
    assert_eq!(
        samples(b"caf\xe9:1|g|#k\xff:v\xfe\nsnow.\xe2\x98\x83:2|g"),
        ["caf\u{fffd} ABS 1 k\u{fffd}=v\u{fffd}", "snow.☃ ABS 2"]
    );
    assert_eq!(samples(b"a:\xff|s"), ["a MEMBER \u{fffd}"]);
    assert_eq!(refusal(b"a:\xff|g"), "an invalid value");
}
