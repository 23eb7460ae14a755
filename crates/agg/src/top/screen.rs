//! The terminal: taken over while this is held and given back as it was, at the end, at an error, and when a thread
//! panics, so that the message can be read.

use std::io::{self, Stdout, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use agg_client::Shutdown;

/// Whether the terminal is ours. It is given back once, as what was written since would be written over.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal.
pub struct Screen {
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal over. A panic gives it back and asks for the end, in whatever thread.
    pub fn open(stop: &Shutdown) -> io::Result<Screen> {
        let (before, stop) = (std::panic::take_hook(), stop.clone());
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
            stop.request();
        }));
        OURS.store(true, Ordering::SeqCst);
        enable_raw_mode().inspect_err(|_| OURS.store(false, Ordering::SeqCst))?;
        // From here on whatever happens gives it back.
        let back = Back;
        execute!(stdout(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        std::mem::forget(back);
        Ok(Screen { terminal })
    }

    /// Whether it is still ours: a panic has given it back.
    pub fn held(&self) -> bool {
        OURS.load(Ordering::SeqCst)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if !OURS.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that is gone needs nothing.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = stdout().flush();
}
