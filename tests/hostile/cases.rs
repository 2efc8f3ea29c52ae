//! Files that somebody has thought of.

use std::path::Path;
use std::time::{Duration, Instant};

use gatefold::data::Table;
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Device, Error, Forecaster, Linear, Lstm, LstmCell, Result, checkpoint};

use crate::bodies;
use crate::files::{entry, raw, states};
use crate::memory::{peak, within};

/// Far more than anything here takes in proportion to its file; far less than the square of it.
const GENEROUS: Duration = Duration::from_secs(5);

/// What a call has taken: the time that this thread has worked, where the system says, so that nothing depends on
/// what else a machine does.
fn taken<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let worked = || -> Option<u64> {
        let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        said.split(' ').next()?.parse().ok()
    };
    let (start, before) = (Instant::now(), worked());
    let value = call();
    match (before, worked()) {
        (Some(before), Some(after)) => (value, Duration::from_nanos(after - before)),
        _ => (value, start.elapsed()),
    }
}

/// Bytes that a reader may hold for a file of so many, as SECURITY.md says.
fn allowed(len: usize) -> usize {
    8 * len + (4 << 20)
}

/// The message of an error that names the file.
fn message<T>(result: Result<T>, path: &Path) -> String {
    let error = match result {
        Err(error @ (Error::Checkpoint { .. } | Error::Data { .. } | Error::Io { .. })) => error,
        Err(other) => panic!("an error of another kind: {other}"),
        Ok(_) => panic!("it was accepted"),
    };
    let said = error.to_string();
    assert!(said.contains(&*path.to_string_lossy()), "{said}");
    said
}

/// Refused by every reader of tensors, with these words and in little memory.
fn refused(bytes: &[u8], words: &[&str]) {
    refused_by(&["read", "Forecaster", "Lstm", "LstmCell", "Linear", "Trainer"], bytes, words);
}

/// Read, but for the one tensor that it holds, which no model takes for a weight.
fn left_out(bytes: &[u8], words: &str) {
    let file = checkpoint::parse("it", bytes).unwrap();
    assert!(file.tensors.is_empty());
    assert!(file.left_out[0].to_string().starts_with(words), "{}", file.left_out[0]);
    refused_model(bytes, &["missing"]);
}

/// Refused as a model of any kind, and as a run.
fn refused_model(bytes: &[u8], words: &[&str]) {
    refused_by(&["Forecaster", "Lstm", "LstmCell", "Linear"], bytes, words);
    refused_by(&["Trainer"], bytes, &[]);
}

type Load = fn(&Path) -> Result<()>;

const READERS: [(&str, Load); 6] = [
    ("read", |path| checkpoint::read(path).map(drop)),
    ("Forecaster", |path| Forecaster::load(&Device::cpu(), path).map(drop)),
    ("Lstm", |path| Lstm::load(&Device::cpu(), path).map(drop)),
    ("LstmCell", |path| LstmCell::load(&Device::cpu(), path).map(drop)),
    ("Linear", |path| Linear::load(&Device::cpu(), path).map(drop)),
    ("Trainer", |path| bodies::trainer().resume(path.parent().unwrap())),
];

fn refused_by(names: &[&str], bytes: &[u8], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trainer.safetensors");
    std::fs::write(&path, bytes).unwrap();
    for (name, load) in READERS.into_iter().filter(|(name, _)| names.contains(name)) {
        let (result, held) = peak(|| load(&path));
        let said = message(result, &path);
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}: not {words:?}");
        assert!(held <= allowed(bytes.len()), "{name}: {held} bytes held for {}", bytes.len());
    }
}

fn of(entries: &[String], data: &[u8]) -> Vec<u8> {
    raw(&format!("{{{}}}", entries.join(",")), data)
}

#[test]
fn a_header_longer_than_the_file() {
    for claimed in [17, 1 << 40, 5 << 50, u64::MAX, u64::MAX - 7] {
        let mut file = raw("{}              ", &[]);
        file[..8].copy_from_slice(&u64::to_le_bytes(claimed));
        refused(&file, &["cut short", &claimed.to_string(), "16"]);
    }
    for len in 0..8 {
        refused(&vec![0; len], &["cut short", &format!("{len} bytes")]);
    }
}

#[test]
fn tensors_of_petabytes() {
    let petabytes = 5u64 << 50;
    let shape = format!("[{},4]", petabytes / 16);
    let file = of(&[entry("w", "F32", &shape, (0, petabytes))], &[0; 64]);
    refused(&file, &["w, bytes 0 to", "ends behind the data's 64 bytes"]);
    // The shape alone.
    let file = of(&[entry("w", "F32", &shape, (0, 64))], &[0; 64]);
    refused(&file, &["w, bytes 0 to 64", "isn't of its shape"]);
}

