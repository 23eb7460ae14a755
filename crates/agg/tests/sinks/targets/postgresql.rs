//! Rows of a real PostgreSQL. The error of a full disk is raised by a trigger.

use crate::support::postgres::{Postgres, uri};
use crate::support::proxy::Proxy;

use super::super::target::{Fault, Guarantee, Target};
use super::route::Route;

pub struct PostgreSql {
    server: Postgres,
    route: Route,
}

const TABLES: [&str; 2] = ["logs", "statistics"];
/// Adds a constraint to the table that the sink creates.
const CONSTRAINT: &str = "
    CREATE FUNCTION constrain() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF to_regclass('logs') IS NOT NULL
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'no_poison')
        THEN
            ALTER TABLE logs ADD CONSTRAINT no_poison CHECK (message <> 'poison');
        END IF;
    END $$;
    CREATE EVENT TRIGGER constrain ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
        EXECUTE FUNCTION constrain()";
const NO_SPACE: &str = "
    CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';
    END $$";

impl Target for PostgreSql {
    const NAME: &'static str = "postgresql";
    const SERVER: &'static str = "PostgreSQL";
    const GUARANTEE: Guarantee = Guarantee::Once;

    fn start(fault: Fault) -> Option<PostgreSql> {
        let server = Postgres::start()?;
        let route = Route::to(server.port, fault);
        Some(PostgreSql { server, route })
    }

    fn sink(&self) -> String {
        format!(
            "type = \"postgresql\"\nuri = \"{}\"\nuser = \"poller\"\nbatch-lines = 100\ntimeout = \"5s\"",
            uri(self.route.port)
        )
    }

    fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        for table in TABLES {
            let exists = format!("SELECT to_regclass('{table}') IS NOT NULL AS is");
            if self.server.rows(&exists)[0]["is"] != true {
                continue;
            }
            let queue = if table == "logs" {
                "'LOG' AS queue"
            } else {
                "queue"
            };
            let rows = self
                .server
                .rows(&format!("SELECT node, {queue}, id FROM {table}"));
            all.extend(rows.iter().map(super::super::target::by_id));
        }
        all
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.route.proxy)
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        match fault {
            Fault::Away => {
                self.server.stop();
                ""
            }
            Fault::Slow => "no reply within",
            Fault::Reject => {
                self.server.execute(CONSTRAINT);
                "violates check constraint \"no_poison\""
            }
            Fault::Full => {
                self.server.execute(NO_SPACE);
                for table in TABLES {
                    self.server.execute(&format!(
                        "CREATE TRIGGER no_space BEFORE INSERT ON {table} EXECUTE FUNCTION no_space()"
                    ));
                }
                "could not extend file (53100)"
            }
            Fault::Conflict => {
                for table in TABLES {
                    self.server
                        .execute(&format!("CREATE TABLE {table} (node integer)"));
                }
                ""
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        match fault {
            Fault::Away => self.server.restart(),
            Fault::Full => self.server.execute("DROP FUNCTION no_space CASCADE"),
            Fault::Conflict => self.server.execute("DROP TABLE logs, statistics"),
            _ => {}
        }
    }
}
