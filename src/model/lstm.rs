//! `torch.nn.LSTM`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::OneOf;
use super::config::Said;
use super::names::Names;
use super::state_dict::Wanted;
use super::{LstmConfig, Network, TrainingPass, parameter_methods};
use crate::checkpoint::Checkpoint;
use crate::device::{Device, Recorder, Session};
use crate::error::{Error, Result};
use crate::plan::{Head, ParameterTable, Plan, Role, Sequences};
use crate::reference::Dropout;
use crate::tensor::{Array, Tensor};

/// Hidden and cell state of every layer and direction, on a device.
///
/// To set a state, make it of two tensors; to read it, read them. Calls that return one make new
/// tensors; [`Lstm::step`] and [`Lstm::reset`] change the tensors in place. Clones share theirs: for
/// a copy of a stream's state, [`duplicate`](Self::duplicate) it.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// `h_n`, `[L D, B, P]`, where `P` is `H` without a projection; `[L D, P]` without a batch. Of
    /// an [`LstmCell`](crate::LstmCell), `[B, H]`.
    #[doc(alias("h_n", "hx"))]
    pub h: Tensor,
    /// `c_n`, `[L D, B, H]`; `[L D, H]` without a batch. Of an [`LstmCell`](crate::LstmCell),
    /// `[B, H]`.
    #[doc(alias("c_n", "cx"))]
    pub c: Tensor,
}

impl LstmState {
    /// A copy with tensors of its own.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn duplicate(&self) -> Result<LstmState> {
        Ok(LstmState { h: self.h.duplicate()?, c: self.c.duplicate()? })
    }
}

/// A call's sizes, and whether it has a batch.
#[derive(Clone, Copy)]
struct Sizes {
    sequences: Sequences,
    batched: bool,
}

/// A stack of LSTM layers, as
/// [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html).
///
/// ```
/// use gatefold::{Device, Lstm, LstmConfig, Tensor};
/// let device = Device::cpu();
/// let config = LstmConfig::new(3, 8).layers(2).bidirectional(true).batch_first(true);
/// let lstm = Lstm::new(&device, config)?;
/// let x = Tensor::from_slice(&device, &[0.5; 2 * 5 * 3], &[2, 5, 3])?; // B, T, I
/// let (y, state) = lstm.forward(&x, None)?;
/// assert_eq!(y.shape(), [2, 5, 16]); // B, T, D H
/// assert_eq!(state.h.shape(), [4, 2, 8]); // L D, B, H
/// let (y, _) = lstm.forward_padded(&x, Some(&[5, 2]), None)?;
/// assert_eq!(y.to_vec()?[7 * 16..], [0.0; 3 * 16]); // row 1 ends after two steps
/// # Ok::<(), gatefold::Error>(())
/// ```
///
/// A stream, one step at a time:
///
/// ```
/// use gatefold::{Device, Lstm, LstmConfig, Tensor};
/// let device = Device::cpu();
/// let lstm = Lstm::new(&device, LstmConfig::new(3, 8))?;
/// let mut state = lstm.initial_state(2)?;
/// for value in [0.1, 0.2, 0.3] {
///     let x_t = Tensor::from_slice(&device, &[value; 2 * 3], &[2, 3])?; // B, I
///     let y_t = lstm.step(&x_t, &mut state)?; // B, H
/// }
/// lstm.reset(&mut state, &[1])?; // row 1 starts anew
/// # Ok::<(), gatefold::Error>(())
/// ```
/// Its clones are the same model: they share its parameters. Where one replaces them
/// ([`load_state_dict`](Self::load_state_dict)) while others compute, each call computes with the old ones or
/// with the new: a step of a stream or of a [`StreamPool`](crate::StreamPool) with those that are there when
/// it is called, from states that the old ones may have left; what was
/// [recorded](Self::record) with those that are there when it is submitted.
#[derive(Clone)]
pub struct Lstm {
    pub(super) network: Arc<Network>,
}

impl fmt::Debug for Lstm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lstm({:?} on {})", self.network.config, self.network.device)
    }
}

fn names() -> Names {
    Names::new("", "")
}

