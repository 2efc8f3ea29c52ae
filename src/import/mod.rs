//! Models of other libraries, out of the files that people have.
//!
//! [`open`] tells what a file is by its content, finds every LSTM in it, and brings what other libraries
//! keep otherwise into PyTorch's names and layouts. What it found, what it converted and what it left out
//! is printed with the result.
//!
//! ```no_run
//! use gatefold::{Device, import};
//! let device = Device::cpu();
//! let model = import::open("model.safetensors")?;
//! println!("{model}");
//! let net = model.forecaster(&device)?; // the LSTM, with its head and its embedding
//! let lstm = model.lstm("encoder.lstm")?.build(&device)?; // one of several
//! # Ok::<(), gatefold::Error>(())
//! ```
//!
//! | files | feature |
//! |---|---|
//! | safetensors of PyTorch, Flax, Haiku, Equinox, MLX, Paddle, tinygrad, TensorFlow 1 | |
//! | `.npz` of the same | `import-npz` |
//! | `torch.save`: `.pt`, `.pth`, `.ckpt` | `import-pytorch` |
//! | `.keras`, `.weights.h5`, `.h5` of Keras | `import-keras` |
//! | `.onnx`, with its data in a second file or in itself | `import-onnx` |
//!
//! Files may come from anybody: what they claim is checked before memory is taken for it, and nothing in
//! them is run.

mod cells;
#[cfg(feature = "import-keras")]
mod keras;
mod library;
#[cfg(feature = "import-npz")]
mod npz;
#[cfg(feature = "import-onnx")]
pub(crate) mod onnx;
mod paddle;
mod parametrizations;
#[cfg(feature = "import-pytorch")]
mod pytorch;
mod stacks;
mod tables;
mod wrappers;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{self, Checkpoint, Kind, StateDict};
use crate::device::Device;
use crate::error::{Error, Result, open as open_file};
use crate::model::{Forecaster, LoadOptions, Lstm, LstmConfig, OneOf, lstms_of};
use crate::tensor::Array;
pub use library::Library;

/// What a file of another library holds.
#[derive(Clone, Debug)]
pub struct Imported {
    kind: String,
    lstms: Vec<ImportedLstm>,
    file: Arc<Checkpoint>,
    options: LoadOptions,
    no_forecaster: Option<String>,
    converted: Vec<String>,
    left_out: Vec<String>,
}

/// One of the LSTMs of a file: a stack of layers, as `nn.LSTM` has one.
#[derive(Clone, Debug)]
pub struct ImportedLstm {
    name: String,
    config: LstmConfig,
    file: Arc<Checkpoint>,
    prefix: String,
    cell: bool,
    options: LoadOptions,
}

/// Opens a file, whatever it is called.
///
/// # Errors
/// [`Error::Io`]; [`Error::Import`] for what isn't a model's file, for one whose reader isn't among the
/// features that this program was built with, and for what a file says and this crate has not, by its name.
pub fn open(path: impl AsRef<Path>) -> Result<Imported> {
    opened(path.as_ref(), None)
}

/// Opens a file of named arrays, safetensors or `.npz`, whose library its names don't tell.
///
/// ```no_run
/// use gatefold::import::{self, Library};
/// let model = import::open_as("weights.npz", Library::Haiku)?;
/// # Ok::<(), gatefold::Error>(())
/// ```
///
/// # Errors
/// As [`open`], and where the file is of a library's own format.
pub fn open_as(path: impl AsRef<Path>, library: Library) -> Result<Imported> {
    opened(path.as_ref(), Some(library))
}

