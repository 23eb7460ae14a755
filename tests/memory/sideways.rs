//! Memory used besides nodes: their names, and the commands of blocked clients.

use std::time::Duration;

use crate::attackers::check_rejection;
use crate::support::*;
use redis::Value;
use testkit::*;

/// Longer than the name of a new node may be.
const LONG: usize = 60_000;

/// About as long as it may be.
const NAME: usize = 1_000;

/// Asserts for a second that memory used stays below the limit.
fn stays_below(server: &Server) {
    let mut connection = server.connection();
    let mut worst = i64::MIN;
    for _ in 0..40 {
        let look = Look::at(&mut connection);
        worst = worst.max(look.held - look.max);
        std::thread::sleep(Duration::from_millis(40));
    }
    assert!(
        worst <= 0,
        "{worst} bytes more than the memory limit were used"
    );
}

#[test]
fn nodes_with_long_names_do_not_exceed_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 8mb")) else {
        return;
    };
    let mut connection = server.connection();
    let empty = Look::at(&mut connection);
    let name = "n".repeat(NAME);
    let mut taken = 0;
    for i in 0..3000 {
        match burst(
            &mut connection,
            &[split(&format!("AGG.STAT {name}{i} m 1"))],
        )
        .remove(0)
        {
            Ok(_) => taken += 1,
            Err(error) => check_rejection(&error),
        }
        let look = Look::at(&mut connection);
        assert!(look.held <= look.max, "{look:?} with {taken} nodes");
    }
    assert!((500..3000).contains(&taken), "{taken} nodes");
    stays_below(&server);
    // The names of keys count, although the server stores them.
    let look = Look::at(&mut connection);
    assert!(look.growth(&empty) <= look.max, "{look:?} {empty:?}");
}

#[test]
fn names_of_new_nodes_beyond_1_kib_are_rejected_and_others_count() {
    let _beside = beside();
    let Some(server) = server(CALM) else { return };
    let mut connection = server.connection();
    let name = "n".repeat(1025);
    for line in ["STAT", "MSTAT", "HIST", "LOG", "ERROR", "REALITY"] {
        let rest = match line {
            "STAT" => "m 1",
            "MSTAT" => "VALUES m 1",
            "HIST" => "m VALUES 1 1",
            "REALITY" => "k m 1",
            _ => "text",
        };
        let message = error(&mut connection, &format!("AGG.{line} {name} {rest}"));
        let end = "has 1025 bytes: the maximum is 1024";
        assert!(
            message.starts_with(&format!("ERR AGG.{line}: node 'nnn")) && message.ends_with(end),
            "{message}"
        );
    }
    let _: i64 = ask(&mut connection, &format!("AGG.STAT {} m 1", &name[1..]));
    // Longer names can come by other ways: such nodes can be drained, and their names count.
    let _: i64 = ask(&mut connection, "AGG.LOG short text");
    let dump: Vec<u8> = ask(&mut connection, "DUMP short");
    let before = agg(&server, "agg_held");
    let names: Vec<String> = (0..20)
        .map(|i| format!("{i}.{}", "n".repeat(LONG)))
        .collect();
    for (i, name) in names.iter().enumerate() {
        if i % 2 == 0 {
            let _: Value =
                send(&mut connection, &[b"RESTORE", name.as_bytes(), b"0", &dump]).unwrap();
        } else {
            let _: i64 = send(&mut connection, &[b"COPY", b"short", name.as_bytes()]).unwrap();
        }
    }
    let grown = agg(&server, "agg_held") - before;
    assert!(grown > 40 * LONG as i64, "{grown} bytes");
    let taken: Value = ask(&mut connection, &format!("AGG.POP {} LOG", names[3]));
    assert_eq!(list(&taken).len(), 1);
    let _: i64 = ask(&mut connection, &format!("DEL {}", names.join(" ")));
    until("the names do not count any more", || {
        (agg(&server, "agg_held") < before + 64 * 1024).then_some(())
    });
}

#[test]
fn nodes_renamed_to_long_names_do_not_exceed_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 8mb")) else {
        return;
    };
    let mut connection = server.connection();
    let samples: Vec<Words> = (0..400)
        .map(|i| split(&format!("AGG.STAT n{i} m 1")))
        .collect();
    for answer in burst(&mut connection, &samples) {
        answer.unwrap();
    }
    let name = "n".repeat(LONG);
    for i in 0..400 {
        // The server might reject it, but has no reason to.
        let _: () = ask(&mut connection, &format!("RENAME n{i} {name}{i}"));
    }
    // The timer finds them in a second or two; a command on them registers them at once.
    let samples = (0..400).map(|i| split(&format!("AGG.POP {name}{i} LOG")));
    let samples: Vec<Words> = samples.collect();
    samples
        .chunks(20)
        .for_each(|some| drop(burst(&mut connection, some)));
    stays_below(&server);
}

#[test]
fn blocked_clients_do_not_exceed_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 8mb")) else {
        return;
    };
    let name = "n".repeat(LONG);
    let mut waiting = Vec::new();
    for i in 0..300 {
        let mut connection = server.connection();
        let mut command = redis::cmd("AGG.FETCH");
        command
            .arg(format!("{name}{i}"))
            .arg("LOG")
            .arg("BLOCK")
            .arg(0);
        connection
            .send_packed_command(&command.get_packed_command())
            .unwrap();
        waiting.push(connection);
    }
    until("all wait, or were rejected", || {
        let held = server.info_field::<i64>("clients", "blocked_clients");
        (held == 300 || agg(&server, "agg_refused_max_memory") > 0).then_some(())
    });
    stays_below(&server);
}
