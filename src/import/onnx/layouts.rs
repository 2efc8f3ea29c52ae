//! Operators that put a value's axes otherwise, or take a part of it.

use std::rc::Rc;

use super::constant::{Constant, axes_of, axis, slice};
use super::proto::Node;
use super::seen::{Axis, Embedding, Read, Seen, Value, What, reshaped};
use super::trace::{Trace, path};
use crate::plan::Readout;

impl<'a> Trace<'a> {
    pub(super) fn split(
        &self,
        node: &Node,
        inputs: &[Option<Value>],
        constant: &Constant,
    ) -> Result<Vec<Value>, String> {
        let none = vec![Value::unknown(&node.said()); node.output.len().min(64)];
        let Some(along) = axis(node.int("axis").unwrap_or(0), constant.shape.len()) else {
            return Ok(none);
        };
        let said = inputs.get(1).and_then(|value| value.as_ref()?.ints());
        let sizes = match said.or_else(|| node.ints("split").map(<[i64]>::to_vec)) {
            Some(sizes) => sizes,
            None => {
                let (size, parts) = (constant.shape[along], node.output.len().max(1));
                let each = size.div_ceil(parts);
                (0..parts).map(|n| each.min(size.saturating_sub(n * each)) as i64).collect()
            }
        };
        let (mut start, mut parts) = (0usize, Vec::new());
        for size in sizes.into_iter().take(64) {
            let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
            let Some(end) = end.filter(|&end| end <= constant.shape[along]) else {
                return Ok(none);
            };
            let part = constant.sliced(along, (start, end - start, 1), &self.budget)?;
            parts.push(Value::Constant(part));
            start = end;
        }
        Ok(parts)
    }

    pub(super) fn expand(
        &self,
        value: Value,
        inputs: &[Option<Value>],
    ) -> Result<Option<Value>, String> {
        let sizes = inputs.get(1).and_then(|value| Some(value.as_ref()?.sizes()?.0));
        let last = sizes.as_ref().and_then(|sizes| usize::try_from((*sizes.last()?)?).ok());
        let constant = match value {
            Value::Constant(constant) => constant,
            other @ (Value::Fill(..) | Value::Spread(_)) => return Ok(Some(other)),
            _ => return Ok(None),
        };
        if let Some(fill) = constant.uniform() {
            let own = constant.shape.last().copied().unwrap_or(1);
            let last = last.map(|last| last.max(own)).or((own > 1).then_some(own));
            return Ok(Some(Value::Fill(fill, last)));
        }
        let sizes = inputs.get(1).and_then(|value| value.as_ref()?.ints());
        let shape = sizes.and_then(|sizes| {
            sizes.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()
        });
        if let Some(shape) = shape {
            return Ok(constant.expanded(&shape, &self.budget)?.map(Value::Constant));
        }
        let axes = inputs.get(1).and_then(|value| Some(value.as_ref()?.sizes()?.0.len()));
        let Some(axes) = axes.filter(|&axes| axes <= super::constant::AXES) else {
            return Ok(None);
        };
        let ones = axes.saturating_sub(constant.shape.len());
        let shape = [vec![1; ones], constant.shape.clone()].concat();
        Ok(constant.reshaped(shape).map(Value::Spread))
    }

