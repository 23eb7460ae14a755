//! JSON, as strict as RFC 8259 and slightly stricter: the texts of AGG.REALITY, and records.
//!
//! Two texts have the same identity if they differ only in white space or in the order of members: numbers compare as
//! they are written, strings by their meaning. A name given twice in one object, a byte order mark, invalid UTF-8, half
//! a surrogate pair and nesting deeper than [`MAX_DEPTH`] are errors.

mod members;
mod scan;
mod spacing;
mod write;

pub use members::{members, string};
pub use scan::{JsonError, MAX_DEPTH, Scanned, check_record, scan};
pub use spacing::is_spaced;
pub use write::{write_plain, write_string, write_tags};

#[cfg(test)]
mod tests {
    use super::*;
    use aggregator_protocol::tags;
    use proptest::prelude::*;

    fn identity(text: &str) -> u128 {
        scan(text.as_bytes()).unwrap().identity
    }

    #[test]
    fn text_that_differs_in_white_space_is_equal() {
        let compact = r#"{"a b\"":[1,-2.5e+3,true,"c  d"],"e":{}}"#;
        for text in [
            compact,
            " { \"a b\\\"\" : [ 1 ,\t-2.5e+3 , true , \"c  d\" ] ,\n\"e\" : { } } ",
        ] {
            assert!(is_spaced(text.as_bytes(), compact.as_bytes()), "{text}");
        }
        for text in [
            r#"{"a b\"":[1,-2. 5e+3,true,"c  d"],"e":{}}"#,
            r#"{"a b\"":[1,- 2.5e+3,true,"c  d"],"e":{}}"#,
            r#"{"a b\"":[1,-2.5e+3,tr ue,"c  d"],"e":{}}"#,
            r#"{"a  b\"":[1,-2.5e+3,true,"c  d"],"e":{}}"#,
            r#"{"a b\"":[1,-2.5e+3,true,"c  d"],"e":{}} x"#,
            r#"{"a b\"":[1,-2.5e+3,true,"c  d"],"e":{} "#,
            r#"{"a b\"":[1 ,-2.5e+3,false,"c  d"],"e":{}}"#,
        ] {
            assert!(!is_spaced(text.as_bytes(), compact.as_bytes()), "{text}");
        }
        assert!(!is_spaced(b"1 2", b"12") && is_spaced(b" 12 ", b"12"));
    }

    proptest! {
        #[test]
        fn texts_equal_but_for_white_space_have_one_identity(text in r#"[\[\]{},:"\\ 1truenl-]{0,24}"#) {
            if let Ok(scanned) = scan(text.as_bytes()) {
                prop_assert!(is_spaced(text.as_bytes(), &scanned.compact));
            } else {
                let compact: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
                if let Ok(scanned) = scan(&compact) {
                    prop_assert!(!is_spaced(text.as_bytes(), &scanned.compact));
                }
            }
        }
    }

