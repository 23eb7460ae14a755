//! Damages bytes at random, fixed by a seed.

use super::dump::{Dump, sign};
use testkit::Random;

/// Bytes with a meaning in varints, lengths and flags.
const SPECIAL: [u8; 12] = [0, 1, 2, 4, 0x10, 0x1f, 0x7f, 0x80, 0x81, 0xc3, 0xfe, 0xff];

/// Varints that are large, or longer than necessary.
const VARINTS: [&[u8]; 8] = [
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x80, 0x80, 0x80, 0x80, 0x10],
    &[0x80, 0x00],
    &[0xfe, 0xff, 0xff, 0xff, 0x07],
];

/// Damages bytes once or several times. Foreign parts come from `other`.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let times = *random.one(&[1, 1, 1, 1, 2, 2, 3, 8]);
    (0..times).for_each(|_| once(random, bytes, other));
}

fn once(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let len = bytes.len();
    let at = random.below(len);
    let end = at + random.below((len - at).min(40) + 1);
    match random.below(13) {
        0..3 => bytes[at] ^= 1 << random.below(8),
        3 => bytes[at] = random.next() as u8,
        4 => bytes[at] = *random.one(&SPECIAL),
        5 => bytes[at] = bytes[at].wrapping_add(*random.one(&[1, 0xff, 2, 0xfe])),
        6 => bytes.truncate(at),
        7 => drop(bytes.drain(at..end)),
        8 => {
            let part: Vec<u8> = (0..1 + random.below(16))
                .map(|_| random.next() as u8)
                .collect();
            drop(bytes.splice(at..at, part));
        }
        9 => {
            let part = bytes[at..end].to_vec();
            drop(bytes.splice(end..end, part));
        }
        10 | 11 => {
            let varint = *random.one(&VARINTS);
            let end = (at + random.below(3)).min(len);
            drop(bytes.splice(at..end, varint.iter().copied()));
        }
        _ => {
            let from = random.below(other.len().max(1)).min(other.len());
            let part = &other[from..(from + random.below(200)).min(other.len())];
            drop(bytes.splice(at..end, part.iter().copied()));
        }
    }
}

/// Returns a damaged payload of one of these nodes: mostly within its frames, sometimes in their order, sometimes
/// anywhere.
pub fn payload(random: &mut Random, dumps: &[Dump]) -> Vec<u8> {
    let (mut dump, other) = (random.one(dumps).clone(), random.one(dumps).clone());
    let foreign = random.one(&other.frames).clone();
    let n = dump.frames.len();
    match random.below(20) {
        0 => drop(dump.frames.remove(random.below(n))),
        1 => dump.frames.push(foreign),
        2 => dump.frames.insert(random.below(n), foreign),
        3 => dump.frames.swap(random.below(n), random.below(n)),
        4 => dump.frames.truncate(random.below(n)),
        5 => {
            // All frames of another node after the first frame.
            let (first, _) = dump.frames.split_at(1);
            dump.frames = first.iter().chain(&other.frames[1..]).cloned().collect();
        }
        6 | 7 => {
            let mut bytes = dump.payload();
            bytes.truncate(bytes.len() - 8);
            mutate(random, &mut bytes, &foreign);
            sign(&mut bytes);
            return bytes;
        }
        _ => {
            let i = random.below(n);
            mutate(random, &mut dump.frames[i], &foreign);
        }
    }
    dump.payload()
}
