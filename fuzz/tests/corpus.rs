//! The committed corpus without libFuzzer: every input of every target, once.

use std::path::Path;

#[test]
fn every_input_of_the_corpus_passes() {
    for (name, run) in aggregator_fuzz::TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let mut inputs = 0;
        for file in std::fs::read_dir(directory).expect("a corpus") {
            let path = file.expect("a file").path();
            // Without libFuzzer nothing else says which input it was.
            println!("{}", path.display());
            run(&std::fs::read(path).expect("an input"));
            inputs += 1;
        }
        assert!(inputs >= 10, "{name} has {inputs} inputs");
    }
}
