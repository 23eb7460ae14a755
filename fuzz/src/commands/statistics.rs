//! Checks of samples and their totals.

use super::*;

impl World {
    /// Returns the growth by a sample that counts; an error if it must not count.
    pub(super) fn expected(
        &mut self,
        metric: &str,
        diff: bool,
        value: f64,
        at: i64,
    ) -> Result<Growth, &'static str> {
        let (now_ms, rules) = (self.server.now.ms(), self.server.settings.rules);
        let mut growth = Growth {
            metric: metric.to_owned(),
            count: 1,
            sum: value,
            in_min: diff,
        };
        if diff {
            (growth.count, growth.sum) = (0, 0.0);
        }
        let stored = match &self.node {
            Some(_) => self.ask(Command::Get, &["METRIC", metric]),
            None => Value::Null,
        };
        if stored == Value::Null {
            return Ok(growth);
        }
        if stored.at("type").bulk() != if diff { &b"DIFF"[..] } else { b"ABS" } {
            return Err("of the other type");
        }
        if !diff {
            return Ok(growth);
        }
        let (last, before) = (number(stored.at("last").bulk()), stored.at("at").int());
        let ahead = before > now_ms + rules.max_future_ms;
        if before == 0 || ahead {
            return Ok(growth);
        }
        let ms = at - before;
        if ms < 0 {
            return Err("older than the last");
        }
        if ms > rules.max_gap_ms {
            return Ok(growth);
        }
        if value < last && ms < rules.min_interval_ms {
            return Err("out of order");
        }
        growth.count = 1;
        growth.sum = if value < last { value } else { value - last };
        Ok(growth)
    }

    pub(super) fn sample(&mut self, s: &Sample, diff: bool) {
        let (metric, at) = (metric_name(s.metric), s.at.ms(self.server.now.ms()));
        let value = f64::from(s.value) / if diff { 1.0 } else { 4.0 };
        let expected = self.expected(&metric, diff, value, at);
        let (value, at) = (value.to_string(), at.to_string());
        let kind = if diff { "DIFF" } else { "ABS" };
        let mut words = vec![metric.as_str(), value.as_str(), kind];
        if s.tags & 4 != 0 {
            words.extend(["TAGS", pick(&TAGS, s.tags)]);
        }
        if s.tags & 8 != 0 {
            words.push("HIST");
        }
        if !matches!(s.at, At::Now) {
            words.extend(["AT", at.as_str()]);
        }
        match self.run(Command::Stat, &words).expect("it creates") {
            Ok(reply) if reply.int() == 1 => {
                self.grows = vec![expected.unwrap_or_else(|e| panic!("taken, but {e}"))];
            }
            // The model does not know whether a window has closed.
            Ok(_) => {}
            Err(error) => assert!(
                expected.is_err_and(|e| e == "of the other type")
                    || s.value < 0
                    || !matches!(s.at, At::Now)
                    || self.tight,
                "{error}"
            ),
        }
    }

    pub(super) fn many(
        &mut self,
        diff: bool,
        atomic: bool,
        metric: u8,
        values: &[u16; 3],
        at: &At,
    ) {
        let at = at.ms(self.server.now.ms());
        let samples: Vec<(String, u16)> = values
            .iter()
            .zip(0..)
            .map(|(v, i)| (metric_name(metric.wrapping_add(i) % 6), *v))
            .collect();
        let distinct: BTreeSet<_> = samples.iter().map(|(m, _)| m).collect();
        assert!(distinct.len() == 3 || metric > 252);
        let expected: Vec<_> = samples
            .iter()
            .map(|(m, v)| self.expected(m, diff, f64::from(*v), at))
            .collect();
        let (at, texts) = (at.to_string(), samples.iter().map(|(_, v)| v.to_string()));
        let texts: Vec<String> = texts.collect();
        let mut words = vec![if diff { "DIFF" } else { "ABS" }, "AT", &at];
        if atomic {
            words.push("ATOMIC");
        }
        words.push("VALUES");
        for ((m, _), text) in samples.iter().zip(&texts) {
            words.extend([m.as_str(), text.as_str()]);
        }
        if let Ok(reply) = self.run(Command::Mstat, &words).expect("it creates") {
            let [taken, late, rejected] = reply.list() else {
                panic!("{reply:?}");
            };
            let rejected = rejected.list().len() as i64;
            assert_eq!(taken.int() + late.int() + rejected, 3);
            assert!(!atomic || rejected == 0);
            // The reply does not say which were late.
            if late.int() == 0 && !self.tight && distinct.len() == 3 {
                self.grows = expected.into_iter().filter_map(Result::ok).collect();
                assert_eq!(self.grows.len() as i64, taken.int());
            } else {
                self.unknown = true;
            }
        }
    }

    /// Returns the totals of all windows.
    pub(super) fn sum_up(&mut self) -> Totals {
        let mut totals = self.delivered.clone();
        if self.node.is_none() {
            return totals;
        }
        for ((i, _), record) in self.pending.range(..(2, 0)) {
            add(&mut totals, *i, record);
        }
        for metric in (0..6).map(metric_name) {
            let stored = self.ask(Command::Get, &["METRIC", &metric]);
            if stored == Value::Null {
                continue;
            }
            let late = stored.at("late-hour").int();
            self.late_hours.insert(metric.clone(), late);
            for (i, name) in ["min", "hour"].into_iter().enumerate() {
                for bucket in stored.at(name).list() {
                    let (count, sum) = (bucket.at("count").int(), bucket.at("sum").bulk());
                    let total = totals.entry((metric.clone(), i)).or_default();
                    *total = (total.0 + count as u64, total.1 + number(sum));
                }
            }
        }
        totals
    }

    pub(super) fn check_totals(&mut self, act: &Act) {
        let late_before = std::mem::take(&mut self.late_hours);
        let after = self.sum_up();
        let before = std::mem::replace(&mut self.totals, after);
        let grows = std::mem::take(&mut self.grows);
        if self.tight || std::mem::take(&mut self.unknown) {
            return;
        }
        for metric in (0..6).map(metric_name) {
            let grew = [0, 1].map(|i| {
                let of = |t: &Totals| t.get(&(metric.clone(), i)).copied().unwrap_or_default();
                let (before, after) = (of(&before), of(&self.totals));
                (after.0 as i64 - before.0 as i64, after.1 - before.1)
            });
            let context = || format!("{act:?}: {metric} {grew:?}, {grows:?}");
            let is = |(n, s): (i64, f64), count: u64, sum: f64| {
                n == count as i64 && (s - sum).abs() < 1e-6
            };
            match grows.iter().find(|g| g.metric == metric) {
                None => assert!(grew.iter().all(|g| is(*g, 0, 0.0)), "{}", context()),
                Some(g) if g.in_min => {
                    assert!(is(grew[0], g.count, g.sum), "{}", context());
                    let late = |of: &BTreeMap<String, i64>| of.get(&metric).copied().unwrap_or(0);
                    let is_late = late(&self.late_hours) > late(&late_before);
                    let hour = match is_late {
                        true => is(grew[1], 0, 0.0),
                        false => is(grew[1], g.count, g.sum),
                    };
                    assert!(hour, "{}", context());
                }
                Some(g) => {
                    assert!(grew.iter().any(|x| is(*x, g.count, g.sum)), "{}", context());
                    let other = |x: &(i64, f64)| is(*x, g.count, g.sum) || is(*x, 0, 0.0);
                    assert!(grew.iter().all(other), "{}", context());
                }
            }
        }
    }

    // Errors and objects.
}
