//! Checks of deliveries, acknowledgements and drops.

use super::*;

impl World {
    pub(super) fn deliver(&mut self, command: Command, queue: u8, count: u8, lease: u64) {
        let q = usize::from(queue) % 5;
        let now = self.server.now.mono_ms;
        let count = usize::from(count % 6) + 1;
        let (count_text, lease_text) = (count.to_string(), (lease + 1).to_string());
        let mut words = vec![QUEUES[q], "COUNT", &count_text];
        if command == Command::Fetch {
            words.extend(["LEASE", &lease_text]);
        }
        let Some(reply) = self.run(command, &words) else {
            return;
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return assert!(self.server.memory_pressure, "{error}"),
        };
        let leased = self.leased.clone();
        let is_leased = |e: &RecordId| leased.get(e).is_some_and(|until| *until > now);
        let free: Vec<i64> = self
            .pending
            .keys()
            .filter(|e| e.0 == q && !is_leased(e))
            .map(|e| e.1)
            .take(count)
            .collect();
        let ids: Vec<i64> = reply.list().iter().map(|e| e.list()[1].int()).collect();
        assert!(ids.windows(2).all(|w| w[0] < w[1]), "{ids:?}");
        // Where memory is short, fewer records are leased.
        assert!(ids.len() == free.len() || ids.len() < free.len() && self.server.memory_pressure);
        if q < 3 {
            assert_eq!(ids, free[..ids.len()], "the oldest that nobody has");
        }
        for entry in reply.list() {
            let [_, id, deliveries, record] = entry.list() else {
                panic!("{entry:?}");
            };
            let (key, record) = ((q, id.int()), text(record.bulk()).to_owned());
            assert!(!is_leased(&key), "leased to somebody else");
            let n = self.deliveries.entry(key).or_default();
            *n += 1;
            assert_eq!(deliveries.int(), *n, "{key:?}");
            if let Some(before) = self.contents.insert(key, record.clone()) {
                assert_eq!(before, record, "one id, two contents");
            }
            if command == Command::Pop {
                let record = self.pending.get(&key).cloned();
                self.take(q, record);
            }
        }
        if command == Command::Pop {
            ids.iter().for_each(|id| {
                self.leased.remove(&(q, *id));
                self.deliveries.remove(&(q, *id));
            });
        } else {
            let until = now + lease + 1;
            self.leased.extend(ids.iter().map(|id| ((q, *id), until)));
            self.recent[q] = ids;
        }
    }

    pub(super) fn take(&mut self, q: usize, record: Option<PendingRecord>) {
        self.taken[q] += 1;
        if let Some(record) = record {
            add(&mut self.delivered, q, &record);
        }
    }

    pub(super) fn of(&mut self, command: Command, of: &Of) {
        let q = usize::from(of.queue) % 5;
        let now = self.server.now.mono_ms;
        let ids: Vec<i64> = self.recent[q]
            .iter()
            .enumerate()
            .filter(|(i, _)| of.which >> i & 1 == 1)
            .map(|(_, id)| *id)
            .collect();
        if ids.is_empty() {
            return;
        }
        let texts: Vec<String> = ids.iter().map(i64::to_string).collect();
        let mut words = vec![QUEUES[q]];
        if command == Command::Extend {
            words.push("5000");
        }
        words.extend(texts.iter().map(String::as_str));
        let Some(reply) = self.run(command, &words) else {
            return;
        };
        let reply = reply.expect("ids");
        let keys = ids.iter().map(|id| (q, *id));
        let there: Vec<RecordId> = keys
            .filter(|e| self.pending.contains_key(e))
            .filter(|e| {
                command == Command::Ack || self.leased.get(e).is_some_and(|until| *until > now)
            })
            .collect();
        assert_eq!(reply.int(), there.len() as i64, "{command:?} {ids:?}");
        for key in there {
            match command {
                Command::Ack => {
                    let record = self.pending.get(&key).cloned();
                    self.take(q, record);
                    self.leased.remove(&key);
                    self.deliveries.remove(&key);
                }
                Command::Nack => {
                    self.leased.remove(&key);
                }
                _ => {
                    self.leased.insert(key, now + 5000);
                }
            }
        }
    }

    /// Checks all queues after a step.
    pub(super) fn check_queues(&mut self, act: &Act) {
        if self.node.is_none() {
            return;
        }
        let (before, info) = (
            std::mem::take(&mut self.pending),
            self.ask(Command::Info, &[]),
        );
        for (q, name) in QUEUES.into_iter().enumerate() {
            let reply = self.ask(Command::Peek, &[name, "COUNT", "10000"]);
            for entry in reply.list() {
                let (id, record) = (entry.list()[1].int(), text(entry.list()[3].bulk()));
                let key = (q, id);
                let deliveries = self.deliveries.get(&key).copied().unwrap_or(0);
                assert_eq!(entry.list()[2].int(), deliveries, "{key:?}");
                let record = match before.get(&key) {
                    Some(old) if old.record == record => old.clone(),
                    Some(old) if q < 3 => panic!("{} became {record}", old.record),
                    old => {
                        let is_new = old.is_none();
                        assert!(!is_new || id > self.top, "an id of before: {key:?}");
                        crate::codec::check_records(&Value::Array(vec![entry.clone()]));
                        PendingRecord::new(q, record)
                    }
                };
                self.pending.insert(key, record);
            }
            self.check_queue(q, &before, info.at("queues").at(name), act);
        }
        self.top = self.pending.keys().map(|e| e.1).fold(self.top, i64::max);
        self.taken = [0; 5];
        self.logged = 0;
        let most = &self.server.settings;
        assert!(info.at("metrics").int() <= most.max_series.into());
        assert!(info.at("errors").int() <= most.max_errors.into());
        assert!(info.at("realities").int() <= most.max_realities.into());
        self.check_objects();
        self.check_totals(act);
    }

    pub(super) fn check_queue(
        &mut self,
        q: usize,
        before: &BTreeMap<RecordId, PendingRecord>,
        info: &Value,
        act: &Act,
    ) {
        let count = |records: &BTreeMap<RecordId, PendingRecord>| {
            records.keys().filter(|e| e.0 == q).count() as u64
        };
        let (old, new) = (count(before), count(&self.pending));
        assert_eq!(info.at("length").int() as u64, new);
        assert!(info.at("leased").int() as u64 <= new);
        let dropped = info.at("dropped").int();
        let drops = (dropped - self.dropped[q]) as u64;
        self.dropped[q] = dropped;
        let settings = &self.server.settings;
        match q {
            0..3 => assert!(info.at("bytes").int() as u64 <= settings.rules.queue_bytes[q]),
            3 => assert!(new <= settings.max_errors.into()),
            _ => assert!(new <= 2 * u64::from(settings.max_realities)),
        }
        let taken = self.taken[q];
        let kept = before
            .keys()
            .filter(|e| e.0 == q && self.pending.contains_key(e));
        let gone = old - kept.count() as u64;
        let context =
            || format!("{act:?}: queue {q}, {old} to {new}, {taken} taken, {drops} dropped");
        if q < 3 {
            assert!(gone >= taken && gone <= taken + drops, "{}", context());
        }
        if q == 2 {
            assert_eq!(old + self.logged, taken + drops + new, "{}", context());
        }
        if !self.low_limits {
            assert_eq!(drops, 0, "{}", context());
        }
    }
}
