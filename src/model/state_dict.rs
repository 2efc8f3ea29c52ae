//! Tensors under names as the parameters of a model: which model they are of, and everything that is wrong
//! with them, at once.

use std::collections::HashMap;

use super::names::{KINDS, Names, direction, layer, lstms, refused};
use crate::checkpoint::{Checkpoint, LeftOut};
use crate::error::Result;
use crate::plan::{Bias, Cell, Encoding, Head, Role, StackShape};
use crate::tensor::Array;

/// The models that a loader makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Lstm,
    Cell,
    Linear,
    Forecaster,
    /// An LSTM, with an embedding and a head where there are some.
    Any,
}

impl Wanted {
    /// Whether such a model can have that parameter.
    fn has(self, role: Role) -> bool {
        let of_head = matches!(role, Role::HeadWeight(_) | Role::HeadBias(_));
        match self {
            Wanted::Lstm => !of_head && role != Role::Embedding,
            Wanted::Cell => {
                let [ih, hh] = [Role::WeightIh(0, 0), Role::WeightHh(0, 0)];
                let [b_ih, b_hh] = [Role::BiasIh(0, 0), Role::BiasHh(0, 0)];
                [ih, hh, b_ih, b_hh, Role::WeightPeephole(0, 0)].contains(&role)
            }
            Wanted::Linear => of_head,
            Wanted::Forecaster | Wanted::Any => true,
        }
    }

    /// Checks that a model is one of them.
    pub(super) fn expect(self, shape: &StackShape) -> Result<()> {
        let lstm = shape.layers > 0;
        let single = shape.layers == 1 && shape.is_causal();
        let plain = shape.projection.is_none() && !shape.learned_state;
        let right = match self {
            Wanted::Lstm => lstm && shape.head == Head::Sequence && shape.sizes.is_empty(),
            Wanted::Cell => single && plain && shape.head == Head::Sequence,
            Wanted::Linear => !lstm,
            Wanted::Forecaster => lstm && shape.head != Head::Sequence,
            Wanted::Any => lstm,
        };
        if right {
            return Ok(());
        }
        let is = match (lstm, &shape.head) {
            (false, _) => "a `Linear`",
            (true, Head::Sequence) if shape.sizes.is_empty() => "an `Lstm`",
            (true, Head::Sequence) => "layers of several sizes",
            (true, _) => "a `Forecaster`",
        };
        let wanted = match self {
            Wanted::Lstm => "an `Lstm`",
            Wanted::Cell => {
                "an `LstmCell`: one layer in one direction, without projection and learned state"
            }
            Wanted::Linear => "a `Linear`",
            Wanted::Forecaster => "a `Forecaster`",
            Wanted::Any => "a model with an LSTM",
        };
        refused(format!("its description is another kind of model's: {is}, not {wanted}"))
    }
}

/// Of which tensors a model is made, where a file has more.
#[derive(Clone, Copy)]
pub(crate) enum Only<'a> {
    All,
    /// Those that stand in its modules.
    InModules(&'a Names),
    /// Those that are called as its parameters are.
    OfModel(&'a Names),
}

impl Only<'_> {
    fn has(self, name: &str) -> bool {
        match self {
            Only::All => true,
            Only::InModules(names) => names.has(name),
            Only::OfModel(names) => names.is_of_model(name),
        }
    }
}

/// What a model is made of.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) tensors: &'a [(String, Array)],
    /// Those of a file that are no numbers for a model.
    pub(crate) left_out: &'a [LeftOut],
    /// The names of those that had more bits.
    pub(crate) rounded: &'a [String],
    /// What names begin with: of the others nothing is looked at.
    pub(crate) within: &'a str,
    /// Which of those others are left alone.
    pub(crate) only: Only<'a>,
    /// Whether NaN and infinity are no problem.
    pub(crate) any_numbers: bool,
    /// Where a file's metadata may say that a tensor is left out since it is another one: by its name, the
    /// name of that.
    pub(crate) shared: Option<&'a HashMap<String, String>>,
}

impl<'a> From<&'a [(String, Array)]> for Given<'a> {
    fn from(tensors: &'a [(String, Array)]) -> Given<'a> {
        Given {
            tensors,
            left_out: &[],
            rounded: &[],
            within: "",
            only: Only::All,
            any_numbers: false,
            shared: None,
        }
    }
}

