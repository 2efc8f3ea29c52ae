//! Thousands of streams that advance together.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::lstm::copy_state;
use super::{Forecaster, Lstm, LstmState, Network};
use crate::error::{Error, Result};
use crate::plan::{Plan, Readout, Role, Sequences};
use crate::reference::index_in;
use crate::tensor::{Array, Tensor};

/// A stream of a [`StreamPool`]. It ends with [`StreamPool::leave`]: used after that, or with another
/// pool, it is an error, also when its place has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    pool: u64,
    slot: u32,
    generation: u32,
}

/// The place of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// How many streams have had it.
    generation: u32,
    live: bool,
    /// The next step begins from the initial state.
    fresh: bool,
}

/// Many sequences of one model, whose states live on the device and advance together: a step
/// launches the same commands for one stream or for all, of which one a layer computes the step. Streams join, leave and begin anew at any
/// time; those that have nothing to say in a step rest.
///
/// A stream's outputs are, bit for bit, those that it would have alone in a pool of that capacity.
///
/// ```
/// use gatefold::{Device, Lstm, LstmConfig, StreamPool};
/// let lstm = Lstm::new(&Device::cpu(), LstmConfig::new(3, 8))?;
/// let mut pool = StreamPool::new(&lstm, 1000)?;
/// let (a, b) = (pool.join()?, pool.join()?);
/// let y = pool.feed(&[(a, &[0.1, 0.2, 0.3]), (b, &[1.0, 2.0, 3.0])])?;
/// assert_eq!(y.shape(), [2, 8]);
/// let y = pool.feed(&[(b, &[0.0; 3])])?; // a rests
/// pool.leave(a)?;
/// assert!(pool.feed(&[(a, &[0.0; 3])]).is_err());
/// # Ok::<(), gatefold::Error>(())
/// ```
///
/// Of a [`Forecaster`], [`Forecaster::streams`], outputs are predictions.
pub struct StreamPool {
    /// With the parameters of the model that it is of.
    network: Network,
    /// Tells its streams from those of other pools.
    id: u64,
    slots: Vec<Slot>,
    /// Places without a stream, the next one at the end.
    free: Vec<u32>,
    state: LstmState,
    x: Tensor,
    y: Tensor,
}

impl StreamPool {
    /// An empty pool of `capacity` places, whose states take memory from now on.
    ///
    /// # Errors
    /// [`Error::Value`] for a capacity of zero or a model with a reverse direction, which needs a
    /// sequence's end; [`Error::Limit`], [`Error::OutOfMemory`].
    pub fn new(lstm: &Lstm, capacity: usize) -> Result<StreamPool> {
        StreamPool::of("StreamPool::new", &lstm.network, capacity)
    }

    fn of(operation: &'static str, network: &Network, capacity: usize) -> Result<StreamPool> {
        let (device, shape) = (&network.device, &network.shape);
        shape.expect_causal(operation)?;
        shape.check(operation, 1, capacity)?;
        shape.fits(operation, 1, capacity, &device.limits())?;
        let pool = StreamPool {
            network: network.share(),
            // Random, from the system.
            id: RandomState::new().build_hasher().finish(),
            slots: vec![Slot::default(); capacity],
            free: (0..capacity as u32).rev().collect(),
            state: StreamPool::zero_state(network, capacity)?,
            x: Tensor::zeros(device, &StreamPool::input_size(network, capacity))?,
            y: Tensor::zeros(device, &[capacity, StreamPool::output_size(network)])?,
        };
        Ok(pool)
    }

    /// The sizes of the inputs of so many streams.
    fn input_size(network: &Network, streams: usize) -> Vec<usize> {
        let shape = &network.shape;
        let tokens = shape.encoding.tokens(shape.input).is_some();
        if tokens { vec![streams] } else { vec![streams, shape.input] }
    }

    /// Numbers of an output.
    fn output_size(network: &Network) -> usize {
        match network.shape.outputs() {
            0 => network.shape.features(),
            outputs => outputs,
        }
    }

