//! Initial values.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};

/// How a parameter's initial values are drawn. Shapes are PyTorch's, `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform in `-bound..bound`.
    Uniform {
        /// The bound.
        bound: f32,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f32,
        /// The standard deviation.
        std: f32,
    },
    /// Uniform in `+-sqrt(6 / (rows + columns))` (Glorot and Bengio, 2010).
    XavierUniform,
    /// Orthonormal rows or columns, whichever are fewer (Saxe et al., 2014).
    Orthogonal,
    /// Zeros.
    Zeros,
    /// One value everywhere.
    Constant(f32),
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Init::Uniform { bound } => write!(f, "uniform within {bound}"),
            Init::Normal { mean, std } => write!(f, "normal with mean {mean} and deviation {std}"),
            Init::XavierUniform => f.write_str("uniform by Xavier"),
            Init::Orthogonal => f.write_str("orthogonal"),
            Init::Zeros => f.write_str("zeros"),
            Init::Constant(value) => write!(f, "all {value}"),
        }
    }
}

impl Init {
    /// Whether the settings can be drawn from.
    pub(crate) fn is_valid(&self) -> bool {
        match *self {
            Init::Uniform { bound } => (2.0 * bound).is_finite() && bound >= 0.0,
            Init::Normal { mean, std } => mean.is_finite() && std.is_finite() && std >= 0.0,
            Init::Constant(value) => value.is_finite(),
            Init::XavierUniform | Init::Orthogonal | Init::Zeros => true,
        }
    }

    /// The values of a tensor. `stream` tells the tensors of one model apart, so that the values
    /// of one don't depend on how many another has.
    pub(crate) fn draw(&self, shape: &[usize], seed: u64, stream: u64) -> Vec<f32> {
        let len = shape.iter().product();
        let rows = shape[0];
        let columns = len / rows;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let mut normal = |mean: f32, std: f32| -> Vec<f32> {
            let draws = StandardNormal.sample_iter(&mut rng).take(len);
            draws.map(|z: f32| mean + std * z).collect()
        };
        match *self {
            Init::Zeros => vec![0.0; len],
            Init::Constant(value) => vec![value; len],
            Init::Normal { mean, std } => normal(mean, std),
            Init::Orthogonal => orthogonal(rows, columns, normal(0.0, 1.0)),
            Init::Uniform { bound } => uniform(bound, len, &mut rng),
            Init::XavierUniform => uniform((6.0 / (rows + columns) as f32).sqrt(), len, &mut rng),
        }
    }
}

fn uniform(bound: f32, len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    match Uniform::new(-bound, bound) {
        Ok(range) => range.sample_iter(rng).take(len).collect(),
        Err(_) => vec![0.0; len], // bound 0: an empty range
    }
}

/// Gram-Schmidt, twice for precision, over whichever of rows and columns are fewer.
fn orthogonal(rows: usize, columns: usize, normal: Vec<f32>) -> Vec<f32> {
    let (vectors, size) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for v in 0..vectors {
        let mut vector: Vec<f64> = normal[v * size..][..size].iter().map(|&x| x.into()).collect();
        for _ in 0..2 {
            for other in &basis {
                let dot: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        basis.push(vector);
    }
    let at = |row: usize, column: usize| {
        if rows <= columns { basis[row][column] } else { basis[column][row] }
    };
    (0..rows)
        .flat_map(|r| (0..columns).map(move |c| (r, c)))
        .map(|(r, c)| at(r, c) as f32)
        .collect()
}
