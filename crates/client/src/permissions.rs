//! The permissions of a user, read from the replies to commands that change nothing. No user needs a permission more for
//! that, as ACL DRYRUN would.

use crate::command::Cmd;
use crate::connect::{ClientError, Connection};
use crate::error::ServerError;

/// The part of a command that a user may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The command, with any key.
    Command,
    /// The key, with this command.
    Key,
}

/// Sends commands. Returns for each the part that the user may not use. A server checks the command before the key.
///
/// # Errors
///
/// The connection failed, or the server does not have a command.
pub async fn denied(
    connection: &mut Connection,
    commands: &[Cmd],
) -> Result<Vec<Option<Denied>>, ClientError> {
    let mut denied = Vec::with_capacity(commands.len());
    connection
        .pipeline(commands, |_, reply| {
            denied.push(reply.err().as_ref().and_then(denied_by));
        })
        .await?;
    Ok(denied)
}

/// Reads the reply to a command.
fn denied_by(error: &ServerError) -> Option<Denied> {
    error
        .is_permission_denied()
        .then(|| match error.denies_command() {
            true => Denied::Command,
            false => Denied::Key,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_servers_are_read() {
        for (text, expected) in [
            ("ERR wrong number of arguments", None),
            ("MOVED 3999 127.0.0.1:6381", None),
            (
                "NOPERM this user has no permissions to run the 'agg.fetch' command or its subcommand",
                Some(Denied::Command),
            ),
            (
                "NOPERM User keys has no permissions to run the 'agg.fetch' command",
                Some(Denied::Command),
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Some(Denied::Key),
            ),
            ("NOPERM No permissions to access a key", Some(Denied::Key)),
        ] {
            assert_eq!(denied_by(&ServerError::parse(text)), expected, "{text}");
        }
    }
}