impl<'a> From<&'a Checkpoint> for Given<'a> {
    fn from(file: &'a Checkpoint) -> Given<'a> {
        let Checkpoint { tensors, left_out, rounded, metadata } = file;
        let (within, only, any_numbers) = ("", Only::All, false);
        Given { tensors, left_out, rounded, within, only, any_numbers, shared: Some(metadata) }
    }
}

impl<'a> Given<'a> {
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        let left_out = self.left_out.iter().map(|left| left.name.as_str());
        self.tensors.iter().map(|(name, _)| name.as_str()).chain(left_out)
    }
}

/// What is wrong with some tensors. A file may be wrong in any number of places, and be in such a way that
/// its names are long: a message has an end.
#[derive(Default)]
struct Problems {
    text: String,
    more: bool,
}

impl Problems {
    const MOST: usize = 1 << 16;

    fn push(&mut self, problem: impl AsRef<str>) {
        if self.is_full() {
            self.more = true;
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(problem.as_ref());
    }

    fn is_full(&self) -> bool {
        self.text.len() > Problems::MOST
    }

    /// An error, where there was something.
    fn finish<T>(mut self, value: T) -> Result<T> {
        if self.text.is_empty() {
            return Ok(value);
        }
        if self.more {
            self.text.push_str("; and more");
        }
        refused(self.text)
    }
}

/// Tensors by what they are to a model.
pub(super) struct Sorted<'a> {
    naming: &'a Names,
    arrays: HashMap<Role, &'a Array>,
    left_out: HashMap<Role, &'a LeftOut>,
    /// Names of no parameter.
    others: Vec<&'a str>,
    problems: Problems,
    /// Whether NaN and infinity are problems.
    finite: bool,
    /// Pairs of parameters that are one, as the file says.
    shared: Vec<[Role; 2]>,
}

/// A tensor of a model, and the second bias that is added to a first one.
pub(super) type Found<'a> = (Role, &'a Array, Option<&'a Array>);

