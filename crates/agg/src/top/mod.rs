//! `agg top`: shows a fleet live in a terminal, or once as text. It only reads: INFO, SCAN, and AGG's commands of
//! reading.
//!
//! Tasks ask the servers (gather.rs, ask.rs) and tell what they found to the model (model.rs, close.rs); keys change
//! what is shown of it (app.rs); view/ draws both.

mod app;
mod ask;
mod close;
mod columns;
pub mod figures;
mod gather;
mod model;
mod print;
mod screen;
pub mod show;
mod view;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

use crate::Ended;
use crate::poll::config::Config;
use agg_client::Shutdown;
use agg_client::connect::{Access, Server};
use agg_client::discovery::Source;
use agg_client::messages::say;
use aggregator_protocol::masking::json_lines;
use aggregator_protocol::units;

use app::App;
use gather::Wish;
use model::{Model, News, State};
use screen::Screen;
use view::Theme;

/// How long a single look waits for servers that do not answer, beyond its two intervals.
const PATIENCE: Duration = Duration::from_secs(12);
/// A single look takes no new server for granted until nothing was found for this long.
const SETTLED: Duration = Duration::from_secs(1);

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The servers; none: that of --redis, or those of --config
    #[arg(value_name = "URL")]
    urls: Vec<String>,

    /// Look at the servers of a poller's file
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    config: Option<PathBuf>,

    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,

    /// Print a table and end; so it does where the output is no terminal. Rates need two looks, an interval apart
    #[arg(long)]
    once: bool,

    /// Print an object a line, first each server, then its nodes, and end
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  agg top                                  look at one server, redis://127.0.0.1:7777
  agg top redis://10.1.0.7:7777 redis://10.1.0.8:7777
  agg top --config poller.toml             look at what a poller drains
  agg top --once                           print a table
  agg top --json | jq 'select(.lag_ms > 60000)'

Keys: arrows select, Enter looks into a node, s sorts, / filters, Tab shows the
servers, ? tells all, q quits. NO_COLOR turns colours off.

Exit codes: 0 quit or all looked at, 1 failed or not all could be looked at
(--once), 2 wrong usage, 130 interrupted before the end (--once).";

/// Short ones would only heat the servers, whose figures change no faster.
fn interval(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        short if short < Duration::from_millis(200) => Err("expected at least 200ms".into()),
        interval => Ok(interval),
    }
}

impl Options {
    /// Whether it goes on until it is ended.
    pub fn endless(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.once && !self.json && !dumb && std::io::stdout().is_terminal()
    }

    /// Whether the servers stand in a file.
    pub fn of_file(&self) -> bool {
        self.config.is_some()
    }

    /// Where the servers are; `url` is that of --redis.
    ///
    /// Returns an error if a URL or the file is not as it should be.
    pub fn sources(&self, url: &str, access: &Access) -> Result<Vec<Source>, String> {
        if let Some(path) = &self.config {
            return Config::read(path).map(|config| config.sources);
        }
        let one = [url.to_owned()];
        let urls = if self.urls.is_empty() {
            &one[..]
        } else {
            &self.urls[..]
        };
        let servers = urls.iter().map(|url| Server::parse(url, access));
        Ok(vec![Source::Urls(servers.collect::<Result<_, _>>()?)])
    }
}

/// Looks at the servers.
///
/// Returns an error if there is no terminal to draw on, or the output cannot be written.
pub fn run(options: &Options, sources: Vec<Source>, stop: &Shutdown) -> Result<Ended, String> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    let ended = match options.endless() {
        true => live(&runtime, options, sources, stop),
        false => once(&runtime, options, sources, stop),
    };
    // A name that is being looked up is waited for by nobody.
    runtime.shutdown_background();
    ended
}

/// Ends with the signal that asks for the end.
fn asked(stop: &Shutdown) -> mpsc::Receiver<()> {
    let (tell, asked) = mpsc::channel(1);
    let stop = stop.clone();
    // It ends with the program.
    std::thread::spawn(move || {
        while !stop.wait(Duration::from_secs(3600)) {}
        // Nobody listens any more if the program is about to end anyway.
        let _ = tell.blocking_send(());
    });
    asked
}

