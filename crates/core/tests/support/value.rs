//! Replies as values. The fuzz targets include this file.

use aggregator_core::Reply;

/// A reply as a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A binary string.
    Bulk(Vec<u8>),
    /// Nil.
    Null,
    /// A list.
    Array(Vec<Value>),
    /// A map, as pairs.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The integer.
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(v) => *v,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The string.
    pub fn bulk(&self) -> &[u8] {
        match self {
            Value::Bulk(v) => v,
            other => panic!("not a string: {other:?}"),
        }
    }

    /// The string as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bulk()).into_owned()
    }

    /// The string as a number.
    pub fn float(&self) -> f64 {
        self.text().parse().expect("a number")
    }

    /// The list.
    pub fn list(&self) -> &[Value] {
        match self {
            Value::Array(v) => v,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// A member of the map.
    pub fn at(&self, name: &str) -> &Value {
        match self {
            Value::Map(pairs) => pairs
                .iter()
                .find(|(k, _)| k.bulk() == name.as_bytes())
                .map(|(_, v)| v)
                .unwrap_or_else(|| panic!("no {name} in {self:?}")),
            other => panic!("not a map: {other:?}"),
        }
    }
}

/// Builds a [`Value`]. Panics if the elements of a reply are not those that were announced.
#[derive(Default)]
pub struct Tree {
    open: Vec<(bool, usize, Vec<Value>)>,
    done: Option<Value>,
}

impl Tree {
    /// The one reply.
    pub fn finish(self) -> Value {
        assert!(self.open.is_empty(), "a reply that does not end");
        self.done.expect("no reply")
    }

    /// Returns true if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.done.is_none()
    }

    fn put(&mut self, value: Value) {
        let Some((_, left, items)) = self.open.last_mut() else {
            assert!(self.done.replace(value).is_none(), "two replies");
            return;
        };
        items.push(value);
        *left -= 1;
        if *left == 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        let (is_map, _, items) = self.open.pop().expect("something is open");
        let mut items = items.into_iter();
        if !is_map {
            return self.put(Value::Array(items.collect()));
        }
        let mut pairs = Vec::with_capacity(items.len() / 2);
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            pairs.push((key, value));
        }
        self.put(Value::Map(pairs));
    }

    fn begin(&mut self, is_map: bool, len: usize) {
        self.open.push((is_map, len, Vec::new()));
        if len == 0 {
            self.close();
        }
    }
}

impl Reply for Tree {
    fn array(&mut self, len: usize) {
        self.begin(false, len);
    }
    fn map(&mut self, len: usize) {
        self.begin(true, len * 2);
    }
    fn bulk(&mut self, bytes: &[u8]) {
        self.put(Value::Bulk(bytes.to_vec()));
    }
    fn int(&mut self, value: i64) {
        self.put(Value::Int(value));
    }
    fn null(&mut self) {
        self.put(Value::Null);
    }
}
