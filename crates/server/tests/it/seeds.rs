//! Every seed of the fuzz targets, handed to the same functions: what a fuzzer found once stays found.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../../../fuzz/src/lib.rs"]
mod targets;

#[test]
fn every_seed_of_the_fuzz_targets_is_read_as_it_should() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let list = |folder: &Path| -> Vec<_> {
        let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let folders: Vec<_> = list(&corpus).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(folders, targets::TARGETS.map(|(name, _)| name), "a folder of seeds for each target");
    let mut failed = Vec::new();
    for (name, target) in targets::TARGETS {
        // What the fuzzer has left beside the seeds is not theirs.
        let seeds: Vec<_> = list(&corpus.join(name)).into_iter().filter(|path| path.extension().is_some()).collect();
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        for seed in seeds {
            let bytes = std::fs::read(&seed).unwrap();
            if catch_unwind(|| target(&bytes)).is_err() {
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
