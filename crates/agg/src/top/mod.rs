//! `agg top`: shows servers and their nodes live in a terminal, or once as text. Only reads: INFO, SCAN, and AGG's
//! reading commands.
//!
//! Tasks read the servers (watcher.rs, queries.rs) and send updates to the model (model.rs, node_detail.rs). Keys
//! change the state of the user interface (app.rs), and view/ draws both.

mod app;
mod columns;
mod model;
mod node_detail;
mod print;
mod queries;
mod rates;
mod replies;
mod table;
mod terminal;
mod text;
mod view;
mod watcher;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossterm::event::{Event, EventStream, KeyEvent, KeyEventKind};
use futures_util::StreamExt;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

use agg_client::Shutdown;
use agg_client::connect::{Access, Server};
use agg_client::discovery::Source;
use aggregator_protocol::{masking, units};

use crate::exit_status::ExitStatus;
use agg_poller::config::Config;

use app::App;
use model::{Model, Selection, State, Update};
use terminal::Terminal;
use view::Theme;

/// The time that `--once` waits for servers that do not answer, in addition to two intervals.
const TIMEOUT: Duration = Duration::from_secs(12);
/// `--once` expects no further servers once none was found for this long.
const DISCOVERY_IDLE: Duration = Duration::from_secs(1);
/// The minimum time between two drawings of the screen, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(250);

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The servers [default: that of --redis, or those of --config]
    #[arg(value_name = "URL")]
    urls: Vec<String>,

    /// Show the servers of a configuration file of agg poll
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    config: Option<PathBuf>,

    /// Interval between readings, at least 200ms, for example 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,

    /// Print a table and exit, as without a terminal. Reads twice, an interval apart, to calculate rates
    #[arg(long)]
    once: bool,

    /// Print one JSON object per line, each server followed by its nodes, and exit
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  agg top                                  one server, redis://127.0.0.1:7777
  agg top redis://10.1.0.7:7777 redis://10.1.0.8:7777
  agg top --config poller.toml             the servers that a poller drains
  agg top --once                           print a table
  agg top --json | jq 'select(.lag_ms > 60000)'

Keys: arrows select, Enter shows a node, s sorts, / filters, Tab shows the servers, ? shows help,
q quits. NO_COLOR turns colours off.

Exit codes: 0 quit or everything read, 1 failed or incomplete (--once), 2 invalid usage,
130 interrupted (--once).";

/// Shorter intervals would only load the servers.
fn interval(text: &str) -> Result<Duration, String> {
    match units::duration(text).map_err(|e| e.to_string())? {
        short if short < Duration::from_millis(200) => Err("expected at least 200ms".into()),
        interval => Ok(interval),
    }
}

impl Options {
    /// Returns whether the command runs until it is interrupted.
    pub fn is_endless(&self) -> bool {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.once && !self.json && !is_dumb && std::io::stdout().is_terminal()
    }

    /// Returns whether the servers come from a configuration file.
    pub fn has_config(&self) -> bool {
        self.config.is_some()
    }

    /// Returns where the servers are; `url` is that of --redis.
    ///
    /// # Errors
    /// A URL or the configuration file is invalid.
    pub fn sources(&self, url: &str, access: &Access) -> Result<Vec<Source>, String> {
        if let Some(path) = &self.config {
            let config = Config::read(path).map_err(|error| error.to_string())?;
            return Ok(config.sources);
        }
        let default = [url.to_owned()];
        let urls = match self.urls.as_slice() {
            [] => &default[..],
            urls => urls,
        };
        let servers = urls.iter().map(|url| Server::parse(url, access));
        Ok(vec![Source::Urls(servers.collect::<Result<_, _>>()?)])
    }
}

/// Shows the servers.
///
/// # Errors
/// There is no terminal to draw on, or the output cannot be written.
pub async fn run(
    options: &Options,
    sources: Vec<Source>,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    match options.is_endless() {
        true => run_live(options, sources, shutdown).await,
        false => run_once(options, sources, shutdown).await,
    }
}

