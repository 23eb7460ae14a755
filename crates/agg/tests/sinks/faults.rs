//! One function for each fault. Each writes records, makes the fault, ends it, and lets the session check the outcome.
//!
//! Records are written before a poller starts or while the target takes none, so that all of them are seen in the queues.

use std::io::Write;
use std::time::Duration;

use crate::support::{calls, until};
use testkit::amount;

use super::session::{IN_FLIGHT_MB, Measured, Session};
use super::target::{Fault, Target};

/// Longer than the lease of a record.
const SLOW: Duration = Duration::from_millis(1200);

/// Runs the test of a fault and reports what it measured.
pub fn run<T: Target>(fault: Fault) {
    let Some(session) = Session::<T>::start(fault) else {
        return;
    };
    let measured = match fault {
        Fault::Kill => kill(session),
        Fault::Away => away(session),
        Fault::Slow => slow(session),
        Fault::Cut => cut(session),
        Fault::Reject => reject(session),
        Fault::Full | Fault::Conflict => refuse(session, fault),
        Fault::Backlog => backlog(session),
        Fault::Several => several(session),
    };
    report::<T>(fault, &measured);
}

fn kill<T: Target>(mut session: Session<T>) -> Measured {
    if let Some(proxy) = session.target.proxy() {
        // So that a write has several requests under way when the poller dies.
        proxy.delay_replies(Duration::from_millis(10));
    }
    for round in 0..amount(4, 12) {
        session.write(amount(400, 4000), 20);
        let before = session.copies();
        session.poll();
        session.until_more_than(before);
        // At another moment each time.
        std::thread::sleep(Duration::from_millis(3 * round as u64));
        session.kill();
    }
    session.poll();
    session.finish()
}

fn away<T: Target>(mut session: Session<T>) -> Measured {
    let reason = session.target.inflict(Fault::Away);
    session.write(amount(400, 4000), 20);
    session.poll();
    session.until_retried(reason);
    session.target.repair(Fault::Away);
    session.until_drained();
    for _ in 0..amount(1, 4) {
        session.target.inflict(Fault::Away);
        session.write(amount(400, 4000), 20);
        session.until_retried("");
        session.target.repair(Fault::Away);
        session.until_drained();
    }
    session.finish()
}

fn slow<T: Target>(mut session: Session<T>) -> Measured {
    session.write(amount(400, 4000), 20);
    let reason = session.target.inflict(Fault::Slow);
    let Some(proxy) = session.target.proxy() else {
        session.poll();
        session.until_retried(reason);
        session.target.repair(Fault::Slow);
        return session.finish();
    };
    proxy.delay_replies(SLOW);
    session.poll();
    session.until_drained();
    let proxy = session.target.proxy().unwrap();
    proxy.delay_replies(Duration::ZERO);
    proxy.hang(true);
    session.write(amount(400, 4000), 20);
    session.until_retried(reason);
    session.target.proxy().unwrap().hang(false);
    session.finish()
}

fn cut<T: Target>(mut session: Session<T>) -> Measured {
    session.write(100, 20);
    session.poll();
    session.until_drained();
    for round in 0..amount(2, 10) {
        let before = session.copies();
        let proxy = session.target.proxy().unwrap();
        let lost = proxy.lost();
        let is_lost = round % 2 == 0;
        match is_lost {
            true => proxy.lose_replies(true),
            false => proxy.cut_replies_after(Some(1)),
        }
        session.write(amount(400, 4000), 20);
        let proxy = session.target.proxy().unwrap();
        until("a reply is lost", || (proxy.lost() > lost).then_some(()));
        if !T::IS_READ_BY_PROXY {
            session.until_more_than(before);
        }
        let proxy = session.target.proxy().unwrap();
        if is_lost {
            proxy.cut();
        }
        session.until_retried("");
        let proxy = session.target.proxy().unwrap();
        proxy.lose_replies(false);
        proxy.cut_replies_after(None);
        proxy.repair();
        session.until_drained();
    }
    session.finish()
}

fn reject<T: Target>(mut session: Session<T>) -> Measured {
    session.rejection = session.target.inflict(Fault::Reject);
    session.write(amount(400, 4000), 20);
    session.write_poison();
    session.write(amount(100, 1000), 20);
    session.poll();
    session.finish()
}

/// The target takes nothing for a reason of its own, and no record is to blame.
fn refuse<T: Target>(mut session: Session<T>, fault: Fault) -> Measured {
    if fault == Fault::Full {
        session.write(100, 20);
    }
    session.poll();
    session.until_drained();
    // A configuration with such a target could be refused at the start.
    until("the poller has read its settings", || {
        (calls(&session.source, "scan") > 0).then_some(())
    });
    let reason = session.target.inflict(fault);
    session.write(amount(400, 4000), 20);
    session.until_retried(reason);
    session.target.repair(fault);
    session.finish()
}

fn backlog<T: Target>(mut session: Session<T>) -> Measured {
    // Three times the memory of records in flight, or four times: osmem returns 10,000 documents at most.
    let megabytes = IN_FLIGHT_MB as usize * amount(3, 4);
    match session.target.proxy() {
        Some(proxy) => proxy.hang(true),
        None => {
            session.target.inflict(Fault::Away);
        }
    }
    for _ in 0..megabytes {
        session.write(1000, 1000);
    }
    session.poll();
    session.until_retried("");
    // A lease may end meanwhile on a loaded machine: the poller has its records nevertheless.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        let bytes = session.leased() as u64 * 1000;
        assert!(bytes <= IN_FLIGHT_MB << 20, "{bytes} bytes are in flight");
    }
    match session.target.proxy() {
        Some(proxy) => proxy.hang(false),
        None => session.target.repair(Fault::Away),
    }
    session.finish()
}

/// Three pollers share the queues. One after the other stops in the middle of its work, as a machine that hangs, and
/// continues when the others have stored its records: it writes those that it had, late.
fn several<T: Target>(mut session: Session<T>) -> Measured {
    if let Some(proxy) = session.target.proxy() {
        // So that a poller that stops has records.
        proxy.delay_replies(Duration::from_millis(50));
    }
    session.write(amount(400, 4000), 20);
    session.poll();
    session.freeze_with_records(amount(400, 4000), 20);
    session.poll();
    session.poll();
    session.until_drained();
    for round in 0..amount(3, 12) {
        // No record may be stored before it is counted.
        (0..3).for_each(|poller| session.freeze(poller));
        session.write(amount(400, 4000), 20);
        let before = session.copies();
        (0..3).for_each(|poller| session.resume(poller));
        session.until_more_than(before);
        session.freeze_between_writes(round % 3);
        session.until_drained();
    }
    (0..3).for_each(|poller| session.resume(poller));
    // What they write late counts too.
    session.end(0);
    session.end(0);
    session.finish()
}

fn report<T: Target>(fault: Fault, measured: &Measured) {
    let Measured {
        records,
        repeats,
        dead,
        peak_mb,
        seconds,
    } = measured;
    // Past the capture of the test runner: a line for each test.
    let line = format!(
        "sinks: {}, {}: {records} records, {repeats} repeats, {dead} dead letters, {peak_mb:.1} MiB, {seconds:.1} s",
        T::TITLE,
        fault.name()
    );
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Some(dir) = std::env::var_os("AGG_SINKS_MEASURED") {
        let name = format!("{}-{fault:?}", T::TITLE);
        std::fs::write(std::path::Path::new(&dir).join(name), format!("{line}\n")).unwrap();
    }
}