impl<'a> Sorted<'a> {
    pub(super) fn new(given: Given<'a>, naming: &'a Names, wanted: Wanted) -> Sorted<'a> {
        let role = |name: &str| naming.role(name).filter(|&role| wanted.has(role));
        let mut sorted = Sorted {
            naming,
            arrays: HashMap::with_capacity(given.tensors.len()),
            left_out: HashMap::new(),
            others: Vec::new(),
            problems: Problems::default(),
            finite: !given.any_numbers,
            shared: Vec::new(),
        };
        let within = |name: &str| name.starts_with(given.within) && given.only.has(name);
        for left in given.left_out.iter().filter(|left| within(&left.name)) {
            // What isn't a parameter's name may be of any type.
            sorted.left_out.extend(role(&left.name).map(|role| (role, left)));
        }
        for (name, array) in given.tensors.iter().filter(|(name, _)| within(name)) {
            match role(name) {
                None => sorted.others.push(name),
                Some(role) => {
                    let twice = sorted.arrays.insert(role, array).is_some();
                    if twice || sorted.left_out.contains_key(&role) {
                        sorted.problems.push(format!("{name} stands twice"));
                    }
                }
            }
        }
        // Names outside the modules whose numbers had more bits than any weight: buffers.
        if !given.rounded.is_empty() {
            let rounded: std::collections::HashSet<&str> =
                given.rounded.iter().map(String::as_str).collect();
            let is_rounded = |name: &str| rounded.contains(name);
            if !sorted.arrays.keys().any(|&role| is_rounded(&naming.of(role))) {
                sorted.others.retain(|name| naming.has(name) || !is_rounded(name));
            }
        }
        // As safetensors' own tools write a model in which two names are one tensor.
        for (removed, kept) in given.shared.into_iter().flatten() {
            if let (Some(removed), Some(kept)) = (role(removed), role(kept))
                && !sorted.has(removed)
                && let Some(&array) = sorted.arrays.get(&kept)
            {
                sorted.arrays.insert(removed, array);
                sorted.shared.push([removed, kept]);
            }
        }
        sorted.others.sort_unstable();
        if let Some(pair) = sorted.others.windows(2).find(|pair| pair[0] == pair[1]) {
            sorted.problems.push(format!("{} stands twice", pair[0]));
        }
        sorted
    }

    /// Says that a linear layer's weight is the embedding's: under either name it is both.
    pub(super) fn tie(&mut self, number: usize) {
        let pair = [Role::HeadWeight(number), Role::Embedding];
        match pair.map(|role| self.arrays.get(&role).copied()) {
            [Some(array), None] => self.arrays.insert(pair[1], array),
            [None, Some(array)] => self.arrays.insert(pair[0], array),
            _ => None,
        };
        self.shared.push(pair);
    }

    /// With whatever numbers there are.
    pub(super) fn any_numbers(self) -> Self {
        Sorted { finite: false, ..self }
    }

    /// Whether there is something under a role.
    fn has(&self, role: Role) -> bool {
        self.arrays.contains_key(&role) || self.left_out.contains_key(&role)
    }

    fn roles(&self) -> impl Iterator<Item = Role> {
        self.arrays.keys().chain(self.left_out.keys()).copied()
    }

    /// The shape of the model that names and sizes imply: what one of its layers has, all of them have. Also
    /// the letters of the sizes that nothing tells. What no name tells, such as what stands between linear
    /// layers, is `head`'s.
    pub(super) fn implied(
        &self,
        wanted: Wanted,
        head: Option<&Head>,
    ) -> Result<(StackShape, String)> {
        let any = |is: fn(Role) -> bool| self.roles().any(is);
        let layers = if wanted == Wanted::Linear { 0 } else { self.layers()? };
        let bidirectional = any(|role| direction(role) == Some(1));
        let bias = match (
            any(|r| matches!(r, Role::BiasIh(..))),
            any(|r| matches!(r, Role::BiasHh(..))),
        ) {
            (false, false) => Bias::None,
            (true, false) => Bias::Single,
            _ => Bias::Double,
        };
        let mut unknown = String::new();
        let mut known = |letter: char, size: Option<usize>| {
            size.unwrap_or_else(|| {
                if !unknown.contains(letter) {
                    unknown.push(letter);
                }
                1
            })
        };
        let directions = 1 + usize::from(bidirectional);
        let projection = self.most(0..layers, directions, |role, shape| match (role, shape) {
            (Role::WeightHr(..), &[features, _]) | (Role::WeightHh(..), &[_, features]) => {
                Some(features)
            }
            _ => None,
        });
        // Recurrent weights of other columns than there are units have a projection before them.
        let apart = |array: &Array| matches!(array.shape(), &[rows, p] if 4 * p < rows);
        let recurrent = |role: &Role| matches!(role, Role::WeightHh(..));
        let mut columns = self.arrays.iter().filter(|(role, _)| recurrent(role)).map(|(_, a)| *a);
        let all_apart = columns.clone().next().is_some() && columns.all(apart);
        let projected = all_apart || any(|role| matches!(role, Role::WeightHr(..)));
        let size = |role: Role, dims: usize, at: usize| {
            self.arrays
                .get(&role)
                .filter(|array| array.shape().len() == dims)
                .map(|a| a.shape()[at])
        };
        // Without a description, peepholes are all that names tell of a cell.
        let cell = Cell::new().peepholes(any(|role| matches!(role, Role::WeightPeephole(..))));
        let tied = self.shared.iter().any(|pair| {
            let of_head = |role: &Role| matches!(role, Role::HeadWeight(_));
            pair.contains(&Role::Embedding) && pair.iter().any(of_head)
        });
        let embedding = self.has(Role::Embedding);
        let (weight, head_bias) = (Role::HeadWeight(0), Role::HeadBias(0));
        let outputs = size(weight, 2, 0).or_else(|| size(head_bias, 1, 0));
        let head = match self.has(weight) || self.has(head_bias) || layers == 0 {
            _ if head.is_some() => head.cloned().unwrap_or_default(),
            true => {
                let outputs = known('O', outputs);
                // What has a weight and nothing else has no bias.
                match self.has(head_bias) || !self.has(weight) {
                    true => Head::Linear(outputs),
                    false => Head::new().linear_without_bias(outputs),
                }
            }
            false if wanted == Wanted::Forecaster => Head::Identity,
            false => Head::Sequence,
        };
        let units = |layers: std::ops::Range<usize>| {
            self.most(layers, directions, |role, shape| match (role, shape) {
                (Role::WeightIh(..) | Role::WeightHh(..), &[rows, _]) => quarter(rows),
                (Role::BiasIh(..) | Role::BiasHh(..), &[rows]) => quarter(rows),
                (Role::WeightHr(..), &[_, hidden]) => Some(hidden),
                (Role::WeightPeephole(..), &[all]) if all % 3 == 0 => Some(all / 3),
                _ => None,
            })
        };
        let (input, sizes) = match layers {
            0 => (known('I', size(weight, 2, 1)), Vec::new()),
            _ => {
                let input = size(Role::WeightIh(0, 0), 2, 1)
                    .or_else(|| size(Role::WeightIh(0, 1), 2, 1))
                    .or_else(|| size(Role::Embedding, 2, 1));
                let input = known('I', input);
                let mut sizes = Vec::new();
                for (module, first) in self.naming.modules().filter(|(_, first)| *first < layers) {
                    let end = first.saturating_add(module.layers).min(layers);
                    let units = known('H', units(first..end));
                    sizes.extend(std::iter::repeat_n(units, end - first));
                }
                (input, sizes)
            }
        };
        let encoding = match embedding {
            true => Encoding::Embedding(known('V', size(Role::Embedding, 2, 0))),
            false => Encoding::Values,
        };
        let hidden = sizes.iter().max().copied().unwrap_or(input);
        let differ = sizes.iter().any(|&size| size != hidden);
        let shape = StackShape {
            sizes: if differ { sizes } else { Vec::new() },
            layers,
            bias,
            head,
            bidirectional,
            projection: projected.then(|| known('P', projection)),
            learned_state: self.has(Role::InitialH) || self.has(Role::InitialC),
            encoding,
            tied,
            cell,
            ..StackShape::lstm(input, hidden)
        };
        Ok((shape, unknown))
    }

    /// How many layers there are, where there aren't far more missing than there.
    fn layers(&self) -> Result<usize> {
        let mut layers: Vec<usize> = self.roles().filter_map(layer).collect();
        layers.sort_unstable();
        layers.dedup();
        let Some(&last) = layers.last() else { return Ok(1) };
        if last / 2 <= layers.len() {
            return Ok(last + 1);
        }
        let missing = (0..).zip(&layers).find(|(l, at)| l != *at).map_or(0, |(l, _)| l);
        let above = self.roles().filter(|&role| layer(role) == Some(last));
        let above: Vec<String> = above.map(|role| self.naming.of(role)).collect();
        let least = above.iter().min().map_or("", String::as_str);
        refused(format!("{least} is there, and nothing of layer {missing}"))
    }

    /// The size that most of the tensors of layers say; of several, what the first says.
    fn most(
        &self,
        layers: std::ops::Range<usize>,
        directions: usize,
        said: impl Fn(Role, &[usize]) -> Option<usize>,
    ) -> Option<usize> {
        let mut votes: HashMap<usize, (usize, usize)> = HashMap::new();
        let places = layers.flat_map(|l| (0..directions).map(move |d| (l, d)));
        let roles = places.flat_map(|(l, d)| KINDS.map(|(_, role)| role(l, d)));
        for (place, role) in roles.enumerate() {
            if let Some(size) = self.arrays.get(&role).and_then(|array| said(role, array.shape())) {
                votes.entry(size).or_insert((0, usize::MAX - place)).0 += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, vote)| *vote).map(|(size, _)| size)
    }

    /// The tensors of these parameters of a model, in that order; or everything that is wrong with them.
    pub(super) fn found(
        mut self,
        shape: &StackShape,
        unknown: &str,
        roles: impl Iterator<Item = Role>,
    ) -> Result<Vec<Found<'a>>> {
        let mut found = Vec::new();
        let mut any_layer = shape.layers == 0;
        self.untie(shape);
        for role in roles {
            if self.problems.is_full() {
                self.problems.more = true;
                break;
            }
            let sizes = role.sizes(shape);
            let Some(array) = self.arrays.remove(&role) else {
                let problem = match self.left_out.remove(&role) {
                    Some(left) => left.to_string(),
                    None => {
                        format!("{} {} is missing", self.naming.of(role), listed(&sizes, unknown))
                    }
                };
                self.problems.push(problem);
                continue;
            };
            any_layer |= layer(role).is_some();
            // A model with one bias takes a pair, and adds it.
            let second = match (shape.bias, role) {
                (Bias::Single, Role::BiasIh(l, d)) => {
                    let role = Role::BiasHh(l, d);
                    if let Some(left) = self.left_out.remove(&role) {
                        self.problems.push(left.to_string());
                    }
                    self.arrays.remove(&role).map(|array| (role, array))
                }
                _ => None,
            };
            for (role, array) in [(role, array)].into_iter().chain(second) {
                let problem = misshapen(array, &sizes, unknown);
                if let Some(problem) = problem.or_else(|| self.not_finite(array)) {
                    self.problems.push(format!("{} {problem}", self.naming.of(role)));
                }
            }
            found.push((role, array, second.map(|(_, array)| array)));
        }
        if !self.problems.is_full() {
            let left: Vec<Role> = self.roles().collect();
            let mut unexpected: Vec<String> = left.into_iter().map(|r| self.naming.of(r)).collect();
            unexpected.extend(self.others.iter().map(|name| (*name).to_owned()));
            unexpected.sort_unstable();
            for name in &unexpected {
                self.problems.push(format!("{name} is unexpected"));
            }
            // Another prefix was meant.
            let elsewhere = lstms(self.others.iter().copied());
            if !any_layer && !elsewhere.is_empty() {
                let place = |(prefix, _): &(&str, bool)| match *prefix {
                    "" => "without a prefix".to_owned(),
                    prefix => format!("under `{prefix}`"),
                };
                let places = elsewhere.iter().take(8).map(place).collect::<Vec<_>>().join(", ");
                self.problems.push(format!("an LSTM is there {places}"));
            }
            if self.others.iter().any(|name| self.naming.is_of_sequential(name)) {
                self.problems.push(
                    "its head has several modules, of which names tell the linear layers alone: say \
                     them with `LoadOptions::modules`",
                );
            }
        }
        self.problems.finish(found)
    }

    /// Leaves one tensor of two that are one in the model.
    fn untie(&mut self, shape: &StackShape) {
        let Some(last) = shape.head.linears(shape.features()).len().checked_sub(1) else { return };
        let head = Role::HeadWeight(last);
        if !shape.tied {
            return;
        }
        if let Some(left) = self.left_out.remove(&head) {
            self.problems.push(left.to_string());
        }
        let Some(of_head) = self.arrays.remove(&head) else { return };
        match self.arrays.get(&Role::Embedding) {
            // As bits: NaN is refused elsewhere.
            Some(of_embedding) if !same(of_embedding, of_head) => {
                let [head, embedding] = [head, Role::Embedding].map(|role| self.naming.of(role));
                let problem = format!("{head} differs from {embedding}, to which it is tied");
                self.problems.push(problem);
            }
            Some(_) => {}
            None => {
                self.arrays.insert(Role::Embedding, of_head);
            }
        }
    }

    fn not_finite(&self, array: &Array) -> Option<String> {
        // Most are, and a sum that has no end early is taken in vectors.
        let finite = |part: &[f32]| part.iter().fold(true, |all, v| all & v.is_finite());
        if !self.finite || array.data().chunks(4096).all(finite) {
            return None;
        }
        let at = array.data().iter().position(|v| !v.is_finite())?;
        Some(format!("has {} at element {at}", array.data()[at]))
    }
}