    pub(super) fn reshape(
        &self,
        node: &Node,
        value: Value,
        inputs: &[Option<Value>],
    ) -> Option<Value> {
        let flat = node.op_type == "Flatten";
        match value {
            Value::Fill(fill, _) => Some(Value::Fill(fill, None)),
            Value::Sizes(sizes, _) if !flat => {
                let wanted = inputs.get(1)?.as_ref()?.sizes()?.0;
                let scalar = wanted.is_empty();
                (wanted.len() <= 1).then_some(Value::Sizes(sizes, scalar))
            }
            Value::Constant(constant) => {
                let shape = match flat {
                    true => {
                        let axes = constant.shape.len();
                        let at = node.int("axis").unwrap_or(1);
                        let at = if at == axes as i64 { axes } else { axis(at, axes)? };
                        let (before, behind) = constant.shape.split_at(at);
                        vec![before.iter().product(), behind.iter().product()]
                    }
                    false => {
                        let wanted = inputs.get(1)?.as_ref()?.ints()?;
                        let mut shape = Vec::new();
                        for (at, &size) in wanted.iter().enumerate() {
                            shape.push(match size {
                                0 => *constant.shape.get(at)?,
                                -1 => 1,
                                size => usize::try_from(size).ok()?,
                            });
                        }
                        let others = super::constant::elements(&shape).ok()?;
                        if let Some(at) = wanted.iter().position(|&size| size == -1) {
                            shape[at] = constant.len().checked_div(others)?;
                        }
                        shape
                    }
                };
                constant.reshaped(shape).map(Value::Constant)
            }
            Value::Seen(seen) => {
                let sizes = match flat {
                    true => {
                        let at = axis(node.int("axis").unwrap_or(1), seen.axes.len())?;
                        if at + 1 != seen.axes.len() {
                            return None;
                        }
                        vec![Some(-1), seen.sizes()[at]]
                    }
                    false => inputs.get(1)?.as_ref()?.sizes()?.0,
                };
                if matches!(seen.what, What::Input(_)) {
                    return None;
                }
                let axes = reshaped(&seen.axes, &sizes, self.known)?;
                Some(seen.with(axes))
            }
            _ => None,
        }
    }

    pub(super) fn transpose(&self, node: &Node, value: Value) -> Result<Option<Value>, String> {
        let axes = match &value {
            Value::Constant(constant) | Value::Spread(constant) => constant.shape.len(),
            Value::Seen(seen) => seen.axes.len(),
            Value::Fill(fill, _) => return Ok(Some(Value::Fill(*fill, None))),
            _ => return Ok(None),
        };
        let order: Option<Vec<usize>> = match node.ints("perm") {
            Some(perm) if perm.len() == axes && axes_of(perm, axes).is_some() => {
                perm.iter().map(|&at| axis(at, axes)).collect()
            }
            Some(_) => None,
            None => Some((0..axes).rev().collect()),
        };
        let Some(order) = order else { return Ok(None) };
        Ok(match value {
            Value::Constant(constant) => {
                Some(Value::Constant(constant.transposed(&order, &self.budget)?))
            }
            Value::Spread(constant) => {
                Some(Value::Spread(constant.transposed(&order, &self.budget)?))
            }
            Value::Seen(seen) => {
                let axes = order.iter().map(|&at| seen.axes[at]).collect();
                Some(seen.with(axes))
            }
            _ => None,
        })
    }

    pub(super) fn squeeze(
        &self,
        node: &Node,
        value: Value,
        inputs: &[Option<Value>],
    ) -> Option<Value> {
        let said = match inputs.get(1).cloned().flatten() {
            Some(axes) => Some(axes.ints()?),
            None => node.ints("axes").map(<[i64]>::to_vec),
        };
        let more = node.op_type == "Unsqueeze";
        let changed = |len: usize, ones: Vec<bool>| -> Option<Vec<Option<usize>>> {
            if more {
                let said = said.as_ref()?;
                let all = len.checked_add(said.len()).filter(|&all| all <= 8)?;
                let new = axes_of(said, all)?;
                let mut old = 0..len;
                let at = |at| if new.contains(&at) { Some(None) } else { old.next().map(Some) };
                return (0..all).map(at).collect();
            }
            let gone = match &said {
                Some(said) => axes_of(said, len)?,
                None => (0..len).filter(|&at| ones[at]).collect(),
            };
            let all_ones = gone.iter().all(|&at| ones[at]);
            all_ones.then(|| (0..len).filter(|at| !gone.contains(at)).map(Some).collect())
        };
        let of_constant = |constant: Constant| {
            let shape = constant.shape.clone();
            let ones = shape.iter().map(|&size| size == 1).collect();
            let kept = changed(shape.len(), ones)?;
            let shape = kept.into_iter().map(|at| at.map_or(1, |at| shape[at])).collect();
            constant.reshaped(shape)
        };
        match value {
            Value::Constant(constant) => of_constant(constant).map(Value::Constant),
            Value::Spread(constant) => of_constant(constant).map(Value::Spread),
            Value::Sizes(sizes, scalar) => {
                (sizes.len() == 1).then_some(Value::Sizes(sizes, !scalar))
            }
            Value::Seen(seen) => {
                let ones = seen.axes.iter().map(|axis| axis.size() == Some(1)).collect();
                let kept = changed(seen.axes.len(), ones)?;
                let axes = kept.into_iter().map(|at| at.map_or(Axis::One, |at| seen.axes[at]));
                let axes = axes.collect();
                Some(seen.with(axes))
            }
            same @ (Value::Fill(..) | Value::Scale(_)) => Some(same),
            _ => None,
        }
    }

