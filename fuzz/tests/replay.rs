//! Replays the inputs of `corpus/`: all that a fuzzer found once, and examples of each format.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use kes_fuzz::TARGETS;

/// The most bytes of the whole corpus: it is in every clone.
const MAX_CORPUS: usize = 200 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The names in a folder, without the endings of files.
fn names(folder: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
}

#[test]
fn every_input_of_the_corpus_passes() {
    let mut failed = Vec::new();
    let mut size = 0;
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(folder("corpus").join(name)).unwrap() {
            let file = entry.unwrap().path();
            let input = fs::read(&file).unwrap();
            size += input.len();
            inputs += 1;
            if catch_unwind(|| target(&input)).is_err() {
                failed.push(file);
            }
        }
        assert!(inputs >= 3, "{name} has {inputs} inputs");
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(size <= MAX_CORPUS, "the corpus has {size} bytes");
}

#[test]
fn every_target_has_its_corpus_and_its_program() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder("corpus")), targets);
    assert_eq!(names(&folder("targets")), targets);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &targets {
        let program = fs::read_to_string(folder("targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("kes_fuzz::run(\"{name}\", input)")), "{name}");
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
}
