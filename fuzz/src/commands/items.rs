//! Checks of errors and objects.

use super::*;

impl World {
    pub(super) fn error(&mut self, key: u8, level: u8, tags: u8) {
        let (key, level) = (format!("k{}", key % 6), level_word(level));
        let stored = match &self.node {
            Some(_) => self.ask(Command::Get, &["ERROR", &key]),
            None => Value::Null,
        };
        let before = match &stored {
            Value::Null => 0,
            stored => stored.at("occurrences").int(),
        };
        let words = ["m", "KEY", &key, "LEVEL", &level, "TAGS", pick(&TAGS, tags)];
        let reply = match self.run(Command::Error, &words).expect("it creates") {
            Ok(reply) => reply,
            Err(error) => return assert!(self.server.memory_pressure, "{error}"),
        };
        assert_eq!(reply.list()[0].bulk(), key.as_bytes());
        assert_eq!(reply.list()[1].int(), before + 1);
        let now = self.ask(Command::Get, &["ERROR", &key]);
        assert_eq!(now.at("occurrences").int(), before + 1);
        assert!(before > 0 || now.at("id").int() > 0, "new, and not queued");
        if before > 0 && stored.at("id").int() > 0 {
            assert_eq!(stored.at("id"), now.at("id"), "it waits");
        }
    }

    pub(super) fn reality(&mut self, o: &Object) {
        let now_ms = self.server.now.ms();
        let (key, at) = (format!("k{}", o.key % 6), o.at.ms(now_ms));
        let json = pick(&["1", "{\"a\":[1, 2]}", "{ \"a\":[1,2]}", "\"x\""], o.json);
        let compact: String = json.chars().filter(|c| *c != ' ').collect();
        let tags = pick(&["", "a:1", "x"], o.tags);
        let stored = match &self.node {
            Some(_) => self.ask(Command::Get, &["REALITY", &key]),
            None => Value::Null,
        };
        let mut expected = 1;
        if stored != Value::Null {
            let newest = self.newest[&key];
            let same = stored.at("json").bulk() == compact.as_bytes()
                && stored.at("gone").int() == 0
                && *stored.at("tags") == tag_map(tags);
            expected = match same {
                _ if newest <= now_ms + self.server.settings.rules.max_future_ms && at < newest => {
                    -1
                }
                true => 0,
                false => 1,
            };
        }
        let (ttl, at_text) = ((o.ttl % 50).to_string(), at.to_string());
        let mut words = vec![key.as_str(), "M", json, "TAGS", tags];
        if o.ttl > 100 {
            words.extend(["TTL", &ttl]);
        }
        if !matches!(o.at, At::Now) {
            words.extend(["AT", &at_text]);
        }
        match self.run(Command::Reality, &words).expect("it creates") {
            Ok(reply) => {
                assert_eq!(reply.int(), expected, "{words:?} on {stored:?}");
                if expected >= 0 {
                    self.newest.insert(key, at);
                }
            }
            Err(error) => assert!(!matches!(o.at, At::Now) || self.low_limits, "{error}"),
        }
    }

    /// Checks objects that are gone or removed.
    pub(super) fn check_objects(&mut self) {
        for key in (0..6).map(|n| format!("k{n}")) {
            let stored = self.ask(Command::Get, &["REALITY", &key]);
            if stored == Value::Null {
                self.newest.remove(&key);
                continue;
            }
            let newest = self.newest.get_mut(&key).expect("it was reported");
            if stored.at("gone").int() == 1 {
                // The time of its end is that of its last change.
                *newest = (*newest).max(stored.at("epoch").int());
                assert!(stored.at("id").int() > 0, "gone, and does not wait");
            }
        }
    }
}