#[test]
fn shapes_whose_product_is_too_large() {
    // 2^64 elements, and 2^62 of four bytes: what is left of both products is nothing.
    for shape in ["[4294967296,4294967296]", "[4611686018427387904]", "[18446744073709551615,2,0]"]
    {
        let file = of(&[entry("w", "F32", shape, (0, 0))], &[]);
        refused(&file, &["w, bytes 0 to 0", "isn't of its shape"]);
    }
    let sizes = vec!["1"; 65].join(",");
    let file = of(&[entry("w", "F32", &format!("[{sizes}]"), (0, 4))], &[0; 4]);
    refused(&file, &["at most 64 sizes"]);
}

/// Each is as large as its shape says, and with the header they come to more than 2^64 bytes.
#[test]
fn offsets_whose_sum_is_too_large() {
    let part = 1u64 << 60;
    let tensor = |i: u64| {
        let (start, end) = (i * part, (i + 1).saturating_mul(part));
        entry(&format!("w{i}"), "U8", &format!("[{}]", end - start), (start, end))
    };
    let file = of(&(0..16).map(tensor).collect::<Vec<_>>(), &[]);
    refused(&file, &["ends behind the data's 0 bytes"]);
    let file = of(&[entry("w", "F32", "[1]", (u64::MAX, 3))], &[0; 4]);
    refused(&file, &["w", "ends before it starts"]);
}

#[test]
fn tensors_that_overlap() {
    let [a, b] = [(0, 16), (8, 24)].map(|offsets| entry("abc", "F32", "[4]", offsets));
    let b = b.replace("abc", "def");
    refused(&of(&[a.clone(), b], &[0; 24]), &["def, bytes 8 to 24, overlaps"]);
    // The same bytes for both.
    let same = a.replace("abc", "def");
    refused(&of(&[same, a], &[0; 16]), &["bytes 0 to 16, overlaps"]);
}

#[test]
fn holes_and_offsets_past_the_end() {
    let [a, b] = [("abc", (0, 8)), ("def", (12, 20))].map(|(n, o)| entry(n, "F32", "[2]", o));
    refused(&of(&[a.clone(), b], &[0; 20]), &["def, bytes 12 to 20, leaves a hole", "byte 8"]);
    refused(
        &of(std::slice::from_ref(&a), &[0; 7]),
        &["abc, bytes 0 to 8, ends behind the data's 7"],
    );
    refused(&of(&[a], &[0; 11]), &["cut short", "no tensor has the last 3 bytes"]);
    let late = entry("late", "F32", "[2]", (4, 12));
    refused(&of(&[late], &[0; 12]), &["late, bytes 4 to 12, leaves a hole", "byte 0"]);
}

