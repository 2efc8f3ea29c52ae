//! Constants of a graph: initializers, and what operators make of them before anything is known of the input.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use half::{bf16, f16};
use prost::bytes::Bytes;

use super::proto::Tensor;
use crate::import::clipped;

/// Axes of a tensor, at most.
pub(super) const AXES: usize = 8;

/// A constant tensor.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    data: Data,
}

/// Its elements: as the file has them, or computed.
#[derive(Clone, Debug)]
enum Data {
    Raw(Bytes, Type),
    Floats(Rc<Vec<f32>>),
    Ints(Rc<Vec<i64>>),
}

/// The types of elements that are read, by ONNX's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    Bool = 9,
    F16 = 10,
    F64 = 11,
    BF16 = 16,
}

impl Type {
    fn of(number: i32) -> Result<Type, String> {
        let all = [
            Type::F32,
            Type::U8,
            Type::I8,
            Type::U16,
            Type::I16,
            Type::I32,
            Type::I64,
            Type::Bool,
            Type::F16,
            Type::F64,
            Type::BF16,
        ];
        all.into_iter()
            .find(|&ty| ty as i32 == number)
            .ok_or_else(|| format!("has elements of ONNX's type {number}, which isn't read here"))
    }

    fn width(self) -> usize {
        match self {
            Type::U8 | Type::I8 | Type::Bool => 1,
            Type::U16 | Type::I16 | Type::F16 | Type::BF16 => 2,
            Type::F32 | Type::I32 => 4,
            Type::I64 | Type::F64 => 8,
        }
    }

    fn is_float(self) -> bool {
        matches!(self, Type::F32 | Type::F16 | Type::BF16 | Type::F64)
    }

    fn float(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Type::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Type::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            (Type::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            (Type::F64, &[a, b, c, d, e, f, g, h]) => {
                f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32
            }
            _ => self.int(bytes) as f32,
        }
    }

    fn int(self, bytes: &[u8]) -> i64 {
        match (self, bytes) {
            (Type::I8, &[a]) => i64::from(a as i8),
            (_, &[a]) => i64::from(a),
            (Type::U16, &[a, b]) => i64::from(u16::from_le_bytes([a, b])),
            (Type::I16, &[a, b]) => i64::from(i16::from_le_bytes([a, b])),
            (Type::I32, &[a, b, c, d]) => i64::from(i32::from_le_bytes([a, b, c, d])),
            (Type::I64, &[a, b, c, d, e, f, g, h]) => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => self.float(bytes) as i64,
        }
    }
}

/// Whether elements of a type, by ONNX's number, are no whole numbers.
pub(super) fn is_float(number: i64) -> bool {
    i32::try_from(number).is_ok_and(|number| Type::of(number).is_ok_and(Type::is_float))
}

/// Elements that may still be computed: a small file may ask for many.
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// For a file, and what lies beside it, of so many bytes: four times that.
    pub(super) fn of(bytes: u64) -> Budget {
        let elements = usize::try_from(bytes).unwrap_or(usize::MAX);
        Budget(Cell::new(elements.saturating_add(1 << 18)))
    }

    pub(super) fn take(&self, elements: usize) -> Result<(), String> {
        match self.0.get().checked_sub(elements) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err("its constants are computed to many times the size of the file".to_owned()),
        }
    }
}

/// How many elements a shape has.
pub(super) fn elements(shape: &[usize]) -> Result<usize, String> {
    if shape.len() > AXES {
        return Err(format!("has {} axes, more than {AXES}", shape.len()));
    }
    let all = shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    all.ok_or_else(|| format!("has shape {shape:?}"))
}

impl Constant {
    /// An initializer, whose elements may lie in a file beside the model.
    pub(super) fn of(tensor: &Tensor, beside: &Beside) -> Result<Constant, String> {
        let named = |problem: String| match tensor.name.is_empty() {
            true => format!("a constant {problem}"),
            false => format!("{} {problem}", clipped(&tensor.name)),
        };
        Constant::read(tensor, beside).map_err(named)
    }

