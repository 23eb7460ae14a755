//! Adds, renames and drops tags of records on their way to a sink.
//!
//! # Invariants
//!
//! - Only the tags change: every other byte of a record, and of each tag that is not named, is kept verbatim (no number
//!   is rendered again).
//! - No tag is overwritten: if a record has a tag of the name that would be added or renamed to, that tag is kept, and the
//!   other one is not added or keeps its name.
//! - The module's own tags of line protocol (`node`, `window`, `instance`) are not changed. The module writes a user's tag
//!   of such a name with `_` at its end, and it is looked for under that name. So it is of a line that has a percentile
//!   of the tag's name.
//! - The tags of a line stay sorted by the bytes of their names. A record that is not in its format passes unchanged.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use aggregator_protocol::line_protocol::{clean, escape_tag, tag_name};
use aggregator_protocol::percentile::percentage;

use crate::json::Members;

/// The changes to the tags of a record: first some are dropped, then some renamed, all at once, then some added.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edits {
    drop: Vec<Text>,
    rename: Vec<(Text, Text)>,
    add: Vec<(Text, Text)>,
}

/// A name or a value in both formats.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    plain: String,
    /// Escaped for line protocol.
    line: Vec<u8>,
}

/// The result of the edits for one tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TagEdit {
    Kept,
    Dropped,
    /// Gets the second name of the pair with this index.
    Renamed(usize),
}

impl Edits {
    /// Drops tags of this name.
    pub fn drop(&mut self, name: &str) {
        self.drop.push(Text::name(name));
    }

    /// Renames tags. No two may get the same name, and no dropped tag may be renamed.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.rename.push((Text::name(from), Text::name(to)));
    }

    /// Adds a tag. No name may be added twice.
    pub fn add(&mut self, name: &str, value: &str) {
        self.add.push((Text::name(name), Text::value(value)));
    }

    /// Returns whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.drop.is_empty() && self.rename.is_empty() && self.add.is_empty()
    }

    /// Returns a JSON record with its `tags` changed.
    pub fn json(&self, record: &[u8]) -> Vec<u8> {
        self.edited_json(record).unwrap_or_else(|| record.to_vec())
    }

    fn edited_json(&self, record: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(record).ok()?;
        let tags = serde_json::from_str::<Record>(text).ok()?.tags?.get();
        let members = members(tags)?;
        let names: Vec<&[u8]> = members
            .iter()
            .map(|member| member.name.as_bytes())
            .collect();
        let (edits, added) = self.edits(&names, |text| text.plain.as_bytes())?;
        let mut parts: Vec<Cow<str>> = Vec::new();
        for (member, edit) in members.iter().zip(edits) {
            match edit {
                TagEdit::Kept => parts.push(member.whole.into()),
                TagEdit::Dropped => {}
                TagEdit::Renamed(pair) => {
                    let name = quoted(&self.rename[pair].1.plain);
                    parts.push(format!("{name}:{}", member.value).into());
                }
            }
        }
        for (name, value) in added {
            parts.push(format!("{}:{}", quoted(&name.plain), quoted(&value.plain)).into());
        }
        let start = offset(text, tags);
        let (before, after) = (&text[..start], &text[start + tags.len()..]);
        Some(format!("{before}{{{}}}{after}", parts.join(",")).into_bytes())
    }

    /// Returns a line with its tags changed.
    pub fn line(&self, record: &[u8]) -> Vec<u8> {
        self.edited_line(record).unwrap_or_else(|| record.to_vec())
    }

    fn edited_line(&self, record: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = record.split_at(find(record, b' ')?);
        let mut parts = Vec::new();
        let mut todo = head;
        while let Some(comma) = find(todo, b',') {
            parts.push(&todo[..comma]);
            todo = &todo[comma + 1..];
        }
        parts.push(todo);
        let mut parts = parts.into_iter();
        let measurement = parts.next()?;
        let tags: Option<Vec<(&[u8], &[u8])>> = parts
            .map(|part| {
                let equals = find(part, b'=')?;
                Some((&part[..equals], &part[equals + 1..]))
            })
            .collect();
        let tags = tags?;
        let names = tags.iter().map(|(name, _)| users_name(name, rest));
        let names: Vec<&[u8]> = names.collect();
        let (edits, added) = self.edits(&names, |text| &text.line)?;
        let mut edited: Vec<(&[u8], &[u8])> = Vec::new();
        for ((name, value), edit) in tags.into_iter().zip(edits) {
            match edit {
                TagEdit::Kept => edited.push((name, value)),
                TagEdit::Dropped => {}
                TagEdit::Renamed(pair) => edited.push((&self.rename[pair].1.line, value)),
            }
        }
        edited.extend(added.map(|(name, value)| (&*name.line, &*value.line)));
        edited.sort_by_cached_key(|(name, _)| unescaped(name));
        let mut line = Vec::with_capacity(record.len() + 64);
        line.extend_from_slice(measurement);
        for (name, value) in edited {
            for part in [b",", name, b"=", value] {
                line.extend_from_slice(part);
            }
        }
        line.extend_from_slice(rest);
        Some(line)
    }

    /// Returns what becomes of tags of these names, and the tags that are added. Returns `None` if nothing changes.
    fn edits<'a>(
        &'a self,
        names: &[&[u8]],
        form: impl Fn(&Text) -> &[u8],
    ) -> Option<(Vec<TagEdit>, impl Iterator<Item = &'a (Text, Text)>)> {
        let edit = |name: &&[u8]| {
            if self.drop.iter().any(|drop| form(drop) == *name) {
                return TagEdit::Dropped;
            }
            let pair = self.rename.iter().position(|(from, _)| form(from) == *name);
            pair.map_or(TagEdit::Kept, TagEdit::Renamed)
        };
        let mut edits: Vec<TagEdit> = names.iter().map(edit).collect();
        let kept = |edits: &[TagEdit], key: &[u8]| {
            let mut all = names.iter().zip(edits);
            all.any(|(name, edit)| *edit == TagEdit::Kept && *name == key)
        };
        // A tag that keeps its name may block another one.
        loop {
            let blocked = |edit: &TagEdit| match edit {
                TagEdit::Renamed(pair) => kept(&edits, form(&self.rename[*pair].1)),
                _ => false,
            };
            match edits.iter().position(blocked) {
                Some(at) => edits[at] = TagEdit::Kept,
                None => break,
            }
        }
        let taken = |key: &[u8]| {
            let renamed = |edit: &TagEdit| match edit {
                TagEdit::Renamed(pair) => form(&self.rename[*pair].1) == key,
                _ => false,
            };
            kept(&edits, key) || edits.iter().any(renamed)
        };
        let added = self.add.iter().filter(|(name, _)| !taken(form(name)));
        let added: Vec<&(Text, Text)> = added.collect();
        let same = added.is_empty() && edits.iter().all(|edit| *edit == TagEdit::Kept);
        (!same).then(|| (edits, added.into_iter()))
    }
}