fn opened(path: &Path, library: Option<Library>) -> Result<Imported> {
    let (file, len) = open_file(path)?;
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let (start, end) = checkpoint::ends(file, len).map_err(failed)?;
    let kind = Kind::of(&start, &end);
    if let Some(library) = library
        && let Some(kind) = kind.filter(|kind| kind.is_of_library())
    {
        let (what, _) = kind.said("");
        let problem = format!(
            "it is {what}, which says itself what it holds, and no file of {library}'s arrays"
        );
        return Err(Error::Import { path: path.to_owned(), problem });
    }
    match kind {
        Some(Kind::Npz) => of_npz(path, len, library),
        Some(Kind::Pytorch | Kind::PytorchLegacy | Kind::Tar | Kind::Pickle) => {
            of_pytorch(path, len)
        }
        Some(Kind::Onnx) => of_onnx(path),
        Some(kind @ (Kind::Keras | Kind::Hdf5)) => of_keras(path, len, kind),
        Some(kind) => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            let (what, how) = kind.said(&name);
            let problem = format!("it is {what}, which isn't read here; {how}");
            Err(Error::Import { path: path.to_owned(), problem })
        }
        None => {
            let found =
                Read { kind: "safetensors".to_owned(), ..Read::of(checkpoint::read(path)?) };
            found.of_library(path, library)?.unwrapped(path)?.imported(path)
        }
    }
}

#[cfg(feature = "import-keras")]
fn of_keras(path: &Path, len: u64, kind: Kind) -> Result<Imported> {
    keras::read(path, len, kind)?.imported(path)
}

#[cfg(not(feature = "import-keras"))]
fn of_keras(path: &Path, _: u64, _: Kind) -> Result<Imported> {
    Err(without(path, "a file of Keras", "import-keras"))
}

#[cfg(feature = "import-onnx")]
fn of_onnx(path: &Path) -> Result<Imported> {
    onnx::read(path)?.imported(path)
}

#[cfg(not(feature = "import-onnx"))]
fn of_onnx(path: &Path) -> Result<Imported> {
    Err(without(path, "an ONNX model", "import-onnx"))
}

#[cfg(feature = "import-pytorch")]
fn of_pytorch(path: &Path, len: u64) -> Result<Imported> {
    pytorch::read(path, len)?.unwrapped(path)?.imported(path)
}

#[cfg(not(feature = "import-pytorch"))]
fn of_pytorch(path: &Path, _: u64) -> Result<Imported> {
    Err(without(path, "a PyTorch checkpoint", "import-pytorch"))
}

#[cfg(feature = "import-npz")]
fn of_npz(path: &Path, len: u64, library: Option<Library>) -> Result<Imported> {
    npz::read(path, len)?.of_library(path, library)?.unwrapped(path)?.imported(path)
}

#[cfg(not(feature = "import-npz"))]
fn of_npz(path: &Path, _: u64, _: Option<Library>) -> Result<Imported> {
    Err(without(path, "an archive of NumPy arrays", "import-npz"))
}

/// The error of a file whose reader isn't there.
#[allow(dead_code)]
fn without(path: &Path, what: &str, feature: &str) -> Error {
    let problem = format!(
        "it is {what}, and this program was built without the reader: add the feature `{feature}` of \
         the crate gatefold"
    );
    Error::Import { path: path.to_owned(), problem }
}

/// What a reader gives: tensors under the names that the file has.
struct Read {
    kind: String,
    file: Checkpoint,
    /// What is said of each LSTM, by what its names begin with.
    own: Vec<(String, LoadOptions)>,
    /// What is said of the model that all of them are.
    options: LoadOptions,
    /// Why there is no such model.
    no_forecaster: Option<String>,
    converted: Vec<String>,
    left_out: Vec<String>,
}

