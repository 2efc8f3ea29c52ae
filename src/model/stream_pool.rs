//! Thousands of streams that advance together.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::lstm::copy_state;
use super::{Lstm, LstmState};
use crate::error::{Error, Result};
use crate::plan::{Plan, Sequences};
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
pub struct StreamPool {
    lstm: Lstm,
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
    /// [`Error::Value`] for a capacity of zero or a bidirectional model, which needs a sequence's
    /// end; [`Error::Limit`], [`Error::OutOfMemory`].
    pub fn new(lstm: &Lstm, capacity: usize) -> Result<StreamPool> {
        let operation = "StreamPool::new";
        lstm.expect_one_direction(operation)?;
        let (device, shape) = (lstm.device(), &lstm.network.shape);
        shape.check(operation, 1, capacity)?;
        shape.fits(operation, 1, capacity, &device.limits())?;
        Ok(StreamPool {
            lstm: lstm.clone(),
            // Random, from the system.
            id: RandomState::new().build_hasher().finish(),
            slots: vec![Slot::default(); capacity],
            free: (0..capacity as u32).rev().collect(),
            state: lstm.zero_state(capacity, true)?,
            x: Tensor::zeros(device, &[capacity, shape.input])?,
            y: Tensor::zeros(device, &[capacity, shape.features()])?,
        })
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

    /// One step of the streams `fed`, over their rows of `x [capacity, I]`; the others rest, and
    /// their rows of `x` don't count. Returns the outputs `[capacity, P]`, zero for those that
    /// rest, in a tensor that the next step writes again. Nothing is read back.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left or stands twice, [`Error::Shape`],
    /// [`Error::OtherDevice`], [`Error::OutOfMemory`].
    pub fn step(&mut self, x: &Tensor, fed: &[Stream]) -> Result<&Tensor> {
        let operation = "StreamPool::step";
        let shape = &self.lstm.network.shape;
        let size = [("capacity", Some(self.capacity())), ("I", Some(shape.input))];
        x.expect(operation, "x", self.lstm.device(), &size)?;
        self.advance(operation, x, fed)?;
        Ok(&self.y)
    }

    /// One step of some streams from the host: each with its input `[I]`. Returns their outputs in
    /// that order, `[n, P]`.
    ///
    /// # Errors
    /// As [`step`](Self::step); [`Error::Value`] where nobody is fed.
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
        self.lstm.device().room_async().await;
        let rows = self.advance_from_host(inputs)?;
        self.outputs(&rows, &self.y.to_vec_async().await?)
    }

    fn outputs(&self, rows: &[usize], y: &[f32]) -> Result<Array> {
        let features = self.lstm.output_size();
        let fed = rows.iter().flat_map(|row| &y[row * features..][..features]);
        Array::new(fed.copied().collect(), &[rows.len(), features])
    }

    /// Submits a step; returns the rows of those that take it.
    fn advance_from_host(&mut self, inputs: &[(Stream, &[f32])]) -> Result<Vec<usize>> {
        let operation = "StreamPool::feed";
        let input = self.lstm.input_size();
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
        self.lstm.device().write(self.x.at().0, self.x.at().1, &x)?;
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
        let network = &self.lstm.network;
        let (device, capacity) = (&network.device, self.capacity());
        let sequences =
            Sequences { resets: true, ..Sequences::new(1, capacity).with_lengths().with_state() };
        let _parameters = network.parameters();
        let plan = || Plan::forward(&network.shape, &sequences, &device.limits());
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

    /// A copy of a stream's state, `h [L, 1, P]` and `c [L, 1, H]`: to keep it, to fork it, to go
    /// on elsewhere.
    ///
    /// # Errors
    /// [`Error::Value`] for a stream that has left, [`Error::OutOfMemory`].
    pub fn save(&self, stream: Stream) -> Result<LstmState> {
        let row = self.row("StreamPool::save", stream)?;
        if self.slots[row].fresh {
            return self.lstm.initial_state(1);
        }
        let state = self.lstm.zero_state(1, true)?;
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
        self.lstm.expect_state(operation, Some(1), state)?;
        self.copy_row(row, state, true)?;
        self.slots[row].fresh = false;
        Ok(())
    }

    /// Copies a row's state from or to the pool's.
    fn copy_row(&self, row: usize, state: &LstmState, to_pool: bool) -> Result<()> {
        let mut recorder = self.lstm.device().recorder();
        for (pool, own) in [(&self.state.h, &state.h), (&self.state.c, &state.c)] {
            let width = pool.shape()[2];
            for l in 0..pool.shape()[0] {
                let place = pool.from((l * self.capacity() + row) * width);
                let single = own.from(l * width);
                match to_pool {
                    true => recorder.copy(single, place, width),
                    false => recorder.copy(place, single, width),
                }
            }
        }
        recorder.submit()
    }
}
