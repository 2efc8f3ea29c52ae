//! What exporters write in several operators, told by these operators: how a sequence is turned round, and tokens that
//! count from the end of a table where they are negative.

use super::constant::{Constant, axis};
use super::proto::Node;
use super::seen::{Axis, Seen, Value, What};
use super::trace::Trace;

/// Operators that leave a number what it is.
const SAME: [&str; 4] = ["Cast", "Identity", "Squeeze", "Unsqueeze"];

impl<'a> Trace<'a> {
    /// An input turned round in time, all of it: lengths are those that it has.
    pub(super) fn reversed(&self, node: &Node, seen: Seen) -> Option<Value> {
        let [x, lengths] = &*node.input else { return None };
        let along = axis(node.int("time_axis").unwrap_or(0), seen.axes.len())?;
        let backward = matches!(seen.what, What::Input(_) | What::Embedding(_));
        (backward && self.is_size_of(lengths, x, along)).then(|| {
            let what = What::Backward(Box::new(seen.what), seen.axes[along]);
            Value::Seen(Seen { what, axes: seen.axes })
        })
    }

    /// Whether a value is the size of another one's axis, spread or not.
    fn is_size_of(&self, name: &str, of: &str, at: usize) -> bool {
        let Some(node) = self.made_by(name, &["Expand", "Tile", "Reshape"]) else { return false };
        let shape = node.input.first().and_then(|name| self.producers.get(name.as_str()));
        let is_shape = shape.is_some_and(|shape| {
            shape.op_type == "Shape" && shape.input.first().is_some_and(|own| own == of)
        });
        let ints = |at: usize, name: &str| match node.input.get(at) {
            Some(input) => self.constant_behind(input).and_then(|constant| constant.ints()),
            None => node.ints(name).map(<[i64]>::to_vec),
        };
        let at = at as i64;
        is_shape
            && match node.op_type.as_str() {
                "Gather" => ints(1, "").is_some_and(|places| places == [at]),
                "Slice" => {
                    let bounds = [ints(1, "starts"), ints(2, "ends")];
                    bounds == [Some(vec![at]), Some(vec![at + 1])]
                }
                _ => false,
            }
    }

    /// Of `i < 0 ? i + rows : i`, as Keras 3 reads a table of so many rows, what `i` is. Negative tokens are no tokens.
    pub(super) fn tokens_behind(&self, name: &str, rows: usize) -> Option<Value> {
        let sum = self.made_by(name, &[]).filter(|node| node.op_type == "Add")?;
        let products: Vec<&Node> =
            sum.input.iter().filter_map(|name| self.made_by(name, &[])).collect();
        let [a, b] = *products.as_slice() else { return None };
        if [a, b].iter().any(|node| node.op_type != "Mul" || node.input.len() != 2) {
            return None;
        }
        self.wrapped(a, b, rows).or_else(|| self.wrapped(b, a, rows))
    }

    /// Of `negative * (i + rows)` and `i * !negative` what `i` is.
    fn wrapped(&self, below: &Node, above: &Node, rows: usize) -> Option<Value> {
        let of = |node: &'_ Node, operator: &str| -> Option<(&'a Node, String)> {
            let found = |at: usize| {
                let made = self.made_by(&node.input[at], &[])?;
                (made.op_type == operator).then(|| (made, node.input[1 - at].clone()))
            };
            found(0).or_else(|| found(1))
        };
        let (less, sum) = of(below, "Less")?;
        let (not, token) = of(above, "Not")?;
        let sum = self.made_by(&sum, &[]).filter(|node| node.op_type == "Add")?;
        let token = self.root(&token);
        let constant = |name: &String| self.constant_behind(name)?.scalar();
        let [first, second] = sum.input.as_slice() else { return None };
        let added = match self.root(first) == token {
            true => constant(second),
            false if self.root(second) == token => constant(first),
            false => None,
        };
        let [compared, bound] = less.input.as_slice() else { return None };
        let is_same =
            self.made_by(not.input.first()?, &[]).is_some_and(|made| std::ptr::eq(made, less));
        let fits = added == Some(rows as f32)
            && self.root(compared) == token
            && constant(bound) == Some(0.0)
            && is_same;
        let axes = self.inputs.get(token.as_str()).filter(|_| fits)?.len();
        let what = What::Input(token.as_str().into());
        Some(Value::Seen(Seen { what, axes: (0..axes).map(Axis::Input).collect() }))
    }

    /// What makes a value, behind what leaves it the same.
    fn made_by(&self, name: &str, more: &[&str]) -> Option<&'a Node> {
        let mut name = name;
        for _ in 0..16 {
            let node = *self.producers.get(name)?;
            let same =
                SAME.contains(&node.op_type.as_str()) || more.contains(&node.op_type.as_str());
            match node.input.first() {
                Some(input) if same => name = input,
                _ => return Some(node),
            }
        }
        None
    }

    /// The name of what a value is the same as.
    fn root(&self, name: &str) -> String {
        let mut name = name;
        for _ in 0..16 {
            match self.producers.get(name) {
                Some(node) if SAME.contains(&node.op_type.as_str()) && !node.input.is_empty() => {
                    name = &node.input[0];
                }
                _ => break,
            }
        }
        name.to_owned()
    }

    /// A constant of the graph, behind what leaves it the same.
    fn constant_behind(&self, name: &str) -> Option<Constant> {
        let root = self.root(name);
        if let Some(tensor) = self.initializers.get(root.as_str()) {
            return Constant::of(tensor, self.beside).ok();
        }
        let node = self.producers.get(root.as_str()).filter(|node| node.op_type == "Constant")?;
        node.constant(self.beside).ok()
    }
}
