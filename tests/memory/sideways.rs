//! What the module holds besides nodes: their names, and the commands of clients that wait.

use std::time::Duration;

use crate::attack::{Words, burst, split};
use crate::attackers::check_refusal;
use crate::kit::*;
use crate::support::*;

/// As long as a name may be, about.
const LONG: usize = 60_000;

/// Looks for a second: what is held stays below the ceiling.
fn stays_below(server: &Server) {
    let mut connection = server.connection();
    let mut worst = i64::MIN;
    for _ in 0..40 {
        let look = Look::at(&mut connection);
        worst = worst.max(look.held - look.max);
        std::thread::sleep(Duration::from_millis(40));
    }
    assert!(worst <= 0, "{worst} bytes more than the ceiling were held");
}

#[test]
fn nodes_with_long_names_do_not_pass_the_ceiling() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 8mb")) else {
        return;
    };
    let mut connection = server.connection();
    let name = "n".repeat(LONG);
    let mut taken = 0;
    for i in 0..300 {
        match burst(
            &mut connection,
            &[split(&format!("AGG.STAT {name}{i} m 1"))],
        )
        .remove(0)
        {
            Ok(_) => taken += 1,
            Err(error) => check_refusal(&error),
        }
        let look = Look::at(&mut connection);
        assert!(look.held <= look.max, "{look:?} with {taken} nodes");
    }
    assert!((50..300).contains(&taken), "{taken} nodes");
    stays_below(&server);
}

#[test]
fn nodes_that_are_renamed_to_long_names_do_not_pass_the_ceiling() {
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
        // The server may refuse it, too, but has no reason.
        let _: () = ask(&mut connection, &format!("RENAME n{i} {name}{i}"));
    }
    // The timer finds them in a second or two; a command to them tells of them at once.
    let samples = (0..400).map(|i| split(&format!("AGG.STAT {name}{i} m 1")));
    let samples: Vec<Words> = samples.collect();
    samples
        .chunks(20)
        .for_each(|some| drop(burst(&mut connection, some)));
    stays_below(&server);
}

#[test]
fn clients_that_wait_do_not_pass_the_ceiling() {
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
    until("all wait, or were refused", || {
        let held = field(&server.ask::<String>("INFO clients"), "blocked_clients");
        (held == 300 || agg(&server, "agg_refused_max_memory") > 0).then_some(())
    });
    stays_below(&server);
}