    #[test]
    fn identity_ignores_white_space_and_order_only() {
        let a = identity(r#"{"a":1,"b":[1,2,{"x":null}],"c":"é"}"#);
        assert_eq!(
            a,
            identity(" { \"c\" : \"\\u00e9\" , \"b\":[1,\n2,{\"x\":null} ],\t\"a\":1 } ")
        );
        for other in [
            r#"{"a":1.0,"b":[1,2,{"x":null}],"c":"é"}"#,
            r#"{"a":1,"b":[2,1,{"x":null}],"c":"é"}"#,
            r#"{"a":1,"b":[1,2,{"x":false}],"c":"é"}"#,
            r#"{"a":"1","b":[1,2,{"x":null}],"c":"é"}"#,
            r#"{"a":1,"b":[1,2,{"x":null}],"c":"é","d":1}"#,
        ] {
            assert_ne!(a, identity(other), "{other}");
        }
        assert_ne!(identity("[]"), identity("{}"));
        assert_ne!(identity("[[1],2]"), identity("[[1,2]]"));
        assert_eq!(
            scan(b" { \"a b\" : [ 1 , 2 ] } ").unwrap().compact,
            b"{\"a b\":[1,2]}"
        );
    }

    #[test]
    fn error_names_the_problem_and_its_place() {
        for (text, at, what) in [
            ("", 0, "unexpected end, expected a value"),
            ("{\"a\":1,}", 7, "expected a name"),
            ("[1,]", 3, "expected a value"),
            ("[1 2]", 3, "expected ',' or ']'"),
            ("{\"a\" 1}", 5, "expected ':'"),
            ("01", 0, "invalid number"),
            ("1 2", 2, "trailing characters"),
            ("\"a", 2, "unterminated string"),
            ("\"\n\"", 1, "control character in a string"),
            ("\"\\x\"", 1, "invalid escape"),
            ("\"\\ud800\"", 1, "lone surrogate"),
            ("\"\\ud800\\u0041\"", 1, "lone surrogate"),
            ("\"\\udc00\"", 1, "lone surrogate"),
            ("\"\\u12\"", 1, "invalid \\u escape"),
            ("nul", 0, "expected a value"),
            ("\u{feff}1", 0, "unexpected byte order mark"),
            (
                "{\"a\":1,\"\\u0061\":2}",
                18,
                "duplicate name in the object that ends",
            ),
        ] {
            assert_eq!(
                scan(text.as_bytes()),
                Err(JsonError { at, what }),
                "{text:?}"
            );
        }
        assert_eq!(scan(b"\"\xff\"").unwrap_err().what, "invalid UTF-8");
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(scan(nested(128).as_bytes()).is_ok());
        assert_eq!(
            scan(nested(129).as_bytes()).unwrap_err().what,
            "nesting deeper than 128"
        );
        assert!(scan("[".repeat(1_000_000).as_bytes()).is_err());
        let record = |n: usize| format!("{{\"json\":{}}}", nested(n));
        assert!(check_record(record(128).as_bytes()).is_ok());
        assert!(check_record(record(129).as_bytes()).is_err());
        assert!(check_record(b"{\"a\":[{\"b\":1,\"\\u0062\":2}]}").is_err());
    }

    #[test]
    fn tags_become_an_object() {
        let mut out = Vec::new();
        write_tags(&mut out, b"a:1 b c:x:y d:");
        assert_eq!(out, br#"{"a":"1","b":true,"c":"x:y","d":""}"#);
        out.clear();
        write_tags(&mut out, b"a\xfe:1 a\xff:2");
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\u{fffd}\":\"2\"}");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("[a-d\"\\\\é]{0,3}", inner, 0..5)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// The text with white space, and with its members reversed.
    fn restyled(v: &serde_json::Value) -> String {
        match v {
            serde_json::Value::Array(a) => format!(
                "[ {} ]",
                a.iter().map(restyled).collect::<Vec<_>>().join("\n,")
            ),
            serde_json::Value::Object(o) => {
                let members = o
                    .iter()
                    .rev()
                    .map(|(k, v)| format!("{} :\t{}", serde_json::json!(k), restyled(v)));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn restyling_keeps_the_identity(a in json(), b in json()) {
            prop_assert_eq!(identity(&a.to_string()), identity(&restyled(&a)));
            prop_assert_eq!(identity(&a.to_string()) == identity(&b.to_string()), a == b);
            let compact = scan(restyled(&a).as_bytes()).unwrap().compact;
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&compact).unwrap(), a);
        }

        #[test]
        fn mutated_text_is_valid_where_serde_says_so(v in json(), at: prop::sample::Index, byte in "[{}\\[\\]\",:0-9a-z \\\\]") {
            let mut text = v.to_string().into_bytes();
            let i = at.index(text.len());
            text[i] = byte.as_bytes()[0];
            let theirs = serde_json::from_slice::<serde_json::Value>(&text);
            match scan(&text) {
                // A number that no double can represent is a number, too; it is kept as written.
                Ok(_) => prop_assert!(theirs.map_or_else(|e| e.to_string().starts_with("number out of range"), |_| true)),
                Err(e) => prop_assert!(theirs.is_err() || e.what.starts_with("duplicate name"), "{:?}", e),
            }
        }

        #[test]
        fn of_tags_with_the_same_text_the_last_is_written(
            words in prop::collection::vec((prop::collection::vec(prop::sample::select(vec![b'a', 0xc3, 0xfe, 0xff]), 1..4), 0u8..10), 0..12),
        ) {
            let list: Vec<Vec<u8>> = words.iter().map(|(name, value)| [&name[..], b":", &[b'0' + value]].concat()).collect();
            let list = list.join(&b' ');
            let canonical = tags::canonical(&list).unwrap();
            let mut out = Vec::new();
            write_tags(&mut out, &canonical);
            let mut last: Vec<(String, String)> = Vec::new();
            for (name, value) in tags::iter(&canonical) {
                let name = String::from_utf8_lossy(name).into_owned();
                last.retain(|(before, _)| *before != name);
                last.push((name, String::from_utf8_lossy(value.unwrap()).into_owned()));
            }
            let members: Vec<String> = last.iter().map(|(n, v)| format!("\"{n}\":\"{v}\"")).collect();
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{{{}}}", members.join(",")));
        }

        #[test]
        fn any_bytes_become_a_string_that_json_reads(text: Vec<u8>) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let read: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&text));
        }
    }
}
