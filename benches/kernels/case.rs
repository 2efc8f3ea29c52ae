//! One launch, and the buffers that it is made over.

use criterion::Throughput;
use gatefold::command::{BufferSpec, Command, Dispatch, Operation, Owner, Program, Range};
use gatefold::kernels::{self, View};

/// One launch and what it moves.
pub struct Case {
    pub kernel: &'static str,
    pub shape: String,
    pub program: Program,
    /// What the buffers hold at first.
    pub contents: Vec<Vec<f32>>,
    /// Floating-point operations, or bytes where a kernel hardly computes.
    pub throughput: Throughput,
}

/// What a launch is made over.
#[derive(Default)]
pub struct Builder {
    program: Program,
    contents: Vec<Vec<f32>>,
}

impl Builder {
    /// A buffer of numbers in (0, 1), since second moments must not be negative.
    pub fn buffer(&mut self, len: usize) -> View {
        let seed = self.contents.len() + 7;
        self.given((1..=len).map(|i| (i * seed * 7919 % 10_007) as f32 / 10_008.0 + 5e-5).collect())
    }

    pub fn given(&mut self, contents: Vec<f32>) -> View {
        let (name, len) = (format!("buffer {}", self.contents.len()), contents.len());
        let shape = format!("[{len}]");
        let spec = BufferSpec { name, shape, len, slots: 1, owner: Owner::Workspace };
        self.contents.push(contents);
        View::of(Range { buffer: self.program.add(spec), start: 0, len })
    }

    pub fn case(
        mut self,
        kernel: &'static str,
        shape: String,
        throughput: Throughput,
        launch: Dispatch,
    ) -> Case {
        let operation = Operation::Dispatch(launch);
        self.program.commands.push(Command { label: kernel.to_owned(), operation });
        // SAFETY: every case below launches a kernel over whole buffers of its shape.
        let program = unsafe { self.program.trusted(&kernels::table()) };
        Case { kernel, shape, program, contents: self.contents, throughput }
    }
}
