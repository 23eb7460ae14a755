//! Documents of a SecantusDB. It has no disk of its own to fill: a fail point makes its error.

use mongodb::bson::{Document, doc};

use crate::support::mongo;
use crate::support::proxy::Proxy;

use super::super::target::{Fault, Guarantee, Target};
use super::route::Route;

pub struct MongoDb {
    server: mongo::MongoDb,
    route: Route,
}

/// OutOfDiskSpace.
const NO_SPACE: i32 = 14031;

impl Target for MongoDb {
    const NAME: &'static str = "mongodb";
    const SERVER: &'static str = "SecantusDB";
    const GUARANTEE: Guarantee = Guarantee::Once;

    fn support(fault: Fault) -> Result<(), &'static str> {
        match fault {
            Fault::Conflict => {
                Err("its collections have no schema; a validator rejects single records")
            }
            _ => Ok(()),
        }
    }

    fn start(fault: Fault) -> Option<MongoDb> {
        let server = mongo::MongoDb::start()?;
        let route = Route::to(server.port, fault);
        Some(MongoDb { server, route })
    }

    fn sink(&self) -> String {
        // Directly: the server names itself to its clients, past the proxy.
        format!(
            "type = \"mongodb\"\nuri = \"mongodb://127.0.0.1:{}/?directConnection=true\"\ndatabase = \"grid\"\n\
             batch-lines = 100\ntimeout = \"5s\"",
            self.route.port
        )
    }

    fn stored(&self) -> Vec<String> {
        let documents = ["logs", "statistics"].map(|name| self.server.find(name, doc! {}));
        let key = |document: &Document| {
            let text = |field: &str| document.get_str(field).unwrap();
            let id = document.get_i64("id").unwrap();
            format!("{} {} {id}", text("node"), text("queue"))
        };
        documents.iter().flatten().map(key).collect()
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
            Fault::Slow => "no reply within 5s",
            Fault::Reject => {
                let validator = doc! { "message": { "$ne": "poison" } };
                self.server
                    .command(doc! { "create": "logs", "validator": validator });
                "error 121: Document failed validation"
            }
            Fault::Full => {
                self.server
                    .fail(&["insert", "update"], 3, doc! { "errorCode": NO_SPACE });
                "failpoint"
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        if fault == Fault::Away {
            self.server.restart(&["--enable-test-commands"], "");
        }
    }
}