impl Read {
    fn of(file: Checkpoint) -> Read {
        Read {
            kind: String::new(),
            file,
            own: Vec::new(),
            options: LoadOptions::new(),
            no_forecaster: None,
            converted: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// With the names and layouts of another library turned into PyTorch's.
    fn of_library(mut self, path: &Path, library: Option<Library>) -> Result<Read> {
        let refused = |problem: String| Error::Import { path: path.to_owned(), problem };
        tables::converted(&mut self, library).map_err(refused)?;
        Ok(self)
    }

    /// With PyTorch's wrappers and parametrizations taken off.
    fn unwrapped(mut self, path: &Path) -> Result<Read> {
        let refused = |problem: String| Error::Import { path: path.to_owned(), problem };
        let tensors = std::mem::take(&mut self.file.tensors);
        let tensors = wrappers::taken_off(tensors, &mut self.converted).map_err(refused)?;
        let tensors = parametrizations::undone(tensors, &mut self.converted).map_err(refused)?;
        self.file.tensors = tensors;
        Ok(self)
    }

    /// Finds the LSTMs among the tensors.
    fn imported(mut self, path: &Path) -> Result<Imported> {
        let refused = |problem: String| Error::Import { path: path.to_owned(), problem };
        self.left_out.extend(self.file.left_out.iter().map(|left| left.to_string()));
        let file = Arc::new(self.file);
        let mut all = lstms_of(&file);
        all.retain(|(prefix, cell)| match other_kind(&file, prefix, *cell) {
            Some(kind) => {
                let name = clipped(prefix.trim_end_matches('.'));
                self.left_out
                    .push(format!("{name}, {kind}, for whoever reads the LSTMs one by one"));
                false
            }
            None => true,
        });
        let lstms = all.into_iter().map(|(prefix, cell)| {
            let own = self.own.iter().find(|(own, _)| *own == prefix).map(|(_, options)| options);
            let options = own.unwrap_or(&self.options).clone();
            let one = OneOf { file: &file, prefix: &prefix, cell, options: &options };
            let config = one.config()?;
            let name = prefix.trim_end_matches('.').to_owned();
            Ok(ImportedLstm { name, config, file: file.clone(), prefix, cell, options })
        });
        let lstms = lstms.collect::<Result<Vec<_>>>();
        let lstms = lstms.map_err(|error| match error {
            Error::StateDict { problem } => refused(problem),
            // Of settings that no model may have.
            error @ (Error::Value { .. } | Error::Overflow { .. }) => refused(error.to_string()),
            other => other,
        })?;
        if lstms.is_empty() {
            let names = some(file.tensors.iter().map(|(name, _)| name.as_str()));
            let left = match self.left_out.as_slice() {
                [] => String::new(),
                left => format!("; left out: {}", some(left.iter().map(String::as_str))),
            };
            return Err(refused(format!("no LSTM is among its tensors: {names}{left}")));
        }
        let Read { kind, options, no_forecaster, converted, left_out, .. } = self;
        Ok(Imported { kind, lstms, file, options, no_forecaster, converted, left_out })
    }
}

/// What a module of PyTorch's names is, where its sizes say that it is another recurrent layer than an LSTM.
fn other_kind(file: &Checkpoint, prefix: &str, cell: bool) -> Option<&'static str> {
    let name = format!("{prefix}weight_hh{}", if cell { "" } else { "_l0" });
    let shape =
        file.tensors.iter().find(|(own, _)| *own == name).map(|(_, array)| array.shape())?;
    match *shape {
        [rows, columns] if rows == columns => Some("an RNN"),
        [rows, columns] if Some(rows) == columns.checked_mul(3) => Some("a GRU"),
        _ => None,
    }
}

/// The LSTMs among some names.
fn lstms_of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<(String, bool)> {
    crate::model::lstms_of_names(names.into_iter())
}

/// A name for a message, which has an end.
#[allow(dead_code)]
fn clipped(name: &str) -> String {
    const MOST: usize = 100;
    match name.chars().count() > MOST {
        true => format!("{}..", name.chars().take(MOST).collect::<String>()),
        false => name.to_owned(),
    }
}

/// A matrix `[rows, columns]` as `[columns, rows]`.
fn transposed(matrix: &Array) -> std::result::Result<Array, String> {
    let &[rows, columns] = matrix.shape() else {
        return Err(format!("a matrix has shape {:?}", matrix.shape()));
    };
    Array::new(checkpoint::transposed(matrix.data(), rows, columns), &[columns, rows])
        .map_err(|error| error.to_string())
}

/// Names for a message, which has an end.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let (mut text, mut left) = (String::new(), 0);
    for name in names {
        match text.len() < 400 {
            true if text.is_empty() => text = name.chars().take(400).collect(),
            true => text = format!("{text}, {}", name.chars().take(400).collect::<String>()),
            false => left += 1,
        }
    }
    match left {
        0 if text.is_empty() => "there are none".to_owned(),
        0 => text,
        left => format!("{text} and {left} more"),
    }
}

impl Imported {
    /// What the file is.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// All LSTMs of the file, in the order of their names.
    pub fn all(&self) -> &[ImportedLstm] {
        &self.lstms
    }