#[test]
fn names_that_stand_twice() {
    let [a, b] = ["[2,1]", "[1,2]"].map(|shape| entry("weight", "F32", shape, (0, 8)));
    // Which of the two would count? Of one shape and at one place, too.
    refused(&of(&[a.clone(), b], &[0; 8]), &["weight stands twice"]);
    refused(&of(&[a.clone(), a.clone()], &[0; 8]), &["weight stands twice"]);
    let escaped = a.replace("weight", "w\\u0065ight");
    refused(&of(&[a.clone(), escaped], &[0; 8]), &["weight stands twice"]);
    let texts = r#""__metadata__":{"x":"1","y":"2","x":"3"}"#.to_owned();
    refused(&of(&[texts, a.clone()], &[0; 8]), &["x stands twice in __metadata__"]);
    let texts = r#""__metadata__":{}"#.to_owned();
    refused(&of(&[texts.clone(), texts, a.clone()], &[0; 8]), &["__metadata__ stands twice"]);
    let a = a.replace(r#""dtype":"F32""#, r#""dtype":"F32","dtype":"F16""#);
    refused(&of(&[a], &[0; 8]), &["duplicate field `dtype`"]);
}

#[test]
fn deep_json() {
    for depth in [200, 100_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let nested = format!("{open}{close}");
        let objects = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        for value in [&nested, &open, &objects] {
            refused(&raw(value, &[]), &["cut short or not a safetensors file"]);
            refused(&raw(&format!(r#"{{"w":{value}}}"#), &[]), &["line 1"]);
            refused(&raw(&format!(r#"{{"__metadata__":{{"x":{value}}}}}"#), &[]), &["line 1"]);
            let shape = entry("w", "F32", value, (0, 4));
            refused(&of(&[shape], &[0; 4]), &["line 1"]);
        }
        // Where the format has no use for it, it may stand there.
        let known =
            entry("w", "I8", "[4]", (0, 4)).replace("dtype", &format!(r#"x":{nested},"dtype"#));
        left_out(&of(&[known], &[0; 4]), "w [4] is I8");
    }
}

#[test]
fn headers_that_arent_text() {
    let whole = of(&[entry("weight", "F32", "[1]", (0, 4))], &[0; 4]);
    let at = whole.windows(6).position(|w| w == b"weight").unwrap();
    for bad in [0xff, 0xc3, 0x00, 0x1f, b'\\'] {
        let mut file = whole.clone();
        file[at + 2] = bad;
        refused(&file, &["cut short or not a safetensors file", "line 1"]);
    }
    for header in
        ["", "7", "null", "\"\"", "[]", "{", "{}{}", "{} x", r#"{"w":null}"#, r#"{"w":{}}"#]
    {
        refused(&raw(header, &[]), &["cut short or not a safetensors file"]);
    }
    for (dtype, words) in [("f32", "w [1] is f32"), ("", "w [1] is ,"), ("I64", "w [1] is I64")] {
        left_out(&of(&[entry("w", dtype, "[1]", (0, 8))], &[0; 8]), words);
    }
    // Nobody can count the elements, whatever they are.
    for dtype in ["F32", "LATER"] {
        let uncounted = entry("w", dtype, "[4294967296, 4294967296]", (0, 0));
        refused(&of(&[uncounted], &[]), &["isn't of its shape"]);
    }
}

/// What takes the most memory for its bytes: short entries, many of them.
#[test]
fn many_short_entries() {
    let count = 200_000;
    let names = |i: usize| format!("{i:x}");
    let scalars: Vec<String> = (0..count)
        .map(|i| entry(&names(i), "F16", "[]", (2 * i as u64, 2 * i as u64 + 2)))
        .collect();
    let data = vec![0; 2 * count];
    let file = of(&scalars, &data);
    let (read, held) = peak(|| checkpoint::parse("many", &file));
    assert_eq!(read.unwrap().tensors.len(), count);
    println!("{count} tensors: {held} bytes for {}", file.len());
    assert!(held <= allowed(file.len()), "{held} for {}", file.len());
    let wrong: Vec<String> = scalars.iter().map(|entry| entry.replace("F16", "I16")).collect();
    let file = of(&wrong, &data);
    let (read, held) = peak(|| checkpoint::parse("many", &file));
    assert_eq!(read.unwrap().left_out.len(), count);
    println!("{count} left out: {held} bytes for {}", file.len());
    assert!(held <= allowed(file.len()), "{held} for {}", file.len());

    let texts = |count: usize| {
        let texts: Vec<String> = (0..count).map(|i| format!(r#""{}":"""#, names(i))).collect();
        raw(&format!(r#"{{"__metadata__":{{{}}}}}"#, texts.join(",")), &[])
    };
    let file = texts(1 << 14);
    let (read, held) = peak(|| checkpoint::parse("many", &file));
    assert_eq!(read.unwrap().metadata.len(), 1 << 14);
    println!("16384 texts: {held} bytes for {}", file.len());
    assert!(held <= allowed(file.len()), "{held} for {}", file.len());
    refused(&texts((1 << 14) + 1), &["more than 16384 texts"]);
}

/// Metadata of a model, over tensors of a few bytes.
fn described(texts: &[(&str, &str)], count: usize) -> Vec<u8> {
    let mut all = std::collections::BTreeMap::from([
        ("input_size", "1"),
        ("hidden_size", "1"),
        ("num_layers", "1"),
        ("bias", "none"),
        ("head", "sequence"),
    ]);
    all.extend(texts.iter().copied());
    let texts: Vec<String> =
        all.iter().map(|(key, text)| format!(r#""gatefold.{key}":"{text}""#)).collect();
    let mut entries = vec![format!(r#""__metadata__":{{{}}}"#, texts.join(","))];
    let tensor = |i: usize| {
        let at = 4 * i as u64;
        entry(&format!("weight_ih_l{i}"), "F32", "[1]", (at, at + 4))
    };
    entries.extend((0..count).map(tensor));
    of(&entries, &vec![0; 4 * count])
}

#[test]
fn descriptions_of_giants() {
    let giants = ["1000000000", "1000000000000", "4611686018427387904", "18446744073709551615"];
    let keys =
        ["input_size", "hidden_size", "num_layers", "head", "proj_size", "every", "embedding"];
    for giant in giants {
        for key in keys {
            let file = match key {
                "every" => described(&[("head", &format!("every step: {giant}"))], 4),
                "embedding" => {
                    let encoding = format!("embedding: {giant}");
                    described(&[("encoding", &encoding), ("head", "1")], 4)
                }
                _ => described(&[(key, giant)], 4),
            };
            refused_model(&file, &[]);
        }
        for pair in [["hidden_size", "num_layers"], ["input_size", "hidden_size"]] {
            refused_model(&described(&pair.map(|key| (key, giant)), 4), &[]);
        }
    }
    // More than a machine has: a number that isn't one.
    let large = "1".repeat(30);
    refused_model(&described(&[("hidden_size", &large)], 4), &[&large]);
    for (key, text) in
        [("dropout", "2"), ("dropout", "NaN"), ("bias", "some"), ("batch_first", "1")]
    {
        refused_model(&described(&[(key, text)], 4), &[key]);
    }
    // Layers of six tensors each, as many as there are tensors in all.
    let count = 50_000;
    let two =
        [("bidirectional", "true"), ("bias", "double"), ("proj_size", "1"), ("hidden_size", "2")];
    let layers = count.to_string();
    let all = [&two[..], &[("num_layers", &layers)]].concat();
    let file = described(&all, count);
    refused_by(&["Lstm"], &file, &["weight_hh_l0 [8, 1] is missing", "and more"]);
    refused_model(&file, &[]);
    // A name as long as a file, in front of all that is missing.
    let prefix = "x".repeat(1 << 20);
    for layers in ["1", "1000000", "1000000000000"] {
        let texts = [("prefix.lstm", &*prefix), ("num_layers", layers), ("head", "1")];
        refused_model(&described(&texts, 4), &[]);
    }
}

/// Heads of many modules, layers of many sizes, modules of many names: few are enough to refuse them, in little
/// time, and `verify` reads them as well.
#[test]
fn descriptions_of_many_modules() {
    let sizes = |size: &str, count: usize| vec![size; count].join(", ");
    let relus = sizes("relu", 1 << 20);
    let linears = sizes("linear 1", 1000);
    let units = sizes("1", 1 << 20);
    let names = format!("[{}]", vec![r#"\"x\""#; 1 << 18].join(","));
    let long = "y".repeat(1 << 20);
    let million = (1 << 20).to_string();
    let cases: [&[(&str, &str)]; 9] = [
        &[("head", &relus)],
        &[("head", &linears), ("prefix.head", &long)],
        &[("head", &linears), ("prefix.lstm", "x"), ("prefix.embedding", &long)],
        &[("hidden_sizes", &units), ("num_layers", &million), ("head", "1")],
        &[("hidden_sizes", "1, 1"), ("num_layers", "1000000000000"), ("head", "1")],
        &[("hidden_sizes", "1, 18446744073709551615"), ("num_layers", "2"), ("head", "1")],
        &[("prefix.head", &names), ("prefix.lstm", "x"), ("prefix.embedding", "e")],
        &[("prefix.lstm", r#"[[\"x\",18446744073709551615],[\"y\",18446744073709551615]]"#)],
        &[("tied", "true"), ("padding_idx", "18446744073709551615"), ("head", "dropout 2")],
    ];
    for case in cases {
        let file = described(case, 4);
        let ((), took) = taken(|| refused_model(&file, &[]));
        assert!(took < GENEROUS, "{took:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, &file).unwrap();
        let load = || gatefold::verify::Model::load(&Device::cpu(), &path, 2, 2).map(drop);
        let (result, held) = peak(load);
        assert!(result.is_err() && held <= allowed(file.len()), "{held}");
        let named = || {
            gatefold::verify::Model::load_named(&Device::cpu(), &path, ("x", "z"), 2, 2).map(drop)
        };
        let (result, held) = peak(named);
        assert!(result.is_err() && held <= allowed(file.len()), "{held}");
    }
}

/// A tebibyte of nothing takes a few kibibytes of a disk. The header is right, and memory for it isn't there.
#[test]
#[cfg(unix)]
fn files_larger_than_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trainer.safetensors");
    let bytes = 1 << 40;
    for (dtype, width) in [("F32", 4), ("F16", 2), ("F64", 8)] {
        let header = of(&[entry("w", dtype, &format!("[{}]", bytes / width), (0, bytes))], &[]);
        std::fs::write(&path, &header).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(header.len() as u64 + bytes).unwrap();
        for (name, load) in READERS {
            let said = message(within(1 << 30, || load(&path)), &path);
            let words = format!("no memory for w, {} elements", bytes / width);
            assert!(said.contains(&words), "{name}: {said}");
        }
    }
    // What no model is made of costs neither memory nor time.
    for dtype in ["U8", "LATER"] {
        let wide = entry("w", dtype, &format!("[{bytes}]"), (4, 4 + bytes));
        let header = of(&[entry("b", "F32", "[1]", (0, 4)), wide], &[]);
        std::fs::write(&path, &header).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(header.len() as u64 + 4 + bytes).unwrap();
        let start = Instant::now();
        let (read, held) = peak(|| checkpoint::read(&path));
        assert_eq!(read.unwrap().left_out.len(), 1);
        assert!(held <= 4 << 20 && start.elapsed() < GENEROUS, "{held} bytes held");
        let (part, held) = peak(|| checkpoint::read_part(&path, |name| name == "none"));
        assert_eq!(part.unwrap().left_out.len(), 2);
        assert!(held <= 4 << 20, "{held} bytes held");
    }
    // The header alone.
    let mut file = vec![b' '; 8 + (1 << 20)];
    file[..8].copy_from_slice(&u64::to_le_bytes(1 << 20));
    let read = within(1 << 18, || checkpoint::parse("blank", &file));
    assert!(message(read, Path::new("blank")).contains("no memory for the header"));
}

/// Memory that ends somewhere in a load: an error wherever that is.
#[test]
fn loads_that_run_out_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = gatefold::LstmConfig::new(64, 256).bias(gatefold::Bias::Single);
    let model = Forecaster::new(&Device::cpu(), config.clone(), 1).unwrap();
    model.save(&path).unwrap();
    // More than is written at a time.
    let tensors = model.state_dict().unwrap();
    let trainer = |model| Trainer::new(model, Loss::mse(), Adam::new(0.1));
    let run = folder.path().join("run");
    trainer(model).save(&run).unwrap();
    let (mut failed, mut worked) = ([0; 3], [0; 3]);
    for part in 0..160 {
        let bytes = part << 17;
        let mut resumed = trainer(Forecaster::new(&Device::cpu(), config.clone(), 1).unwrap());
        let results = [
            within(bytes, || checkpoint::read(&path).map(drop)),
            within(bytes, || Forecaster::load(&Device::cpu(), &path))
                .map(|model| assert!(model.state_dict().unwrap() == tensors)),
            within(bytes, || resumed.resume(&run)),
        ];
        for (i, result) in results.into_iter().enumerate() {
            match result {
                Ok(()) => worked[i] += 1,
                Err(Error::OutOfMemory { .. }) => failed[i] += 1,
                Err(error) => {
                    assert!(error.to_string().contains("no memory for"), "{error}");
                    failed[i] += 1;
                }
            }
        }
    }
    println!("{failed:?} failed, {worked:?} worked");
    assert!(failed.iter().chain(&worked).all(|&count| count > 5), "{failed:?}, {worked:?}");
}

/// Names of as many layers as there are tensors: each is looked for once.
#[test]
fn many_layers_take_linear_time() {
    let count = 256_000;
    let tensor = |i: usize| {
        let at = 16 * i as u64;
        entry(&format!("lstm.weight_ih_l{i}"), "F32", "[4,1]", (at, at + 16))
    };
    let file = of(&(0..count).map(tensor).collect::<Vec<_>>(), &vec![0; 16 * count]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, &file).unwrap();
    let ((result, held), took) = taken(|| peak(|| Forecaster::load(&Device::cpu(), &path)));
    println!("{count} layers: {took:?}, {held} bytes for {}", file.len());
    let said = message(result, &path);
    assert!(said.contains("lstm.weight_hh_l0 [4, 1] is missing"), "{}", &said[..200]);
    assert!(said.contains("and more") && said.len() < 1 << 17, "{} bytes", said.len());
    assert!(held <= allowed(file.len()), "{held} for {}", file.len());
    assert!(took < GENEROUS, "{took:?}");
}

/// A model of thousands of layers.
#[test]
fn deep_models_take_linear_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    // The most tensors for their bytes are those of half floats.
    for (layers, dtype, width) in
        [(2_000, "F32", 4), (8_000, "F32", 4), (64_000, "F32", 4), (64_000, "F16", 2)]
    {
        let kinds = [
            ("weight_ih", "[4,1]"),
            ("weight_hh", "[4,1]"),
            ("bias_ih", "[4]"),
            ("bias_hh", "[4]"),
        ];
        let (mut entries, mut at) = (Vec::new(), 0);
        for layer in 0..layers {
            for (kind, shape) in kinds {
                let end = at + 4 * width;
                entries.push(entry(&format!("{kind}_l{layer}"), dtype, shape, (at, end)));
                at = end;
            }
        }
        let file = of(&entries, &vec![0; at as usize]);
        std::fs::write(&path, &file).unwrap();
        let ((model, held), took) = taken(|| peak(|| Lstm::load(&Device::cpu(), &path)));
        println!("{layers} layers, {dtype}: {took:?}, {held} bytes for {}", file.len());
        assert_eq!(model.unwrap().state_dict().unwrap().len(), kinds.len() * layers);
        assert!(held <= allowed(file.len()), "{held} for {}", file.len());
        assert!(took < GENEROUS, "{took:?}");
    }
}

/// A model that is one: what a load holds at most, for tensors of each type.
#[test]
fn whole_models_take_a_small_multiple() {
    let model = Lstm::new(&Device::cpu(), gatefold::LstmConfig::new(64, 256).layers(2)).unwrap();
    let tensors = model.state_dict().unwrap();
    for (dtype, width) in [("F32", 4), ("F16", 2), ("F64", 8)] {
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (name, array) in &tensors {
            let start = data.len() as u64;
            match dtype {
                "F32" => data.extend(array.data().iter().flat_map(|v| v.to_le_bytes())),
                "F64" => data.resize(data.len() + 8 * array.data().len(), 0),
                _ => data.extend(std::iter::repeat_n([0, 0x3c], array.data().len()).flatten()),
            }
            let shape = format!("{:?}", array.shape());
            entries.push(entry(name, dtype, &shape, (start, data.len() as u64)));
        }
        let file = of(&entries, &data);
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, &file).unwrap();
        let (read, held) = peak(|| checkpoint::read(&path).map(drop));
        read.unwrap();
        let times = |held: usize| held as f64 / file.len() as f64;
        println!("{dtype}: {:.2} times the file to read", times(held));
        assert!(times(held) < 4.0 / f64::from(width) + 0.2);
        let (loaded, held) = peak(|| Lstm::load(&Device::cpu(), &path).map(drop));
        loaded.unwrap();
        println!("{dtype}: {:.2} times the file to load", times(held));
        assert!(held <= allowed(file.len()));
    }
}

/// Numbers of a run that are as large as they can be: refused, or a run that goes on.
#[test]
fn runs_of_any_numbers() {
    let file = &states()[1];
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&file[8..8 + length]).unwrap();
    let keys: Vec<&str> =
        header.split('"').filter(|text| text.starts_with("gatefold.trainer.")).collect();
    assert!(keys.len() > 15, "{keys:?}");
    let (mut taken, mut not) = (0, 0);
    for key in keys {
        let (before, rest) = header.split_once(&format!("\"{key}\":\"")).unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        for number in [
            "0",
            "1",
            "1000000000000",
            "9007199254740992",
            "9007199254740993",
            "-1",
            "18446744073709551615",
            "340282366920938463463374607431768211455",
            "NaN",
            "inf",
            "true",
            "false",
            "",
        ] {
            let changed =
                raw(&format!("{before}\"{key}\":\"{number}\"{after}"), &file[8 + length..]);
            let (was_taken, held) = peak(|| bodies::trainer_state(&changed));
            assert!(held <= allowed(changed.len()), "{key} = {number}: {held} bytes held");
            *(if was_taken { &mut taken } else { &mut not }) += 1;
        }
    }
    println!("{taken} taken, {not} not");
    assert!(taken > 50 && not > 50, "{taken} taken, {not} not");
}

/// An order of a million sequences, all of them the first, in two bytes a number.
#[test]
fn runs_of_many_sequences() {
    let count = (1 << 20) + 1;
    let run = checkpoint::parse("run", &states()[1]).unwrap();
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, array) in &run.tensors {
        let start = data.len() as u64;
        let (dtype, shape) = match name.as_str() {
            "order" => ("BF16", vec![count, 2]),
            _ => ("F32", array.shape().to_vec()),
        };
        match dtype {
            "F32" => data.extend(array.data().iter().flat_map(|v| v.to_le_bytes())),
            _ => data.resize(data.len() + 4 * count, 0),
        }
        entries.push(entry(name, dtype, &format!("{shape:?}"), (start, data.len() as u64)));
    }
    let mut texts = run.metadata;
    texts.insert("gatefold.trainer.batches.sequences".to_owned(), count.to_string());
    let texts: Vec<String> = texts.iter().map(|(key, text)| format!("{key:?}:{text:?}")).collect();
    entries.push(format!(r#""__metadata__":{{{}}}"#, texts.join(",")));
    refused_by(&["Trainer"], &of(&entries, &data), &["the order of its sequences is none"]);
}

/// Nothing but a file has a length that can be relied on.
#[test]
fn what_isnt_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(message(checkpoint::read(path), path).contains("regular file"));
    assert!(message(Table::read(path), path).contains("regular file"));
    #[cfg(unix)]
    for path in ["/dev/zero", "/dev/null"].map(Path::new) {
        assert!(message(checkpoint::read(path), path).contains("regular file"));
        assert!(message(Forecaster::load(&Device::cpu(), path), path).contains("regular file"));
        assert!(message(Table::read(path), path).contains("regular file"));
    }
    // Nobody writes into this one: to open it would be to wait.
    #[cfg(unix)]
    {
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(message(checkpoint::read(&path), &path).contains("regular file"));
        assert!(message(Table::read(&path), &path).contains("regular file"));
    }
}

/// What so many equal bytes are as a table.
struct Same(u8, usize);

impl std::io::Read for Same {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = into.len().min(self.1);
        into[..len].fill(self.0);
        self.1 -= len;
        Ok(len)
    }
}

fn refused_table(reader: impl std::io::Read, row: u64, words: &str) {
    let path = Path::new("hostile.csv");
    let (result, held) = peak(|| Table::parse(path, reader));
    let said = message(result, path);
    assert!(said.contains(&format!("row {row}")) && said.contains(words), "{said}");
    assert!(held <= 4 << 20, "{held} bytes held");
}

#[test]
fn lines_without_end() {
    use std::io::Read;
    // A billion columns, of which nobody reads more than has to be.
    for (byte, words) in [(b',', "65536 cells"), (b'a', "1048576 bytes"), (b'"', "1048576 bytes")] {
        refused_table(Same(byte, 1 << 30), 1, words);
        let header: &[u8] = b"a,b\n1,2\n";
        let words = if byte == b',' { "more than 2 cells" } else { words };
        refused_table(header.chain(Same(byte, 1 << 30)), 3, words);
        let quoted: &[u8] = b"a,b\n1,\"2\n2";
        if byte == b'a' {
            refused_table(quoted.chain(Same(byte, 1 << 30)), 2, words);
        }
    }
    // Empty lines are none, and cost nothing.
    let (result, held) = peak(|| Table::parse("hostile.csv", Same(b'\n', 64 << 20)));
    assert!(message(result, Path::new("hostile.csv")).contains("no rows"));
    assert!(held <= 4 << 20, "{held} bytes held");

    // And so in a file.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, vec![b','; 64 << 20]).unwrap();
    let (result, held) = peak(|| Table::read(&file));
    assert!(message(result, file.path()).contains("more than 65536 cells"));
    assert!(held <= 4 << 20, "{held} bytes held");
}

#[test]
fn tables_that_are_none() {
    let cases: [(&[u8], u64, &str); 9] = [
        (b"a,a\n1,2\n", 1, "stands twice"),
        (b"a,A\n1,2\n", 1, "column A: stands twice"),
        (b"a,,c\n1,2,3\n", 1, "has no name"),
        (b"a,b\n1,2\n\n1,2,3\n", 4, "has 3 cells, not 2"),
        (b"a,b,c\n1,2\n", 2, "has 2 cells, not 3"),
        (b"a,b\r\n1,2\r\n1\r\n", 3, "has 1 cells, not 2"),
        (b"a,b\n1,\"2\n3\"\n1\n", 4, "has 1 cells, not 2"),
        (b"a,b\n1,\xff\n", 2, "isn't UTF-8 in cell 2"),
        // Side by side the two are a letter.
        (b"a,b\n\xc3,\xa9\n", 2, "isn't UTF-8 in cell 1"),
    ];
    for (bytes, row, words) in cases {
        refused_table(bytes, row, words);
    }
    for bytes in [&b""[..], b"\n\n", b"\xef\xbb\xbf", b"a,b", b"a,b\n", b"a,b\r\n\r\n"] {
        let path = Path::new("hostile.csv");
        assert!(message(Table::parse(path, bytes), path).contains("holds no rows"));
    }
    // NUL is a character as any other; a message shows it escaped, and not all of a long cell.
    let table = Table::parse("hostile.csv", &b"a\n\0\n"[..]).unwrap();
    assert_eq!(table.text("a").unwrap(), ["\0"]);
    assert!(message(table.numbers("a"), Path::new("hostile.csv")).contains(r#""\0""#));
    let long = format!("a\n{}\n", "x".repeat(1 << 19));
    let table = Table::parse("hostile.csv", long.as_bytes()).unwrap();
    assert!(message(table.numbers("a"), Path::new("hostile.csv")).len() < 200);
}

/// The most rows for their bytes, and as many columns as may be.
#[test]
fn tables_take_a_small_multiple() {
    let rows = 1 << 20;
    let short = format!("n\n{}", "1\n".repeat(rows));
    let wide = 1 << 15;
    let header: Vec<String> = (0..wide).map(|i| format!("{i:x}")).collect();
    let cells = format!("{}\n", vec!["1"; wide].join(",")).repeat(16);
    let long = format!("n\n{}", format!("{}\n", "x".repeat(1 << 10)).repeat(1 << 11));
    let widest: Vec<String> = (0..1 << 16).map(|i| format!("{i:x}")).collect();
    let widest = widest.join(",") + "\n" + &",".repeat((1 << 16) - 1) + "\n";
    let empty = format!("{}\n", ",".repeat(wide - 1)).repeat(128);
    for (name, text) in [
        ("short", short),
        ("wide", header.join(",") + "\n" + &cells),
        ("long", long),
        ("widest", widest),
        ("empty", header.join(",") + "\n" + &empty),
    ] {
        let (table, held) = peak(|| Table::parse("large.csv", text.as_bytes()));
        let table = table.unwrap();
        println!("{name}: {:.1} times {} bytes", held as f64 / text.len() as f64, text.len());
        assert!(held <= 5 * text.len() + (4 << 20), "{name}: {held} bytes for {}", text.len());
        if name == "short" {
            let (numbers, held) = peak(|| table.numbers("n"));
            assert_eq!(numbers.unwrap(), vec![1.0; rows]);
            assert!(held <= 24 * rows + 1024, "{held} bytes for {rows} numbers");
        }
    }
}

/// Each column costs its rows, and not all cells of the table.
#[test]
fn all_columns_of_a_wide_table() {
    let (wide, rows) = (1 << 15, 16);
    let line = |row: usize| {
        let cells: Vec<String> = (0..wide).map(|column| format!("{row}.{column}")).collect();
        cells.join(",") + "\n"
    };
    let text: String = (0..=rows).map(line).collect();
    let table = Table::parse("wide.csv", text.as_bytes()).unwrap();
    let ((), took) = taken(|| {
        for column in 0..wide {
            let cells = table.text(&format!("0.{column}")).unwrap();
            for (row, cell) in cells.into_iter().enumerate() {
                assert_eq!(cell, format!("{}.{column}", row + 1));
            }
        }
    });
    println!("{wide} columns of {rows} rows: {took:?}");
    assert!(took < GENEROUS, "{took:?}");
}

/// Cells of any length, so that those before a column take any number of bytes.
#[test]
fn every_cell_is_found() {
    for (columns, rows) in [(1, 200), (3, 100), (63, 7), (64, 7), (65, 7), (129, 20)] {
        let cell = |row: usize, column: usize| "x".repeat(1 + row * column % 7 * 50);
        let header: Vec<String> = (0..columns).map(|column| format!("c{column}")).collect();
        let mut text = header.join(",") + "\n";
        for row in 0..rows {
            // Lines that are empty count as lines.
            text += &"\n".repeat(row % 3);
            let cells: Vec<String> = (0..columns).map(|column| cell(row, column)).collect();
            text += &(cells.join(",") + "\n");
        }
        let table = Table::parse("cells.csv", text.as_bytes()).unwrap();
        for (column, name) in header.iter().enumerate() {
            assert_eq!(table.find(&name.to_ascii_uppercase()), Some(column));
            let cells = table.text(name).unwrap();
            assert_eq!(cells.len(), rows);
            for (row, found) in cells.into_iter().enumerate() {
                assert_eq!(found, cell(row, column), "{row}, {column}");
            }
        }
        assert_eq!(table.find("c"), None);
        let mut line = 1;
        for row in 0..rows {
            line += 1 + row as u64 % 3;
            let Error::Data { row, .. } = table.error(row, "c0", "is here") else { panic!() };
            assert_eq!(row, Some(line));
        }
        let Error::Data { row, .. } = table.error(rows, "c0", "isn't there") else { panic!() };
        assert_eq!(row, None);
    }
}