    fn read(tensor: &Tensor, beside: &Beside) -> Result<Constant, String> {
        let sizes = tensor.dims.iter().map(|&size| usize::try_from(size).ok());
        let shape = sizes.collect::<Option<Vec<usize>>>().ok_or_else(|| {
            format!("has shape {:?}", &tensor.dims[..tensor.dims.len().min(AXES)])
        })?;
        let (len, ty) = (elements(&shape)?, Type::of(tensor.data_type)?);
        let bytes = len.checked_mul(ty.width()).ok_or_else(|| format!("has shape {shape:?}"))?;
        let is = |found: usize| match found == len {
            true => Ok(()),
            false => Err(format!("has {found} elements, and shape {shape:?}")),
        };
        let data = if tensor.data_location == 1 {
            Data::Raw(beside.read(tensor, bytes)?, ty)
        } else if !tensor.raw_data.is_empty() || len == 0 {
            if tensor.raw_data.len() != bytes {
                let found = tensor.raw_data.len();
                return Err(format!("has {found} bytes, and shape {shape:?} takes {bytes}"));
            }
            Data::Raw(tensor.raw_data.clone(), ty)
        } else {
            let halves = |to: fn(u16) -> f32| {
                tensor.int32_data.iter().map(|&bits| to(bits as u16)).collect::<Vec<f32>>()
            };
            match ty {
                Type::F32 => Data::Floats(Rc::new(tensor.float_data.clone())),
                Type::F64 => {
                    let values = tensor.double_data.iter().map(|&value| value as f32);
                    Data::Floats(Rc::new(values.collect()))
                }
                Type::F16 => Data::Floats(Rc::new(halves(|bits| f16::from_bits(bits).to_f32()))),
                Type::BF16 => Data::Floats(Rc::new(halves(|bits| bf16::from_bits(bits).to_f32()))),
                Type::I64 => Data::Ints(Rc::new(tensor.int64_data.clone())),
                _ => Data::Ints(Rc::new(tensor.int32_data.iter().map(|&v| v.into()).collect())),
            }
        };
        match &data {
            Data::Raw(..) => {}
            Data::Floats(values) => is(values.len())?,
            Data::Ints(values) => is(values.len())?,
        }
        Ok(Constant { shape, data })
    }

    pub(super) fn of_floats(values: Vec<f32>, shape: Vec<usize>) -> Constant {
        Constant { shape, data: Data::Floats(Rc::new(values)) }
    }

    pub(super) fn of_ints(values: Vec<i64>, shape: Vec<usize>) -> Constant {
        Constant { shape, data: Data::Ints(Rc::new(values)) }
    }

