// Which function stands between the linear layers of a head. The numbers are those of
// `reference::Nonlinearity`, in its order.

override NONLINEARITY: u32 = 0u;

const RELU: u32 = 0u;
const LEAKY_RELU: u32 = 1u;
const ELU: u32 = 2u;
const SILU: u32 = 3u;
const TANH: u32 = 4u;
const SIGMOID: u32 = 5u;

// PyTorch's default for what is left of numbers below 0.
const LEAK: f32 = 0.01;
