//! A connection for those who do one thing after another: a [`Connection`] that is waited for.

use redis::{Cmd, Value};
use tokio::runtime::{Builder, Runtime};

use super::connection::Connection;
use super::walk::Walk;
use super::{ClientError, Server};
use crate::reply::Reply;

/// A connection. Not to be used where a runtime is at work already.
pub struct BlockingConnection {
    // Before the runtime, so that it ends while there is one.
    wire: Connection,
    runtime: Runtime,
}

impl BlockingConnection {
    pub(super) fn new(server: &Server) -> Result<BlockingConnection, ClientError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ClientError::Lost(format!("cannot watch a connection: {error}")))?;
        let wire = runtime.block_on(server.dial())?;
        Ok(BlockingConnection { wire, runtime })
    }

    /// Waits for work that is done asynchronously.
    pub fn wait<T>(&mut self, work: impl AsyncFnOnce(&mut Connection) -> T) -> T {
        self.runtime.block_on(work(&mut self.wire))
    }

    /// Sends one command.
    pub fn call(&mut self, command: &Cmd) -> Result<Reply, ClientError> {
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
    ) -> Result<(), ClientError> {
        self.runtime.block_on(self.wire.pipeline(commands, each))
    }

    /// Takes the next cursor of a walk; see [`Walk::step`].
    pub fn step(&self, walk: &mut Walk, next: Vec<u8>) -> Result<bool, ClientError> {
        walk.step(&self.wire, next)
    }

    /// A failure because the reply is not what the command answers.
    pub fn unexpected_reply(&self, command: &str) -> ClientError {
        self.wire.unexpected_reply(command)
    }

    /// A failure because the server refuses what all depends on.
    pub fn refused(&self, what: &str, text: &str) -> ClientError {
        self.wire.refused(what, text)
    }
}