    pub(super) fn is_float(&self) -> bool {
        match &self.data {
            Data::Raw(_, ty) => ty.is_float(),
            Data::Floats(_) => true,
            Data::Ints(_) => false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn float(&self, at: usize) -> f32 {
        match &self.data {
            Data::Raw(bytes, ty) => ty.float(&bytes[at * ty.width()..][..ty.width()]),
            Data::Floats(values) => values[at],
            Data::Ints(values) => values[at] as f32,
        }
    }

    fn int(&self, at: usize) -> i64 {
        match &self.data {
            Data::Raw(bytes, ty) => ty.int(&bytes[at * ty.width()..][..ty.width()]),
            Data::Floats(values) => values[at] as i64,
            Data::Ints(values) => values[at],
        }
    }

    /// The elements, as numbers.
    pub(super) fn floats(self) -> Vec<f32> {
        match self.data {
            Data::Floats(values) => Rc::try_unwrap(values).unwrap_or_else(|all| (*all).clone()),
            Data::Raw(bytes, Type::F32) => {
                bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
            }
            _ => (0..self.len()).map(|at| self.float(at)).collect(),
        }
    }

    /// The elements, as whole numbers, where they are such and few.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        let few = !self.is_float() && self.len() <= 1 << 12;
        few.then(|| (0..self.len()).map(|at| self.int(at)).collect())
    }

    /// The only element.
    pub(super) fn scalar(&self) -> Option<f32> {
        (self.len() == 1).then(|| self.float(0))
    }

    /// The number that all elements are.
    pub(super) fn uniform(&self) -> Option<f32> {
        let first = (self.len() > 0).then(|| self.float(0))?;
        (1..self.len()).all(|at| self.float(at) == first).then_some(first)
    }

    pub(super) fn reshaped(self, shape: Vec<usize>) -> Option<Constant> {
        (elements(&shape).ok()? == self.len()).then_some(Constant { shape, ..self })
    }

    /// Elements at a start and at steps from there, one for each axis.
    fn strided(
        &self,
        shape: Vec<usize>,
        start: usize,
        steps: &[isize],
        budget: &Budget,
    ) -> Result<Constant, String> {
        let len = elements(&shape)?;
        // Nothing is copied where they follow each other.
        let mut whole = 1isize;
        let dense = shape.iter().zip(steps).rev().all(|(&size, &step)| {
            let follows = size == 1 || step == whole;
            whole = whole.saturating_mul(size as isize);
            follows
        });
        if let (Data::Raw(bytes, ty), true) = (&self.data, dense) {
            let width = ty.width();
            let bytes = bytes.slice(start * width..(start + len) * width);
            return Ok(Constant { shape, data: Data::Raw(bytes, *ty) });
        }
        budget.take(len)?;
        let mut at = vec![0usize; shape.len()];
        let mut place = start as isize;
        let mut next = || {
            let now = place as usize;
            for (axis, &size) in shape.iter().enumerate().rev() {
                at[axis] += 1;
                place += steps[axis];
                if at[axis] < size {
                    break;
                }
                place -= steps[axis] * size as isize;
                at[axis] = 0;
            }
            now
        };
        let data = match self.is_float() {
            true => Data::Floats(Rc::new((0..len).map(|_| self.float(next())).collect())),
            false => Data::Ints(Rc::new((0..len).map(|_| self.int(next())).collect())),
        };
        Ok(Constant { shape, data })
    }

    /// How far apart elements are that follow each other on an axis.
    fn steps(&self) -> Vec<isize> {
        let mut steps = vec![1isize; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            steps[axis - 1] = steps[axis] * self.shape[axis] as isize;
        }
        steps
    }

    /// With its axes in another order.
    pub(super) fn transposed(&self, order: &[usize], budget: &Budget) -> Result<Constant, String> {
        let steps = self.steps();
        let shape = order.iter().map(|&axis| self.shape[axis]).collect();
        let steps: Vec<isize> = order.iter().map(|&axis| steps[axis]).collect();
        self.strided(shape, 0, &steps, budget)
    }

    /// So many places of an axis from a first one on, `step` apart.
    pub(super) fn sliced(
        &self,
        axis: usize,
        (first, count, step): (usize, usize, isize),
        budget: &Budget,
    ) -> Result<Constant, String> {
        let (mut shape, mut steps) = (self.shape.clone(), self.steps());
        let start = if count == 0 { 0 } else { first * steps[axis] as usize };
        shape[axis] = count;
        steps[axis] *= step;
        self.strided(shape, start, &steps, budget)
    }

    /// Some places of an axis.
    pub(super) fn gathered(
        &self,
        axis: usize,
        places: &[usize],
        budget: &Budget,
    ) -> Result<Constant, String> {
        let parts: Result<Vec<Constant>, String> =
            places.iter().map(|&place| self.sliced(axis, (place, 1, 1), budget)).collect();
        Constant::joined(&parts?, axis, budget)
    }

    /// As often as a shape that it fits says.
    pub(super) fn expanded(
        &self,
        shape: &[usize],
        budget: &Budget,
    ) -> Result<Option<Constant>, String> {
        let axes = self.shape.len().max(shape.len());
        if axes > AXES {
            return Ok(None);
        }
        let (own, steps) = (&self.shape, self.steps());
        let (mut wide, mut strides) = (Vec::new(), Vec::new());
        for axis in 0..axes {
            let at = |shape: &[usize]| (axis + shape.len()).checked_sub(axes);
            let (mine, step) = at(own).map_or((1, 0), |at| (own[at], steps[at]));
            let wanted = at(shape).map_or(1, |at| shape[at]);
            let (size, step) = match (mine, wanted) {
                (mine, wanted) if mine == wanted => (mine, step),
                (1, wanted) => (wanted, 0),
                (mine, 1) => (mine, step),
                _ => return Ok(None),
            };
            wide.push(size);
            strides.push(step);
        }
        self.strided(wide, 0, &strides, budget).map(Some)
    }

    /// Several, one behind the other along an axis.
    pub(super) fn joined(
        parts: &[Constant],
        axis: usize,
        budget: &Budget,
    ) -> Result<Constant, String> {
        let mismatch = || "joins constants of different shapes".to_owned();
        let first = parts.first().ok_or_else(mismatch)?;
        let (mut shape, float) = (first.shape.clone(), first.is_float());
        for part in parts {
            let fits = part.shape.len() == shape.len()
                && part.is_float() == float
                && (0..shape.len()).all(|at| at == axis || part.shape[at] == shape[at]);
            if !fits || axis >= shape.len() {
                return Err(mismatch());
            }
        }
        let size = |part: &Constant| part.shape[axis];
        shape[axis] = parts
            .iter()
            .map(size)
            .try_fold(0usize, |all, s| all.checked_add(s))
            .ok_or_else(mismatch)?;
        budget.take(elements(&shape)?)?;
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let places = (0..outer).flat_map(|row| {
            parts.iter().flat_map(move |part| {
                let run = part.shape[axis] * inner;
                (row * run..(row + 1) * run).map(move |at| (part, at))
            })
        });
        let data = match float {
            true if axis == 0 => {
                let mut values = Vec::with_capacity(elements(&shape)?);
                parts.iter().for_each(|part| part.append_to(&mut values));
                Data::Floats(Rc::new(values))
            }
            true => Data::Floats(Rc::new(places.map(|(part, at)| part.float(at)).collect())),
            false => Data::Ints(Rc::new(places.map(|(part, at)| part.int(at)).collect())),
        };
        Ok(Constant { shape, data })
    }

    fn append_to(&self, values: &mut Vec<f32>) {
        match &self.data {
            Data::Raw(bytes, Type::F32) => {
                let all = bytes.as_chunks::<4>().0.iter();
                values.extend(all.map(|&four| f32::from_le_bytes(four)));
            }
            Data::Floats(own) => values.extend_from_slice(own),
            _ => values.extend((0..self.len()).map(|at| self.float(at))),
        }
    }
}

/// The files beside a model, in which its larger tensors may be.
///
/// A model may come from anybody, and names those files: of such names only those are taken that mean a file in
/// the model's own folder, and none that is a link.
pub(super) struct Beside {
    folder: PathBuf,
}

impl Beside {
    pub(super) fn of(model: &Path) -> Beside {
        Beside { folder: model.parent().unwrap_or(Path::new("")).to_owned() }
    }