    pub(super) fn slice(
        &self,
        node: &Node,
        value: Value,
        inputs: &[Option<Value>],
    ) -> Result<Option<Value>, String> {
        let list = |at: usize, name: &str| match inputs.get(at).cloned().flatten() {
            Some(value) => value.ints(),
            None => node.ints(name).map(<[i64]>::to_vec),
        };
        let (Some(starts), Some(ends)) = (list(1, "starts"), list(2, "ends")) else {
            return Ok(None);
        };
        let len = starts.len();
        let places = list(3, "axes").unwrap_or_else(|| (0..len as i64).collect());
        let steps = list(4, "steps").unwrap_or_else(|| vec![1; len]);
        if [ends.len(), places.len(), steps.len()] != [len; 3] || len > 8 {
            return Ok(None);
        }
        if let Value::Fill(fill, last) = value {
            let first = places.iter().all(|&place| place == 0);
            return Ok(Some(Value::Fill(fill, last.filter(|_| first))));
        }
        let mut value = value;
        for (((start, end), place), step) in starts.into_iter().zip(ends).zip(places).zip(steps) {
            value = match value {
                Value::Constant(constant) => {
                    let Some(along) = axis(place, constant.shape.len()) else { return Ok(None) };
                    let Some(range) = slice(constant.shape[along], start, end, step) else {
                        return Ok(None);
                    };
                    Value::Constant(constant.sliced(along, range, &self.budget)?)
                }
                Value::Spread(constant) => {
                    let Some(along) = axis(place, constant.shape.len()) else { return Ok(None) };
                    // However long an axis is that it is spread over, all places of it are alike.
                    match slice(constant.shape[along], start, end, step) {
                        _ if constant.shape[along] == 1 => Value::Spread(constant),
                        Some(range) => {
                            Value::Spread(constant.sliced(along, range, &self.budget)?)
                        }
                        None => return Ok(None),
                    }
                }
                Value::Sizes(sizes, false) if axis(place, 1) == Some(0) => {
                    let Some((first, count, step)) = slice(sizes.len(), start, end, step) else {
                        return Ok(None);
                    };
                    let at = |n: usize| sizes[(first as isize + n as isize * step) as usize];
                    Value::Sizes((0..count).map(at).collect(), false)
                }
                Value::Seen(seen) => {
                    match axis(place, seen.axes.len())
                        .and_then(|at| self.slice_of(seen, at, start, end, step))
                    {
                        Some(value) => value,
                        None => return Ok(None),
                    }
                }
                _ => return Ok(None),
            };
        }
        Ok(Some(value))
    }