    /// States of so many streams; of layers of several sizes each is flat, layer by layer.
    fn zero_state(network: &Network, streams: usize) -> Result<LstmState> {
        let (device, shape) = (&network.device, &network.shape);
        let [h, c] = shape.state_widths();
        let zeros = |width: usize| match shape.sizes.is_empty() {
            true => Tensor::zeros(device, &[shape.layers, streams, width / shape.layers]),
            false => Tensor::zeros(device, &[streams * width]),
        };
        Ok(LstmState { h: zeros(h)?, c: zeros(c)? })
    }

    /// Places.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Streams.
    pub fn len(&self) -> usize {
        self.capacity() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A new stream, from the model's initial state.
    ///
    /// # Errors
    /// [`Error::Limit`] where every place is taken.
    pub fn join(&mut self) -> Result<Stream> {
        let Some(slot) = self.free.pop() else {
            return Err(Error::Limit {
                operation: "StreamPool::join",
                what: "another stream".to_owned(),
                needed: self.capacity() as u64 + 1,
                limit: "the pool's capacity",
                available: self.capacity() as u64,
            });
        };
        let Slot { generation, live, fresh } = &mut self.slots[slot as usize];
        *generation = generation.wrapping_add(1);
        (*live, *fresh) = (true, true);
        Ok(Stream { pool: self.id, slot, generation: *generation })
    }

    /// Ends a stream; its place is free.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left.
    pub fn leave(&mut self, stream: Stream) -> Result<()> {
        let row = self.row("StreamPool::leave", stream)?;
        self.slots[row].live = false;
        self.free.push(stream.slot);
        Ok(())
    }

    /// Lets a stream begin anew with its next step.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left.
    pub fn reset(&mut self, stream: Stream) -> Result<()> {
        let row = self.row("StreamPool::reset", stream)?;
        self.slots[row].fresh = true;
        Ok(())
    }

    /// The row of a stream in the tensors of [`step`](Self::step), as long as it lives.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left.
    pub fn row_of(&self, stream: Stream) -> Result<usize> {
        self.row("StreamPool::row_of", stream)
    }

    fn row(&self, operation: &'static str, stream: Stream) -> Result<usize> {
        let row = stream.slot as usize;
        match self.slots.get(row) {
            Some(slot)
                if stream.pool == self.id && slot.live && slot.generation == stream.generation =>
            {
                Ok(row)
            }
            _ => Err(Error::Value {
                operation,
                name: "stream".to_owned(),
                expected: "one that has joined this pool and not left".to_owned(),
                got: match self.slots.get(row) {
                    _ if stream.pool != self.id => "one of another pool",
                    _ => "one that has left",
                }
                .to_owned(),
            }),
        }
    }

    /// One step of the streams `fed`, over their rows of `x [capacity, I]`, or `[capacity]` of tokens; the
    /// others rest, and their rows of `x` don't count. Returns the outputs `[capacity, P]`, zero for those that
    /// rest, or predictions `[capacity, O]`, of which those of streams that rest say nothing: in a tensor that
    /// the next step writes again. Nothing is read back, and nobody looks at tokens.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left or stands twice, [`Error::Shape`],
    /// [`Error::OtherDevice`], [`Error::OutOfMemory`].
    pub fn step(&mut self, x: &Tensor, fed: &[Stream]) -> Result<&Tensor> {
        let operation = "StreamPool::step";
        let shape = &self.network.shape;
        let size = [("capacity", Some(self.capacity())), ("I", Some(shape.input))];
        let dims = StreamPool::input_size(&self.network, 1).len();
        x.expect(operation, "x", &self.network.device, &size[..dims])?;
        self.advance(operation, x, fed)?;
        Ok(&self.y)
    }

    /// One step of some streams from the host: each with its input `[I]`, or its token `[1]`. Returns their
    /// outputs in that order, `[n, P]`, or their predictions, `[n, O]`.
    ///
    /// # Errors
    /// As [`step`](Self::step); [`Error::Value`] where nobody is fed, and for a token that isn't there.
    pub fn feed(&mut self, inputs: &[(Stream, &[f32])]) -> Result<Array> {
        let rows = self.advance_from_host(inputs)?;
        self.outputs(&rows, &self.y.to_vec()?)
    }

    /// The asynchronous form of [`feed`](Self::feed): the future polls a GPU of our own, a caller's
    /// GPU is polled by the caller (see [who polls](crate::Device#who-polls)). Where it is dropped halfway,
    /// the streams have taken the step or they haven't, all of them.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub async fn feed_async(&mut self, inputs: &[(Stream, &[f32])]) -> Result<Array> {
        self.network.device.room_async().await;
        let rows = self.advance_from_host(inputs)?;
        self.outputs(&rows, &self.y.to_vec_async().await?)
    }

