//! Operators on shapes, of which some sizes aren't known.

use super::constant::{Constant, is_float, slice};
use super::proto::Node;
use super::seen::Value;
use super::trace::Trace;

impl Trace<'_> {
    pub(super) fn constant_of_shape(
        &self,
        node: &Node,
        sizes: &Value,
    ) -> Result<Option<Value>, String> {
        let tensor = node.attribute("value").and_then(|attribute| attribute.t.as_ref());
        let fill = match tensor {
            None => Some(0.0),
            Some(tensor) => Constant::of(tensor, self.beside)?.scalar(),
        };
        let is_float = tensor.is_none_or(|tensor| is_float(tensor.data_type.into()));
        let known = sizes.ints().and_then(|sizes| {
            sizes.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()
        });
        Ok(match (fill, known) {
            // Whole numbers are sizes, of which there are few.
            (Some(fill), Some(shape)) if !is_float && shape.len() <= 1 => {
                let len: usize = shape.iter().product();
                if len > 64 {
                    return Ok(None);
                }
                Some(Value::Constant(Constant::of_ints(vec![fill as i64; len], shape)))
            }
            (Some(fill), _) => {
                let sizes = sizes.sizes().map(|(sizes, _)| sizes);
                let last = sizes.and_then(|sizes| usize::try_from((*sizes.last()?)?).ok());
                Some(Value::Fill(fill, last))
            }
            _ => None,
        })
    }
}

/// A constant of another type.
pub(super) fn cast(node: &Node, constant: Constant) -> Value {
    let to_float = node.int("to").is_some_and(is_float);
    let shape = constant.shape.clone();
    Value::Constant(match (to_float, constant.is_float()) {
        (true, false) => Constant::of_floats(constant.floats(), shape),
        (false, true) => {
            let whole = constant.floats().into_iter().map(|value| value as i64).collect();
            Constant::of_ints(whole, shape)
        }
        _ => constant,
    })
}

pub(super) fn shape_of(node: &Node, value: &Value) -> Value {
    let sizes: Vec<Option<i64>> = match value {
        Value::Constant(constant) => {
            constant.shape.iter().map(|&size| i64::try_from(size).ok()).collect()
        }
        Value::Sizes(_, true) => Vec::new(),
        Value::Sizes(sizes, false) => vec![i64::try_from(sizes.len()).ok()],
        Value::Seen(seen) => seen.sizes(),
        unknown @ Value::Unknown(_) => return unknown.clone(),
        _ => return Value::unknown(&node.said()),
    };
    let (start, end) = (node.int("start").unwrap_or(0), node.int("end").unwrap_or(i64::MAX));
    match slice(sizes.len(), start, end, 1) {
        Some((first, count, _)) => Value::Sizes(sizes[first..first + count].to_vec(), false),
        None => Value::Sizes(Vec::new(), false),
    }
}

/// The product of some sizes.
pub(super) fn product(node: &Node, sizes: &Value) -> Option<Value> {
    let (sizes, scalar) = sizes.sizes().filter(|(sizes, _)| sizes.len() <= 64)?;
    let all = sizes.into_iter().try_fold(1i64, |all, size| all.checked_mul(size?));
    let scalar = scalar || node.int("keepdims") == Some(0);
    Some(Value::Sizes(vec![all], scalar))
}

/// Sizes that are compared, as 1 and 0, and sizes by such.
pub(super) fn chosen(inputs: &[Option<Value>]) -> Option<Value> {
    let all: Option<Vec<_>> = inputs.iter().map(|value| value.as_ref()?.sizes()).collect();
    let all = all?;
    let len = all.iter().map(|(sizes, _)| sizes.len()).max().filter(|&len| len <= 64)?;
    let at = |sizes: &[Option<i64>], n: usize| {
        sizes.get(if sizes.len() == 1 { 0 } else { n }).copied().flatten()
    };
    let scalar = all.iter().all(|(_, scalar)| *scalar);
    let made = (0..len).map(|n| match &*all {
        [(a, _), (b, _)] => Some(i64::from(at(a, n)? == at(b, n)?)),
        [(is, _), (a, _), (b, _)] => match at(is, n) {
            Some(0) => at(b, n),
            Some(_) => at(a, n),
            None => at(a, n).filter(|a| Some(*a) == at(b, n)),
        },
        _ => None,
    });
    Some(Value::Sizes(made.collect(), scalar))
}