impl Text {
    /// Creates a name, as the module writes it into a line.
    fn name(name: &str) -> Text {
        Text::new(name, &tag_name(name.as_bytes()))
    }

    fn value(value: &str) -> Text {
        Text::new(value, &clean(value.as_bytes()))
    }

    fn new(plain: &str, cleaned: &[u8]) -> Text {
        let mut line = Vec::with_capacity(cleaned.len());
        escape_tag(&mut line, cleaned);
        Text {
            plain: plain.to_owned(),
            line,
        }
    }
}

/// Returns the name that the user gave to a tag of a line with these fields: the module appends `_` to that of a
/// percentile which the line has.
fn users_name<'a>(name: &'a [u8], fields: &[u8]) -> &'a [u8] {
    let stem = name.strip_suffix(b"_").unwrap_or_default();
    let is_percentile = std::str::from_utf8(stem).is_ok_and(|stem| percentage(stem).is_some());
    let is_stem = |field: &[u8]| {
        field
            .strip_prefix(stem)
            .is_some_and(|rest| rest.starts_with(b"="))
    };
    match is_percentile && fields.split(|byte| b" ,".contains(byte)).any(is_stem) {
        true => stem,
        false => name,
    }
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let next = |at: usize| text.get(at + 1).is_some_and(|next| b",= ".contains(next));
    let bytes = text.iter().enumerate();
    let bytes = bytes.filter(|(at, byte)| !(**byte == b'\\' && next(*at)));
    bytes.map(|(_, byte)| *byte).collect()
}

/// Finds the first such byte without a backslash before it. (The module ends no name with a backslash.)
fn find(text: &[u8], wanted: u8) -> Option<usize> {
    let is = |at: &usize| text[*at] == wanted && (*at == 0 || text[*at - 1] != b'\\');
    (0..text.len()).find(is)
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

/// A member of an object.
struct Member<'a> {
    name: Cow<'a, str>,
    /// Name and value verbatim.
    whole: &'a str,
    value: &'a str,
}

