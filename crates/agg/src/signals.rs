//! Signals: SIGINT, SIGTERM and SIGHUP request the end of a command. A command that is stuck in a call (a server that
//! does not answer, a reader of its output that has stopped) is ended when its grace has passed, most within a second;
//! the records that it had leased return to their queue when the lease ends.

use std::time::Duration;

use agg_client::Shutdown;

/// How long most commands have to end by themselves.
pub const GRACE: Duration = Duration::from_millis(900);

/// Listens for the signals. `code` is the exit code of a command that is stuck when `grace` has passed.
///
/// # Errors
/// The system gives no thread or handler, or the function is called twice.
pub fn shutdown_on_signals(code: u8, grace: Duration) -> Result<Shutdown, ctrlc::Error> {
    let shutdown = Shutdown::default();
    let requested = shutdown.clone();
    // The handler runs in a thread of its own, so it may sleep.
    ctrlc::set_handler(move || {
        requested.request();
        std::thread::sleep(grace);
        std::process::exit(i32::from(code));
    })?;
    Ok(shutdown)
}
