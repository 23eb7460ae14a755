//! AGG.APPLY of damaged effects, taken from the AOF of a random workload, and of damaged frames.

use redis::Value;

use super::dump::Dump;
use super::mutate::mutate;
use super::support::*;
use testkit::*;

/// Payloads that are sent at once.
const BATCH: usize = 100;

/// Returns the AOF of a random workload on the node `n`.
pub fn aof_of_work(seed: u64, amount: usize) -> Option<Vec<u8>> {
    let aof = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no"];
    let server = Server::with_module(&aof, SETTINGS)?;
    let (mut connection, mut random) = (server.connection(), Random(seed));
    fill(&mut connection, "n");
    for _ in 0..amount {
        let commands = work(&mut random, "n", 20);
        burst(&mut connection, &commands);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    until("windows have closed", || {
        (of_queue(&server, "n", "MIN", "length") > 3).then_some(())
    });
    let _: Value = ask(&mut connection, "AGG.REQUEUE n ERROR");
    let folder = server.dir().join("appendonlydir");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let file = files
        .filter(|path| path.to_str().unwrap().ends_with(".incr.aof"))
        .max();
    Some(std::fs::read(file.unwrap()).unwrap())
}

/// Asserts that a reply is one of those expected.
fn check(answer: &Result<Value, String>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => {
            assert!(
                error.starts_with("ERR AGG.APPLY: invalid payload: "),
                "{error}"
            );
            false
        }
    }
}

#[test]
fn damaged_effects_and_frames_are_rejected_or_applied_and_the_nodes_work() {
    let Some(aof) = aof_of_work(seed(), 100) else {
        return;
    };
    let Some(server) = server() else { return };
    let mut report = FailureReport::new("AGG.APPLY");
    let dumps = dumps(&server);
    let mut connection = server.connection();
    let _: () = ask(&mut connection, "FLUSHALL");
    let effects: Vec<Vec<u8>> = commands_of(&aof)
        .into_iter()
        .filter(|words| words[0] == b"AGG.APPLY")
        .map(|mut words| words.remove(2))
        .collect();
    assert!(effects.len() > 300, "{} effects", effects.len());
    let frames: Vec<Vec<u8>> = dumps.iter().flat_map(|dump| dump.frames.clone()).collect();
    let total = env_number("AGG_PAYLOADS").map_or(amount(20_000, 1_000_000), |n| n as usize);
    let before = resident(server.pid()).map_or(0, |(rss, _)| rss);
    let mut random = Random(seed());
    let (mut sent, mut applied) = (0, 0);
    while sent < total {
        let commands = batch(&mut random, &dumps, &effects, &frames);
        report.is(&format!("AGG.APPLY, payloads from {sent} on"), &commands);
        sent += commands.len();
        let answers = burst(&mut connection, &commands);
        let whole = |words: &&Words| words[0] == b"AGG.APPLY";
        let answers = answers
            .iter()
            .zip(commands.iter())
            .filter(|(_, words)| whole(words));
        applied += answers.filter(|(answer, _)| check(answer)).count();
        let keys: Vec<String> = ask(&mut connection, "KEYS *");
        reload(&mut connection, &keys);
        if (sent / BATCH).is_multiple_of(4) {
            keys.iter().for_each(|key| exercise(&mut connection, key));
            reload(&mut connection, &keys);
        }
        let _: () = ask(&mut connection, "FLUSHALL");
    }
    let grew = is_well(&server, before, 96 << 20);
    println!(
        "{sent} payloads from {} effects and {} frames, {applied} applied; {} KiB more resident at most",
        effects.len(),
        frames.len(),
        grew >> 10
    );
    assert!(applied > sent / 20, "{applied} of {sent} were applied");
}

/// Complete nodes, a node that is assembled frame by frame, and damaged payloads for them and for others.
fn batch(
    random: &mut Random,
    dumps: &[Dump],
    effects: &[Vec<u8>],
    frames: &[Vec<u8>],
) -> Vec<Words> {
    let mut commands = Vec::new();
    for node in ["a", "b"] {
        let mut words = split(&format!("RESTORE {node} 0 PAYLOAD REPLACE"));
        words[3] = random.one(dumps).payload();
        commands.push(words);
    }
    // The effects belong to a node that started with these commands, so that some find what they name.
    let apply = |node: &str, payload: Vec<u8>| {
        vec![b"AGG.APPLY".to_vec(), node.as_bytes().to_vec(), payload]
    };
    let from = random.below(effects.len());
    commands.push(apply("c", effects[0].clone()));
    commands.extend(
        effects
            .iter()
            .skip(from)
            .take(20)
            .map(|effect| apply("c", effect.clone())),
    );
    let dump = random.one(dumps);
    let some = random.below(dump.frames.len());
    commands.extend(
        dump.frames[..some]
            .iter()
            .map(|frame| apply("part", frame.clone())),
    );
    while commands.len() < BATCH {
        let (pool, other) = if random.below(4) == 0 {
            (frames, effects)
        } else {
            (effects, frames)
        };
        let mut payload = random.one(pool).clone();
        if random.below(8) == 0 {
            // Two payloads in a row: the effects of the second without their header.
            let second = random.one(effects);
            payload.extend(&second[second.len().min(12)..]);
        }
        let other: &Vec<u8> = random.one(other);
        mutate(random, &mut payload, other);
        let missing = format!("m{}", random.below(5));
        let node = *random.one(&["a", "b", "c", "c", "part", &missing]);
        commands.push(apply(node, payload));
    }
    commands
}
