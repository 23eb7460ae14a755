//! One client, and a look after every single command: none exceeds the memory limit, and the cost of a command is known
//! before it runs.

use redis::Value;

use crate::attackers::*;
use crate::support::*;
use testkit::*;

/// Windows that close when samples of later ones arrive.
const WINDOWS: &str = "min-window 1 hour-window 2 flush-delay-ms 0";

#[test]
fn no_single_command_exceeds_the_memory_limit() {
    let _beside = beside();
    for max_memory in ["1mb", "3mb", "8mb"] {
        let Some(server) = server(&format!("{WINDOWS} max-memory {max_memory}")) else {
            return;
        };
        prepare(&server);
        let max = agg(&server, "agg_max_memory");
        let mut connection = server.connection();
        let mut random = Random(seed());
        let (mut most, mut done) = (0, 0);
        // New nodes have a test of their own.
        let attacks: Vec<_> = ALL.iter().filter(|(name, _)| *name != "nodes").collect();
        while done < amount(8_000, 400_000) {
            let (name, attack) = random.one(&attacks);
            let commands = attack(&mut random);
            let mut looked: Vec<Words> = Vec::new();
            for command in &commands {
                looked.push(command.clone());
                looked.push(split("INFO agg_memory"));
            }
            done += commands.len();
            let answers = burst(&mut connection, &looked);
            for (pair, command) in answers.chunks(2).zip(&commands) {
                if let Err(error) = &pair[0] {
                    check_rejection(error);
                }
                let info: String = redis::from_redis_value(pair[1].clone().unwrap()).unwrap();
                let held = info_field::<i64>(&info, "agg_held");
                most = most.max(held);
                assert!(
                    held <= max,
                    "{name}: {held} bytes are held of {max} after {} {}",
                    String::from_utf8_lossy(&command[0]),
                    String::from_utf8_lossy(&command[1])
                );
            }
            if random.below(200) == 0 {
                for node in ["logs0", "logs1", "windows", "errors", "objects"] {
                    let _: Value = ask(
                        &mut connection,
                        &format!("AGG.POP {node} MIN HOUR LOG ERROR REALITY COUNT 10000"),
                    );
                }
            }
        }
        println!("{max_memory}: {done} commands, {most} bytes held at most");
    }
}

#[test]
fn rejection_names_the_limit_and_the_setting_and_changes_nothing() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 1mb")) else {
        return;
    };
    let long = "x".repeat(40_000);
    let mut n = 0;
    // Objects and errors are not evicted.
    while server.connection().req(&[
        "AGG.REALITY",
        "n",
        &format!("k{n}"),
        "m",
        &format!("\"{long}\""),
    ]) {
        n += 1;
    }
    assert!((5..30).contains(&n), "{n} objects");
    let metric = "m".repeat(60_000);
    let before = server.digest("n");
    for (command, line) in [
        ("AGG.STAT", format!("AGG.STAT n {metric} 1 TAGS {long}")),
        (
            "AGG.MSTAT",
            format!("AGG.MSTAT n ATOMIC TAGS {long} VALUES {metric} 1"),
        ),
        (
            "AGG.HIST",
            format!("AGG.HIST n {metric} TAGS {long} VALUES 1 1"),
        ),
        ("AGG.LOG", format!("AGG.LOG n {long}{long}")),
        ("AGG.ERROR", format!("AGG.ERROR n {long} BACKTRACE {long}")),
        ("AGG.REALITY", format!("AGG.REALITY n new m \"{long}\"")),
        ("AGG.REALITY", format!("AGG.REALITY other new m \"{long}\"")),
        ("AGG.STAT", format!("AGG.STAT other {metric} 1 TAGS {long}")),
    ] {
        let message = server.error(&line);
        let start = format!("AGGFULL {command}: agg.max-memory (1048576 bytes) reached: ");
        let numbers = message
            .strip_prefix(&start)
            .unwrap_or_else(|| panic!("{message}"));
        let words: Vec<&str> = numbers.split(' ').collect();
        let [requested, used, reserved] = [0, 3, 5].map(|i| words[i].parse::<i64>().unwrap());
        assert_eq!(
            numbers,
            format!(
                "{requested} bytes requested, {used} used, {reserved} reserved for known metrics and nodes; drain the \
                 queues or raise the limit"
            )
        );
        // The text describes the state of memory, which includes the arguments of the running command.
        assert!(requested + used + reserved > 1 << 20, "{message}");
        assert!(
            (used - agg(&server, "agg_held")).abs() < 256 << 10,
            "{message}"
        );
        assert!(requested > 40_000 && reserved > 64 << 10, "{message}");
    }
    assert_eq!(server.digest("n"), before);
    assert_eq!(server.ask::<i64>("EXISTS other"), 0);
    assert_eq!(agg(&server, "agg_refused_max_memory"), 9);
    let of_node: Value = server.ask("AGG.INFO n");
    // The first rejection, and those that named this node.
    assert_eq!(int(at(&of_node, "refused").unwrap(), "max-memory"), 7);
}

trait Try {
    /// Returns whether it was accepted; asserts the text of a rejection.
    fn req(&mut self, words: &[&str]) -> bool;
}

impl Try for redis::Connection {
    fn req(&mut self, words: &[&str]) -> bool {
        let words: Words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        match burst(self, &[words]).remove(0) {
            Ok(_) => true,
            Err(error) => {
                check_rejection(&error);
                false
            }
        }
    }
}
