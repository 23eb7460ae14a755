//! Runs arbitrary arguments: `Request::parse` for every command, and the requests that it accepts on a node.
//!
//! The first byte selects the settings; the rest are commands, separated by 0xfe. The first byte of a command selects
//! the command that runs, and its arguments (after the name of the command, that of the node included) are separated by
//! 0xff. An error is one short line of printable text that begins with a code. A parsed request gives exactly one
//! well-formed reply, and a command that creates allocates at most its cost plus a fixed allowance.

use crate::memory::measured;
use crate::server::{BASE, Server, Tree, Value};
use aggregator_core::ages::Ages;
use aggregator_core::node::METRIC_RESERVE;
use aggregator_core::{Command, CommandError, Node, Request, Settings};

/// Separates commands.
pub const COMMAND: u8 = 0xfe;
/// Separates arguments.
pub const ARGUMENT: u8 = 0xff;

/// Bytes allowed beyond the cost, for the first blocks of tables.
const SLACK: u64 = 8 << 10;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (first, data) = data.split_first().unwrap_or((&0, &[]));
    let settings = Settings {
        // The smaller limit truncates and rejects texts.
        max_item_size: if first & 1 == 0 { 64 << 10 } else { 24 },
        max_series: 8,
        max_realities: 4,
        max_errors: 4,
        max_sources: 2,
        ..Settings::default()
    };
    let mut server = Server::new(settings, BASE);
    if first & 2 != 0 {
        (server.memory_pressure, server.available_bytes) = (true, u64::from(first >> 2) * 32);
    }
    let mut node = Node::new(&server.settings, 1);
    for command in data.split(|b| *b == COMMAND).take(64) {
        let (selector, arguments) = command.split_first().unwrap_or((&0, &[]));
        let mut args: Vec<&[u8]> = vec![b"AGG"];
        if !arguments.is_empty() {
            args.extend(arguments.split(|b| *b == ARGUMENT));
        }
        for command in Command::ALL {
            match Request::parse(command, &args, &server.settings, server.now) {
                Ok(request) => check_reading(&request, command, &server, &node),
                Err(error) => check_error(&error, command),
            }
        }
        let command = Command::ALL[usize::from(*selector) % Command::ALL.len()];
        run_command(&mut server, &mut node, command, &args);
        server.pass(700);
    }
}

/// Runs `command` if its arguments are valid, and compares the memory that it allocates with its cost.
fn run_command(server: &mut Server, node: &mut Node, command: Command, args: &[&[u8]]) {
    let Ok(request) = Request::parse(command, args, &server.settings, server.now) else {
        return;
    };
    let name = args.get(1).copied().unwrap_or_default();
    let quick = request.cost(Some(node), false, &server.settings);
    let precise = request.cost(Some(node), true, &server.settings);
    // Both are bounds; the precise one is larger where three windows are open.
    let cost = precise.min(quick);
    let metrics = node.contents().metrics;
    // The reply is freed within the measurement; the buffer of the effects exists before.
    let ((), _, allocated) = measured(|| match server.run_request(node, &request, name) {
        Ok(reply) => check_reply(command, &reply),
        Err(error) => check_error(&error, command),
    });
    server.effects.clear();
    let allowed = cost + metrics * METRIC_RESERVE + SLACK;
    assert!(
        !command.creates() || allocated <= allowed as isize,
        "{command:?} allocated {allocated} bytes, its cost is {cost}"
    );
}

/// Checks that reading gives one well-formed reply, with a node and without one.
fn check_reading(request: &Request<'_>, command: Command, server: &Server, node: &Node) {
    let mut tree = Tree::default();
    request.run_missing(&mut tree);
    tree.finish();
    let mut tree = Tree::default();
    request.read(b"n", node, (&Ages::default(), server.now), 7, &mut tree);
    tree.finish();
    assert!(command == Command::Fetch || request.block().is_none() && request.queues().is_empty());
    assert!(request.cost(None, false, &server.settings) > 0 || !command.creates());
}

fn check_error(error: &CommandError, command: Command) {
    let text = &error.to_string();
    let (code, rest) = text.split_once(' ').expect("a code and a text");
    assert!(["ERR", "AGGFULL"].contains(&code), "{text}");
    assert!(rest.starts_with(&format!("{}: ", command.name())), "{text}");
    check_line(text);
}

fn check_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 1024, "{} bytes: {text}", text.len());
}

fn check_reply(command: Command, reply: &Value) {
    let is_numbered = matches!(
        command,
        Command::Stat | Command::Mstat | Command::Hist | Command::Log | Command::Error
    );
    match command {
        // A repetition.
        _ if is_numbered && *reply == Value::Null => {}
        Command::Stat | Command::Hist | Command::Forget => assert!((0..=1).contains(&reply.int())),
        Command::Reality => assert!((-1..=1).contains(&reply.int())),
        Command::Log => assert!(reply.int() > 0),
        // At least the first record was queued, or was there.
        Command::Import => assert!((1..=10_000).contains(&reply.int())),
        Command::Requeue | Command::Ack | Command::Nack | Command::Extend => {
            assert!(reply.int() >= 0);
        }
        Command::Mstat => {
            assert_eq!(reply.list().len(), 3);
            assert!(reply.list()[0].int() >= 0 && reply.list()[1].int() >= 0);
            let mut previous = -1;
            for rejected in reply.list()[2].list() {
                let index = rejected.list()[0].int();
                assert!(index > previous, "{reply:?}");
                previous = index;
                let reason = std::str::from_utf8(rejected.list()[1].bulk()).expect("a text");
                check_line(reason);
                assert!(!reason.is_empty());
            }
        }
        Command::Error => {
            assert!(!reply.list()[0].bulk().is_empty() && reply.list()[1].int() >= 1);
        }
        Command::Pop | Command::Fetch | Command::Peek => crate::codec::check_records(reply),
        Command::Get => assert!(matches!(reply, Value::Null | Value::Map(_))),
        Command::Range => assert!(reply.list().iter().all(|b| b.at("count").int() > 0)),
        Command::Scan => assert_eq!(reply.list().len(), 2),
        Command::Info => assert!(reply.at("bytes").int() >= 0),
    }
}
