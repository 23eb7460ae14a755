//! A connection for programs without a runtime: a [`Connection`] whose calls block the thread.

use redis::{Cmd, Value};
use tokio::runtime::{Builder, Runtime};

use super::connection::Connection;
use super::server::Server;
use super::walk::CursorWalk;
use crate::error::{ClientError, ServerError};
use crate::reply::Reply;

/// A blocking connection. It must not be used within an asynchronous runtime.
pub struct BlockingConnection {
    // Before the runtime, so that the connection is dropped while the runtime exists.
    connection: Connection,
    runtime: Runtime,
}

impl Server {
    /// Connects, and blocks the thread meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Server::connect`], or the system has no descriptors for a runtime.
    pub fn connect_blocking(&self) -> Result<BlockingConnection, ClientError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ClientError::Lost {
                endpoint: self.endpoint().to_owned(),
                reason: format!("cannot watch a connection: {error}"),
            })?;
        let connection = runtime.block_on(self.connect())?;
        Ok(BlockingConnection {
            connection,
            runtime,
        })
    }
}

impl BlockingConnection {
    /// Blocks the thread until asynchronous work with the connection is done.
    pub fn wait<T>(&mut self, work: impl AsyncFnOnce(&mut Connection) -> T) -> T {
        self.runtime.block_on(work(&mut self.connection))
    }

    /// As [`Connection::call`].
    ///
    /// # Errors
    ///
    /// As [`Connection::call`].
    pub fn call(&mut self, command: &Cmd) -> Result<Reply, ClientError> {
        let mut answer = Ok(Value::Nil);
        self.pipeline(std::slice::from_ref(command), |_, reply| answer = reply)?;
        Ok(answer)
    }

    /// As [`Connection::pipeline`].
    ///
    /// # Errors
    ///
    /// As [`Connection::pipeline`].
    pub fn pipeline(
        &mut self,
        commands: &[Cmd],
        each: impl FnMut(usize, Reply),
    ) -> Result<(), ClientError> {
        self.runtime
            .block_on(self.connection.pipeline(commands, each))
    }

    /// As [`CursorWalk::step`].
    ///
    /// # Errors
    ///
    /// As [`CursorWalk::step`].
    pub fn step(&self, walk: &mut CursorWalk, next: Vec<u8>) -> Result<bool, ClientError> {
        walk.step(&self.connection, next)
    }

    /// As [`Connection::unexpected_reply`].
    pub fn unexpected_reply(&self, command: &str) -> ClientError {
        self.connection.unexpected_reply(command)
    }

    /// As [`Connection::refused`].
    pub fn refused(&self, what: &str, error: &ServerError) -> ClientError {
        self.connection.refused(what, error)
    }
}
