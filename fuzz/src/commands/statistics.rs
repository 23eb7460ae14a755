//! Checks of samples and their totals.

use super::*;

/// The type words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Abs,
    Diff,
    Add,
    Inc,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Abs, Kind::Diff, Kind::Add, Kind::Inc];

    fn word(self) -> &'static str {
        match self {
            Kind::Abs => "ABS",
            Kind::Diff => "DIFF",
            Kind::Add => "ADD",
            Kind::Inc => "INC",
        }
    }

    /// Returns the type of the metric.
    fn of_metric(self) -> &'static str {
        match self {
            Kind::Add => "ABS",
            kind => kind.word(),
        }
    }

    fn has_times(self) -> bool {
        matches!(self, Kind::Abs | Kind::Inc)
    }
}

/// What a sample reports, apart from its name and time.
#[derive(Clone, Copy, Debug)]
struct Reported {
    kind: Kind,
    value: f64,
    times: u32,
    hist: bool,
}

impl World {
    /// Returns the growth by a sample that counts; an error if it must not count.
    fn expected(&mut self, metric: &str, r: &Reported, at: i64) -> Result<Growth, &'static str> {
        let (now_ms, rules) = (self.server.now.ms(), self.server.settings.rules);
        let is_diff = r.kind == Kind::Diff;
        let mut growth = Growth {
            metric: metric.to_owned(),
            count: r.times.into(),
            sum: r.value * f64::from(r.times),
            in_min: is_diff,
            in_total: matches!(r.kind, Kind::Diff | Kind::Inc),
        };
        if is_diff {
            (growth.count, growth.sum) = (0, 0.0);
        }
        let stored = match &self.node {
            Some(_) => self.ask(Command::Get, &["METRIC", metric]),
            None => Value::Null,
        };
        if stored == Value::Null {
            return Ok(growth);
        }
        if stored.at("type").bulk() != r.kind.of_metric().as_bytes() {
            return Err("of another type");
        }
        let (last, before) = (number(stored.at("last").bulk()), stored.at("at").int());
        if r.kind == Kind::Add {
            growth.sum = last + r.value;
        }
        if !is_diff {
            return Ok(growth);
        }
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
        if r.value < last && ms < rules.min_interval_ms {
            return Err("out of order");
        }
        growth.count = 1;
        growth.sum = if r.value < last {
            r.value
        } else {
            r.value - last
        };
        Ok(growth)
    }

    pub(super) fn sample(&mut self, s: &Sample, is_gauge: bool) {
        let (metric, at) = (metric_name(s.metric), s.at.ms(self.server.now.ms()));
        let kind = match (is_gauge, s.tags & 16 != 0) {
            (true, false) => Kind::Abs,
            (true, true) => Kind::Add,
            (false, false) => Kind::Diff,
            (false, true) => Kind::Inc,
        };
        let times = pick(&[1, 1, 2, 1, 3, 1, 1000, 1], s.tags >> 5);
        let reported = Reported {
            kind,
            value: f64::from(s.value) / if kind == Kind::Diff { 1.0 } else { 4.0 },
            times: if kind.has_times() { times } else { 1 },
            hist: s.tags & 8 != 0,
        };
        let expected = self.expected(&metric, &reported, at);
        let (value, at) = (reported.value.to_string(), at.to_string());
        let times = reported.times.to_string();
        let mut words = vec![metric.as_str(), value.as_str(), kind.word()];
        if s.tags & 4 != 0 {
            words.extend(["TAGS", pick(&TAGS, s.tags)]);
        }
        if reported.hist {
            words.push("HIST");
        }
        if reported.times > 1 {
            words.extend(["TIMES", &times]);
        }
        if !matches!(s.at, At::Now) {
            words.extend(["AT", at.as_str()]);
        }
        match self.run(Command::Stat, &words).expect("it creates") {
            Ok(reply) if reply.int() == 1 => {
                self.grows = vec![expected.unwrap_or_else(|e| panic!("counted, but {e}"))];
            }
            // The model does not know whether a window has closed.
            Ok(_) => {}
            Err(error) => assert!(
                expected.is_err_and(|e| e == "of another type")
                    || s.value < 0
                    || !matches!(s.at, At::Now)
                    || self.low_limits,
                "{error}"
            ),
        }
    }

    /// AGG.MSTAT. Bit 0 of `kinds` chooses between the types, bit 1 COLUMNS; then each row has a type, from bit 2 on.
    /// Bit 0 of `options` is ATOMIC; the others choose HIST and TIMES of each row.
    pub(super) fn many(&mut self, kinds: u8, options: u8, metric: u8, values: &[u16; 3], at: &At) {
        let (at, has_columns) = (at.ms(self.server.now.ms()), kinds & 2 != 0);
        let rows: Vec<(String, Reported)> = values
            .iter()
            .zip(0..)
            .map(|(value, i)| {
                let kind = match has_columns {
                    true => pick(&Kind::ALL, kinds >> (2 + 2 * i)),
                    false => pick(&Kind::ALL, kinds & 1),
                };
                let bits = options >> (1 + 2 * i);
                let reported = Reported {
                    kind,
                    value: f64::from(*value),
                    times: 1 + u32::from(has_columns && kind.has_times() && bits & 1 != 0),
                    hist: has_columns && bits & 2 != 0,
                };
                (metric_name(metric.wrapping_add(i) % 6), reported)
            })
            .collect();
        let distinct: BTreeSet<_> = rows.iter().map(|(m, _)| m).collect();
        assert!(distinct.len() == 3 || metric > 252);
        let expected: Vec<_> = rows.iter().map(|(m, r)| self.expected(m, r, at)).collect();
        let words = many_words(&rows, at, options & 1 != 0, has_columns);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Ok(reply) = self.run(Command::Mstat, &words).expect("it creates") {
            let [counted, late, rejected] = reply.list() else {
                panic!("{reply:?}");
            };
            let rejected = rejected.list().len() as i64;
            assert_eq!(counted.int() + late.int() + rejected, 3);
            assert!(options & 1 == 0 || rejected == 0);
            // The reply does not say which were late.
            if late.int() == 0 && !self.low_limits && distinct.len() == 3 {
                self.grows = expected.into_iter().filter_map(Result::ok).collect();
                assert_eq!(self.grows.len() as i64, counted.int());
            } else {
                self.unknown = true;
            }
        }
    }

    /// AGG.HIST. The lower bits of `options` choose the occurrences of each value, the others SUM, MIN and MAX.
    pub(super) fn aggregated(&mut self, options: u8, metric: u8, values: &[u16; 3], at: &At) {
        let (metric, at) = (metric_name(metric), at.ms(self.server.now.ms()));
        let times = [0, 2, 4].map(|shift| pick(&[1, 2, 30, 0x1_0000_0000], options >> shift));
        let samples = || values.iter().map(|value| f64::from(*value)).zip(times);
        let reported = Reported {
            kind: Kind::Abs,
            value: 0.0,
            times: 1,
            hist: true,
        };
        let expected = self.expected(&metric, &reported, at).map(|growth| Growth {
            count: times.iter().sum(),
            sum: samples().map(|(value, times)| value * times as f64).sum(),
            ..growth
        });
        let mut words = vec![metric, "AT".to_owned(), at.to_string()];
        if options & 64 != 0 {
            let sum = expected.as_ref().map_or(1.0, |growth| growth.sum);
            words.extend(["SUM".to_owned(), sum.to_string()]);
        }
        if options & 128 != 0 {
            // The values are within these.
            words.extend(["MIN", "-1", "MAX", "65535.5"].map(str::to_owned));
        }
        words.push("VALUES".to_owned());
        words.extend(samples().flat_map(|(value, times)| [value.to_string(), times.to_string()]));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match self.run(Command::Hist, &words).expect("it creates") {
            Ok(reply) if reply.int() == 1 => {
                self.grows = vec![expected.unwrap_or_else(|e| panic!("counted, but {e}"))];
            }
            Ok(_) => {}
            Err(error) => assert!(
                expected.is_err_and(|e| e == "of another type")
                    || error.to_string().contains("ahead")
                    || self.low_limits,
                "{error}"
            ),
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
            if stored.at("type").bulk() != b"ABS" {
                let total = number(stored.at("total").bulk());
                self.increases.insert(metric.clone(), total);
            }
            for (i, name) in ["min", "hour"].into_iter().enumerate() {
                for window in stored.at(name).list() {
                    let (count, sum) = (window.at("count").int(), window.at("sum").bulk());
                    let total = totals.entry((metric.clone(), i)).or_default();
                    *total = (total.0 + count as u64, total.1 + number(sum));
                }
            }
        }
        totals
    }

    /// Checks the field `total` of AGG.GET: it grows by the samples of a metric, from 0 on.
    fn check_increases(&self, before: &BTreeMap<String, f64>, grows: &[Growth], act: &Act) {
        for (metric, total) in &self.increases {
            let growth = grows.iter().find(|g| g.metric == *metric && g.in_total);
            let before = before.get(metric).copied().unwrap_or(0.0);
            let expected = before + growth.map_or(0.0, |g| g.sum);
            assert!(
                (total - expected).abs() < 1e-6,
                "{act:?}: the total of {metric} grew from {before} to {total}, {grows:?}"
            );
        }
    }

    pub(super) fn check_totals(&mut self, act: &Act) {
        let late_before = std::mem::take(&mut self.late_hours);
        let increases = std::mem::take(&mut self.increases);
        let after = self.sum_up();
        let before = std::mem::replace(&mut self.totals, after);
        let grows = std::mem::take(&mut self.grows);
        if self.low_limits || std::mem::take(&mut self.unknown) {
            return;
        }
        self.check_increases(&increases, &grows, act);
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
}

/// Returns the words of AGG.MSTAT behind the node.
fn many_words(
    rows: &[(String, Reported)],
    at: i64,
    is_atomic: bool,
    has_columns: bool,
) -> Vec<String> {
    let mut words = vec!["AT".to_owned(), at.to_string()];
    if is_atomic {
        words.push("ATOMIC".to_owned());
    }
    match rows.first() {
        Some((_, first)) if !has_columns => words.push(first.kind.word().to_owned()),
        _ => {
            let columns = ["COLUMNS", "TYPE", "HIST", "METRIC", "TIMES", "VALUE"];
            words.extend(columns.map(str::to_owned));
        }
    }
    words.push("VALUES".to_owned());
    for (metric, r) in rows {
        if has_columns {
            let hist = if r.hist { "1" } else { "0" };
            words.extend([r.kind.word().to_owned(), hist.to_owned()]);
        }
        words.push(metric.clone());
        if has_columns {
            words.push(if r.times > 1 {
                r.times.to_string()
            } else {
                String::new()
            });
        }
        words.push(r.value.to_string());
    }
    words
}