    fn outputs(&self, rows: &[usize], y: &[f32]) -> Result<Array> {
        let features = StreamPool::output_size(&self.network);
        let fed = rows.iter().flat_map(|row| &y[row * features..][..features]);
        Array::new(fed.copied().collect(), &[rows.len(), features])
    }

    /// Submits a step; returns the rows of those that take it.
    fn advance_from_host(&mut self, inputs: &[(Stream, &[f32])]) -> Result<Vec<usize>> {
        let operation = "StreamPool::feed";
        let shape = &self.network.shape;
        let (input, tokens) = (shape.given(), shape.encoding.tokens(shape.input));
        let mut x = vec![0.0; self.capacity() * input];
        let mut fed = Vec::with_capacity(inputs.len());
        let mut rows = Vec::with_capacity(inputs.len());
        for (stream, values) in inputs {
            let row = self.row(operation, *stream)?;
            if values.len() != input {
                return Err(Error::Shape {
                    operation,
                    tensor: "an input".to_owned(),
                    expected: format!("[I = {input}]"),
                    got: format!("[{}]", values.len()),
                });
            }
            if let Some(count) = tokens.filter(|&count| index_in(values[0], count).is_none()) {
                return Err(Error::Value {
                    operation,
                    name: "an input".to_owned(),
                    expected: format!("a token from 0 to {}", count - 1),
                    got: values[0].to_string(),
                });
            }
            x[row * input..][..input].copy_from_slice(values);
            fed.push(*stream);
            rows.push(row);
        }
        if fed.is_empty() {
            return Err(Error::Value {
                operation,
                name: "inputs".to_owned(),
                expected: "those of at least one stream".to_owned(),
                got: "none".to_owned(),
            });
        }
        self.x.write(&x)?;
        let x = self.x.clone();
        self.advance(operation, &x, &fed)?;
        Ok(rows)
    }

    fn advance(&mut self, operation: &'static str, x: &Tensor, fed: &[Stream]) -> Result<()> {
        let mut lengths = vec![0.0; self.capacity()];
        for stream in fed {
            let row = self.row(operation, *stream)?;
            if lengths[row] > 0.0 {
                return Err(Error::Value {
                    operation,
                    name: "streams".to_owned(),
                    expected: "different".to_owned(),
                    got: format!("that of row {row} twice"),
                });
            }
            lengths[row] = 1.0;
        }
        let network = &self.network;
        let (device, capacity) = (&network.device, self.capacity());
        let sequences =
            Sequences { resets: true, ..Sequences::new(1, capacity).with_lengths().with_state() };
        let _parameters = network.parameters();
        let plan = || Plan::streams(&network.shape, &sequences, &device.limits());
        let caller = [("params", &network.params)];
        let ready = network.sessions.take((sequences, "streams"), device, plan, &caller)?;
        let session = &ready.session;
        let fresh: Vec<f32> =
            self.slots.iter().map(|slot| f32::from(u8::from(slot.fresh))).collect();
        let keep: Vec<f32> = fresh.iter().map(|fresh| 1.0 - fresh).collect();
        device.write(&session.known("lengths"), 0, &lengths)?;
        device.write(&session.known("keep"), 0, &keep)?;
        if let Some(buffer) = session.known_if("fresh") {
            device.write(&buffer, 0, &fresh)?;
        }
        let mut recorder = device.recorder();
        recorder.input(session, "x", x.at(), x.len());
        for (name, tensor) in [("h_0", &self.state.h), ("c_0", &self.state.c)] {
            recorder.copy(tensor.at(), (&session.known(name), 0), tensor.len());
        }
        recorder.run(session, 0);
        let output = ready.plan.output;
        let from = (&session.buffer(output.buffer), output.start);
        recorder.copy(from, self.y.at(), self.y.len());
        copy_state(&mut recorder, session, &self.state);
        recorder.submit()?;
        drop(ready);
        self.slots.iter_mut().for_each(|slot| slot.fresh = false);
        Ok(())
    }