async fn run_live(
    options: &Options,
    sources: Vec<Source>,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let failed = |error: std::io::Error| format!("cannot draw on the terminal: {error}");
    let theme = Theme {
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let mut terminal = Terminal::open(shutdown).map_err(failed)?;
    let mut app = App::new(spelled(options.interval));
    show(&mut app, &mut terminal, theme, options, sources, shutdown)
        .await
        .map_err(failed)?;
    match terminal.is_open() {
        true => Ok(ExitStatus::Success),
        // The panic printed its reason.
        false => Err("internal error: please report it".into()),
    }
}

/// Draws the state of the user interface until the user quits or a shutdown is requested.
async fn show(
    app: &mut App,
    terminal: &mut Terminal,
    theme: Theme,
    options: &Options,
    sources: Vec<Source>,
    shutdown: &Shutdown,
) -> std::io::Result<()> {
    let (selection, selected) = watch::channel(Selection::default());
    let mut updates = watcher::start(sources, options.interval, selected);
    let mut keys = EventStream::new();
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drawn_at = Instant::now();
    let mut has_changed = true;
    loop {
        let draw_now = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    if handle_key(app, key, &selection) {
                        return Ok(());
                    }
                    true
                }
                // The terminal was resized.
                Some(Ok(_)) => true,
                // The terminal is gone.
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            Some(update) = updates.recv() => {
                // The answer to a key is drawn at once.
                let is_answer = matches!(update, Update::Detail { .. });
                app.apply(update);
                while let Ok(update) = updates.try_recv() {
                    app.apply(update);
                }
                has_changed = true;
                is_answer
            }
            // At least every second, as pauses are counted down.
            _ = frames.tick() => has_changed || drawn_at.elapsed() >= Duration::from_secs(1),
        };
        if draw_now && terminal.is_open() {
            terminal
                .screen
                .draw(|frame| view::draw(frame, app, theme))?;
            (drawn_at, has_changed) = (Instant::now(), false);
        }
    }
}

/// Handles a key and passes a changed selection on. Returns whether the program should end.
fn handle_key(app: &mut App, key: KeyEvent, selection: &watch::Sender<Selection>) -> bool {
    if app.handle_key(key) {
        return true;
    }
    let selected = app.selection();
    selection.send_if_modified(|before| {
        let is_other = *before != selected;
        *before = selected;
        is_other
    });
    false
}

/// Returns a duration as it is spelled in arguments.
fn spelled(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

async fn run_once(
    options: &Options,
    sources: Vec<Source>,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let mut model = Model::default();
    // Held until the end: the watchers stop when it is dropped.
    let (_selection, selected) = watch::channel(Selection::default());
    let updates = watcher::start(sources, options.interval, selected);
    tokio::select! {
        () = shutdown.requested() => return Ok(ExitStatus::Interrupted),
        () = read_twice(&mut model, updates, options.interval) => {}
    }
    if model.servers.is_empty() {
        return Err("no servers found".into());
    }
    let text = match options.json {
        true => {
            let json =
                print::json(&model).map_err(|error| format!("cannot write JSON: {error}"))?;
            masking::json_lines(&json)
        }
        false => print::table(&model),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader closed it: `agg top --once | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| format!("cannot write to standard output: {error}"))?,
    }
    let problems = print::problems(&model);
    for problem in &problems {
        tracing::info!("{problem}");
    }
    match problems.is_empty() {
        true => Ok(ExitStatus::Success),
        false => Ok(ExitStatus::Incomplete),
    }
}

/// Waits until every server was read twice, or is down.
async fn read_twice(model: &mut Model, mut updates: Receiver<Update>, interval: Duration) {
    let start = Instant::now();
    let end = start + TIMEOUT + 2 * interval;
    let mut last_found = start;
    loop {
        let servers = model.servers.values();
        let mut incomplete = servers.filter(|server| match server.state {
            State::Connecting => true,
            State::Up => server.readings < 2,
            State::Down { .. } => false,
        });
        let is_complete = incomplete.next().is_none() && !model.servers.is_empty();
        let until = match is_complete {
            true => (last_found + DISCOVERY_IDLE).min(end),
            false => end,
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match timeout(left, updates.recv()).await {
            Ok(Some(update)) => {
                if matches!(update, Update::Found { .. }) {
                    last_found = Instant::now();
                }
                model.apply(update);
            }
            Ok(None) | Err(_) => return,
        }
    }
}
