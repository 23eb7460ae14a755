//! A connection for those who do one thing after another: a [`Wire`] that is waited for.

use redis::{Cmd, Value};
use tokio::runtime::{Builder, Runtime};

use super::walk::Walk;
use super::wire::Wire;
use super::{Failure, Server};
use crate::reply::Reply;

/// A connection. Not to be used where a runtime is at work already.
pub struct Link {
    // Before the runtime, so that it ends while there is one.
    wire: Wire,
    runtime: Runtime,
}

impl Link {
    pub(super) fn new(server: &Server) -> Result<Link, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Lost(format!("cannot watch a connection: {error}")))?;
        let wire = runtime.block_on(server.dial())?;
        Ok(Link { wire, runtime })
    }

    /// Waits for work that is done asynchronously.
    pub fn wait<T>(&mut self, work: impl AsyncFnOnce(&mut Wire) -> T) -> T {
        self.runtime.block_on(work(&mut self.wire))
    }

    /// Sends one command.
    pub fn call(&mut self, command: &Cmd) -> Result<Reply, Failure> {
        let mut answer = Ok(Value::Nil);
        self.pipeline(std::slice::from_ref(command), |_, reply| answer = reply)?;
        Ok(answer)
    }

    /// Sends all commands at once and hands each reply to `each`, with its command's index. After a failure, those
    /// commands that had no reply may or may not have been carried out.
    pub fn pipeline(
        &mut self,
        commands: &[Cmd],
        each: impl FnMut(usize, Reply),
    ) -> Result<(), Failure> {
        self.runtime.block_on(self.wire.pipeline(commands, each))
    }

    /// Takes the next cursor of a walk; see [`Walk::step`].
    pub fn step(&self, walk: &mut Walk, next: Vec<u8>) -> Result<bool, Failure> {
        walk.step(&self.wire, next)
    }

    /// A failure because the reply is not what the command answers.
    pub fn strange(&self, command: &str) -> Failure {
        self.wire.strange(command)
    }

    /// A failure because the server refuses what all depends on.
    pub fn refused(&self, what: &str, text: &str) -> Failure {
        self.wire.refused(what, text)
    }
}
