//! Derives the problems of a snapshot, and whether the poller is ready.

use super::model::{LATE, Problem, ServerView, State, View};
use crate::format::{count, duration, grouped};

impl View {
    /// Returns the problems, the worst first.
    pub(super) fn find_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |state, text: String| problems.push(Problem { state, text });
        for sink in &self.sinks {
            if let (Some(trouble), Some(seconds)) = (&sink.trouble, sink.trouble_for) {
                let long = duration(seconds);
                add(
                    State::Trouble,
                    format!("sink {} has been failing for {long}: {trouble}", sink.name),
                );
            }
        }
        let totals = &self.totals;
        let down: Vec<&ServerView> = (self.servers.iter())
            .filter(|server| !server.up && server.trouble.is_some())
            .collect();
        if let Some(first) = down.first() {
            let why = first.trouble.as_deref().unwrap_or_default();
            let text = match down.len() {
                1 => format!("server {} is down: {why}", first.id),
                many => {
                    let all = totals.servers;
                    format!(
                        "{many} of {all} servers are down, among them {}: {why}",
                        first.id
                    )
                }
            };
            add(State::Trouble, text);
        }
        let untried = self.servers.iter().filter(|s| !s.up).count() - down.len();
        if untried > 0 {
            let text = format!("{} not reached yet", count(untried as u64, "server"));
            add(State::Warning, text);
        }
        if let Some(worst) = self.nodes.iter().find(|node| node.up && node.lag >= LATE) {
            let (late, lag) = (count(totals.nodes_late as u64, "node"), duration(worst.lag));
            let text = format!(
                "{late} with records pending for more than a minute, at most {lag}: {} on {}",
                worst.name, worst.server
            );
            add(State::Warning, text);
        }
        if totals.dropped > 0 {
            let text = format!(
                "servers dropped {} since the poller started",
                count(totals.dropped, "record")
            );
            add(State::Warning, text);
        }
        if totals.dead > 0 {
            let text = format!("sinks rejected {}", count(totals.dead, "record"));
            add(State::Warning, text);
        }
        if let Some(trouble) = &self.reloads.trouble {
            let text = format!("configuration not reloaded, keeping the previous one: {trouble}");
            add(State::Warning, text);
        }
        problems
    }

    /// Returns why the poller is not ready. Empty if it is.
    pub fn unready(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.ending {
            why.push("shutting down".to_owned());
        }
        for sink in &self.sinks {
            if let (Some(trouble), Some(since)) = (&sink.trouble, &sink.since) {
                why.push(format!(
                    "sink {} is failing: {trouble} (since {since})",
                    sink.name
                ));
            }
        }
        if !self.servers.is_empty() && self.totals.servers_up == 0 {
            let all = grouped(self.servers.len() as u64);
            let first = self.servers.iter().find_map(|s| s.trouble.as_deref());
            let first = first.unwrap_or("not tried yet");
            why.push(format!("no server of {all} is up: {first}"));
        }
        why
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::super::fixtures;
    use crate::status::Status;

    #[test]
    fn unready_poller_says_why() {
        assert!(fixtures::view(&fixtures::good(1)).unready().is_empty());
        assert!(fixtures::view(&Status::new()).unready().is_empty());
        let why = fixtures::view(&fixtures::bad(1)).unready();
        assert_eq!(why.len(), 1, "{why:?}");
        let status = Status::new();
        let server = status.server("s", "s");
        let why = fixtures::view(&status).unready();
        assert_eq!(why, ["no server of 1 is up: not tried yet"]);
        server.lock().up = true;
        status.ending.store(true, Ordering::Relaxed);
        assert_eq!(fixtures::view(&status).unready(), ["shutting down"]);
    }
}
