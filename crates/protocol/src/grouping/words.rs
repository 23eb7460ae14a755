//! The characters and words that the rules of grouping know. `agg/grouping.py` has the same.

/// Returns whether a byte belongs to a word: a letter, a digit, or a part of a character beyond ASCII.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Returns whether a byte separates as a space does: spaces and control characters.
pub fn is_space(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// Returns whether a byte begins or ends quoted text.
pub fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Returns whether a byte stands alone.
fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',' | b';' | b'=' | b'|'
    )
}

/// Returns whether a byte belongs to a chunk: words with punctuation between them, such as a path.
pub fn is_chunk(byte: u8) -> bool {
    !is_space(byte) && !is_quote(byte) && !is_delimiter(byte)
}

/// Returns whether a byte belongs to a URL.
pub fn is_url(byte: u8) -> bool {
    is_chunk(byte) || matches!(byte, b'(' | b'[' | b'{' | b',' | b';' | b'=')
}

/// Returns whether parts that vary are one although this byte is between them.
pub fn is_joint(byte: u8) -> bool {
    matches!(
        byte,
        b',' | b'.' | b':' | b';' | b'-' | b'_' | b'/' | b'+' | b'~'
    )
}

/// Returns whether the text ends with a unit: what follows a number. Includes ordinals and halves of the day.
pub fn is_unit(text: &str) -> bool {
    [
        "B",
        "K",
        "M",
        "G",
        "T",
        "kB",
        "KB",
        "MB",
        "GB",
        "TB",
        "PB",
        "kb",
        "mb",
        "gb",
        "KiB",
        "MiB",
        "GiB",
        "TiB",
        "byte",
        "bytes",
        "Bytes",
        "ns",
        "us",
        "µs",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "sec",
        "secs",
        "second",
        "seconds",
        "msec",
        "msecs",
        "usec",
        "millis",
        "milliseconds",
        "min",
        "mins",
        "minute",
        "minutes",
        "hr",
        "hrs",
        "hour",
        "hours",
        "day",
        "days",
        "st",
        "nd",
        "rd",
        "th",
        "AM",
        "PM",
        "UTC",
        "GMT",
        "Z",
    ]
    .contains(&text)
}

/// Returns whether a word is the name of a month.
pub fn is_month(word: &str) -> bool {
    [
        "Jan",
        "Feb",
        "Mar",
        "Apr",
        "May",
        "Jun",
        "Jul",
        "Aug",
        "Sep",
        "Oct",
        "Nov",
        "Dec",
        "January",
        "February",
        "March",
        "April",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    .contains(&word)
}

/// Returns whether a word is the name of a day.
pub fn is_weekday(word: &str) -> bool {
    [
        "Mon",
        "Tue",
        "Wed",
        "Thu",
        "Fri",
        "Sat",
        "Sun",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ]
    .contains(&word)
}

/// Returns whether a word after `user` is no name.
pub fn follows_user(word: &str) -> bool {
    [
        "is",
        "was",
        "not",
        "has",
        "had",
        "have",
        "does",
        "did",
        "do",
        "can",
        "cannot",
        "could",
        "may",
        "must",
        "will",
        "and",
        "or",
        "of",
        "on",
        "in",
        "by",
        "to",
        "for",
        "from",
        "at",
        "with",
        "without",
        "unknown",
        "name",
        "names",
        "id",
        "ids",
        "account",
        "accounts",
        "agent",
        "session",
        "sessions",
        "data",
        "input",
        "space",
        "mode",
        "request",
        "requests",
        "process",
        "processes",
        "program",
        "defined",
        "interface",
        "error",
        "database",
        "group",
        "groups",
        "table",
        "limit",
        "quota",
        "profile",
        "authentication",
        "login",
        "logged",
        "logout",
        "lookup",
        "service",
        "cancelled",
        "canceled",
        "aborted",
        "disconnected",
        "connected",
        "exceeded",
        "already",
        "no",
        "memory",
        "credentials",
        "password",
    ]
    .contains(&word)
}

/// Returns whether the value of an attribute names an instance, such as a user or a host.
pub fn is_varying_attribute(name: &str) -> bool {
    let known = [
        "user",
        "ruser",
        "username",
        "logname",
        "uname",
        "login",
        "account",
        "owner",
        "host",
        "rhost",
        "hostname",
        "client",
        "server",
        "peer",
        "node",
        "pod",
        "container",
        "instance",
        "src",
        "dst",
        "source",
        "dest",
        "ip",
        "addr",
        "address",
        "mac",
        "file",
        "filename",
        "path",
        "dir",
        "url",
        "uri",
        "tty",
        "dev",
        "device",
        "id",
        "uid",
        "gid",
        "pid",
        "tid",
        "sid",
        "session",
        "token",
    ]
    .contains(&name);
    known
        || name == "host.name"
        || name.ends_with("_id")
        || name.ends_with("-id")
        || name.ends_with("Id")
}

/// Returns whether a path that begins with this folder is one of the file system.
pub fn is_root_folder(name: &str) -> bool {
    [
        "bin",
        "boot",
        "data",
        "etc",
        "export",
        "home",
        "lib",
        "lib64",
        "media",
        "mnt",
        "net",
        "nfs",
        "opt",
        "private",
        "proc",
        "root",
        "run",
        "sbin",
        "scratch",
        "srv",
        "sys",
        "tmp",
        "usr",
        "var",
        "Applications",
        "Library",
        "System",
        "Users",
        "user",
        "Volumes",
        "Windows",
    ]
    .contains(&name)
}

/// Returns whether a name with dots is one of a host, by its last part.
pub fn is_top_domain(name: &str) -> bool {
    [
        "com",
        "net",
        "org",
        "edu",
        "gov",
        "mil",
        "info",
        "biz",
        "io",
        "arpa",
        "local",
        "lan",
        "internal",
        "localdomain",
        "de",
        "fr",
        "uk",
        "nl",
        "es",
        "ru",
        "cn",
        "jp",
        "kr",
        "tw",
        "br",
        "ca",
        "au",
        "ch",
        "se",
        "eu",
    ]
    .contains(&name)
}

/// Returns whether a word before the address of a host is no name of it.
pub fn precedes_address(word: &str) -> bool {
    [
        "address", "at", "by", "client", "for", "from", "host", "of", "on", "peer", "server", "to",
        "via", "with",
    ]
    .contains(&word)
}

/// Returns whether a word is a method of HTTP.
pub fn is_method(word: &str) -> bool {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&word)
}
