//! AGG.APPLY.

use crate::support::*;
use testkit::*;

fn unsigned(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn bytes(out: &mut Vec<u8>, text: &[u8]) {
    unsigned(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// The header of effects: version, clock, first id.
fn effects() -> Vec<u8> {
    let now = now_ms() as u64;
    let mut payload = vec![2];
    unsigned(&mut payload, now << 1);
    unsigned(&mut payload, now * 1000);
    payload
}

/// As many samples as may share a long tag list, and log entries up to a mebibyte.
fn payload(n: usize) -> Vec<u8> {
    let (now, mut tags) = (now_ms() as u64, Vec::new());
    let mut words: Vec<Vec<u8>> = many_tags()
        .split(|byte| *byte == b' ')
        .map(<[u8]>::to_vec)
        .collect();
    words.sort();
    tags.extend(words.join(&b' '));
    let mut payload = effects();
    for i in 0..1000 {
        let flags = if i == 0 { 4 } else { 8 | 16 };
        payload.extend([1, flags]);
        bytes(&mut payload, format!("m{n}.{i}").as_bytes());
        unsigned(&mut payload, 1);
        if i == 0 {
            unsigned(&mut payload, now << 1);
            bytes(&mut payload, &tags);
        }
    }
    while payload.len() < 1 << 20 {
        payload.push(2);
        bytes(&mut payload, b"x");
        bytes(&mut payload, b"a:b");
        payload.push(5);
        unsigned(&mut payload, now << 1);
    }
    payload
}

#[test]
pub fn apply_of_a_mebibyte_stays_short() {
    let Some(mut timed) = Timed::start("") else {
        return;
    };
    timed.ask("AGG.STAT n m 1");
    let mut n = 0;
    timed.takes_less("AGG.APPLY", MANY, |_| {
        n += 1;
        with("AGG.APPLY n", [payload(n)])
    });
}
