//! Files of Keras that claim more than they are.

use gatefold::{Error, import};

use crate::memory::peak;

#[test]
fn small_files_take_little() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/import/keras");
    for (name, words) in [
        ("much_archive.keras", "unpacks to more than twice the file"),
        ("much_chunks.weights.h5", "its tensors take more than twice the file"),
        ("much_nothing.weights.h5", "its tensors take more than twice the file"),
    ] {
        let path = folder.join(name);
        let len = std::fs::metadata(&path).unwrap().len() as usize;
        let (result, most) = peak(|| import::open(&path).map(drop));
        let Err(Error::Import { problem, .. }) = result else { panic!("{name}: {result:?}") };
        assert!(problem.contains(words), "{name}: {problem}");
        assert!(most <= 8 * len + (4 << 20), "{name}: {most} bytes for {len}");
        println!("{name}: {most} bytes for {len}");
    }
}
