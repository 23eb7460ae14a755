//! Reads the mounted file systems through helper processes, as a file system that hangs blocks the process that reads
//! it.
//!
//! A file system that does not answer is left out of reports until it does, and is not asked a second time meanwhile.
//! The others are reported on time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Child;
use std::time::{Duration, Instant};

use agg_client::WarnOnce;

use super::mounts::{self, Mount};
use super::probe::{Helper, NoAnswer, Probe, Space};

/// Maximum helpers that hang at the same time. Beyond that, only file systems are asked that have answered before.
const MAX_STUCK: usize = 16;

/// The timeouts of file systems.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one file system.
    pub one: Duration,
    /// For all file systems together.
    pub all: Duration,
    /// Until a missing answer is reported.
    pub warning: Duration,
}

impl Timeouts {
    /// Returns the timeouts for reports at an interval: file systems take at most half of it.
    pub fn for_interval(interval: Duration) -> Timeouts {
        let shortest = Duration::from_millis(100);
        Timeouts {
            one: (interval / 4).clamp(shortest / 2, Duration::from_secs(1)),
            all: (interval / 2).clamp(shortest, Duration::from_secs(2)),
            warning: Duration::from_secs(5),
        }
    }

    /// Returns the timeouts for a single report.
    pub fn single_report() -> Timeouts {
        let long = Duration::from_secs(5);
        Timeouts {
            one: long,
            all: 2 * long,
            warning: long,
        }
    }
}

/// A mounted file system.
pub struct FileSystem {
    pub mount: Mount,
    /// Its last answer.
    pub space: Option<Space>,
    /// True if that answer is of the last refresh.
    pub answered: bool,
}

type StartHelper = Box<dyn FnMut() -> Result<Box<dyn Helper>, String>>;

/// The mounted file systems.
pub struct FileSystems {
    all: BTreeMap<OsString, FileSystem>,
    timeouts: Timeouts,
    start_helper: StartHelper,
    helper: Option<Box<dyn Helper>>,
    stuck: BTreeMap<OsString, Stuck>,
    /// Processes that were killed and may take their time to end.
    ended: Vec<Child>,
    warnings: WarnOnce,
}

/// A helper that waits for the answer of a file system.
struct Stuck {
    helper: Box<dyn Helper>,
    since: Instant,
    was_reported: bool,
}

impl FileSystems {
    /// Returns an empty list. `start_helper` starts a helper process.
    pub fn new(
        timeouts: Timeouts,
        start_helper: impl FnMut() -> Result<Box<dyn Helper>, String> + 'static,
    ) -> FileSystems {
        FileSystems {
            all: BTreeMap::new(),
            timeouts,
            start_helper: Box::new(start_helper),
            helper: None,
            stuck: BTreeMap::new(),
            ended: Vec::new(),
            warnings: WarnOnce::default(),
        }
    }

    /// Returns the file systems of the last refresh by mount point.
    pub fn iter(&self) -> impl Iterator<Item = &FileSystem> {
        self.all.values()
    }

    /// Reads the file systems that are mounted now. If the system has no list of them, none counts as answered.
    pub fn refresh(&mut self) {
        match mounts::list() {
            Some(mounts) => self.read(mounts),
            None => (self.all.values_mut()).for_each(|known| known.answered = false),
        }
    }

