//! An LSTM with a head: sequences in, one prediction a sequence out.

use std::collections::HashMap;
use std::path::Path;

use super::names::Names;
use super::network::of_path;
use super::state_dict::Wanted;
use super::{LoadOptions, LstmConfig, ModuleNames, Network, parameter_methods};
use crate::checkpoint::{self, Checkpoint};
use crate::data::{Inputs, expect_lengths, time_major};
use crate::device::{Device, Wait};
use crate::error::{Error, Result};
use crate::plan::{Activation, Answer, Head, Readout, Sequences};
#[cfg(feature = "gpu")]
use crate::record::{self, Given};
use crate::reference::index_in;
use crate::tensor::{Array, Tensor, expect_shape};

fn names() -> Names {
    Names::new("lstm.", "fc.")
}

/// Rows that [`Forecaster::predict`] runs at a time, at most.
const PREDICT_ROWS: usize = 1024;

/// Elements (64 MiB) that the gates of those rows may take.
const PREDICT_ELEMENTS: usize = 16 << 20;

/// An LSTM and a linear layer on what it [reads](LstmConfig::readout) of a sequence: by default the final
/// hidden state of each direction, `fc(torch.cat([h_n[-2], h_n[-1]], 1))`, or `fc(h_n[-1])` of one. Its
/// parameters are named as in the common PyTorch module, `lstm.weight_ih_l0` and `fc.weight`.
///
/// ```
/// use gatefold::{Array, Device, Forecaster, LstmConfig};
/// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(3, 8), 2)?;
/// let x = Array::new(vec![0.5; 4 * 10 * 3], &[4, 10, 3])?; // B, T, I
/// assert_eq!(model.predict(&x)?.shape(), [4, 2]);
/// # Ok::<(), gatefold::Error>(())
/// ```
pub struct Forecaster {
    pub(crate) network: Network,
}

impl Forecaster {
    /// With a linear layer of `outputs` numbers and fresh parameters.
    ///
    /// # Errors
    /// [`Error::Value`] for a zero size or an initialiser that matches nothing,
    /// [`Error::Overflow`], [`Error::OutOfMemory`].
    pub fn new(device: &Device, config: LstmConfig, outputs: usize) -> Result<Forecaster> {
        Forecaster::build(device, &config, Head::Linear(outputs))
    }

    /// With a head of several modules, as `torch.nn.Sequential`.
    ///
    /// # Errors
    /// As [`Forecaster::new`]; [`Error::Value`] for a dropout outside `[0, 1)`.
    pub fn with_head(device: &Device, config: LstmConfig, head: Head) -> Result<Forecaster> {
        Forecaster::build(device, &config, head)
    }

    /// Without a linear layer: what is [read](LstmConfig::readout), such as the final hidden states, is the
    /// prediction.
    ///
    /// # Errors
    /// As [`Forecaster::new`].
    pub fn without_head(device: &Device, config: LstmConfig) -> Result<Forecaster> {
        Forecaster::build(device, &config, Head::Identity)
    }

    /// With a linear layer of `outputs` numbers on the outputs of every timestep, `fc(lstm(x)[0])`:
    /// [`Readout::EveryStep`].
    ///
    /// # Errors
    /// As [`Forecaster::new`].
    pub fn every_step(device: &Device, config: LstmConfig, outputs: usize) -> Result<Forecaster> {
        Forecaster::build(device, &config.readout(Readout::EveryStep), Head::Linear(outputs))
    }

    fn build(device: &Device, config: &LstmConfig, head: Head) -> Result<Forecaster> {
        config.expect_layers("Forecaster::new")?;
        if head == Head::Sequence {
            return Err(Error::Value {
                operation: "Forecaster::new",
                name: "head".to_owned(),
                expected: "one that predicts, such as `Head::new()`".to_owned(),
                got: head.to_string(),
            });
        }
        Ok(Forecaster { network: Network::new(device, config, head.normal(), names())? })
    }

