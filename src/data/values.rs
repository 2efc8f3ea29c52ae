//! What sequences and targets are given as.

use crate::error::{Error, Result};
use crate::tensor::Array;

/// Numbers or integers with a shape, as a [`Dataset`](super::Dataset) takes them.
///
/// | given | is | as a sequence | as a target |
/// |---|---|---|---|
/// | `u32`, `usize`, .. | `[]` | | a class |
/// | `Vec<u32>`, `[usize; T]`, .. | `[T]` | T tokens | a class for each timestep |
/// | `f32` | `[1]` | | one number |
/// | `[f32; K]` | `[K]` | | K numbers |
/// | `Vec<f32>`, `&[f32]` | `[T, 1]` | T timesteps of one feature | a number for each timestep |
/// | `Vec<[f32; K]>`, `&[[f32; K]]` | `[T, K]` | T timesteps of K features | K numbers for each timestep |
/// | [`Array`], `Array<u32>` | its shape | by its shape | by its shape |
///
/// Integers are of any type up to 64 bits; each also by reference. The device has `f32`, so an integer that
/// an `f32` doesn't hold exactly, as few above 2^24 are, is an error where the data set is made.
#[derive(Clone, Debug)]
pub struct Values {
    data: Vec<f32>,
    shape: Vec<usize>,
    integers: bool,
    /// The first that `f32` doesn't hold: where, and what.
    refused: Option<(usize, String)>,
}

impl Values {
    fn new(data: Vec<f32>, shape: &[usize]) -> Values {
        Values { data, shape: shape.to_vec(), integers: false, refused: None }
    }

    fn integers<T: Copy + Into<Integer>>(given: &[T], shape: &[usize]) -> Values {
        let mut refused = None;
        let of = |(at, value): (usize, &T)| {
            let Integer(value) = (*value).into();
            let held = value as f32;
            if held as i128 != value && refused.is_none() {
                refused = Some((at, value.to_string()));
            }
            held
        };
        let data = given.iter().enumerate().map(of).collect();
        Values { data, shape: shape.to_vec(), integers: true, refused }
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Timesteps of a sequence: its first size.
    pub(super) fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Whether a target is one for each timestep.
    pub(super) fn is_timed(&self) -> bool {
        self.shape.len() == 2 || self.integers && self.shape.len() == 1
    }

    /// The elements, where `f32` holds them all.
    pub(super) fn data(&self, operation: &'static str, name: &str) -> Result<&[f32]> {
        match &self.refused {
            None => Ok(&self.data),
            Some((at, got)) => Err(Error::Value {
                operation,
                name: format!("{name}, element {at}"),
                expected: "an integer that f32 holds exactly, as all up to 16777216".to_owned(),
                got: got.clone(),
            }),
        }
    }

    pub(super) fn array(self, operation: &'static str, name: &str) -> Result<Array> {
        self.data(operation, name)?;
        Array::checked(operation, self.data, &self.shape)
    }
}

/// Any integer of up to 64 bits.
struct Integer(i128);

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl From<$type> for Integer {
            fn from(value: $type) -> Integer {
                Integer(value as i128)
            }
        }

        impl From<$type> for Values {
            fn from(value: $type) -> Values {
                Values::integers(&[value], &[])
            }
        }

        impl From<&$type> for Values {
            fn from(value: &$type) -> Values {
                Values::from(*value)
            }
        }

        impl From<&[$type]> for Values {
            fn from(values: &[$type]) -> Values {
                Values::integers(values, &[values.len()])
            }
        }

        sequences!($type);
    )*};
}

/// Whatever is a slice is taken as one.
macro_rules! sequences {
    ($type:ty $(, $size:ident)?) => {
        impl<$(const $size: usize)?> From<Vec<$type>> for Values {
            fn from(values: Vec<$type>) -> Values {
                Values::from(&values[..])
            }
        }

        impl<$(const $size: usize)?> From<&Vec<$type>> for Values {
            fn from(values: &Vec<$type>) -> Values {
                Values::from(&values[..])
            }
        }

        arrays!($type $(, $size)?);
    };
}

macro_rules! arrays {
    ($type:ty $(, $size:ident)?) => {
        impl<const N: usize $(, const $size: usize)?> From<[$type; N]> for Values {
            fn from(values: [$type; N]) -> Values {
                Values::from(&values[..])
            }
        }

        impl<const N: usize $(, const $size: usize)?> From<&[$type; N]> for Values {
            fn from(values: &[$type; N]) -> Values {
                Values::from(&values[..])
            }
        }
    };
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
sequences!([f32; K], K);

impl From<f32> for Values {
    fn from(value: f32) -> Values {
        Values::new(vec![value], &[1])
    }
}

impl From<&f32> for Values {
    fn from(value: &f32) -> Values {
        Values::from(*value)
    }
}

impl<const K: usize> From<[f32; K]> for Values {
    fn from(values: [f32; K]) -> Values {
        Values::new(values.to_vec(), &[K])
    }
}

impl<const K: usize> From<&[f32; K]> for Values {
    fn from(values: &[f32; K]) -> Values {
        Values::from(*values)
    }
}

impl From<&[f32]> for Values {
    fn from(values: &[f32]) -> Values {
        Values::new(values.to_vec(), &[values.len(), 1])
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Values {
        let len = values.len();
        Values::new(values, &[len, 1])
    }
}

impl From<&Vec<f32>> for Values {
    fn from(values: &Vec<f32>) -> Values {
        Values::from(&values[..])
    }
}

impl<const K: usize> From<&[[f32; K]]> for Values {
    fn from(values: &[[f32; K]]) -> Values {
        Values::new(values.as_flattened().to_vec(), &[values.len(), K])
    }
}

impl From<Array> for Values {
    fn from(array: Array) -> Values {
        let shape = array.shape().to_vec();
        Values::new(array.into_data(), &shape)
    }
}

impl From<&Array> for Values {
    fn from(array: &Array) -> Values {
        Values::new(array.data().to_vec(), array.shape())
    }
}

impl From<Array<u32>> for Values {
    fn from(array: Array<u32>) -> Values {
        Values::from(&array)
    }
}

impl From<&Array<u32>> for Values {
    fn from(array: &Array<u32>) -> Values {
        Values::integers(array.data(), array.shape())
    }
}
