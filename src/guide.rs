//! The pages of the repository. [Training](crate::train) is one more.
//!
//! | page | what |
//! |---|---|
//! | [`what_an_lstm_is`] | what an LSTM is, from one cell with twelve numbers to the kernel, in pictures |
//! | [`train`](crate::train) | losses, optimizers, schedules, and the loop that runs them |
//! | [`pytorch`] | PyTorch's names here, and its files |
//! | [`files_of_other_libraries`] | files of PyTorch and others, and what is done about what they keep otherwise |
//! | [`cells`] | peepholes, clips, coupled gates, other functions, zoneout and recurrent dropout |
//! | [`devices`] | which device runs, variables, memory, waiting without blocking, lost devices |
#![cfg_attr(
    feature = "gpu",
    doc = "| [`in_your_program`] | inside a program that has a wgpu device already |"
)]
//! | [`speed`] | beside other libraries |
//! | [`verification`] | what is verified, and how |
//! | [`limits`] | what the crate doesn't do, or not fast |

// In front of each page stands where its links lead from here: examples/lstm_pictures/pages.rs.

#[doc = include_str!("../docs/rustdoc/lstm.md")]
#[doc = include_str!("../docs/lstm.md")]
pub mod what_an_lstm_is {}

#[doc = include_str!("../docs/rustdoc/import.md")]
#[doc = include_str!("../docs/import.md")]
pub mod files_of_other_libraries {}

#[doc = include_str!("../docs/rustdoc/cells.md")]
#[doc = include_str!("../docs/cells.md")]
pub mod cells {}

#[doc = include_str!("../docs/rustdoc/pytorch.md")]
#[doc = include_str!("../docs/pytorch.md")]
pub mod pytorch {
    // Words of PyTorch that are names of kernels and twins here. A search shows items of the very name before
    // aliases, and among them modules first; so these lead to what is to be called.

    /// Of a model's outputs: [`Forecaster::probabilities`](crate::Forecaster::probabilities), as its
    /// [`Activation`](crate::Activation) says.
    ///
    /// The kernel is [`kernels::softmax`](crate::kernels::softmax), its meaning
    /// [`reference::softmax`](crate::reference::softmax()).
    pub mod softmax {}

    /// Of a model's outputs: [`Forecaster::classes`](crate::Forecaster::classes).
    ///
    /// The kernel is [`kernels::argmax`](crate::kernels::argmax), its meaning
    /// [`reference::argmax`](crate::reference::argmax()).
    pub mod argmax {}

    /// `nn.Embedding` before an LSTM: [`LstmConfig::embedding`](crate::LstmConfig::embedding).
    ///
    /// The kernel is [`kernels::embedding`](crate::kernels::embedding), its meaning
    /// [`reference::embedding`](crate::reference::embedding()). To put an LSTM into a program that has a device
    /// already is another thing: the page [embedding](crate::guide).
    #[allow(non_snake_case, reason = "PyTorch's name, as it is searched for")]
    pub mod Embedding {}

    /// The final hidden state: [`LstmState::h`](crate::LstmState::h), of the state that
    /// [`Lstm::forward`](crate::Lstm::forward) returns.
    pub mod h_n {}

    /// The final cell state: [`LstmState::c`](crate::LstmState::c), of the state that
    /// [`Lstm::forward`](crate::Lstm::forward) returns.
    pub mod c_n {}
}

#[doc = include_str!("../docs/rustdoc/devices.md")]
#[doc = include_str!("../docs/devices.md")]
pub mod devices {}

#[cfg(feature = "gpu")]
#[doc = include_str!("../docs/rustdoc/embedding.md")]
#[doc = include_str!("../docs/embedding.md")]
pub mod in_your_program {}

#[doc = include_str!("../docs/rustdoc/speed.md")]
#[doc = include_str!("../docs/speed.md")]
pub mod speed {}

#[doc = include_str!("../docs/rustdoc/verification.md")]
#[doc = include_str!("../docs/verification.md")]
pub mod verification {}

#[doc = include_str!("../docs/rustdoc/limits.md")]
#[doc = include_str!("../docs/limits.md")]
pub mod limits {}