/// Whether two tensors have the same bits.
fn same(a: &Array, b: &Array) -> bool {
    let mut pairs = a.data().iter().zip(b.data());
    a.shape() == b.shape() && pairs.all(|(a, b)| a.to_bits() == b.to_bits())
}

/// What is wrong with the shape of a parameter's tensor.
fn misshapen(array: &Array, sizes: &[(&'static str, usize)], unknown: &str) -> Option<String> {
    let fits = |(&size, &(label, wanted)): (&usize, &(&'static str, usize))| match (
        is_unknown(label, unknown),
        label,
    ) {
        (false, _) => size == wanted,
        (true, "4H") => size.is_multiple_of(4),
        (true, "3H") => size.is_multiple_of(3),
        (true, _) => true,
    };
    let shape = array.shape();
    match shape.len() == sizes.len() && shape.iter().zip(sizes).all(fits) {
        true => None,
        false => Some(format!("has shape {shape:?} instead of {}", listed(sizes, unknown))),
    }
}

/// Sizes as they are said: numbers, and letters where nothing tells the number.
fn listed(sizes: &[(&'static str, usize)], unknown: &str) -> String {
    let sizes = sizes.iter().map(|&(label, size)| match is_unknown(label, unknown) {
        true => label.to_owned(),
        false => size.to_string(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

fn is_unknown(label: &str, unknown: &str) -> bool {
    label.contains(|letter| unknown.contains(letter))
}

fn quarter(rows: usize) -> Option<usize> {
    (rows.is_multiple_of(4) && rows > 0).then_some(rows / 4)
}