    pub(super) fn slice_of(
        &self,
        seen: Seen,
        at: usize,
        start: i64,
        end: i64,
        step: i64,
    ) -> Option<Value> {
        let Seen { what, mut axes } = seen;
        match (axes[at], what) {
            (_, what) if start == 0 && end >= i64::from(i32::MAX) && step == 1 => {
                Some(Value::Seen(Seen { what, axes }))
            }
            (Axis::Time, what) if start == -1 && end >= i64::from(i32::MAX) && step == 1 => {
                axes[at] = Axis::One;
                self.last(what, axes)
            }
            (Axis::Time, what) if (start, end, step) == (0, 1, 1) => {
                self.gather_of(Seen { what, axes }, at, &[0], false)
            }
            // One of two directions.
            (Axis::Parts(2), What::Outputs(layer)) => {
                let (direction, 1, _) = slice(2, start, end, step)? else { return None };
                axes[at] = Axis::One;
                Some(Value::Seen(Seen { what: What::OneWay(layer, direction), axes }))
            }
            (Axis::Parts(size), What::States(parts)) => {
                let (first, count, step) = slice(size, start, end, step)?;
                let place = |n: usize| (first as isize + n as isize * step) as usize;
                let parts: Vec<_> = (0..count).map(|n| parts[place(n)]).collect();
                axes[at] = if count == 1 { Axis::One } else { Axis::Parts(count) };
                (count > 0).then_some(Value::Seen(Seen { what: What::States(parts), axes }))
            }
            // Features of one of two directions: of the last output forward and of the first one backward,
            // which are its states.
            (Axis::Units(size), what) => {
                let (layer, modules) = match &what {
                    What::Outputs(layer) | What::First(layer) => (*layer, 0),
                    What::Head(Read::Of(layer, Readout::LastOutput), made) => (*layer, made.len()),
                    _ => return None,
                };
                let (first, count, step) = slice(size, start, end, step)?;
                let hidden = self.layers[layer].hidden;
                let whole = step == 1 && count == hidden && first.is_multiple_of(hidden);
                if !whole || modules > 0 {
                    return None;
                }
                let both = self.layers[layer].directions.len() == 2;
                axes[at] = Axis::Units(hidden);
                let what = match (what, first / hidden) {
                    // All of the only direction.
                    (what, 0) if !both => what,
                    (What::Outputs(_), direction) => What::OneWay(layer, direction),
                    (What::Head(..), 0) => What::States(vec![(layer, 0)]),
                    (What::First(_), 1) => What::States(vec![(layer, 1)]),
                    _ => return None,
                };
                Some(Value::Seen(Seen { what, axes }))
            }
            _ => None,
        }
    }

    /// What is read of the last timestep.
    pub(super) fn last(&self, what: What, axes: Vec<Axis>) -> Option<Value> {
        let what = match what {
            // What a head makes of each timestep, of the last one.
            What::Head(Read::Of(layer, Readout::EveryStep), modules) => {
                What::Head(Read::Of(layer, Readout::LastOutput), modules)
            }
            What::Outputs(layer) => What::Head(Read::Of(layer, Readout::LastOutput), Vec::new()),
            What::OneWay(layer, 0) if !self.layers[layer].reverse => What::States(vec![(layer, 0)]),
            What::Turned(layer) => What::States(vec![(layer, 0)]),
            _ => return None,
        };
        Some(Value::Seen(Seen { what, axes }))
    }

