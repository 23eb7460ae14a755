//! Derives the problems of a snapshot, and whether the poller is ready.

use super::model::{LATE, Problem, ServerView, State, View};
use aggregator_protocol::format::{count, duration, grouped};

impl View {
    /// Returns the problems, the worst first.
    pub(super) fn find_problems(&self) -> Vec<Problem> {
        let errors = self.failing_sinks().chain(self.down_servers());
        let errors = errors.map(|text| (State::Trouble, text));
        let warnings = self.warnings().into_iter().flatten();
        let warnings = warnings.map(|text| (State::Warning, text));
        let all = errors.chain(warnings);
        all.map(|(state, text)| Problem { state, text }).collect()
    }

    fn failing_sinks(&self) -> impl Iterator<Item = String> {
        self.sinks.iter().filter_map(|sink| {
            let (trouble, seconds) = (sink.trouble.as_ref()?, sink.trouble_for?);
            let long = duration(seconds);
            Some(format!(
                "sink {} has been failing for {long}: {trouble}",
                sink.name
            ))
        })
    }

    /// Returns one problem for all servers that are down.
    fn down_servers(&self) -> Option<String> {
        let mut down = self.servers.iter().filter(|server| server.is_down());
        let first = down.next()?;
        let why = first.trouble.as_deref().unwrap_or_default();
        let (many, all) = (1 + down.count(), self.totals.servers);
        // The error of a connection names the server itself.
        Some(match (many, why.contains(&first.id)) {
            (1, true) => why.to_owned(),
            (1, false) => format!("server {} is down: {why}", first.id),
            (_, true) => format!("{many} of {all} servers are down: {why}"),
            (_, false) => {
                let id = &first.id;
                format!("{many} of {all} servers are down, among them {id}: {why}")
            }
        })
    }

    fn warnings(&self) -> [Option<String>; 5] {
        let totals = &self.totals;
        let untried = self
            .servers
            .iter()
            .filter(|server| !server.up && !server.is_down());
        let untried = untried.count() as u64;
        let late = self.nodes.iter().find(|node| node.up && node.lag >= LATE);
        let late = late.map(|worst| {
            let (nodes, lag) = (count(totals.nodes_late as u64, "node"), duration(worst.lag));
            let (name, server) = (&worst.name, &worst.server);
            format!("records pending for more than a minute on {nodes}, up to {lag} on {name} of {server}")
        });
        let dropped = count(totals.dropped, "record");
        let rejected = count(totals.dead, "record");
        let reload = self.reloads.trouble.as_ref();
        [
            (untried > 0).then(|| format!("{} not reached yet", count(untried, "server"))),
            late,
            (totals.dropped > 0)
                .then(|| format!("servers dropped {dropped} since the poller started")),
            (totals.dead > 0).then(|| format!("sinks rejected {rejected}")),
            reload.map(|error| {
                format!("configuration not reloaded, keeping the previous one: {error}")
            }),
        ]
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

impl ServerView {
    /// Returns whether the server was tried and is down.
    fn is_down(&self) -> bool {
        !self.up && self.trouble.is_some()
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
