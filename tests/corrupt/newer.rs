//! What a newer version of the module wrote is refused, with a text that says so.

use redis::Value;

use crate::kit::*;
use crate::support::*;

#[test]
fn a_payload_of_a_newer_version_is_refused_and_the_log_says_why() {
    let Some(server) = server() else { return };
    let dump = dumps(&server).remove(0);
    let mut connection = server.connection();
    // The format's version follows the first frame's kind; the encoding is in the last bits of the module's id.
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
            "a node was not loaded: its encoding 2 is of a newer version of the module",
        ),
    ] {
        let told = refusal(
            &mut connection,
            &[b"RESTORE", b"newer", b"0", &newer.payload()],
        );
        assert_eq!(told, "ERR Bad data format");
        let log = server.log();
        assert!(log.contains(why), "{log}");
    }
    let mut frame = dump.frames[0].clone();
    frame[1] += 1;
    assert_eq!(
        refusal(&mut connection, &[b"AGG.APPLY", b"newer", &frame]),
        "ERR AGG.APPLY: the payload is refused: written by a newer version of the module"
    );
    let told = refusal(&mut connection, &[b"AGG.APPLY", b"n1", &[2, 0, 0]]);
    assert!(
        told.starts_with("ERR AGG.APPLY: the payload is refused: "),
        "{told}"
    );
    assert_eq!(server.ask::<i64>("EXISTS newer"), 0);
    let _: Value = send(
        &mut connection,
        &[b"RESTORE", b"same", b"0", &dump.payload()],
    )
    .unwrap();
}