    /// From a file that [`Forecaster::save`] or PyTorch has written. The former say how their tensors are
    /// called and what is read; of the latter the LSTM is named `lstm`, the linear layer `fc`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] with every missing, unexpected and misshapen tensor, and for two
    /// directions of which the file doesn't say what is read of them, as [`load_as`](Self::load_as) takes it.
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Forecaster> {
        Forecaster::load_as(device, path, &LoadOptions::new())
    }

    /// As [`load`](Self::load), with what the file doesn't say.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(
        device: &Device,
        path: impl AsRef<Path>,
        options: &LoadOptions,
    ) -> Result<Forecaster> {
        let path = path.as_ref();
        let file = checkpoint::read(path)?;
        of_path(path, Forecaster::from_checkpoint(device, &file, options))
    }

    /// From what a file holds: its tensors, and its metadata where [`Forecaster::save`] has written them.
    ///
    /// ```
    /// use gatefold::{Array, Device, Forecaster, LoadOptions, LstmConfig, checkpoint};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("model.safetensors");
    /// let device = Device::cpu();
    /// Forecaster::every_step(&device, LstmConfig::new(3, 8), 2)?.save(&path)?;
    ///
    /// let file = checkpoint::read(&path)?;
    /// let model = Forecaster::from_checkpoint(&device, &file, &LoadOptions::new())?;
    /// let x = Array::new(vec![0.5; 5 * 3], &[1, 5, 3])?;
    /// assert_eq!(model.predict(&x)?.shape(), [1, 5, 2]); // still at every timestep
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::StateDict`] as [`load`](Self::load) has [`Error::Checkpoint`].
    pub fn from_checkpoint(
        device: &Device,
        file: &Checkpoint,
        options: &LoadOptions,
    ) -> Result<Forecaster> {
        let naming = options.naming(file)?;
        let wanted = Wanted::Forecaster;
        let network = Network::of_file(device, file, naming, wanted, &options.said)?;
        Ok(Forecaster { network })
    }

    /// From a file of whatever library: where nothing says how the modules are called, the only LSTM in it and
    /// the only linear layer.
    pub(crate) fn from_any(
        device: &Device,
        file: &Checkpoint,
        options: &LoadOptions,
    ) -> Result<Forecaster> {
        match options.says_names() || !file.metadata.is_empty() {
            true => Forecaster::from_checkpoint(device, file, options),
            false => {
                let naming = super::found::naming(file)?;
                let (wanted, said) = (Wanted::Forecaster, &options.said);
                let network = Network::of_file(device, file, naming, wanted, said)?;
                Ok(Forecaster { network })
            }
        }
    }

    /// From the tensors of a PyTorch module, whose shapes say how large it is: an LSTM named
    /// `lstm` and a linear layer named `head`, such as `rnn.` and `linear.`; without tensors of the
    /// latter, what is read of the LSTM is the prediction. That is the final state: what a file's metadata
    /// say isn't among its tensors, so [`from_checkpoint`](Self::from_checkpoint) is for those of
    /// [`Forecaster::save`], and for two directions.
    ///
    /// # Errors
    /// [`Error::StateDict`] with every missing, unexpected and misshapen tensor, and for two directions.
    pub fn from_state_dict(
        device: &Device,
        tensors: &[(String, Array)],
        lstm: &str,
        head: &str,
    ) -> Result<Forecaster> {
        Forecaster::from_state_dict_as(device, tensors, &LoadOptions::new().lstm(lstm).head(head))
    }

    /// As [`from_state_dict`](Self::from_state_dict), with whatever the tensors don't say.
    ///
    /// ```
    /// use gatefold::{Device, Forecaster, Head, LoadOptions, LstmConfig, ModuleNames};
    /// let head = Head::new().dropout(0.5).linear(16).relu().linear(2);
    /// let model = Forecaster::with_head(&Device::cpu(), LstmConfig::new(3, 8), head.clone())?;
    /// let tensors = model.state_dict()?; // lstm.weight_ih_l0 ... fc.1.weight ... fc.3.bias
    ///
    /// let options = LoadOptions::new().modules(head);
    /// let same = Forecaster::from_state_dict_as(&Device::cpu(), &tensors, &options)?;
    /// assert_eq!(same.outputs(), 2);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_state_dict`](Self::from_state_dict).
    pub fn from_state_dict_as(
        device: &Device,
        tensors: &[(String, Array)],
        options: &LoadOptions,
    ) -> Result<Forecaster> {
        let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        let naming = options.naming_of(&names)?;
        let (wanted, said) = (Wanted::Forecaster, &options.said);
        let network = Network::of(device, tensors.into(), naming, None, wanted, said)?;
        Ok(Forecaster { network })
    }

    /// Calls the modules something else, in [`state_dict`](Self::state_dict) and in files from now on.
    ///
    /// # Errors
    /// [`Error::Value`] for another number of names than there are modules.
    pub fn rename(&mut self, names: &ModuleNames) -> Result<()> {
        self.network.rename(names)
    }

    /// As [`Forecaster::save`], with entries of the caller's, such as scalers, in the file's
    /// metadata.
    ///
    /// # Errors
    /// As [`Forecaster::save`].
    pub fn save_with(
        &self,
        path: impl AsRef<Path>,
        entries: &HashMap<String, String>,
    ) -> Result<()> {
        pollster::block_on(self.network.save(path.as_ref(), entries, Wait::Blocking))
    }

    /// The asynchronous form of [`save_with`](Self::save_with), as [`save_async`](Self::save_async)
    /// is of [`save`](Self::save): the same polls.
    ///
    /// # Errors
    /// As [`Forecaster::save`].
    pub async fn save_with_async(
        &self,
        path: impl AsRef<Path>,
        entries: &HashMap<String, String>,
    ) -> Result<()> {
        self.network.save(path.as_ref(), entries, Wait::Pending).await
    }

    /// As [`Forecaster::load`], with all entries of the file's metadata.
    ///
    /// # Errors
    /// As [`Forecaster::load`].
    pub fn load_with(
        device: &Device,
        path: impl AsRef<Path>,
    ) -> Result<(Forecaster, HashMap<String, String>)> {
        let path = path.as_ref();
        let file = checkpoint::read(path)?;
        let model = Forecaster::from_checkpoint(device, &file, &LoadOptions::new());
        Ok((of_path(path, model)?, file.metadata))
    }

    parameter_methods!();

    /// Numbers in a prediction.
    pub fn outputs(&self) -> usize {
        self.network.shape.outputs()
    }

    /// What the head reads of a sequence.
    pub fn readout(&self) -> Readout {
        self.network.shape.readout
    }

    /// Predictions for `x [B, T, I]`, or `[B, T]` of tokens, from the model's own initial states, read
    /// back to the host: `[B, O]`, or `[B, T, O]` with predictions at every timestep.
    ///
    /// [`Inputs`] says what `x` may be. `predict(&x)` is about an [`Array`]; `predict((&x, &lengths))` about
    /// one whose rows end after so many timesteps: nothing that stands behind a row's end is read, and what
    /// the predictions at those timesteps are says nothing. `predict(&data)` is about a
    /// [`Dataset`](crate::Dataset), with its lengths. Of a sequence of length 0 the final states are the
    /// initial ones, and it has no outputs.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] for a token out of range and for lengths that don't fit,
    /// [`Error::Limit`], [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn predict<'a>(&self, x: impl Into<Inputs<'a>>) -> Result<Array> {
        pollster::block_on(self.predict_as(x.into(), Answer::Outputs, Wait::Blocking))
    }

    /// The asynchronous form of [`predict`](Self::predict): the future polls a GPU of our own, a
    /// caller's GPU is polled by the caller (see [who polls](Device#who-polls)).
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async<'a>(&self, x: impl Into<Inputs<'a>>) -> Result<Array> {
        self.predict_as(x.into(), Answer::Outputs, Wait::Pending).await
    }

    /// What makes probabilities of the outputs: the sigmoid where there is one output, and otherwise what
    /// [`set_activation`](Self::set_activation) has said.
    pub fn activation(&self) -> Activation {
        match (self.network.shape.output, self.outputs()) {
            (Some(activation), _) => activation,
            (None, 1) => Activation::Sigmoid,
            _ => self.network.activation,
        }
    }

    /// Says what several outputs are about, for [`probabilities`](Self::probabilities) and
    /// [`classes`](Self::classes): one of several classes, which is the default, or a question each. A
    /// [`Trainer`](crate::train::Trainer) with a binary cross-entropy does so, and files keep it. One output
    /// is always a question. An [output activation](LstmConfig::output_activation) says so itself.
    pub fn set_activation(&mut self, activation: Activation) {
        self.network.activation = activation;
    }

    /// As [`predict`](Self::predict), with the [activation](Self::activation) of the outputs taken on the
    /// device: the probability of each class, by the softmax, or that of yes for each output, by the
    /// sigmoid.
    ///
    /// ```
    /// use gatefold::{Array, Device, Forecaster, LstmConfig};
    /// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(1, 4), 1)?;
    /// let x = Array::new(vec![0.5; 6], &[2, 3, 1])?;
    /// let logits = model.predict(&x)?; // [2, 1]
    /// let p = model.probabilities(&x)?; // [2, 1], their sigmoids
    /// assert!((p.data()[0] - 1.0 / (1.0 + (-logits.data()[0]).exp())).abs() < 1e-6);
    /// assert_eq!(model.classes(&x)?.shape(), [2]);
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    #[doc(alias = "softmax")]
    pub fn probabilities<'a>(&self, x: impl Into<Inputs<'a>>) -> Result<Array> {
        let answer = Answer::Probabilities(self.activation());
        pollster::block_on(self.predict_as(x.into(), answer, Wait::Blocking))
    }

    /// The asynchronous form of [`probabilities`](Self::probabilities), as [`predict_async`](Self::predict_async) is
    /// of [`predict`](Self::predict): the same polls.
    ///
    /// # Errors
    /// As [`probabilities`](Self::probabilities).
    pub async fn probabilities_async<'a>(&self, x: impl Into<Inputs<'a>>) -> Result<Array> {
        self.predict_as(x.into(), Answer::Probabilities(self.activation()), Wait::Pending).await
    }

    /// The output with the largest value, found on the device: `[B]`, or `[B, T]`. Where outputs are
    /// questions, 1 for each logit above 0, whose probability is above 1/2, and 0 for the others:
    /// `[B, O]`, or `[B, T, O]`, without the last dimension where there is one output.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    #[doc(alias = "argmax")]
    pub fn classes<'a>(&self, x: impl Into<Inputs<'a>>) -> Result<Array<u32>> {
        pollster::block_on(self.classes_as(x.into(), Wait::Blocking))
    }

    /// The asynchronous form of [`classes`](Self::classes), as [`predict_async`](Self::predict_async) is
    /// of [`predict`](Self::predict): the same polls.
    ///
    /// # Errors
    /// As [`classes`](Self::classes).
    pub async fn classes_async<'a>(&self, x: impl Into<Inputs<'a>>) -> Result<Array<u32>> {
        self.classes_as(x.into(), Wait::Pending).await
    }

    async fn classes_as(&self, x: Inputs<'_>, wait: Wait) -> Result<Array<u32>> {
        let found = self.predict_as(x, Answer::Classes(self.activation()), wait).await?;
        Array::integers(found.data().iter().map(|&class| class as u32).collect(), found.shape())
    }

    async fn predict_as(&self, x: Inputs<'_>, answer: Answer, wait: Wait) -> Result<Array> {
        let operation = match answer {
            Answer::Outputs => "Forecaster::predict",
            Answer::Probabilities(_) => "Forecaster::probabilities",
            Answer::Classes(_) => "Forecaster::classes",
        };
        let (x, timesteps) = x.parts()?;
        let (device, shape) = (&self.network.device, &self.network.shape);
        let tokens = shape.encoding.tokens(shape.input);
        let dims = [("B", None), ("T", None), ("I", Some(shape.input))];
        let dims = &dims[..if tokens.is_some() { 2 } else { 3 }];
        expect_shape(operation, "x", x.shape(), dims)?;
        let (batch, steps) = (x.shape()[0], x.shape()[1]);
        let lengths = timesteps.lengths.as_deref();
        expect_lengths(operation, lengths, batch, steps)?;
        let range = |row: usize| timesteps.range(row, steps);
        if let Some(count) = tokens {
            let bad = |at: usize, v: f32| {
                range(at / steps).contains(&(at % steps)) && index_in(v, count).is_none()
            };
            if let Some((at, v)) = x.data().iter().enumerate().find(|(at, v)| bad(*at, **v)) {
                return Err(Error::Value {
                    operation,
                    name: format!("x, sequence {}, timestep {}", at / steps, at % steps),
                    expected: format!("a token from 0 to {}", count - 1),
                    got: v.to_string(),
                });
            }
        }
        let each = shape.predictions(steps);
        let width = answer.width(shape.outputs());
        let mut y = vec![0.0; batch * each * width];
        let all: Vec<usize> = (0..batch).collect();
        for rows in all.chunks(self.rows_at_a_time(steps)) {
            let mut host = Vec::with_capacity(rows.len() * steps * shape.given());
            let size = (steps, shape.given());
            time_major(x.data(), size, 0..steps, rows, |row| range(row).start, &mut host);
            let sequences =
                Sequences { lengths: lengths.is_some(), ..Sequences::new(steps, rows.len()) };
            let ready = self.network.prediction_session(&sequences, answer)?;
            let session = &ready.session;
            device.write(&session.known("x"), 0, &host)?;
            if let Some(lengths) = lengths {
                let lengths: Vec<f32> = rows.iter().map(|&row| lengths[row] as f32).collect();
                device.write(&session.known("lengths"), 0, &lengths)?;
            }
            session.run_as(wait).await?;
            let output = ready.plan.output;
            let read = device.read_as(&session.buffer(output.buffer), 0, output.len, wait).await;
            if let Err(Error::OutOfMemory { .. }) = read {
                ready.give_up();
            }
            let read = read?;
            // Time-major, as the device has it.
            let start = |row| if shape.every_step() { range(row).start } else { 0 };
            let starts: Vec<usize> = rows.iter().map(|&row| start(row)).collect();
            for (from, values) in read.chunks_exact(width).enumerate() {
                let (t, i) = (from / rows.len(), from % rows.len());
                // A row that starts late has nothing behind its last timestep.
                if starts[i] + t < each {
                    y[(rows[i] * each + starts[i] + t) * width..][..width].copy_from_slice(values);
                }
            }
        }
        let mut dims = vec![batch];
        dims.extend(shape.every_step().then_some(steps));
        let of_classes = matches!(answer, Answer::Classes(_));
        dims.extend((!of_classes || width > 1).then_some(width));
        Array::new(y, &dims)
    }

    /// Rows of so many timesteps that are run at a time: a workspace of moderate size, and within
    /// what the device can hold.
    pub(crate) fn rows_at_a_time(&self, steps: usize) -> usize {
        let shape = &self.network.shape;
        let gates = 4 * shape.directions() * shape.hidden;
        let outputs =
            if shape.every_step() { shape.outputs().max(shape.widest_of_head()) } else { 0 };
        let row = steps.saturating_mul(shape.input.max(gates).max(outputs));
        let elements = PREDICT_ELEMENTS.min(self.network.device.limits().max_buffer);
        (elements / row).clamp(1, PREDICT_ROWS)
    }

    /// Records [`forward`](Self::forward) into the caller's encoder, over the caller's buffers, as
    /// [`Lstm::record`](crate::Lstm::record).
    ///
    /// # Shapes
    /// `x [T, B, I]`, or `[B, T, I]` where the settings say batch-first; without the last dimension where
    /// it is tokens. `y [B, O]`, or, with predictions at every timestep, `[T, B, O]` and `[B, T, O]`.
    ///
    /// # Errors
    /// As [`Lstm::record`](crate::Lstm::record).
    #[cfg(feature = "gpu")]
    pub fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (steps, batch): (usize, usize),
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let shape = &self.network.shape;
        shape.check("Forecaster::record", steps, batch)?;
        let outputs = shape.predictions(steps) * batch * shape.outputs();
        let x = Given { name: "x", slice: x, len: steps * batch * shape.given() };
        let y = Given { name: "y", slice: y, len: outputs };
        record::expect("Forecaster::record", &self.network.device, &[x], &[y], &[])?;
        let batch_first = self.network.config.batch_first;
        let sequences = Sequences { batch_first, ..Sequences::new(steps, batch) };
        let ready = self.network.recorded_session(&sequences)?;
        let session = &ready.session;
        record::copy_in(encoder, session, &[(x, "x")]);
        session.encode(encoder, 0..session.program().commands.len());
        let output = ready.plan.output;
        let name = &session.program().spec(output.buffer).name;
        record::copy_out(encoder, session, name, output.start, &y);
        Ok(())
    }

    /// Lets go of what [`record`](Self::record) keeps for every shape; the next call of a shape makes
    /// it anew.
    #[cfg(feature = "gpu")]
    pub fn release_recorded(&self) {
        self.network.recorded.release();
    }

    /// Predictions `[B, O]` for an `x` that is on the device already, `[T, B, I]`, or `[B, T, I]`
    /// where the settings say batch-first, without the last dimension where it is tokens. With
    /// predictions at every timestep they are `[T, B, O]` or `[B, T, O]`. Nothing is read back, so
    /// nobody looks at tokens: one that isn't there makes its row NaN.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OtherDevice`], [`Error::Limit`], [`Error::OutOfMemory`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (device, shape) = (&self.network.device, &self.network.shape);
        let batch_first = self.network.config.batch_first;
        let [first, second] = if batch_first { ["B", "T"] } else { ["T", "B"] };
        let dims = [(first, None), (second, None), ("I", Some(shape.input))];
        let tokens = shape.encoding.tokens(shape.input).is_some();
        x.expect("Forecaster::forward", "x", device, &dims[..if tokens { 2 } else { 3 }])?;
        let (steps, batch) = match batch_first {
            false => (x.shape()[0], x.shape()[1]),
            true => (x.shape()[1], x.shape()[0]),
        };
        let outputs = shape.outputs();
        let y = match (shape.every_step(), batch_first) {
            (false, _) => Tensor::zeros(device, &[batch, outputs])?,
            (true, false) => Tensor::zeros(device, &[steps, batch, outputs])?,
            (true, true) => Tensor::zeros(device, &[batch, steps, outputs])?,
        };
        let sequences = Sequences { batch_first, ..Sequences::new(steps, batch) };
        let ready = self.network.forward_session(&sequences)?;
        let session = &ready.session;
        let mut recorder = device.recorder();
        recorder.input(session, "x", x.at(), x.len());
        recorder.run(session, 0);
        let output = ready.plan.output;
        recorder.copy((&session.buffer(output.buffer), output.start), y.at(), y.len());
        recorder.submit()?;
        Ok(y)
    }
}
