//! Data of a newer version of the module is rejected with a message that says so.

use redis::Value;

use super::support::*;
use testkit::*;

#[test]
fn payload_of_a_newer_version_is_rejected_with_a_reason_in_the_log() {
    let Some(server) = server() else { return };
    let dump = dumps(&server).remove(0);
    let mut connection = server.connection();
    // The version of the format follows the kind of the first frame; the encoding is in the last bits of the module id.
    let mut newer_format = dump.clone();
    newer_format.frames[0][1] += 1;
    let mut newer_encoding = dump.clone();
    newer_encoding.head[9] += 1;
    for (newer, why) in [
        (
            newer_format,
            "a node was not loaded: written by a newer version of the module",
        ),
        (
            newer_encoding,
            "a node was not loaded: encoding 2 is from a newer version of the module",
        ),
    ] {
        let report = rejection(
            &mut connection,
            &[b"RESTORE", b"newer", b"0", &newer.payload()],
        );
        assert_eq!(report, "ERR Bad data format");
        let log = server.log();
        assert!(log.contains(why), "{log}");
    }
    let mut frame = dump.frames[0].clone();
    frame[1] += 1;
    assert_eq!(
        rejection(&mut connection, &[b"AGG.APPLY", b"newer", &frame]),
        "ERR AGG.APPLY: invalid payload: written by a newer version of the module"
    );
    // Effects, for a node that exists and one that does not.
    for node in [b"n1", b"n2"] {
        assert_eq!(
            rejection(&mut connection, &[b"AGG.APPLY", node, &[4, 0, 0]]),
            "ERR AGG.APPLY: invalid payload: written by a newer version of the module"
        );
    }
    assert_eq!(server.ask::<i64>("EXISTS newer"), 0);
    let _: Value = send(
        &mut connection,
        &[b"RESTORE", b"same", b"0", &dump.payload()],
    )
    .unwrap();
}

/// As in redis.conf.example: otherwise the server would continue without what it cannot read.
#[test]
fn server_does_not_start_with_an_aof_of_a_newer_version() {
    let Some(mut server) = Server::with_module(&["--appendonly", "yes"], "") else {
        return;
    };
    let () = server.ask("SET before 1");
    server.shut_down();
    let aof = server.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut text = std::fs::read(&aof).unwrap();
    text.extend(b"*3\r\n$9\r\nAGG.APPLY\r\n$1\r\nn\r\n$3\r\n\x04\0\0\r\n");
    std::fs::write(&aof, text).unwrap();
    let log = server.restart_and_fail();
    assert!(
        log.contains("written by a newer version of the module"),
        "{log}"
    );
}