    pub(super) fn gather(
        &mut self,
        node: &Node,
        value: Value,
        inputs: &[Option<Value>],
    ) -> Result<Option<Value>, String> {
        let Some(places) = inputs.get(1).cloned().flatten() else { return Ok(None) };
        let along = node.int("axis").unwrap_or(0);
        match (value, places) {
            (Value::Fill(fill, last), _) => {
                Ok(Some(Value::Fill(fill, last.filter(|_| along == 0))))
            }
            (Value::Constant(table), Value::Seen(Seen { what: What::Input(tokens), axes })) => {
                let &[_, width] = &*table.shape else { return Ok(None) };
                if along != 0 || !table.is_float() {
                    return Ok(None);
                }
                let name = node.input.first().map_or("", String::as_str);
                let name = self.origin(name, &["weight"]).map(|(before, _)| before);
                let name =
                    name.or_else(|| path(&node.name)).unwrap_or_else(|| "embedding".to_owned());
                let what = What::Embedding(Rc::new(Embedding { name, table, tokens }));
                let axes = [&*axes, &[Axis::Units(width)]].concat();
                Ok(Some(Value::Seen(Seen { what, axes })))
            }
            (Value::Spread(constant), places) => {
                let scalar = places.sizes().is_some_and(|(_, scalar)| scalar);
                let Some(along) = axis(along, constant.shape.len()) else { return Ok(None) };
                let size = constant.shape[along];
                let place = match places.ints().as_deref() {
                    Some(&[_]) if size == 1 => Some(0),
                    Some(&[place]) => axis(place, size),
                    _ => None,
                };
                let Some(place) = place else { return Ok(None) };
                let found = constant.sliced(along, (place, 1, 1), &self.budget)?;
                let mut shape = found.shape.clone();
                if scalar {
                    shape.remove(along);
                }
                Ok(found.reshaped(shape).map(Value::Spread))
            }
            (Value::Constant(constant), places) => {
                let scalar = places.sizes().is_some_and(|(_, scalar)| scalar);
                let Some(along) = axis(along, constant.shape.len()) else { return Ok(None) };
                let size = constant.shape[along];
                let Some(places) = places.ints().and_then(|all| {
                    all.into_iter().map(|at| axis(at, size)).collect::<Option<Vec<usize>>>()
                }) else {
                    return Ok(None);
                };
                let found = constant.gathered(along, &places, &self.budget)?;
                let mut shape = found.shape.clone();
                if scalar {
                    shape.remove(along);
                }
                Ok(found.reshaped(shape).map(Value::Constant))
            }
            (Value::Sizes(sizes, false), places) => {
                let scalar = places.sizes().is_some_and(|(_, scalar)| scalar);
                let found = places.ints().and_then(|places| {
                    let at = |at: i64| axis(at, sizes.len()).map(|at| sizes[at]);
                    places.into_iter().map(at).collect::<Option<Vec<_>>>()
                });
                Ok(found.map(|found| Value::Sizes(found, scalar)))
            }
            (Value::Seen(seen), places) => {
                let scalar = places.sizes().is_some_and(|(_, scalar)| scalar);
                let Some(places) = places.ints() else { return Ok(None) };
                let at = axis(along, seen.axes.len());
                Ok(at.and_then(|at| self.gather_of(seen, at, &places, scalar)))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn gather_of(
        &self,
        seen: Seen,
        at: usize,
        places: &[i64],
        scalar: bool,
    ) -> Option<Value> {
        let Seen { what, mut axes } = seen;
        let of = axes[at];
        match scalar {
            true => drop(axes.remove(at)),
            false if places.len() == 1 => axes[at] = Axis::One,
            false => axes[at] = Axis::Parts(places.len()),
        }
        match (of, what, places) {
            (Axis::Time, what, [-1]) => self.last(what, axes),
            (Axis::Time, what, &[at]) if at > 0 && self.known[0] == at.checked_add(1) => {
                self.last(what, axes)
            }
            // In reverse it has seen everything.
            (Axis::Time, What::OneWay(layer, 1), [0]) => {
                Some(Value::Seen(Seen { what: What::States(vec![(layer, 1)]), axes }))
            }
            (Axis::Time, What::Outputs(layer), [0]) if self.layers[layer].reverse => {
                Some(Value::Seen(Seen { what: What::States(vec![(layer, 0)]), axes }))
            }
            (Axis::Time, What::Outputs(layer), [0]) => {
                Some(Value::Seen(Seen { what: What::First(layer), axes }))
            }
            (Axis::Parts(_) | Axis::One, What::States(parts), places) if !places.is_empty() => {
                let places = places.iter().map(|&place| axis(place, parts.len()));
                let parts: Vec<_> =
                    places.map(|at| at.map(|at| parts[at])).collect::<Option<_>>()?;
                Some(Value::Seen(Seen { what: What::States(parts), axes }))
            }
            (Axis::One, what, [0 | -1]) => Some(Value::Seen(Seen { what, axes })),
            _ => None,
        }
    }

    pub(super) fn concat(
        &mut self,
        node: &Node,
        inputs: &[Option<Value>],
    ) -> Result<Option<Value>, String> {
        let all: Option<Vec<Value>> = inputs.iter().cloned().collect();
        let Some(all) = all else { return Ok(None) };
        let along = node.int("axis").unwrap_or(0);
        if all.iter().all(|value| matches!(value, Value::Constant(_))) {
            let constants = all.into_iter().filter_map(|value| match value {
                Value::Constant(constant) => Some(constant),
                _ => None,
            });
            let parts: Vec<Constant> = constants.collect();
            let Some(along) = axis(along, parts[0].shape.len()) else { return Ok(None) };
            let joined = Constant::joined(&parts, along, &self.budget);
            return joined.map(|joined| Some(Value::Constant(joined)));
        }
        let fills: Option<Vec<f32>> = all
            .iter()
            .map(|value| match value {
                Value::Fill(fill, _) => Some(*fill),
                Value::Constant(constant) => constant.uniform(),
                _ => None,
            })
            .collect();
        if let Some(fills) = fills {
            let same = fills.iter().all(|fill| *fill == fills[0]);
            return Ok(same.then_some(Value::Fill(fills[0], None)));
        }
        if let Some(sizes) = all.iter().map(Value::sizes).collect::<Option<Vec<_>>>() {
            let sizes: Vec<Option<i64>> = sizes.into_iter().flat_map(|(sizes, _)| sizes).collect();
            return Ok((sizes.len() <= 64).then_some(Value::Sizes(sizes, false)));
        }
        let seen = all.into_iter().map(|value| match value {
            Value::Seen(seen) => Some(seen),
            _ => None,
        });
        let seen: Option<Vec<Seen>> = seen.collect();
        Ok(seen.and_then(|seen| self.concat_of(seen, along)))
    }

    pub(super) fn concat_of(&mut self, seen: Vec<Seen>, along: i64) -> Option<Value> {
        let axes = seen[0].axes.clone();
        let at = axis(along, axes.len())?;
        let others = |axes: &[Axis]| [&axes[..at], &axes[at + 1..]].concat();
        let alike =
            |other: &Seen| other.axes.len() == axes.len() && others(&other.axes) == others(&axes);
        if !seen.iter().all(alike) {
            return None;
        }
        let sizes: Option<Vec<usize>> = seen.iter().map(|seen| seen.axes[at].size()).collect();
        let size = sizes?.into_iter().try_fold(0usize, usize::checked_add)?;
        let mut joined = axes.clone();
        joined[at] = match axes[at] {
            Axis::Units(_) => Axis::Units(size),
            Axis::Parts(_) | Axis::One => Axis::Parts(size),
            _ => return None,
        };
        if let ([a, b], Axis::Units(_)) = (&*seen, axes[at])
            && let (What::OneWay(layer, 0), What::OneWay(other, 1)) = (&a.what, &b.what)
            && layer == other
        {
            return Some(Value::Seen(Seen { what: What::Outputs(*layer), axes: joined }));
        }
        let pair = match &*seen {
            [a, b] => match (&a.what, &b.what) {
                (What::Outputs(a), What::Outputs(b)) => Some((*a, *b)),
                _ => None,
            },
            _ => None,
        };
        if let (Some((a, b)), Axis::Units(_)) = (pair, axes[at]) {
            let layer = self.both_ways(a, b)?;
            return Some(Value::Seen(Seen { what: What::Outputs(layer), axes: joined }));
        }
        let parts: Option<Vec<Vec<(usize, usize)>>> = seen
            .into_iter()
            .map(|seen| match seen.what {
                What::States(parts) => Some(parts),
                // The last output of one direction is its state.
                What::Head(Read::Of(layer, Readout::LastOutput), modules)
                    if modules.is_empty() && self.layers[layer].directions.len() == 1 =>
                {
                    (!self.layers[layer].reverse).then(|| vec![(layer, 0)])
                }
                _ => None,
            })
            .collect();
        let mut parts = parts?.concat();
        // Two layers that are two directions of one.
        if let [(a, 0), (b, 0)] = *parts
            && let Some(layer) = self.both_ways(a, b)
        {
            parts = vec![(layer, 0), (layer, 1)];
        }
        Some(Value::Seen(Seen { what: What::States(parts), axes: joined }))
    }
}