/// Returns the members of an object in their order, or `None` if it is not an object.
fn members(object: &str) -> Option<Vec<Member<'_>>> {
    let members = serde_json::from_str::<Members>(object).ok()?.0;
    let mut end = 1;
    let member = |(name, value): (_, &RawValue)| {
        let value = value.get();
        let start = end;
        end = offset(object, value) + value.len();
        let whole = object[start..end].trim_start_matches([',', ' ', '\t', '\r', '\n']);
        // The same text with the lifetime of the object.
        let value = &object[end - value.len()..end];
        Member { name, whole, value }
    };
    Some(members.into_iter().map(member).collect())
}

/// Returns the offset of a part of a text.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn escape(text: &str) -> Vec<u8> {
        let mut escaped = Vec::new();
        escape_tag(&mut escaped, text.as_bytes());
        escaped
    }

    fn edits(drop: &[&str], rename: &[(&str, &str)], add: &[(&str, &str)]) -> Edits {
        let mut edits = Edits::default();
        drop.iter().for_each(|name| edits.drop(name));
        rename.iter().for_each(|(from, to)| edits.rename(from, to));
        add.iter().for_each(|(name, value)| edits.add(name, value));
        edits
    }

    #[test]
    fn json_keeps_every_other_byte() {
        let edits = edits(&["x"], &[("dim", "dimension")], &[("dc", "b\"erlin")]);
        for (record, expected) in [
            (
                r#"{"node":"n", "avg":1.10e+2,"tags":{"x":"1" , "dim" : "iops","up":true},"z":0.10}"#,
                r#"{"node":"n", "avg":1.10e+2,"tags":{"dimension":"iops","up":true,"dc":"b\"erlin"},"z":0.10}"#,
            ),
            (r#"{"tags":{}}"#, r#"{"tags":{"dc":"b\"erlin"}}"#),
            // Existing tags are kept.
            (
                r#"{"tags":{"dc":"kairo","dim":"a","dimension":"b"}}"#,
                r#"{"tags":{"dc":"kairo","dim":"a","dimension":"b"}}"#,
            ),
            // The `tags` within an object are not those of the record.
            (
                r#"{"json":{"tags":{"x":1}},"tags":{"x":""}}"#,
                r#"{"json":{"tags":{"x":1}},"tags":{"dc":"b\"erlin"}}"#,
            ),
            (r#"{"tags":[1]}"#, r#"{"tags":[1]}"#),
            (r#"{"tags":null}"#, r#"{"tags":null}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("no json", "no json"),
        ] {
            let got = edits.json(record.as_bytes());
            assert_eq!(String::from_utf8(got).unwrap(), expected);
        }
        assert_eq!(
            edits.json(b"{\"tags\":{\"\xff\":1}}"),
            b"{\"tags\":{\"\xff\":1}}"
        );
    }

    #[test]
    fn lines_stay_sorted_and_keep_the_tags_of_the_module() {
        let edits = edits(
            &["x", "instance"],
            &[("node", "host"), ("dim", "a b")],
            &[("zone", "eu,1="), ("dc", "end\\")],
        );
        for (record, expected) in [
            (
                r"cpu\ load,dim=iops,node=n\,1,node_=theirs,window=300s,x=1 avg=1.0,count=2i 5",
                r"cpu\ load,a\ b=iops,dc=end\_,host=theirs,node=n\,1,window=300s,zone=eu\,1\= avg=1.0,count=2i 5",
            ),
            (
                "m,instance=0,node=n a=1 5",
                r"m,dc=end\_,instance=0,node=n,zone=eu\,1\= a=1 5",
            ),
            ("m a=\"b c\" 5", r#"m,dc=end\_,zone=eu\,1\= a="b c" 5"#),
            (
                "m,zone=z,dc=d,dim=1,a\\ b=2 a=1 5",
                "m,zone=z,dc=d,dim=1,a\\ b=2 a=1 5",
            ),
            ("m,broken a=1 5", "m,broken a=1 5"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            let got = edits.line(record.as_bytes());
            assert_eq!(String::from_utf8(got).unwrap(), expected);
        }
    }

    #[test]
    fn tags_with_names_of_percentiles_are_found_in_lines_with_and_without_them() {
        let edits = edits(&["p99"], &[("p50", "kind")], &[]);
        for (line, expected) in [
            ("m,p50=a,p99=b,z=1 max=1 5", "m,kind=a,z=1 max=1 5"),
            (
                "m,p50_=a,p99_=b max=1,p50=1,p99=2 5",
                "m,kind=a max=1,p50=1,p99=2 5",
            ),
            // Such names of a user.
            (
                "m,p50_=a,p99_=b max=1,p95=1 5",
                "m,p50_=a,p99_=b max=1,p95=1 5",
            ),
        ] {
            assert_eq!(edits.line(line.as_bytes()), expected.as_bytes(), "{line}");
        }
    }

    #[test]
    fn renaming_is_simultaneous_and_overwrites_nothing() {
        let swap = edits(&[], &[("a", "b"), ("b", "a")], &[]);
        assert_eq!(swap.line(b"m,a=1,b=2 f=1 5"), b"m,a=2,b=1 f=1 5");
        let chain = edits(&[], &[("a", "b"), ("b", "c")], &[("b", "new")]);
        assert_eq!(chain.line(b"m,a=1,b=2 f=1 5"), b"m,b=1,c=2 f=1 5");
        // c is kept, so b is kept, so a is kept.
        assert_eq!(chain.line(b"m,a=1,b=2,c=3 f=1 5"), b"m,a=1,b=2,c=3 f=1 5");
        assert_eq!(chain.line(b"m,b=2 f=1 5"), b"m,b=new,c=2 f=1 5");
    }

    /// Returns the expected tags, by a naive model.
    fn model(tags: &BTreeMap<String, String>, edits: &Edits) -> BTreeMap<String, String> {
        let mut left = tags.clone();
        edits
            .drop
            .iter()
            .for_each(|name| drop(left.remove(&name.plain)));
        let mut moves: Vec<(&str, &str)> = edits
            .rename
            .iter()
            .map(|(from, to)| (&*from.plain, &*to.plain))
            .filter(|(from, _)| left.contains_key(*from))
            .collect();
        while let Some(at) = moves
            .iter()
            .position(|(_, to)| left.contains_key(*to) && !moves.iter().any(|(from, _)| from == to))
        {
            moves.remove(at);
        }
        let mut done = left.clone();
        moves.iter().for_each(|(from, _)| drop(done.remove(*from)));
        for (from, to) in moves {
            done.insert(to.to_owned(), left[from].clone());
        }
        for (name, value) in &edits.add {
            done.entry(name.plain.clone())
                .or_insert(value.plain.clone());
        }
        done
    }

    fn names() -> impl Strategy<Value = String> {
        prop_oneof!["[a-d]", "[a-c, =ä\"]{1,3}"]
    }

    fn some_edits() -> impl Strategy<Value = Edits> {
        let pairs = || proptest::collection::btree_map(names(), names(), 0..4);
        (
            proptest::collection::btree_set(names(), 0..2),
            pairs(),
            pairs(),
        )
            .prop_map(|(dropped, renamed, added)| {
                let mut edits = Edits::default();
                let mut targets = Vec::new();
                for (from, to) in &renamed {
                    if from != to && !dropped.contains(from) && !targets.contains(&to) {
                        edits.rename(from, to);
                        targets.push(to);
                    }
                }
                dropped.iter().for_each(|name| edits.drop(name));
                added
                    .iter()
                    .for_each(|(name, value)| edits.add(name, value));
                edits
            })
    }

    proptest! {
        #[test]
        fn both_formats_agree_with_the_model(
            edits in some_edits(),
            tags in proptest::collection::btree_map(names(), names(), 0..5),
        ) {
            let expected = model(&tags, &edits);
            let object = serde_json::to_string(&tags).unwrap();
            let got = edits.json(format!(r#"{{"a":1.0,"tags":{object},"b":2.00}}"#).as_bytes());
            let got = String::from_utf8(got).unwrap();
            let inner = got.strip_prefix(r#"{"a":1.0,"tags":"#).unwrap();
            let inner = inner.strip_suffix(r#","b":2.00}"#).unwrap();
            let inner: BTreeMap<String, String> = serde_json::from_str(inner).unwrap();
            prop_assert_eq!(&inner, &expected);

            let line = |tags: &BTreeMap<String, String>| {
                let mut line = b"m\\,1".to_vec();
                for (name, value) in tags {
                    line.extend([b",", &*escape(name), b"=", &escape(value)].concat());
                }
                line.extend_from_slice(b" f=\"a, b=c\" 5");
                line
            };
            prop_assert_eq!(edits.line(&line(&tags)), line(&expected));
        }

        #[test]
        fn arbitrary_text_does_not_panic(edits in some_edits(), text in "[{}\\[\\]\":,= \\\\atgs1]{0,40}") {
            edits.json(text.as_bytes());
            edits.line(text.as_bytes());
        }
    }
}
