//! What the programs run on.

use gatefold::plan::{Head, ParameterTable, Role};
use gatefold::reference::sequence::LayerWeights;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};

use super::shape::Shape;

/// Seeded numbers for a shape.
pub struct Data {
    /// The parameters as they lie on a device, uniform in `+-1 / sqrt(H)` as PyTorch draws them.
    pub params: Vec<f32>,
    /// The same parameters, for the reference.
    pub weights: LayerWeights<f64>,
    /// `[T, B, I]`.
    pub x: Vec<f32>,
    /// `[B, H]`.
    pub target: Vec<f32>,
}

fn normal(len: usize, seed: u64) -> Vec<f32> {
    StandardNormal.sample_iter(ChaCha8Rng::seed_from_u64(seed)).take(len).collect()
}

impl Data {
    pub fn new(shape: &Shape) -> Data {
        let hidden = shape.hidden;
        let table = ParameterTable::new(&shape.model(Head::Sequence));
        let bound = 1.0 / (hidden as f32).sqrt();
        let uniform = Uniform::new(-bound, bound).expect("a bound above zero");
        let mut draws = uniform.sample_iter(ChaCha8Rng::seed_from_u64(1));
        let mut params = vec![0.0; table.len];
        let mut weights = LayerWeights {
            input: shape.input,
            hidden,
            weight_ih: Vec::new(),
            weight_hh: Vec::new(),
            bias: vec![0.0; 4 * hidden],
            weight_hr: Vec::new(),
            weight_peephole: Vec::new(),
            cell: gatefold::Cell::new(),
        };
        for entry in &table.entries {
            let values: Vec<f32> = draws.by_ref().take(entry.numel()).collect();
            params[entry.start..][..entry.len].copy_from_slice(&entry.from_pytorch(&values));
            let wide = values.iter().map(|&v| f64::from(v));
            match entry.role {
                Role::WeightIh(..) => weights.weight_ih = wide.collect(),
                Role::WeightHh(..) => weights.weight_hh = wide.collect(),
                _ => weights.bias.iter_mut().zip(wide).for_each(|(sum, b)| *sum += b),
            }
        }
        let x = normal(shape.steps * shape.batch * shape.input, 2);
        Data { params, weights, x, target: normal(shape.batch * hidden, 3) }
    }
}