    /// The `bytes` of a tensor.
    fn read(&self, tensor: &Tensor, bytes: usize) -> Result<Bytes, String> {
        let said = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key == key);
            entry.map(|entry| entry.value.as_str())
        };
        let location = said("location").ok_or("lies in another file, which isn't named")?;
        let number = |key: &str, default: u64| match said(key) {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| format!("lies in another file, with {key} {:?}", clipped(text))),
        };
        let (offset, length) = (number("offset", 0)?, number("length", bytes as u64)?);
        if length != bytes as u64 {
            return Err(format!("has {length} bytes in another file, and its shape takes {bytes}"));
        }
        let path = self.path(location)?;
        let part = || -> std::io::Result<Option<Vec<u8>>> {
            let mut file = fs::File::open(&path)?;
            let end = offset.checked_add(length);
            if end.is_none_or(|end| file.metadata().is_ok_and(|about| end > about.len())) {
                return Ok(None);
            }
            let mut part = vec![0; bytes];
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut part)?;
            Ok(Some(part))
        };
        match part() {
            Ok(Some(part)) => Ok(part.into()),
            Ok(None) => Err(format!("ends behind the end of {}", path.display())),
            Err(error) => Err(format!("lies in {}: {error}", path.display())),
        }
    }

    /// A file of that name in the model's folder.
    fn path(&self, location: &str) -> Result<PathBuf, String> {
        let mut parts = Path::new(location).components();
        let plain = match (parts.next(), parts.next()) {
            (Some(Component::Normal(name)), None) => Some(name),
            // Some exporters begin with `./`.
            (Some(Component::CurDir), Some(Component::Normal(name))) if parts.next().is_none() => {
                Some(name)
            }
            _ => None,
        };
        let plain = plain.filter(|_| !location.contains(['\\', ':', '\0']));
        let Some(name) = plain else {
            return Err(format!(
                "lies in the file {:?}, and only files in the model's own folder are read",
                clipped(location)
            ));
        };
        let path = self.folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_file() => Ok(path),
            Ok(_) => Err(format!("lies in {}, which is a link or no file", path.display())),
            Err(error) => Err(format!("lies in {}: {error}", path.display())),
        }
    }

    /// How many bytes all files take that tensors lie in, each once.
    pub(super) fn len<'a>(&self, tensors: impl Iterator<Item = &'a Tensor>) -> u64 {
        let mut names: Vec<&str> = tensors
            .flat_map(|tensor| &tensor.external_data)
            .filter(|entry| entry.key == "location")
            .map(|entry| entry.value.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        let sizes = names.into_iter().filter_map(|name| fs::metadata(self.path(name).ok()?).ok());
        sizes.map(|about| about.len()).fold(0, u64::saturating_add)
    }
}

