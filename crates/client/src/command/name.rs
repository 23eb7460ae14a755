//! Commands that find what a node holds by name: AGG.GET, AGG.SCAN and AGG.FORGET.

use super::{Cmd, Command, Kind, Metric, StoredError, StoredObject, option};
use crate::reply::{self, Value};

macro_rules! get {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $output:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'a> {
            node: &'a [u8],
            name: &'a [u8],
        }

        impl<'a> $name<'a> {
            /// Reads the content with this name.
            pub fn new(
                node: &'a (impl AsRef<[u8]> + ?Sized),
                name: &'a (impl AsRef<[u8]> + ?Sized),
            ) -> Self {
                $name { node: node.as_ref(), name: name.as_ref() }
            }
        }

        impl Command for $name<'_> {
            type Output = Option<$output>;
            const NAME: &'static str = "AGG.GET";

            fn write_args(&self, cmd: &mut Cmd) {
                cmd.arg(self.node).arg($kind.as_str()).arg(self.name);
            }

            fn read_reply(&self, reply: Value) -> Option<Option<$output>> {
                super::maybe(reply, $output::read)
            }
        }
    };
}

get!(
    /// AGG.GET METRIC: reads a metric with its open windows.
    GetMetric,
    Kind::Metric,
    Metric
);
get!(
    /// AGG.GET ERROR: reads an error.
    GetError,
    Kind::Error,
    StoredError
);
get!(
    /// AGG.GET REALITY: reads an object.
    GetObject,
    Kind::Reality,
    StoredObject
);

/// AGG.SCAN: reads names, some at a time. Begin with the cursor `0`, and continue with the cursor of each page until it
/// is `0` again.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    node: &'a [u8],
    kind: Kind,
    cursor: &'a [u8],
    pattern: Option<&'a [u8]>,
    count: Option<u64>,
}

impl<'a> Scan<'a> {
    /// Reads names of this kind.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        kind: Kind,
        cursor: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Scan {
            node: node.as_ref(),
            kind,
            cursor: cursor.as_ref(),
            pattern: None,
            count: None,
        }
    }

    /// Reads only names that match this glob.
    pub fn matching(mut self, pattern: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.pattern = Some(pattern.as_ref());
        self
    }

    /// Sets about how many names a page has.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}

/// A page of AGG.SCAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The cursor of the next page; `0` if this is the last.
    pub cursor: Vec<u8>,
    /// The names.
    pub names: Vec<Vec<u8>>,
}

impl Page {
    /// Returns whether this is the last page.
    pub fn is_last(&self) -> bool {
        self.cursor == b"0"
    }
}

impl Command for Scan<'_> {
    type Output = Page;
    const NAME: &'static str = "AGG.SCAN";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.kind.as_str()).arg(self.cursor);
        option(cmd, "MATCH", self.pattern);
        option(cmd, "COUNT", self.count);
    }

    fn read_reply(&self, reply: Value) -> Option<Page> {
        let (cursor, names) = reply::page(reply)?;
        let names = names.into_iter().map(reply::bytes).collect::<Option<_>>()?;
        Some(Page { cursor, names })
    }
}

/// AGG.FORGET: removes a metric, an error or an object. Returns whether it was there.
#[derive(Clone, Copy, Debug)]
pub struct Forget<'a> {
    node: &'a [u8],
    kind: Kind,
    name: &'a [u8],
}

impl<'a> Forget<'a> {
    /// Removes the content with this name.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        kind: Kind,
        name: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Forget {
            node: node.as_ref(),
            kind,
            name: name.as_ref(),
        }
    }
}

impl Command for Forget<'_> {
    type Output = bool;
    const NAME: &'static str = "AGG.FORGET";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.kind.as_str()).arg(self.name);
    }

    fn read_reply(&self, reply: Value) -> Option<bool> {
        reply::int(&reply).map(|removed| removed == 1)
    }
}
