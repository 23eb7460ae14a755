//! `agg listen --check --connect`: finds out whether the server would take the reports of the listener.
//!
//! # Invariants
//!
//! Nothing is reported: every command has an argument that no server accepts. In a transaction that is discarded the server
//! does not even read the argument, but checks the user's permissions all the same.

use agg_client::ServerError;
use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection, Server};
use agg_client::discovery::probe::{self, State};
use aggregator_protocol::NodeName;

/// Commands of the listener whose last argument is no number, no value and no option.
const COMMANDS: [(&str, &[&str]); 6] = [
    ("AGG.STAT", &["agg.check", "-"]),
    ("AGG.MSTAT", &["-", "-", "-"]),
    ("AGG.HIST", &["agg.check", "-", "-", "-"]),
    ("AGG.LOG", &["agg check", "-"]),
    ("AGG.ERROR", &["agg check", "-"]),
    ("AGG.REALITY", &["agg.check", "agg.check", "{}", "-"]),
];

/// Connects, and returns what the server is.
///
/// # Errors
///
/// Returns the reason for which the listener could not report as this node.
pub async fn examine(server: &Server, node: &NodeName) -> Result<String, String> {
    let mut connection = server.connect().await?;
    let about = probe::examine(&mut connection).await;
    match about.state {
        State::Ok => {}
        State::Replica => return Err("a replica: only its primary takes reports".into()),
        State::NoModule => {
            let endpoint = server.endpoint().to_owned();
            return Err(ClientError::NoModule { endpoint }.into());
        }
        state => return Err(about.why.unwrap_or_else(|| state.words().to_owned())),
    }
    may_report(&mut connection, node).await?;
    Ok(format!("{}, takes reports for {node}", about.description()))
}

/// Checks that the server takes writes, and what the user may do.
async fn may_report(connection: &mut Connection, node: &NodeName) -> Result<(), String> {
    let mut commands: Vec<Cmd> = COMMANDS.iter().map(|of| without_effect(of, node)).collect();
    // Without the permission for transactions the server counts the commands as rejected.
    if connection.call(&Cmd::new("MULTI")).await?.is_ok() {
        commands.push(Cmd::new("DISCARD"));
    }
    let mut errors = Vec::new();
    let each = |index, reply: Result<_, ServerError>| {
        if let (Some((name, _)), Err(error)) = (COMMANDS.get(index), reply) {
            errors.push((*name, error));
        }
    };
    connection.pipeline(&commands, each).await?;
    // A replica, a full disk, a slot of another server: it would reject any report.
    if let Some((name, error)) = errors.iter().find(|(_, error)| error.rejects_writes()) {
        return Err(connection.rejected(name, error).to_string());
    }
    let denied = |is_of_command: bool| {
        let of_user = errors.iter().filter(|(_, error)| {
            error.is_permission_denied() && error.denies_command() == is_of_command
        });
        of_user.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    match (&denied(true)[..], &denied(false)[..]) {
        ([], []) => Ok(()),
        ([], _) => Err(format!("the user may not report for {node}")),
        (commands, _) => Err(format!("the user may not run {}", commands.join(", "))),
    }
}

fn without_effect((name, arguments): &(&str, &[&str]), node: &NodeName) -> Cmd {
    let mut command = Cmd::of_node(name, node);
    for argument in *arguments {
        command.arg(argument);
    }
    command
}
