use proptest::prelude::*;

use super::*;

/// Messages with their keys, which the Python client has, too.
const VECTORS: &str = include_str!("../../tests/data/grouping.tsv");

fn vectors() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = VECTORS.lines().filter(|line| !line.starts_with("# "));
    lines.filter_map(|line| line.split_once('\t'))
}

#[test]
fn messages_have_the_keys_of_the_shared_vectors() {
    let wrong: Vec<String> = vectors()
        .filter(|(message, expected)| key(message) != *expected)
        .map(|(message, expected)| format!("{message}\n  {expected}\n  {}", key(message)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(vectors().count() >= 150);
}

#[test]
fn spaces_count_as_one() {
    assert_eq!(key(" a\t\r\n b\0\x7fc "), "a b c");
    assert_eq!(key(" \n"), EMPTY);
    assert_eq!(key(""), EMPTY);
}

#[test]
fn long_key_is_cut_and_ends_with_a_hash() {
    let (one, other) = ("é".repeat(128), "é".repeat(127) + "éx");
    assert_eq!(key(&one), one);
    let keys = [key(&other), key(&(other.clone() + "y"))];
    assert_ne!(keys[0], keys[1]);
    for cut in keys {
        assert_eq!(cut.len(), 238 + 17);
        assert!(
            cut.starts_with(&"é".repeat(119)) && cut.get(238..239) == Some("~"),
            "{cut}"
        );
    }
}

#[test]
fn characters_beyond_the_limit_do_not_count() {
    let long = "é ".repeat(MAX_CHARS / 2);
    assert_eq!(key(&long), key(&(long.clone() + "x")));
    assert_ne!(key(&long), key(&("x".to_owned() + &long)));
}

#[test]
fn context_distinguishes_keys() {
    assert_eq!(key_with("a 1", &[b"", b""]), "a <*>");
    let keys = [
        key_with("a 1", &[b"x", b""]),
        key_with("a 1", &[b"", b"x"]),
        key_with("a 1", &[b"xy"]),
        key_with("a 1", &[b"x", b"y"]),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(one.starts_with("a <*>#") && one.len() == 5 + 17, "{one}");
        assert!(!keys[..index].contains(one), "{one}");
    }
    assert_eq!(key_with("a 2", &[b"x"]), key_with("a 1", &[b"x", b""]));
    assert!(key_with(&"ab ".repeat(1000), &[b"x"]).len() <= MAX_KEY);
}

#[test]
fn hash_is_fnv1a() {
    assert_eq!(fnv1a(OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
}

/// Time in proportion to the length: the limit is lifted here.
#[test]
fn any_message_takes_linear_time() {
    for piece in [
        "1a",
        "1.",
        "-",
        "0x",
        "1e-",
        "_1",
        "'a",
        "'a ",
        " 'a",
        "\"\\\"",
        "`a`b",
        "a@",
        "a://",
        "://;",
        "user ",
        "for a from ",
        "Mon ",
        "Jan  ",
        "/a",
        "=\"",
        "{'a':",
        "a.com:1",
        "1 s ",
        "\u{e9}1",
    ] {
        let message = piece.repeat(150_000 / piece.len());
        let start = std::time::Instant::now();
        scan::Scanner::new(&message).normalize();
        assert!(start.elapsed().as_secs() < 5, "{piece}");
    }
}

proptest! {
    #[test]
    fn any_message_has_a_key_of_limited_size(message in "\\PC{0,300}", context: Vec<u8>) {
        let key = key_with(&message, &[&context]);
        prop_assert!(!key.is_empty() && key.len() <= MAX_KEY);
    }

    #[test]
    fn punctuation_of_any_kind_has_a_key(message in "[-a'\"` 1:/\\\\@=.,{}\u{e9}]{0,80}") {
        prop_assert!(!key(&message).is_empty());
        // Placeholders cost more than a digit, but parts that vary are separated by something.
        prop_assert!(normalize(&message).len() <= 3 * message.len());
    }

    #[test]
    fn numbers_in_words_do_not_count(a: u32, b: u32, word in "[g-z]{1,8}", after in "[g-z]{2,8}") {
        let message = |n: u32| format!("{word} {n} {after}{n}: [{n}] {word}={n}, {n}");
        prop_assert_eq!(key(&message(a)), key(&message(b)));
    }
}
