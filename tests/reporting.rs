//! AGG.STAT, AGG.MSTAT, AGG.LOG, AGG.ERROR, AGG.REALITY, AGG.FORGET on a real server: every option, every refusal.

mod support;

use support::*;

#[test]
fn a_sample_is_counted() {
    let Some(server) = Server::start() else {
        return;
    };
    assert_eq!(server.ask::<i64>("AGG.STAT n m 1.5"), 1);
    assert_eq!(
        server.error("AGG.STAT n m 0x10"),
        "ERR AGG.STAT: value '0x10' is not a decimal number"
    );
}