fn live(
    runtime: &Runtime,
    options: &Options,
    sources: Vec<Source>,
    stop: &Shutdown,
) -> Result<Ended, String> {
    let failed = |error: std::io::Error| format!("cannot draw on the terminal: {error}");
    let theme = Theme {
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let mut screen = Screen::open(stop).map_err(failed)?;
    let mut app = App::new(told(options.interval));
    let mut asked = asked(stop);
    runtime
        .block_on(async {
            let (wishes, wish) = watch::channel(Wish::default());
            let mut news = gather::start(sources, options.interval, wish);
            let mut keys = EventStream::new();
            let mut tick = tokio::time::interval(Duration::from_millis(250));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut drawn, mut fresh) = (Instant::now(), true);
            loop {
                let now = tokio::select! {
                    _ = asked.recv() => return Ok(()),
                    event = keys.next() => match event {
                        Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                            if app.key(key) {
                                return Ok(());
                            }
                            let wish = app.wish();
                            wishes.send_if_modified(|before| {
                                let other = *before != wish;
                                *before = wish;
                                other
                            });
                            true
                        }
                        Some(Ok(_)) => true,
                        // The terminal is gone.
                        Some(Err(error)) => return Err(error),
                        None => return Ok(()),
                    },
                    Some(one) = news.recv() => {
                        // The answer to a key is drawn at once.
                        let now = matches!(one, News::Into { .. });
                        app.take(one);
                        while let Ok(one) = news.try_recv() {
                            app.take(one);
                        }
                        fresh = true;
                        now
                    }
                    // Backoff count down.
                    _ = tick.tick() => fresh || drawn.elapsed() >= Duration::from_secs(1),
                };
                if now && screen.held() {
                    screen
                        .terminal
                        .draw(|frame| view::draw(frame, &mut app, theme))?;
                    (drawn, fresh) = (Instant::now(), false);
                }
            }
        })
        .map_err(failed)?;
    match screen.held() {
        true => Ok(Ended::Done),
        // What panicked has said why.
        false => Err("ended by a mistake of this program: please report it".into()),
    }
}

/// A duration as it is written.
fn told(of: Duration) -> String {
    match of.as_millis() {
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

fn once(
    runtime: &Runtime,
    options: &Options,
    sources: Vec<Source>,
    stop: &Shutdown,
) -> Result<Ended, String> {
    let mut model = Model::default();
    let mut asked = asked(stop);
    let interrupted = runtime.block_on(async {
        // Held, as without it nobody would be asked any more.
        let (_wishes, wish) = watch::channel(Wish::default());
        let news = gather::start(sources, options.interval, wish);
        tokio::select! {
            _ = asked.recv() => true,
            () = looks(&mut model, news, options.interval) => false,
        }
    });
    if interrupted {
        return Ok(Ended::Interrupted);
    }
    if model.servers.is_empty() {
        return Err("no server was found".into());
    }
    let text = match options.json {
        true => json_lines(&print::json(&model)),
        false => print::table(&model),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| format!("cannot write the output: {error}"))?,
    }
    let trouble = print::trouble(&model);
    for line in &trouble {
        say(line);
    }
    match trouble.is_empty() {
        true => Ok(Ended::Done),
        false => Ok(Ended::Incomplete),
    }
}

/// Waits until every server was looked at twice, or failed.
async fn looks(model: &mut Model, mut news: Receiver<News>, interval: Duration) {
    let start = Instant::now();
    let end = start + PATIENCE + 2 * interval;
    let mut found = start;
    loop {
        let servers = model.servers.values();
        let mut unknown = servers.filter(|server| match server.state {
            State::New => true,
            State::Up => server.looks < 2,
            State::Away { .. } => false,
        });
        let settled = found + SETTLED;
        let complete = unknown.next().is_none() && !model.servers.is_empty();
        let until = if complete { settled.min(end) } else { end };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match timeout(left, news.recv()).await {
            Ok(Some(one)) => {
                if matches!(one, News::Found { .. }) {
                    found = Instant::now();
                }
                model.take(one);
            }
            Ok(None) | Err(_) => return,
        }
    }
}