impl Lstm {
    /// With fresh parameters.
    ///
    /// # Errors
    /// [`Error::Value`] for a zero size, a projection that isn't below the hidden size, a dropout
    /// outside `[0, 1)` or an initialiser that matches nothing; [`Error::Overflow`],
    /// [`Error::OutOfMemory`].
    pub fn new(device: &Device, config: LstmConfig) -> Result<Lstm> {
        config.expect_layers("Lstm::new")?;
        config.expect_one_module("Lstm::new")?;
        let network = Network::new(device, &config, Head::Sequence, names())?;
        Ok(Lstm { network: Arc::new(network) })
    }

    #[cfg(feature = "import-onnx")]
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// One of those of a file.
    pub(crate) fn one_of(device: &Device, one: OneOf<'_>) -> Result<Lstm> {
        Ok(Lstm { network: Arc::new(one.build(device)?) })
    }

    /// From a file that [`Lstm::save`] or PyTorch has written. To take the LSTM out of a larger
    /// model's file, see [`from_checkpoint`](Self::from_checkpoint).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`].
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Lstm> {
        let (network, _) = Network::load(device, path.as_ref(), names(), Wanted::Lstm)?;
        Ok(Lstm { network: Arc::new(network) })
    }

    /// From what a file holds, or from a [part](crate::checkpoint::Checkpoint::with_prefix) of it, whose
    /// tensors stand under PyTorch's names; as [`from_state_dict`](Self::from_state_dict), and what is left
    /// out of it is known by its type.
    ///
    /// # Errors
    /// As [`from_state_dict`](Self::from_state_dict).
    pub fn from_checkpoint(device: &Device, file: &Checkpoint) -> Result<Lstm> {
        let network = Network::of_file(device, file, names(), Wanted::Lstm, &Said::default())?;
        Ok(Lstm { network: Arc::new(network) })
    }

    /// From tensors under PyTorch's names, whose shapes say how large it is: those of a module
    /// inside a model, once [`checkpoint::with_prefix`](crate::checkpoint::with_prefix) has taken
    /// `lstm.` or the like off. It is time-major, see [`batch_first`](Self::batch_first).
    ///
    /// # Errors
    /// [`Error::StateDict`] with every missing, unexpected and misshapen tensor.
    pub fn from_state_dict(device: &Device, tensors: &[(String, Array)]) -> Result<Lstm> {
        let network =
            Network::of(device, tensors.into(), names(), None, Wanted::Lstm, &Said::default())?;
        Ok(Lstm { network: Arc::new(network) })
    }

    parameter_methods!();

    /// The same model, whose inputs and outputs are `[B, T, ..]` or `[T, B, ..]`, which PyTorch's
    /// files don't say.
    pub fn batch_first(self, batch_first: bool) -> Lstm {
        let config = self.network.config.clone().batch_first(batch_first);
        Lstm { network: Arc::new(self.network.with_config(config)) }
    }

    /// The same model, for batches that are filled up in front, as `tokenizer.padding_side = "left"` has it:
    /// where a call has lengths, rows start late instead of ending early, in the input as in the outputs,
    /// which are zeros before. States are those of the rows alone.
    ///
    /// ```
    /// use gatefold::{Device, Lstm, LstmConfig, Tensor};
    /// let device = Device::cpu();
    /// let lstm = Lstm::new(&device, LstmConfig::new(1, 4))?;
    /// let row = Tensor::from_slice(&device, &[0.1, 0.2], &[2, 1, 1])?;
    /// let padded = Tensor::from_slice(&device, &[9.0, 0.1, 0.2], &[3, 1, 1])?;
    /// let (y, state) = lstm.clone().right_aligned(true).forward_padded(&padded, Some(&[2]), None)?;
    /// let (alone, same) = lstm.forward(&row, None)?;
    /// assert_eq!(y.to_vec()?[4..], alone.to_vec()?);
    /// assert_eq!(state.h.to_vec()?, same.h.to_vec()?);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    /// A right-aligned call has to fit into one plan: long sequences aren't cut.
    #[doc(alias = "padding_side")]
    pub fn right_aligned(self, right_aligned: bool) -> Lstm {
        let config = self.network.config.clone().right_aligned(right_aligned);
        Lstm { network: Arc::new(self.network.with_config(config)) }
    }

