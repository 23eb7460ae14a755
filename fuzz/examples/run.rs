//! Runs inputs of a target without libFuzzer: `cargo run --release --example run TARGET FILE...`.

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("a target");
    let targets = aggregator_fuzz::TARGETS;
    let (_, run) = targets
        .iter()
        .find(|(n, _)| *n == name)
        .expect("no such target");
    for file in args {
        println!("{file}");
        run(&std::fs::read(&file).expect("an input"));
    }
}
