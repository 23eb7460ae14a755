//! A connection to the database, with the tables created and the statements prepared.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, Statement};

use crate::config;

use super::error::StatementError;
use super::rows::Rows;
use super::table::Table;
use super::tls::MakeRustls;

/// The lock under which pollers create tables, so that two of them do not create the same one. Any number that other
/// programs do not use.
const LOCK: i64 = 0x6167_6772_0001;

/// A connection. Dropping it closes it.
pub struct Connection {
    client: Client,
    driver: JoinHandle<()>,
    timeout: Duration,
    /// The statements that insert, by table. `None` until the table is first written to.
    statements: [Option<Statement>; Table::ALL.len()],
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects, and authenticates.
    pub async fn open(settings: &config::Postgres) -> Result<Connection, StatementError> {
        let mut server = settings.server.clone();
        // The server does not work on what was given up, and its reason arrives before that.
        let milliseconds = settings.timeout.as_millis() * 9 / 10;
        let given = server.get_options().unwrap_or_default();
        server.options(format!("-c statement_timeout={milliseconds} {given}"));
        let opened = async {
            Ok(match &settings.tls {
                None => {
                    let (client, connection) = server.connect(NoTls).await?;
                    (client, tokio::spawn(run(connection)))
                }
                Some(tls) => {
                    let tls = MakeRustls(tls.config.clone());
                    let (client, connection) = server.connect(tls).await?;
                    (client, tokio::spawn(run(connection)))
                }
            })
        };
        let (client, driver) = within(settings.timeout, opened).await?;
        Ok(Connection {
            client,
            driver,
            timeout: settings.timeout,
            statements: [const { None }; Table::ALL.len()],
        })
    }

    /// Inserts rows in a transaction of their own.
    pub async fn insert(
        &mut self,
        table: Table,
        rows: &Rows<'_>,
        settings: &config::Postgres,
    ) -> Result<(), StatementError> {
        let statement = self.prepare(table, settings).await?;
        let parameters = rows.parameters();
        let inserted = self.client.execute(&statement, &parameters);
        within(self.timeout, inserted).await.map(drop)
    }

    /// Prepares the statement for a table, which is created if it is missing.
    async fn prepare(
        &mut self,
        table: Table,
        settings: &config::Postgres,
    ) -> Result<Statement, StatementError> {
        if let Some(statement) = &self.statements[table as usize] {
            return Ok(statement.clone());
        }
        let name = settings.table(table.name());
        if !self.exists(&name).await? {
            self.create(table, &name).await?;
        }
        let sql = table.insert(&name);
        let statement = self.client.prepare(&sql);
        let statement =
            within(self.timeout, statement)
                .await
                .map_err(|error| match error.is_about_table {
                    true => error.within(&format!("the table {name} is not as agg creates it")),
                    false => error,
                })?;
        Ok(self.statements[table as usize].insert(statement).clone())
    }

    /// Returns whether a table exists.
    pub async fn exists(&self, name: &str) -> Result<bool, StatementError> {
        self.ask("SELECT to_regclass($1) IS NOT NULL", name).await
    }

    /// Returns whether the user may create tables in a schema, and whether the schema exists.
    pub async fn may_create(&self, schema: &str) -> Result<bool, StatementError> {
        self.ask("SELECT has_schema_privilege($1, 'CREATE')", schema)
            .await
    }

    /// Returns whether the user may insert into a table and read it.
    pub async fn may_insert(&self, table: &str) -> Result<bool, StatementError> {
        let sql = "SELECT has_table_privilege($1, 'INSERT') AND has_table_privilege($1, 'SELECT')";
        self.ask(sql, table).await
    }

    /// Returns whether the server is a standby.
    pub async fn is_standby(&self) -> Result<bool, StatementError> {
        let row = self.client.query_one("SELECT pg_is_in_recovery()", &[]);
        Ok(within(self.timeout, row).await?.try_get(0)?)
    }

    /// Returns the version of the server.
    pub async fn version(&self) -> Result<String, StatementError> {
        let row = self.client.query_one("SHOW server_version", &[]);
        Ok(within(self.timeout, row).await?.try_get(0)?)
    }

    async fn ask(&self, sql: &str, word: &str) -> Result<bool, StatementError> {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&word];
        let row = self.client.query_one(sql, &parameters);
        Ok(within(self.timeout, row).await?.try_get(0)?)
    }

    /// Creates a table and its indexes, all or nothing.
    async fn create(&self, table: Table, name: &str) -> Result<(), StatementError> {
        // The block runs as one transaction.
        let sql = format!(
            "DO $agg$ BEGIN PERFORM pg_advisory_xact_lock({LOCK}); IF to_regclass('{name}') IS NULL THEN {} END IF; \
             END $agg$",
            table.create(name)
        );
        let created = within(self.timeout, self.client.batch_execute(&sql)).await;
        created.map_err(|error| error.within(&format!("cannot create the table {name}")))
    }
}

/// Runs the I/O of a connection until it is closed. Its error is that of the statement too.
async fn run<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio_postgres::tls::TlsStream + Unpin,
{
    let _ = connection.await;
}

/// Waits for a reply.
async fn within<T>(
    time: Duration,
    reply: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StatementError> {
    match timeout(time, reply).await {
        Ok(reply) => Ok(reply?),
        Err(_) => Err(StatementError::new(format!("no reply within {time:?}"))),
    }
}