    /// All parameters, flat and on the device, in the order and layout of
    /// [`parameter_table`](Self::parameter_table): what an optimizer of the caller's own works on.
    /// The tensor is the model's: what is written there is what the next call computes with.
    pub fn parameters(&self) -> Tensor {
        let network = &self.network;
        Tensor::over(&network.device, &network.params, &[network.table.len])
    }

    /// Where each parameter lies in [`parameters`](Self::parameters) and in
    /// [`LstmGradients::flat`](crate::LstmGradients::flat). Elements between tensors are zero, and have to stay zero.
    pub fn parameter_table(&self) -> &ParameterTable {
        &self.network.table
    }

    /// Input features `I`.
    pub fn input_size(&self) -> usize {
        self.network.shape.input
    }

    /// Units `H`.
    pub fn hidden_size(&self) -> usize {
        self.network.shape.hidden
    }

    /// Layers `L`.
    pub fn num_layers(&self) -> usize {
        self.network.shape.layers
    }

    /// Features `P` that hidden states are projected to; 0 where they are not.
    pub fn proj_size(&self) -> usize {
        self.network.config.proj_size
    }

    /// Whether it runs in both directions.
    pub fn bidirectional(&self) -> bool {
        self.network.shape.bidirectional
    }

    /// Features of its outputs, `D P`.
    pub fn output_size(&self) -> usize {
        self.network.shape.features()
    }

    /// Runs over `x` from `state`, or from the learned states or zeros. Nothing is read back.
    ///
    /// # Shapes
    /// `x [T, B, I]`, or `[B, T, I]` where the model is batch-first; returns the top layer's
    /// outputs `[T, B, D P]`, or `[B, T, D P]`, and the final states, `h [L D, B, P]` and
    /// `c [L D, B, H]`. Without a batch, `x [T, I]`: outputs `[T, D P]`, states `[L D, P]` and
    /// `[L D, H]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OtherDevice`], [`Error::Limit`], [`Error::OutOfMemory`].
    ///
    /// # Long sequences
    /// Where a device or a plan can't hold all timesteps at once, they are run in pieces, with the same
    /// results. In two directions each piece is run twice, once from either end.
    pub fn forward(&self, x: &Tensor, state: Option<&LstmState>) -> Result<(Tensor, LstmState)> {
        self.forward_padded(x, None, state)
    }

    /// As [`forward`](Self::forward) over a padded batch, without packing: row `b` has
    /// `lengths[b]` timesteps, in any order, 0 included. What stands after them in `x` doesn't
    /// count. Outputs there are zero, the final states are those of each row's last own timestep,
    /// and the reverse direction starts there. In PyTorch: `pack_padded_sequence` with
    /// `enforce_sorted=False`, and `pad_packed_sequence`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Value`] for too many or too few lengths, or one
    /// beyond `T`.
    #[doc(alias("PackedSequence", "pack_padded_sequence", "pad_packed_sequence"))]
    pub fn forward_padded(
        &self,
        x: &Tensor,
        lengths: Option<&[usize]>,
        state: Option<&LstmState>,
    ) -> Result<(Tensor, LstmState)> {
        let sizes = self.expect("Lstm::forward", x, lengths, state)?;
        let _parameters = self.network.parameters();
        let mut ready = match self.network.forward_session(&sizes.sequences) {
            Err(error @ Error::Limit { .. }) => {
                let results = self.results(sizes)?;
                self.network.forward_long(&sizes.sequences, x, lengths, state, &results, error)?;
                return Ok(results);
            }
            ready => ready?,
        };
        let mut recorder = self.start(&ready.session, (x, true), lengths, state)?;
        let device = &self.network.device;
        if !device.is_cpu() {
            let results = self.results(sizes)?;
            recorder.run(&ready.session, 0);
            finish(&mut recorder, &ready.session, &ready.plan, &results);
            recorder.submit()?;
            return Ok(results);
        }
        // The CPU leaves the outputs where the caller finds them.
        let output = ready.plan.output;
        let len = ready.plan.program.spec(output.buffer).len;
        let buffer = ready.result(device, len)?;
        recorder.output(output.buffer, &buffer);
        recorder.run(&ready.session, 0);
        let y = Tensor::part(device, (&buffer, output.start), &self.sizes_of_outputs(&sizes));
        let last = self.zero_state(sizes.sequences.batch, sizes.batched)?;
        copy_state(&mut recorder, &ready.session, &last);
        Ok((y, last))
    }

