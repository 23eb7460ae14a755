//! The file systems and what they tell of themselves, by helpers that may be lost to one that hangs. Such a one is left
//! out until it answers, which is told; it is not asked a second time meanwhile. The others are told on time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Child;
use std::time::{Duration, Instant};

use super::mounts::{self, Mount};
use super::probe::{Helper, Look, Silent, Space};
use agg_client::messages::{WarnOnce, say, warn};

/// Helpers that hang at the same time. Then those alone are asked that have answered.
const MOST_STUCK: usize = 16;

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the answer of one file system,
    pub one: Duration,
    /// for those of all,
    pub all: Duration,
    /// and for one that does not come, before that is told.
    pub silence: Duration,
}

impl Patience {
    /// For a report every so often: no more than half of that goes by.
    pub fn of(interval: Duration) -> Patience {
        let least = Duration::from_millis(100);
        Patience {
            one: (interval / 4).clamp(least / 2, Duration::from_secs(1)),
            all: (interval / 2).clamp(least, Duration::from_secs(2)),
            silence: Duration::from_secs(5),
        }
    }

    /// For a single report.
    pub fn once() -> Patience {
        let long = Duration::from_secs(5);
        Patience {
            one: long,
            all: 2 * long,
            silence: long,
        }
    }
}

/// A file system.
pub struct FileSystem {
    /// Where it is mounted, and what.
    pub mount: Mount,
    /// What it told last.
    pub space: Option<Space>,
    /// Whether it told that in this look.
    pub answered: bool,
}

/// All that are mounted.
pub struct FileSystems {
    all: BTreeMap<OsString, FileSystem>,
    patience: Patience,
    start: Box<dyn FnMut() -> Result<Box<dyn Helper>, String>>,
    helper: Option<Box<dyn Helper>>,
    stuck: BTreeMap<OsString, Stuck>,
    /// Processes that were ended and may take their time.
    ended: Vec<Child>,
    once: WarnOnce,
}

/// Who waits for a file system's answer.
struct Stuck {
    helper: Box<dyn Helper>,
    since: Instant,
    told: bool,
}

impl FileSystems {
    /// None yet. `start` makes a helper.
    pub fn new(
        patience: Patience,
        start: impl FnMut() -> Result<Box<dyn Helper>, String> + 'static,
    ) -> FileSystems {
        FileSystems {
            all: BTreeMap::new(),
            patience,
            start: Box::new(start),
            helper: None,
            stuck: BTreeMap::new(),
            ended: Vec::new(),
            once: WarnOnce::default(),
        }
    }

    /// Those of the last look, by mount point.
    pub fn iter(&self) -> impl Iterator<Item = &FileSystem> {
        self.all.values()
    }

    /// Looks at those that are mounted now. Where the system has no list of them, none counts as answered.
    pub fn refresh(&mut self) {
        match mounts::list() {
            Some(mounts) => self.look(mounts),
            None => (self.all.values_mut()).for_each(|known| known.answered = false),
        }
    }

