//! An LSTM's calls in a caller's encoder.

use super::Lstm;
use crate::error::Result;
use crate::plan::Sequences;
use crate::record::{self, Given};

/// The caller's buffers for [`Lstm::record`], each from an offset on.
#[derive(Clone, Copy)]
pub struct LstmBindings<'a> {
    /// The input.
    pub x: wgpu::BufferSlice<'a>,
    /// The timesteps of each row, where they have some of their own.
    pub lengths: Option<wgpu::BufferSlice<'a>>,
    /// The initial states `h_0` and `c_0`; else the learned ones or zeros.
    pub state: Option<[wgpu::BufferSlice<'a>; 2]>,
    /// Where the outputs go, where they are wanted.
    pub y: Option<wgpu::BufferSlice<'a>>,
    /// Where the final states `h_n` and `c_n` go, where they are wanted.
    pub last_state: Option<[wgpu::BufferSlice<'a>; 2]>,
}

impl Lstm {
    /// Records [`forward_padded`](Self::forward_padded) into the caller's encoder, over the caller's
    /// buffers: nothing is submitted, and after the first call of a shape nothing is created. The
    /// caller's own passes may stand before and after it. See the
    /// [page on embedding](crate::guide::in_your_program).
    ///
    /// # Shapes
    /// As [`forward`](Self::forward), for `steps` timesteps of `batch` rows; `lengths [B]` are whole
    /// numbers in f32, at most `steps`, which nobody checks there.
    ///
    /// # Errors
    /// [`Error::Value`] on the CPU, and for a buffer with an offset that isn't of whole f32, without
    /// `COPY_SRC` or `COPY_DST`, or for both input and output; [`Error::Shape`] for one that is too
    /// small; [`Error::OtherDevice`]; [`Error::Limit`], [`Error::OutOfMemory`]. Nothing is recorded
    /// then.
    ///
    /// [`Error::Value`]: crate::Error::Value
    /// [`Error::Shape`]: crate::Error::Shape
    /// [`Error::OtherDevice`]: crate::Error::OtherDevice
    /// [`Error::Limit`]: crate::Error::Limit
    /// [`Error::OutOfMemory`]: crate::Error::OutOfMemory
    pub fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (steps, batch): (usize, usize),
        bindings: &LstmBindings<'_>,
    ) -> Result<()> {
        let shape = &self.network.shape;
        shape.check("Lstm::record", steps, batch)?;
        let states = shape.layers * shape.directions() * batch;
        let given = |name, slice, len| Given { name, slice, len };
        let mut inputs = vec![(given("x", bindings.x, steps * batch * shape.input), "x")];
        inputs.extend(bindings.lengths.map(|slice| (given("lengths", slice, batch), "lengths")));
        if let Some([h, c]) = bindings.state {
            inputs.push((given("h_0", h, states * shape.state(0)), "h_0"));
            inputs.push((given("c_0", c, states * shape.hidden), "c_0"));
        }
        let y = bindings.y.map(|slice| given("y", slice, steps * batch * shape.features()));
        let last = bindings.last_state.map(|[h, c]| {
            [given("h_n", h, states * shape.state(0)), given("c_n", c, states * shape.hidden)]
        });
        let outputs: Vec<Given<'_>> = y.into_iter().chain(last.into_iter().flatten()).collect();
        let read: Vec<Given<'_>> = inputs.iter().map(|(given, _)| *given).collect();
        record::expect("Lstm::record", &self.network.device, &read, &outputs, &[])?;

        let sequences = Sequences {
            lengths: bindings.lengths.is_some(),
            batch_first: self.network.config.batch_first,
            right_aligned: self.network.config.right_aligned && bindings.lengths.is_some(),
            state: bindings.state.is_some(),
            ..Sequences::new(steps, batch)
        };
        let ready = self.network.recorded_session(&sequences)?;
        let session = &ready.session;
        record::copy_in(encoder, session, &inputs);
        session.encode(encoder, 0..session.program().commands.len());
        let output = ready.plan.output;
        let name = &session.program().spec(output.buffer).name;
        for given in &outputs {
            match given.name {
                "y" => record::copy_out(encoder, session, name, output.start, given),
                state => record::copy_out(encoder, session, state, 0, given),
            }
        }
        Ok(())
    }

    /// Lets go of what [`record`](Self::record) and [`record_step`](Self::record_step) keep for every
    /// shape; the next call of a shape makes it anew.
    pub fn release_recorded(&self) {
        self.network.recorded.release();
    }

    /// Records [`step`](Self::step) into the caller's encoder, as [`record`](Self::record): `state`
    /// is read and written in place.
    ///
    /// # Shapes
    /// `x_t [B, I]`, `y_t [B, P]`, `h [L, B, P]`, `c [L, B, H]`.
    ///
    /// # Errors
    /// As [`record`](Self::record) and [`step`](Self::step).
    pub fn record_step(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        batch: usize,
        x_t: wgpu::BufferSlice<'_>,
        [h, c]: [wgpu::BufferSlice<'_>; 2],
        y_t: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let operation = "Lstm::record_step";
        self.expect_one_direction(operation)?;
        let shape = &self.network.shape;
        shape.check(operation, 1, batch)?;
        let given = |name, slice, len| Given { name, slice, len };
        let x_t = given("x_t", x_t, batch * shape.input);
        let y_t = given("y_t", y_t, batch * shape.features());
        let h = given("h", h, shape.layers * batch * shape.state(0));
        let c = given("c", c, shape.layers * batch * shape.hidden);
        record::expect(operation, &self.network.device, &[x_t], &[y_t], &[h, c])?;
        let ready = self.network.recorded_session(&Sequences::new(1, batch).with_state())?;
        let (session, output) = (&ready.session, ready.plan.output);
        record::copy_in(encoder, session, &[(x_t, "x"), (h, "h_0"), (c, "c_0")]);
        session.encode(encoder, 0..session.program().commands.len());
        let name = &session.program().spec(output.buffer).name;
        record::copy_out(encoder, session, name, output.start, &y_t);
        record::copy_out(encoder, session, "h_n", 0, &h);
        record::copy_out(encoder, session, "c_n", 0, &c);
        Ok(())
    }
}