    /// One timestep of a stream: runs over `x_t [B, I]`, puts the new states in `state`'s tensors
    /// and returns the outputs `[B, P]`. Bit for bit what [`forward`](Self::forward) gives over the
    /// whole sequence on the same executor.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Value`] for a model with a reverse direction, which needs
    /// the sequence's end.
    pub fn step(&self, x_t: &Tensor, state: &mut LstmState) -> Result<Tensor> {
        let operation = "Lstm::step";
        let (device, shape) = (&self.network.device, &self.network.shape);
        self.expect_one_direction(operation)?;
        x_t.expect(operation, "x_t", device, &[("B", None), ("I", Some(shape.input))])?;
        let batch = x_t.shape()[0];
        self.expect_own(operation, batch, state)?;
        let _parameters = self.network.parameters();
        let ready = self.network.forward_session(&Sequences::new(1, batch).with_state())?;
        let session = &ready.session;
        let y = Tensor::zeros(device, &[batch, shape.features()])?;
        let mut recorder = self.start(session, (x_t, true), None, Some(state))?;
        recorder.run(session, 0);
        let output = ready.plan.output;
        recorder.copy((&session.buffer(output.buffer), output.start), y.at(), y.len());
        copy_state(&mut recorder, session, state);
        recorder.submit()?;
        Ok(y)
    }

    pub(super) fn expect_one_direction(&self, operation: &'static str) -> Result<()> {
        self.network.shape.expect_causal(operation)
    }

    /// The states that a sequence starts from where none are given: the learned ones, or zeros.
    ///
    /// # Errors
    /// [`Error::Value`] for an empty batch, [`Error::OutOfMemory`].
    pub fn initial_state(&self, batch: usize) -> Result<LstmState> {
        let mut state = self.zero_state(batch, true)?;
        if self.network.shape.learned_state {
            self.reset(&mut state, &(0..batch).collect::<Vec<_>>())?;
        }
        Ok(state)
    }

    pub(super) fn zero_state(&self, batch: usize, batched: bool) -> Result<LstmState> {
        let (device, shape) = (&self.network.device, &self.network.shape);
        let states = shape.layers * shape.directions();
        let zeros = |width: usize| match batched {
            true => Tensor::zeros(device, &[states, batch, width]),
            false => Tensor::zeros(device, &[states, width]),
        };
        Ok(LstmState { h: zeros(shape.state(0))?, c: zeros(shape.hidden)? })
    }

    /// Puts rows of a state back to where a sequence starts, as
    /// [`initial_state`](Self::initial_state) has them. The others stay.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OtherDevice`]; [`Error::Value`] for a row that isn't there.
    pub fn reset(&self, state: &mut LstmState, rows: &[usize]) -> Result<()> {
        let operation = "Lstm::reset";
        let batch = state.h.shape().get(1).copied().unwrap_or(0);
        self.expect_own(operation, batch, state)?;
        if let Some(row) = rows.iter().find(|&&row| row >= batch) {
            return Err(Error::Value {
                operation,
                name: "rows".to_owned(),
                expected: format!("below the batch of {batch}"),
                got: row.to_string(),
            });
        }
        let network = &self.network;
        let _parameters = network.parameters();
        let mut recorder = network.device.recorder();
        for (tensor, role) in [(&state.h, Role::InitialH), (&state.c, Role::InitialC)] {
            let width = tensor.shape()[2];
            let learned = network.table.get(role).map(|entry| entry.start);
            for index in 0..tensor.shape()[0] {
                for row in rows {
                    let to = tensor.from((index * batch + row) * width);
                    match learned {
                        Some(start) => {
                            recorder.copy((&network.params, start + index * width), to, width);
                        }
                        None => recorder.zero(to, width),
                    }
                }
            }
        }
        recorder.submit()
    }