    fn look(&mut self, mounts: BTreeMap<OsString, Mount>) {
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
        self.take_late_answers();
        self.ask_all();
        self.tell_of_silence();
        self.ended
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Those that have answered before come first: the others may take all the time there is.
    fn ask_all(&mut self) {
        let end = Instant::now() + self.patience.all;
        let (good, others): (Vec<_>, Vec<_>) = self
            .all
            .keys()
            .filter(|point| !self.stuck.contains_key(*point))
            .cloned()
            .partition(|point| self.all[point].space.is_some());
        let doubtful = others.into_iter().map(|point| (point, MOST_STUCK - 1));
        for (point, most) in good.into_iter().map(|it| (it, MOST_STUCK)).chain(doubtful) {
            let left = end.saturating_duration_since(Instant::now());
            if self.stuck.len() >= most {
                self.once
                    .say("too many file systems do not answer: no others are looked at");
            } else if !left.is_zero() {
                self.ask(point, left.min(self.patience.one));
            }
        }
    }

    fn ask(&mut self, point: OsString, wait: Duration) {
        let Some(mut helper) = self.helper.take().or_else(|| self.helper()) else {
            return;
        };
        let Some(known) = self.all.get_mut(&point) else {
            return;
        };
        let asked = Instant::now();
        let answer = match helper.ask(&known.mount) {
            Ok(()) => helper.answer(wait),
            Err(_) => Err(Silent::Ended),
        };
        match answer {
            Ok(look) => {
                let text = taken(known, look);
                text.into_iter().for_each(|text| self.once.say(&text));
                self.helper = Some(helper);
            }
            Err(Silent::Ended) => self.ended.extend(helper.end()),
            Err(Silent::Waits) => {
                let stuck = Stuck {
                    helper,
                    since: asked,
                    told: false,
                };
                self.stuck.insert(point, stuck);
            }
        }
    }

    fn helper(&mut self) -> Option<Box<dyn Helper>> {
        (self.start)()
            .map_err(|why| {
                self.once
                    .say(&format!("file systems cannot be looked at: {why}"));
            })
            .ok()
    }

    /// An answer that comes late is of no use for the figures, but it is one.
    fn take_late_answers(&mut self) {
        for (point, mut waiting) in std::mem::take(&mut self.stuck) {
            let Some(known) = self.all.get_mut(&point) else {
                // Not mounted any more.
                self.ended.extend(waiting.helper.end());
                continue;
            };
            match waiting.helper.answer(Duration::ZERO) {
                Err(Silent::Waits) => {
                    self.stuck.insert(point, waiting);
                    continue;
                }
                Err(Silent::Ended) => {}
                Ok(look) => {
                    if waiting.told {
                        say(&format!(
                            "the file system {} answers again",
                            point.display()
                        ));
                    }
                    let text = taken(known, look);
                    text.into_iter().for_each(|text| self.once.say(&text));
                    known.answered = false;
                    if self.helper.is_none() {
                        self.helper = Some(waiting.helper);
                        continue;
                    }
                }
            }
            self.ended.extend(waiting.helper.end());
        }
    }

    fn tell_of_silence(&mut self) {
        for (point, waiting) in &mut self.stuck {
            if !waiting.told && waiting.since.elapsed() >= self.patience.silence {
                waiting.told = true;
                let point = point.display();
                warn(&format!(
                    "the file system {point} does not answer: it is left out until it does"
                ));
            }
        }
    }
}

/// Takes in what a file system told; the text is what is to be said of that.
fn taken(known: &mut FileSystem, look: Look) -> Option<String> {
    match look {
        Look::Is(space) => {
            known.space = Some(space);
            known.answered = true;
            None
        }
        Look::Denied => None,
        Look::Fails(why) => {
            let point = known.mount.point.display();
            Some(format!(
                "the file system {point} tells nothing of itself: {why}"
            ))
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

    /// How things are on the stage.
    #[derive(Default)]
    struct Scene {
        hanging: BTreeSet<OsString>,
        asked: Vec<OsString>,
        helpers: usize,
        /// Helpers end, or cannot be had.
        end: bool,
        none: bool,
    }

    struct Actor {
        scene: Rc<RefCell<Scene>>,
        asked: OsString,
    }

    impl Helper for Actor {
        fn ask(&mut self, mount: &Mount) -> io::Result<()> {
            self.asked = mount.point.clone();
            self.scene.borrow_mut().asked.push(mount.point.clone());
            Ok(())
        }

        fn answer(&mut self, _: Duration) -> Result<Look, Silent> {
            let scene = self.scene.borrow();
            match scene.hanging.contains(&self.asked) {
                _ if scene.end => Err(Silent::Ended),
                true => Err(Silent::Waits),
                false => Ok(Look::Is(SPACE)),
            }
        }

        fn end(self: Box<Self>) -> Option<Child> {
            None
        }
    }

    struct Stage {
        systems: FileSystems,
        scene: Rc<RefCell<Scene>>,
    }

    impl Stage {
        fn new(silence: Duration, hanging: &[&str]) -> Stage {
            let scene = Rc::new(RefCell::new(Scene {
                hanging: hanging.iter().map(Into::into).collect(),
                ..Scene::default()
            }));
            let long = Duration::from_secs(3600);
            let patience = Patience {
                one: long,
                all: long,
                silence,
            };
            let own = scene.clone();
            let systems = FileSystems::new(patience, move || {
                if own.borrow().none {
                    return Err("no more processes".into());
                }
                own.borrow_mut().helpers += 1;
                Ok(Box::new(Actor {
                    scene: own.clone(),
                    asked: OsString::new(),
                }))
            });
            Stage { systems, scene }
        }

        /// Looks at these and tells which of them answered.
        fn look(&mut self, points: &[&str]) -> Vec<String> {
            self.systems.look(mounts(points));
            let answered = self.systems.iter().filter(|it| it.answered);
            answered
                .map(|it| it.mount.point.to_string_lossy().into_owned())
                .collect()
        }
    }

    #[test]
    fn one_that_hangs_is_left_out_and_asked_once() {
        let mut stage = Stage::new(Duration::ZERO, &["/hang"]);
        for _ in 0..5 {
            assert_eq!(stage.look(&["/", "/hang", "/var"]), ["/", "/var"]);
            assert_eq!(stage.systems.iter().count(), 3);
        }
        let scene = stage.scene.borrow();
        assert_eq!(scene.helpers, 2);
        let asked = scene.asked.iter().filter(|it| *it == "/hang");
        assert_eq!(asked.count(), 1);
        assert!(stage.systems.stuck.values().all(|stuck| stuck.told));
    }

    #[test]
    fn one_that_answers_again_is_back() {
        let mut stage = Stage::new(Duration::from_secs(3600), &["/hang"]);
        assert_eq!(stage.look(&["/", "/hang"]), ["/"]);
        assert!(stage.systems.stuck.values().all(|stuck| !stuck.told));
        stage.scene.borrow_mut().hanging.clear();
        assert_eq!(stage.look(&["/", "/hang"]), ["/", "/hang"]);
        assert!(stage.systems.stuck.is_empty());
        // What was known stays known, but is no answer.
        stage.scene.borrow_mut().hanging.insert("/hang".into());
        assert_eq!(stage.look(&["/", "/hang"]), ["/"]);
        assert!(stage.systems.iter().all(|it| it.space.is_some()));
    }

    #[test]
    fn one_that_is_unmounted_is_gone() {
        let mut stage = Stage::new(Duration::ZERO, &["/hang"]);
        stage.look(&["/", "/hang"]);
        stage.look(&["/"]);
        assert_eq!(stage.systems.iter().count(), 1);
        assert!(stage.systems.stuck.is_empty());
    }

    #[test]
    fn those_that_hang_cost_a_bounded_number_of_helpers() {
        let names: Vec<String> = (0..40).map(|n| format!("/hang{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut stage = Stage::new(Duration::ZERO, &names);
        stage.look(&["/", "/z"]);
        let all = [&["/", "/z"], &names[..]].concat();
        for _ in 0..3 {
            assert_eq!(stage.look(&all), ["/", "/z"]);
        }
        assert_eq!(stage.systems.stuck.len(), MOST_STUCK - 1);
        assert_eq!(stage.scene.borrow().helpers, MOST_STUCK);
    }

    #[test]
    fn a_helper_that_ends_is_replaced() {
        let mut stage = Stage::new(Duration::ZERO, &[]);
        stage.scene.borrow_mut().end = true;
        assert!(stage.look(&["/", "/var"]).is_empty());
        stage.scene.borrow_mut().end = false;
        assert_eq!(stage.look(&["/", "/var"]), ["/", "/var"]);
        stage.scene.borrow_mut().none = true;
        stage.systems.helper = None;
        assert!(stage.look(&["/", "/var"]).is_empty());
        assert!(stage.systems.iter().all(|it| it.space.is_some()));
    }

    #[test]
    fn a_report_waits_for_half_of_its_interval() {
        for ms in [200, 1000, 4000, 60_000] {
            let interval = Duration::from_millis(ms);
            let patience = Patience::of(interval);
            assert!(patience.one < patience.all && patience.all <= interval / 2);
        }
    }
}