    /// A copy of a stream's state, `h [L, 1, P]` and `c [L, 1, H]`, or of layers of several sizes one after the
    /// other: to keep it, to fork it, to go
    /// on elsewhere.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left, [`Error::OutOfMemory`].
    pub fn save(&self, stream: Stream) -> Result<LstmState> {
        let row = self.row("StreamPool::save", stream)?;
        if self.slots[row].fresh {
            return self.initial_state();
        }
        let state = StreamPool::zero_state(&self.network, 1)?;
        self.copy_row(row, &state, false)?;
        Ok(state)
    }

    /// Puts a stream where [`save`](Self::save) found another one, or it itself earlier.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left, [`Error::Shape`], [`Error::OtherDevice`].
    pub fn restore(&mut self, stream: Stream, state: &LstmState) -> Result<()> {
        let operation = "StreamPool::restore";
        let row = self.row(operation, stream)?;
        let own = StreamPool::zero_state(&self.network, 1)?;
        for (name, given, own) in [("h", &state.h, &own.h), ("c", &state.c, &own.c)] {
            let size: Vec<_> = own.shape().iter().map(|&size| ("size", Some(size))).collect();
            given.expect(operation, name, &self.network.device, &size)?;
        }
        self.copy_row(row, state, true)?;
        self.slots[row].fresh = false;
        Ok(())
    }

    /// The state that a stream begins from.
    fn initial_state(&self) -> Result<LstmState> {
        let state = StreamPool::zero_state(&self.network, 1)?;
        let mut recorder = self.network.device.recorder();
        let learned = [(&state.h, Role::InitialH), (&state.c, Role::InitialC)];
        for (tensor, role) in learned {
            if let Some(entry) = self.network.table.get(role) {
                recorder.copy((&self.network.params, entry.start), tensor.at(), tensor.len());
            }
        }
        recorder.submit()?;
        Ok(state)
    }

    /// Copies a row's state from or to the pool's.
    fn copy_row(&self, row: usize, state: &LstmState, to_pool: bool) -> Result<()> {
        let (shape, capacity) = (&self.network.shape, self.capacity());
        let mut recorder = self.network.device.recorder();
        for l in 0..shape.layers {
            let hidden = (&self.state.h, &state.h, shape.states_below(l, 0, |l| shape.state(l)));
            let cell = (&self.state.c, &state.c, shape.states_below(l, 0, |l| shape.units(l)));
            for ((pool, own, below), width) in [(hidden, shape.state(l)), (cell, shape.units(l))] {
                let place = pool.from(below * capacity + row * width);
                let single = own.from(below);
                match to_pool {
                    true => recorder.copy(single, place, width),
                    false => recorder.copy(place, single, width),
                }
            }
        }
        recorder.submit()
    }
}

impl Forecaster {
    /// An empty pool of streams of this model, with its weights, not a copy: each step of a stream answers
    /// with the prediction from what it has seen so far, as [`predict`](Self::predict) gives it for the
    /// whole sequence.
    ///
    /// ```
    /// use gatefold::{Array, Device, Forecaster, LstmConfig};
    /// let model = Forecaster::new(&Device::cpu(), LstmConfig::new(2, 8), 3)?;
    /// let mut pool = model.streams(100)?;
    /// let stream = pool.join()?;
    /// let first = pool.feed(&[(stream, &[0.1, 0.2])])?; // [1, 3]
    /// let second = pool.feed(&[(stream, &[0.3, 0.4])])?;
    /// let whole = model.predict(&Array::new(vec![0.1, 0.2, 0.3, 0.4], &[1, 2, 2])?)?;
    /// assert_eq!(second.data(), whole.data());
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`StreamPool::new`]; [`Error::Value`] for a readout over time, which needs all outputs.
    pub fn streams(&self, capacity: usize) -> Result<StreamPool> {
        let operation = "Forecaster::streams";
        let readout = self.readout();
        if matches!(readout, Readout::MeanOverTime | Readout::MaxOverTime) {
            return Err(Error::Value {
                operation,
                name: "readout".to_owned(),
                expected: "one of a single timestep".to_owned(),
                got: readout.name().to_owned(),
            });
        }
        StreamPool::of(operation, &self.network, capacity)
    }
}
