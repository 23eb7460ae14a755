//! The runtime of a subcommand, and the signals that end it: SIGINT, SIGTERM and SIGHUP request a shutdown.
//!
//! A subcommand that is stuck in a call (a reader of its output that has stopped, a file system that does not answer) is
//! abandoned after [`GRACE`]; the records that it had leased return to their queue when the lease ends.

use std::panic::resume_unwind;
use std::time::Duration;

use agg_client::Shutdown;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::exit_status::ExitStatus;

/// How long a subcommand has to end after a signal.
const GRACE: Duration = Duration::from_millis(900);

/// Runs a subcommand until it ends, or until [`GRACE`] after a signal; then the status is `interrupted`.
///
/// # Errors
/// The subcommand failed, or the system has no threads or descriptors for the runtime.
pub fn run<F>(
    interrupted: ExitStatus,
    subcommand: impl FnOnce(Shutdown) -> F + Send + 'static,
) -> Result<ExitStatus, String>
where
    F: Future<Output = Result<ExitStatus, String>>,
{
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    let result = runtime.block_on(async {
        let shutdown = Shutdown::default();
        let signals = signals();
        let signals = signals.map_err(|error| format!("cannot listen for signals: {error}"))?;
        let requested = shutdown.clone();
        // On a thread of its own, as a subcommand may block: it writes to standard output and reads /proc.
        let ended = spawn_blocking(move || Handle::current().block_on(subcommand(requested)));
        tokio::select! {
            ended = ended => ended.unwrap_or_else(|error| resume_unwind(error.into_panic())),
            () = async {
                signals.await;
                shutdown.request();
                sleep(GRACE).await;
            } => Ok(interrupted),
        }
    });
    // Does not wait for a call that is stuck, such as a name lookup.
    runtime.shutdown_background();
    result
}

/// Returns a future that ends with the first signal. Signals are caught from now on.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