/// A range of an axis that Python's slices mean, of `size` places: the first, how many, and the step.
pub(super) fn slice(size: usize, start: i64, end: i64, step: i64) -> Option<(usize, usize, isize)> {
    let len = i64::try_from(size).ok()?;
    if len == 0 {
        return Some((0, 0, 1));
    }
    let from_end = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
    let (start, end) = (from_end(start), from_end(end));
    let (start, end) = match step {
        1.. => (start.clamp(0, len), end.clamp(0, len)),
        ..=-1 => (start.clamp(0, len - 1), end.clamp(-1, len - 1)),
        0 => return None,
    };
    let span = if step > 0 { end - start } else { start - end };
    let count = if span <= 0 { 0 } else { (span - 1) / step.checked_abs()? + 1 };
    Some((
        usize::try_from(start.max(0)).ok()?,
        usize::try_from(count).ok()?,
        isize::try_from(step).ok()?,
    ))
}

/// An axis as it is counted from the front.
pub(super) fn axis(at: i64, axes: usize) -> Option<usize> {
    let len = i64::try_from(axes).ok()?;
    let at = if at < 0 { at.checked_add(len)? } else { at };
    usize::try_from(at).ok().filter(|&at| at < axes)
}

/// Axes, each of them once.
pub(super) fn axes_of(all: &[i64], axes: usize) -> Option<Vec<usize>> {
    let found: Option<Vec<usize>> = all.iter().map(|&at| axis(at, axes)).collect();
    let mut found = found?;
    found.sort_unstable();
    found.windows(2).all(|pair| pair[0] != pair[1]).then_some(found)
}
