//! The terminal: taken over while this is held, and restored at the end, after an error, and when a thread panics, so
//! that its message can be read.

use std::io::{self, Stdout, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::backend::CrosstermBackend;

use agg_client::Shutdown;

/// True if the terminal is taken over. It is restored once only: a second time would overwrite what was written since.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, restored when this is dropped.
pub struct Terminal {
    pub screen: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

impl Terminal {
    /// Takes the terminal over. A panic in any thread restores it and requests the shutdown.
    ///
    /// # Errors
    /// The terminal cannot be switched to raw mode or written to.
    pub fn open(shutdown: &Shutdown) -> io::Result<Terminal> {
        let (before, shutdown) = (std::panic::take_hook(), shutdown.clone());
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
            shutdown.request();
        }));
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode().inspect_err(|_| TAKEN.store(false, Ordering::SeqCst))?;
        // Restores the terminal if one of the next steps fails.
        let guard = RestoreGuard;
        execute!(stdout(), EnterAlternateScreen)?;
        let screen = ratatui::Terminal::new(CrosstermBackend::new(stdout()))?;
        std::mem::forget(guard);
        Ok(Terminal { screen })
    }

    /// Returns whether the terminal is still taken over: a panic restores it.
    pub fn is_open(&self) -> bool {
        TAKEN.load(Ordering::SeqCst)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

struct RestoreGuard;

impl Drop for RestoreGuard {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Errors are ignored: a terminal that is gone needs no restoring.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = stdout().flush();
}
