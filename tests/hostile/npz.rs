//! Archives of arrays that claim more than they hold.

use gatefold::{Error, import};

use crate::memory::peak;

fn path(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/import/npz_claims");
    folder.join(format!("{name}.npz"))
}

#[test]
fn small_archives_take_little() {
    let (result, most) = peak(|| import::open(path("bomb")).map(drop));
    let Err(Error::Import { problem, .. }) = result else { panic!("{result:?}") };
    assert!(problem.contains("arrays unpack to more than 16 times the archive"), "{problem}");
    assert!(most <= 20 << 20, "{most} bytes");
}

#[test]
fn what_is_no_array_is_left_out() {
    let (model, most) = peak(|| import::open(path("odd")).unwrap().to_string());
    assert!(most <= 2 << 20, "{most} bytes");
    assert!(model.contains("LSTM: 1 inputs, 1 layer of 2 units"), "{model}");
    for said in [
        "too_large: its shape is [4294967296, 4294967296, 4294967296]",
        "not_there: [1048576, 1024] of <f4 isn't what its 78 bytes hold",
        "too_short: [4] of <f4 isn't what its bytes hold",
        "too_long: [1] of <f4 isn't what its bytes hold",
        "nested: its header is \"",
        "long: its header has 8192 bytes",
        "no_header: it isn't whole",
        "no_array: it is no NumPy array",
        "fields [2] is a type of several fields",
        "objects [1] is |O",
        "negative: its header is",
        "order: its header is",
        "__MACOSX/._weight_ih_l0: it isn't whole",
        "README.txt, which is no array",
    ] {
        assert!(model.contains(said), "{said}: {model}");
    }
}
