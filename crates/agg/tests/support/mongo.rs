//! A real server that speaks MongoDB's protocol (SecantusDB, which scripts/servers.sh fetches) on a free loopback port,
//! in a directory of its own. It ends with its value, by its process id. Tests connect by MongoDB's own driver.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mongodb::bson::{Document, doc};
use mongodb::sync::{Client, Database};

use super::{fetched_servers, free_port, missing, until};

/// A running database server.
pub struct MongoDb {
    child: Child,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl MongoDb {
    /// Starts an empty one with fail points; `None` if the program is missing.
    pub fn start() -> Option<MongoDb> {
        if !program().exists() {
            return missing("secantusd, which scripts/servers.sh fetches,");
        }
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = spawn(dir.path(), port, &["--enable-test-commands"]);
        let mut mongo = MongoDb { child, port, dir };
        mongo.wait_for_answer("");
        Some(mongo)
    }

    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/", self.port)
    }

    /// Kills it, as a crash does.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Restarts it with its data and waits for it with these parameters of the URI.
    pub fn restart(&mut self, arguments: &[&str], parameters: &str) {
        self.stop();
        self.child = spawn(self.dir.path(), self.port, arguments);
        self.wait_for_answer(parameters);
    }

    fn wait_for_answer(&mut self, parameters: &str) {
        let uri = format!("{}?{parameters}serverSelectionTimeoutMS=500", self.uri());
        until("secantusd answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("secantusd ended with {status}");
            }
            let client = Client::with_uri_str(&uri).unwrap();
            let admin = client.database("admin");
            admin.run_command(doc! { "hello": 1 }).run().ok()
        });
    }

    /// Returns the database that pollers of tests write to.
    pub fn database(&self) -> Database {
        Client::with_uri_str(self.uri()).unwrap().database("grid")
    }

    /// Returns the documents of a collection that match a filter.
    pub fn find(&self, collection: &str, filter: Document) -> Vec<Document> {
        let collection = self.database().collection::<Document>(collection);
        let found = collection.find(filter).run().unwrap();
        found.map(Result::unwrap).collect()
    }

    pub fn count(&self, collection: &str) -> u64 {
        let collection = self.database().collection::<Document>(collection);
        collection.count_documents(doc! {}).run().unwrap()
    }

    /// Runs a command on the database of the tests.
    pub fn command(&self, command: Document) {
        self.database().run_command(command).run().unwrap();
    }

    /// Makes the next `times` commands fail by the fail point `failCommand`.
    pub fn fail(&self, commands: &[&str], times: i32, mut how: Document) {
        how.insert("failCommands", commands);
        let command = doc! {
            "configureFailPoint": "failCommand", "mode": { "times": times }, "data": how,
        };
        let admin = Client::with_uri_str(self.uri()).unwrap().database("admin");
        admin.run_command(command).run().unwrap();
    }
}

impl Drop for MongoDb {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> PathBuf {
    fetched_servers().join("secantusd")
}

fn spawn(dir: &Path, port: u16, arguments: &[&str]) -> Child {
    // It looks for its settings in the current directory.
    let log = std::fs::File::create(dir.join("log")).unwrap();
    Command::new(std::fs::canonicalize(program()).unwrap())
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args([
            "--storage-path",
            "data",
            "--cache-size",
            "64M",
            "--sync-on-commit",
        ])
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
