//! Runs all simulated servers of a process: their listeners, load and timer, and the orders.

use std::cell::RefCell;
use std::io::Result;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{MissedTickBehavior, interval};

use aggregator_core::Settings;

use crate::clock::Clock;
use crate::connection;
use crate::load::Load;
use crate::options::Options;
use crate::orders::{Orders, write};
use crate::server::{Server, Shared};
use crate::world::World;

/// Hosts of a /24.
const PER_RANGE: u64 = 254;
/// The time in which the timer visits all servers once.
const ROUND_MS: u64 = 250;
/// Every so many rounds the timer checks lifetimes.
const LIFETIMES_EVERY: u64 = 8;
/// The servers that are visited before connections get their turn.
const AT_ONCE: usize = 16;
/// The pause between two steps of the timer and of the load.
const STEP_MS: u64 = 25;

/// Returns the address of a server: hosts of 127.block.0.0/24, then of the next /24.
fn address(block: u64, index: u64) -> Ipv4Addr {
    let (range, host) = (index / PER_RANGE, index % PER_RANGE + 1);
    Ipv4Addr::new(127, block as u8, range as u8, host as u8)
}

/// Runs the servers until standard input is closed.
pub async fn run(options: Options) -> Result<()> {
    let (block, count) = (options.get("block"), options.get("nodes"));
    let mut settings = Settings::default();
    settings.min_window_s = options.get("window") as u32;
    settings.hour_window_s = 12 * settings.min_window_s;
    settings.inc_slot_s = settings.inc_slot_s.min(settings.min_window_s);
    settings.rules.flush_delay_ms = options.get("flush-delay") as i64;
    let servers = (0..count).map(|index| Server::new(format!("n{block}-{index:05}")));
    let world = World::new(
        Clock::new(options.get("ahead")),
        Shared::new(settings),
        servers,
    );
    let world = Rc::new(RefCell::new(world));
    for index in 0..count {
        let port = options.get("port") as u16;
        let listener = TcpListener::bind((address(block, index), port)).await?;
        spawn_local(accept(listener, index as usize, world.clone()));
    }
    spawn_local(feed(
        world.clone(),
        options.get("metrics"),
        options.get("interval"),
        block,
    ));
    spawn_local(tick(world.clone()));
    let mut status = interval(Duration::from_millis(options.get("status").max(10)));
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut orders = Orders::new();
    loop {
        tokio::select! {
            order = orders.next() => match order {
                Some(order) => world.borrow_mut().obey(order),
                None => return Ok(()),
            },
            _ = status.tick() => write(&world.borrow().status()),
        }
    }
}

async fn accept(listener: TcpListener, index: usize, world: Rc<RefCell<World>>) {
    loop {
        match listener.accept().await {
            // A poller that was killed resets its connections.
            Ok((stream, _)) => drop(spawn_local(connection::serve(stream, index, world.clone()))),
            Err(error) => {
                eprintln!("fleet-sim: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Reports samples to each node at each interval, to one node after the other.
async fn feed(world: Rc<RefCell<World>>, metrics: u64, interval_ms: u64, seed: u64) {
    let mut load = Load::new(metrics, seed);
    let count = world.borrow().servers.len();
    let mut pace = Pace::new(count, interval_ms);
    let mut failed = false;
    // The first samples come at once.
    for index in 0..count {
        failed |= feed_one(&world, &mut load, index, failed);
        if index % AT_ONCE == 0 {
            yield_now().await;
        }
    }
    loop {
        let due = pace.next().await;
        if world.borrow().is_frozen {
            return;
        }
        let asked = world.borrow().rounds_asked;
        let is_round = world.borrow().rounds < asked;
        let (all, some) = (is_round.then_some(0..count), (!is_round).then_some(due));
        for index in all.into_iter().flatten().chain(some.into_iter().flatten()) {
            failed |= feed_one(&world, &mut load, index, failed);
            if index % AT_ONCE == 0 {
                yield_now().await;
            }
        }
        world.borrow_mut().rounds = asked;
    }
}

fn feed_one(world: &RefCell<World>, load: &mut Load, index: usize, failed: bool) -> bool {
    let world = &mut *world.borrow_mut();
    let now = world.clock.now();
    match load.report(&mut world.servers[index], &mut world.shared, now) {
        Ok(()) => false,
        Err(error) => {
            if !failed {
                eprintln!("fleet-sim: samples are rejected: {error}");
            }
            true
        }
    }
}

/// Visits the servers in turn, as the timer of each would.
async fn tick(world: Rc<RefCell<World>>) {
    let count = world.borrow().servers.len();
    let mut pace = Pace::new(count, ROUND_MS);
    let mut visited = 0;
    loop {
        for index in pace.next().await {
            {
                let world = &mut *world.borrow_mut();
                if world.is_frozen {
                    return;
                }
                let first = (visited / count as u64).is_multiple_of(LIFETIMES_EVERY);
                let now = world.clock.now();
                world.servers[index].sweep(&mut world.shared, first, now);
            }
            visited += 1;
            if index % AT_ONCE == 0 {
                yield_now().await;
            }
        }
    }
}

/// Goes round over the servers, as many at each step as the time since the last one requires.
struct Pace {
    count: usize,
    round_ms: u64,
    steps: tokio::time::Interval,
    last: tokio::time::Instant,
    next: usize,
    /// The part of a server that is left over from the last step, in servers × milliseconds.
    rest: u64,
}

impl Pace {
    fn new(count: usize, round_ms: u64) -> Pace {
        let mut steps = interval(Duration::from_millis(STEP_MS));
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pace {
            count,
            round_ms: round_ms.max(1),
            steps,
            last: tokio::time::Instant::now(),
            next: 0,
            rest: 0,
        }
    }

    /// Waits for the next step, and returns the servers that are due.
    async fn next(&mut self) -> impl Iterator<Item = usize> + use<> {
        self.steps.tick().await;
        let passed = self.last.elapsed().as_millis() as u64;
        self.last += Duration::from_millis(passed);
        self.rest += passed * self.count as u64;
        // A round that was missed is not made up for.
        let due = (self.rest / self.round_ms).min(self.count as u64) as usize;
        self.rest %= self.round_ms;
        let (first, count) = (self.next, self.count);
        self.next = (first + due) % count.max(1);
        (first..first + due).map(move |index| index % count)
    }
}
