//! A large node is deleted without blocking anybody, and its memory is freed.

use redis::Value;

use crate::support::*;
use testkit::*;

#[test]
fn node_with_a_million_metrics_is_unlinked_without_blocking() {
    let _beside = beside();
    let Some(server) = Server::with_settings("max-series 1100000 max-memory 4gb") else {
        return;
    };
    let held = |server: &Server| agg(server, "agg_held");
    let before = held(&server);
    let mut c = server.connection();
    for part in 0..110 {
        let mut mstat = redis::cmd("AGG.MSTAT");
        mstat.arg("n").arg("VALUES");
        for i in 0..10_000 {
            mstat.arg(format!("m{part}.{i}")).arg(i);
        }
        let (taken, _, rejected): (i64, i64, Vec<Value>) = mstat.query(&mut c).unwrap();
        assert_eq!((taken, rejected.len()), (10_000, 0));
    }
    assert!(held(&server) > before + 200_000_000);
    let _: i64 = ask(&mut c, "UNLINK n");
    // The server counts what its background thread frees.
    until("the background thread has freed it", || {
        let info: String = ask(&mut c, "INFO memory");
        (info_field::<i64>(&info, "lazyfreed_objects") > 0).then_some(())
    });
    until("its memory is free", || {
        (held(&server) < before + 1_000_000).then_some(())
    });
}