    fn read(&mut self, mounts: BTreeMap<OsString, Mount>) {
        self.all.retain(|point, _| mounts.contains_key(point));
        for (point, mount) in mounts {
            match self.all.get_mut(&point) {
                Some(known) if known.mount == mount => known.answered = false,
                _ => {
                    let new = FileSystem {
                        mount,
                        space: None,
                        answered: false,
                    };
                    self.all.insert(point, new);
                }
            }
        }
        self.receive_late_answers();
        self.ask_all();
        self.report_stuck();
        self.ended
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Asks the file systems that have answered before first, as the others may use up the time.
    fn ask_all(&mut self) {
        let end = Instant::now() + self.timeouts.all;
        let (answering, others): (Vec<_>, Vec<_>) = self
            .all
            .keys()
            .filter(|point| !self.stuck.contains_key(*point))
            .cloned()
            .partition(|point| self.all[point].space.is_some());
        let answering = answering.into_iter().map(|point| (point, MAX_STUCK));
        // One helper is left for the file systems that answer.
        let others = others.into_iter().map(|point| (point, MAX_STUCK - 1));
        for (point, max_stuck) in answering.chain(others) {
            let left = end.saturating_duration_since(Instant::now());
            if self.stuck.len() >= max_stuck {
                self.warnings
                    .warn("too many file systems do not answer: no further ones are read");
            } else if !left.is_zero() {
                self.ask(point, left.min(self.timeouts.one));
            }
        }
    }

    fn ask(&mut self, point: OsString, timeout: Duration) {
        let Some(mut helper) = self.helper.take().or_else(|| self.start()) else {
            return;
        };
        let Some(file_system) = self.all.get_mut(&point) else {
            return;
        };
        let since = Instant::now();
        let answer = match helper.ask(&file_system.mount) {
            Ok(()) => helper.answer(timeout),
            Err(_) => Err(NoAnswer::Exited),
        };
        match answer {
            Ok(probe) => {
                if let Some(warning) = file_system.apply(probe) {
                    self.warnings.warn(&warning);
                }
                self.helper = Some(helper);
            }
            Err(NoAnswer::Exited) => self.ended.extend(helper.end()),
            Err(NoAnswer::Pending) => {
                let stuck = Stuck {
                    helper,
                    since,
                    was_reported: false,
                };
                self.stuck.insert(point, stuck);
            }
        }
    }

    fn start(&mut self) -> Option<Box<dyn Helper>> {
        (self.start_helper)()
            .map_err(|error| {
                let warning = format!("cannot read file systems: {error}");
                self.warnings.warn(&warning);
            })
            .ok()
    }

    /// Receives the answers of stuck helpers. They are too late for this report, but show that the file system answers.
    fn receive_late_answers(&mut self) {
        for (point, mut stuck) in std::mem::take(&mut self.stuck) {
            let Some(file_system) = self.all.get_mut(&point) else {
                // No longer mounted.
                self.ended.extend(stuck.helper.end());
                continue;
            };
            match stuck.helper.answer(Duration::ZERO) {
                Err(NoAnswer::Pending) => {
                    self.stuck.insert(point, stuck);
                    continue;
                }
                Err(NoAnswer::Exited) => {}
                Ok(probe) => {
                    if stuck.was_reported {
                        tracing::info!("file system {} answers again", point.display());
                    }
                    if let Some(warning) = file_system.apply(probe) {
                        self.warnings.warn(&warning);
                    }
                    file_system.answered = false;
                    if self.helper.is_none() {
                        self.helper = Some(stuck.helper);
                        continue;
                    }
                }
            }
            self.ended.extend(stuck.helper.end());
        }
    }

    fn report_stuck(&mut self) {
        for (point, stuck) in &mut self.stuck {
            if !stuck.was_reported && stuck.since.elapsed() >= self.timeouts.warning {
                stuck.was_reported = true;
                let point = point.display();
                tracing::warn!("file system {point} does not answer: it is left out until it does");
            }
        }
    }
}

impl FileSystem {
    /// Stores an answer. Returns a warning if the file system failed.
    fn apply(&mut self, probe: Probe) -> Option<String> {
        match probe {
            Probe::Space(space) => {
                self.space = Some(space);
                self.answered = true;
                None
            }
            Probe::File | Probe::Denied => None,
            Probe::Failed(reason) => {
                let point = self.mount.point.display();
                Some(format!("cannot read file system {point}: {reason}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::io;
    use std::rc::Rc;

    use super::*;

    const SPACE: Space = Space {
        total: 100,
        available: 40,
        read_only: false,
        kind: None,
        removable: false,
    };

    fn mounts(points: &[&str]) -> BTreeMap<OsString, Mount> {
        let mount = |point: &&str| Mount {
            point: point.into(),
            source: "/dev/x".into(),
            kind: "ext4".into(),
            number: "0:1".into(),
        };
        points.iter().map(|it| (it.into(), mount(it))).collect()
    }

    /// The behaviour of the helpers of a test.
    #[derive(Default)]
    struct Script {
        hanging: BTreeSet<OsString>,
        asked: Vec<OsString>,
        helpers: usize,
        /// Helpers end instead of answering.
        end: bool,
        /// Helpers cannot be started.
        none: bool,
    }

    struct ScriptedHelper {
        script: Rc<RefCell<Script>>,
        asked: OsString,
    }

    impl Helper for ScriptedHelper {
        fn ask(&mut self, mount: &Mount) -> io::Result<()> {
            self.asked = mount.point.clone();
            self.script.borrow_mut().asked.push(mount.point.clone());
            Ok(())
        }

        fn answer(&mut self, _: Duration) -> Result<Probe, NoAnswer> {
            let script = self.script.borrow();
            match script.hanging.contains(&self.asked) {
                _ if script.end => Err(NoAnswer::Exited),
                true => Err(NoAnswer::Pending),
                false => Ok(Probe::Space(SPACE)),
            }
        }

        fn end(self: Box<Self>) -> Option<Child> {
            None
        }
    }

    struct Fixture {
        systems: FileSystems,
        script: Rc<RefCell<Script>>,
    }

    impl Fixture {
        fn new(warning: Duration, hanging: &[&str]) -> Fixture {
            let script = Rc::new(RefCell::new(Script {
                hanging: hanging.iter().map(Into::into).collect(),
                ..Script::default()
            }));
            let long = Duration::from_secs(3600);
            let timeouts = Timeouts {
                one: long,
                all: long,
                warning,
            };
            let own = script.clone();
            let systems = FileSystems::new(timeouts, move || {
                if own.borrow().none {
                    return Err("no more processes".into());
                }
                own.borrow_mut().helpers += 1;
                Ok(Box::new(ScriptedHelper {
                    script: own.clone(),
                    asked: OsString::new(),
                }))
            });
            Fixture { systems, script }
        }

        /// Reads these file systems and returns which of them answered.
        fn read(&mut self, points: &[&str]) -> Vec<String> {
            self.systems.read(mounts(points));
            let answered = self.systems.iter().filter(|it| it.answered);
            answered
                .map(|it| it.mount.point.to_string_lossy().into_owned())
                .collect()
        }
    }

    #[test]
    fn hanging_file_system_is_left_out_and_asked_once() {
        let mut fixture = Fixture::new(Duration::ZERO, &["/hang"]);
        for _ in 0..5 {
            assert_eq!(fixture.read(&["/", "/hang", "/var"]), ["/", "/var"]);
            assert_eq!(fixture.systems.iter().count(), 3);
        }
        let script = fixture.script.borrow();
        assert_eq!(script.helpers, 2);
        let asked = script.asked.iter().filter(|it| *it == "/hang");
        assert_eq!(asked.count(), 1);
        assert!(
            fixture
                .systems
                .stuck
                .values()
                .all(|stuck| stuck.was_reported)
        );
    }

    #[test]
    fn file_system_that_answers_again_is_reported_again() {
        let mut fixture = Fixture::new(Duration::from_secs(3600), &["/hang"]);
        assert_eq!(fixture.read(&["/", "/hang"]), ["/"]);
        assert!(
            fixture
                .systems
                .stuck
                .values()
                .all(|stuck| !stuck.was_reported)
        );
        fixture.script.borrow_mut().hanging.clear();
        assert_eq!(fixture.read(&["/", "/hang"]), ["/", "/hang"]);
        assert!(fixture.systems.stuck.is_empty());
        // The last answer is kept, but does not count for this report.
        fixture.script.borrow_mut().hanging.insert("/hang".into());
        assert_eq!(fixture.read(&["/", "/hang"]), ["/"]);
        assert!(fixture.systems.iter().all(|it| it.space.is_some()));
    }

    #[test]
    fn unmounted_file_system_is_removed() {
        let mut fixture = Fixture::new(Duration::ZERO, &["/hang"]);
        fixture.read(&["/", "/hang"]);
        fixture.read(&["/"]);
        assert_eq!(fixture.systems.iter().count(), 1);
        assert!(fixture.systems.stuck.is_empty());
    }

    #[test]
    fn hanging_file_systems_use_a_bounded_number_of_helpers() {
        let names: Vec<String> = (0..40).map(|n| format!("/hang{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut fixture = Fixture::new(Duration::ZERO, &names);
        fixture.read(&["/", "/z"]);
        let all = [&["/", "/z"], &names[..]].concat();
        for _ in 0..3 {
            assert_eq!(fixture.read(&all), ["/", "/z"]);
        }
        assert_eq!(fixture.systems.stuck.len(), MAX_STUCK - 1);
        assert_eq!(fixture.script.borrow().helpers, MAX_STUCK);
    }

    #[test]
    fn helper_that_ends_is_replaced() {
        let mut fixture = Fixture::new(Duration::ZERO, &[]);
        fixture.script.borrow_mut().end = true;
        assert!(fixture.read(&["/", "/var"]).is_empty());
        fixture.script.borrow_mut().end = false;
        assert_eq!(fixture.read(&["/", "/var"]), ["/", "/var"]);
        fixture.script.borrow_mut().none = true;
        fixture.systems.helper = None;
        assert!(fixture.read(&["/", "/var"]).is_empty());
        assert!(fixture.systems.iter().all(|it| it.space.is_some()));
    }

    #[test]
    fn report_waits_for_at_most_half_of_its_interval() {
        for ms in [200, 1000, 4000, 60_000] {
            let interval = Duration::from_millis(ms);
            let timeouts = Timeouts::for_interval(interval);
            assert!(timeouts.one < timeouts.all && timeouts.all <= interval / 2);
        }
    }
}