    /// The LSTM of that name, such as `encoder.lstm`.
    ///
    /// # Errors
    /// [`Error::Value`] with the names that there are.
    pub fn lstm(&self, name: &str) -> Result<&ImportedLstm> {
        let wanted = name.trim_end_matches('.');
        self.lstms.iter().find(|lstm| lstm.name == wanted).ok_or_else(|| Error::Value {
            operation: "import",
            name: "the LSTM's name".to_owned(),
            expected: format!("one of {}", some(self.lstms.iter().map(|lstm| lstm.name.as_str()))),
            got: format!("{name:?}"),
        })
    }

    /// The LSTM with its linear layer and its embedding, where the file says which these are, or has one of
    /// each.
    ///
    /// # Errors
    /// [`Error::StateDict`] where there are several, with their names, for which
    /// [`forecaster_as`](Self::forecaster_as) is, and as [`Forecaster::from_checkpoint`].
    pub fn forecaster(&self, device: &Device) -> Result<Forecaster> {
        self.forecaster_as(device, &LoadOptions::new())
    }

    /// The same, with what the file doesn't say: names, what the head reads, what it consists of.
    ///
    /// # Errors
    /// As [`forecaster`](Self::forecaster).
    pub fn forecaster_as(&self, device: &Device, options: &LoadOptions) -> Result<Forecaster> {
        if let Some(problem) = &self.no_forecaster {
            let problem = format!("{problem}; its LSTMs are there one by one");
            return Err(Error::StateDict { problem });
        }
        Forecaster::from_any(device, &self.file, &options.over(&self.options))
    }

    /// Why what the file has is no model of an LSTM with its head: then its LSTMs are there one by one.
    pub fn not_one_model(&self) -> Option<&str> {
        self.no_forecaster.as_deref()
    }

    /// All tensors of the file under PyTorch's names, in PyTorch's layouts.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.file
    }

    /// The names and shapes of its tensors that are no LSTM's: of linear layers, embeddings and others.
    pub fn others(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let is_own = |name: &str| {
            self.lstms.iter().any(|lstm| {
                name.strip_prefix(lstm.prefix.as_str()).is_some_and(|rest| {
                    lstms_of_names([rest]).iter().any(|(prefix, _)| prefix.is_empty())
                })
            })
        };
        let others = self.file.tensors.iter().filter(move |(name, _)| !is_own(name));
        others.map(|(name, array)| (name.as_str(), array.shape()))
    }

    /// What was converted, in words.
    pub fn converted(&self) -> &[String] {
        &self.converted
    }

    /// What of the file was left out, and why.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

impl ImportedLstm {
    /// What it is called: the name of its module, which is empty where it is all of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sizes and options.
    pub fn config(&self) -> &LstmConfig {
        &self.config
    }

    /// A copy of its parameters, under PyTorch's names.
    pub fn state_dict(&self) -> StateDict {
        let named = |(name, array): &(String, Array)| {
            let rest = name.strip_prefix(&self.prefix)?;
            let is_state = ["h_0", "c_0"].contains(&rest) && !self.cell;
            let is_own = lstms_of_names([rest]).iter().any(|(prefix, _)| prefix.is_empty());
            let last = if self.cell { "_l0" } else { "" };
            (is_own || is_state).then(|| (format!("{rest}{last}"), array.clone()))
        };
        self.file.tensors.iter().filter_map(named).collect()
    }

    /// The model.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn build(&self, device: &Device) -> Result<Lstm> {
        let ImportedLstm { file, prefix, cell, options, .. } = self;
        Lstm::one_of(device, OneOf { file, prefix, cell: *cell, options })
    }
}

/// What was found, converted and left out, a line each.
impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        for lstm in &self.lstms {
            let name = if lstm.name.is_empty() { "LSTM" } else { &lstm.name };
            write!(f, "\n  {name}: {}", lstm.config)?;
        }
        for (name, shape) in self.others() {
            write!(f, "\n  {name} {shape:?}")?;
        }
        if let Some(problem) = &self.no_forecaster {
            write!(f, "\n  not one model: {problem}")?;
        }
        for converted in &self.converted {
            write!(f, "\n  converted: {converted}")?;
        }
        for left in &self.left_out {
            write!(f, "\n  left out: {left}")?;
        }
        Ok(())
    }
}