    /// As [`forward_padded`](Self::forward_padded) in training: with dropout between layers, and
    /// with everything kept that [`TrainingPass::backward`] needs. `step` numbers the optimizer
    /// step: with the seed of the settings it says which elements are dropped, on every device the
    /// same.
    ///
    /// ```
    /// use gatefold::{Device, Lstm, LstmConfig, Tensor};
    /// let device = Device::cpu();
    /// let lstm = Lstm::new(&device, LstmConfig::new(3, 8).layers(2).dropout(0.5))?;
    /// let x = Tensor::from_slice(&device, &[0.5; 5 * 2 * 3], &[5, 2, 3])?;
    /// let pass = lstm.forward_training(&x, None, None, 1)?;
    /// let dy = Tensor::from_slice(&device, &[1.0; 5 * 2 * 8], pass.output().shape())?;
    /// let gradients = pass.backward(Some(&dy), None)?;
    /// assert_eq!(gradients.x.shape(), [5, 2, 3]);
    /// assert_eq!(gradients.parameters()?[0].0, "weight_ih_l0");
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward_padded`](Self::forward_padded).
    pub fn forward_training(
        &self,
        x: &Tensor,
        lengths: Option<&[usize]>,
        state: Option<&LstmState>,
        step: u64,
    ) -> Result<TrainingPass> {
        let sizes = self.expect("Lstm::forward_training", x, lengths, state)?;
        let sequences = sizes.sequences;
        let network = &self.network;
        let parameters = network.parameters();
        let drop = network.config.drops();
        let plan = || Plan::gradient(&network.shape, &sequences, drop, &network.device.limits());
        let caller = [("params", &network.params)];
        let key = (sequences, "gradient");
        let ready = network.sessions.take(key, &network.device, plan, &caller)?;
        let results = self.results(sizes)?;
        if drop.is_some() || network.shape.cell.is_random() {
            let key = Dropout::halves(Dropout::key(network.config.seed, step));
            network.device.write(&ready.session.known("key"), 0, &key)?;
        }
        let mut recorder = self.start(&ready.session, (x, false), lengths, state)?;
        recorder.run_commands(&ready.session, 0..ready.plan.backward_from, 0);
        finish(&mut recorder, &ready.session, &ready.plan, &results);
        recorder.submit()?;
        let (x, (output, state)) = (x.shape().to_vec(), results);
        Ok(TrainingPass { lstm: self.clone(), ready, x, output, state, parameters: *parameters })
    }

    /// Checks a call's input.
    fn expect(
        &self,
        operation: &'static str,
        x: &Tensor,
        lengths: Option<&[usize]>,
        state: Option<&LstmState>,
    ) -> Result<Sizes> {
        let (device, config) = (&self.network.device, &self.network.config);
        let input = ("I", Some(config.input));
        let batched = x.shape().len() != 2;
        let (steps, batch) = match (batched, config.batch_first) {
            (false, _) => {
                x.expect(operation, "x", device, &[("T", None), input])?;
                (x.shape()[0], 1)
            }
            (true, false) => {
                x.expect(operation, "x", device, &[("T", None), ("B", None), input])?;
                (x.shape()[0], x.shape()[1])
            }
            (true, true) => {
                x.expect(operation, "x", device, &[("B", None), ("T", None), input])?;
                (x.shape()[1], x.shape()[0])
            }
        };
        if let Some(lengths) = lengths {
            let refused = |expected: String, got: String| {
                Err(Error::Value { operation, name: "lengths".to_owned(), expected, got })
            };
            if lengths.len() != batch {
                return refused(format!("one for each of {batch} rows"), lengths.len().to_string());
            }
            if let Some(row) = lengths.iter().position(|&length| length > steps) {
                let got = format!("{} in row {row}", lengths[row]);
                return refused(format!("at most the {steps} timesteps of x"), got);
            }
        }
        if let Some(state) = state {
            self.expect_state(operation, batched.then_some(batch), state)?;
        }
        let sequences = Sequences {
            lengths: lengths.is_some(),
            // Without a batch there is one layout, which needs no turning.
            batch_first: batched && config.batch_first,
            right_aligned: config.right_aligned && lengths.is_some(),
            state: state.is_some(),
            ..Sequences::new(steps, batch)
        };
        Ok(Sizes { sequences, batched })
    }

    /// Checks a state of a batch, or of none.
    pub(super) fn expect_state(
        &self,
        operation: &'static str,
        batch: Option<usize>,
        state: &LstmState,
    ) -> Result<()> {
        let (device, shape) = (&self.network.device, &self.network.shape);
        let name = if shape.projection.is_some() { "P" } else { "H" };
        let parts = [
            ("h_0", &state.h, (name, Some(shape.state(0)))),
            ("c_0", &state.c, ("H", Some(shape.hidden))),
        ];
        for (tensor_name, tensor, width) in parts {
            let mut size = vec![("L D", Some(shape.layers * shape.directions()))];
            size.extend(batch.map(|batch| ("B", Some(batch))));
            size.push(width);
            tensor.expect(operation, tensor_name, device, &size)?;
        }
        Ok(())
    }

    /// Checks a state whose tensors will be written.
    fn expect_own(&self, operation: &'static str, batch: usize, state: &LstmState) -> Result<()> {
        self.expect_state(operation, Some(batch), state)?;
        match state.h.shares(&state.c) {
            false => Ok(()),
            true => Err(Error::Value {
                operation,
                name: "state".to_owned(),
                expected: "two tensors of their own".to_owned(),
                got: "clones of one".to_owned(),
            }),
        }
    }

    /// The tensors that a call returns.
    fn results(&self, sizes: Sizes) -> Result<(Tensor, LstmState)> {
        let state = self.zero_state(sizes.sequences.batch, sizes.batched)?;
        Ok((Tensor::zeros(&self.network.device, &self.sizes_of_outputs(&sizes))?, state))
    }

    /// The sizes of a call's outputs.
    fn sizes_of_outputs(&self, sizes: &Sizes) -> Vec<usize> {
        let Sequences { steps, batch, batch_first, .. } = sizes.sequences;
        let features = self.network.shape.features();
        match (sizes.batched, batch_first) {
            (false, _) => vec![steps, features],
            (true, false) => vec![steps, batch, features],
            (true, true) => vec![batch, steps, features],
        }
    }

    /// Puts a call's input where its plan reads it, in one run or in several.
    fn start(
        &self,
        session: &Session,
        (x, once): (&Tensor, bool),
        lengths: Option<&[usize]>,
        state: Option<&LstmState>,
    ) -> Result<Recorder> {
        let device = &self.network.device;
        if let Some(lengths) = lengths {
            // Below 2^24, where f32 counts exactly: a plan has fewer timesteps.
            let lengths: Vec<f32> = lengths.iter().map(|&length| length as f32).collect();
            device.write(&session.known("lengths"), 0, &lengths)?;
        }
        let mut recorder = device.recorder();
        match once {
            true => recorder.input(session, "x", x.at(), x.len()),
            false => recorder.copy(x.at(), (&session.known("x"), 0), x.len()),
        }
        if let Some(state) = state {
            for (name, tensor) in [("h_0", &state.h), ("c_0", &state.c)] {
                recorder.copy(tensor.at(), (&session.known(name), 0), tensor.len());
            }
        }
        Ok(recorder)
    }
}

/// Takes a call's results from where its plan leaves them.
fn finish(recorder: &mut Recorder, session: &Session, plan: &Plan, to: &(Tensor, LstmState)) {
    let (y, state) = to;
    let from = (&session.buffer(plan.output.buffer), plan.output.start);
    recorder.copy(from, y.at(), y.len());
    copy_state(recorder, session, state);
}

pub(super) fn copy_state(recorder: &mut Recorder, session: &Session, state: &LstmState) {
    for (name, tensor) in [("h_n", &state.h), ("c_n", &state.c)] {
        recorder.copy((&session.known(name), 0), tensor.at(), tensor.len());
    }
}
