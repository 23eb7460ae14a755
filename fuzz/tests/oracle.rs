//! The bounds of `large` tell a quadratic step from a linear one.

use aggregator_fuzz::large::{check_memory, check_time};
use aggregator_fuzz::memory::{cpu_time, measured};

const BYTES: usize = 300_000;

fn is_in_proportion(step: impl FnOnce(Vec<u8>)) -> bool {
    let bytes = vec![1; BYTES];
    let before = cpu_time();
    step(bytes);
    check_time(cpu_time() - before, BYTES).is_ok()
}

#[test]
fn quadratic_step_is_out_of_proportion() {
    assert!(is_in_proportion(|bytes| drop(bytes.repeat(4))));
    assert!(!is_in_proportion(|mut bytes| {
        while !bytes.is_empty() {
            std::hint::black_box(bytes.remove(0));
        }
    }));
}

#[test]
#[should_panic(expected = "bytes of memory for")]
fn step_that_takes_much_memory_is_out_of_proportion() {
    let (_, peak, _) = measured(|| vec![0u64; 8 * BYTES]);
    check_memory(peak, 16, BYTES);
}
