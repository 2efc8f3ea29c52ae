//! Tensors under names as the parameters of a model: which model they are of, and everything that is wrong
//! with them, at once.

use std::collections::HashMap;

use crate::checkpoint::{Checkpoint, LeftOut};
use crate::error::{Error, Result};
use crate::plan::{Bias, Encoding, Head, Role, StackShape};
use crate::tensor::Array;

/// How a model's parameters are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// What stands before the LSTM's names.
    pub(crate) lstm: String,
    /// What stands before the linear layer's.
    pub(crate) head: String,
    /// What stands before the embedding's.
    pub(crate) embedding: String,
    /// Whether the LSTM is a `torch.nn.LSTMCell`, whose names have no `_l0`.
    pub(crate) cell: bool,
}

/// A layer's parameter, from the layer and the direction.
type OfLayer = fn(usize, usize) -> Role;

/// The kinds of a layer's parameters.
const KINDS: [(&str, OfLayer); 5] = [
    ("weight_ih", Role::WeightIh),
    ("weight_hh", Role::WeightHh),
    ("weight_hr", Role::WeightHr),
    ("bias_ih", Role::BiasIh),
    ("bias_hh", Role::BiasHh),
];

impl Names {
    pub(crate) fn new(lstm: &str, head: &str) -> Names {
        let embedding = "embedding.".to_owned();
        Names { lstm: lstm.to_owned(), head: head.to_owned(), embedding, cell: false }
    }

    /// The same behind something else.
    pub(super) fn behind(&self, prefix: &str) -> Names {
        let of = |own: &str| format!("{prefix}{own}");
        let Names { lstm, head, embedding, cell } = self;
        Names { lstm: of(lstm), head: of(head), embedding: of(embedding), cell: *cell }
    }

    /// The parameter that a name means.
    pub(super) fn role(&self, name: &str) -> Option<Role> {
        let of_lstm = name.strip_prefix(&self.lstm).and_then(|rest| match rest {
            "h_0" if !self.cell => Some(Role::InitialH),
            "c_0" if !self.cell => Some(Role::InitialC),
            _ => of_layer(rest, self.cell),
        });
        let of_head = || match name.strip_prefix(&self.head)? {
            "weight" => Some(Role::HeadWeight),
            "bias" => Some(Role::HeadBias),
            _ => None,
        };
        let is_embedding = || name.strip_prefix(&self.embedding) == Some("weight");
        of_lstm.or_else(of_head).or_else(|| is_embedding().then_some(Role::Embedding))
    }

    /// Whether a name is a parameter's, or begins as one of a layer's.
    pub(super) fn is_of_model(&self, name: &str) -> bool {
        let kind = |rest: &str| KINDS.iter().any(|(kind, _)| rest.starts_with(kind));
        self.role(name).is_some() || name.strip_prefix(&self.lstm).is_some_and(kind)
    }

    /// Whether a name stands in one of the modules.
    pub(super) fn has(&self, name: &str) -> bool {
        let prefixes = [&self.lstm, &self.head, &self.embedding];
        let inside = |prefix: &&String| !prefix.is_empty() && name.starts_with(prefix.as_str());
        prefixes.iter().any(inside) || self.is_of_model(name)
    }

    /// The parameter's name in PyTorch.
    pub(super) fn of(&self, role: Role) -> String {
        let Names { lstm, head, embedding, cell } = self;
        let prefix = match role {
            Role::HeadWeight | Role::HeadBias => head,
            Role::Embedding => embedding,
            _ => lstm,
        };
        let name = role.to_string();
        let name = if *cell { name.strip_suffix("_l0").unwrap_or(&name) } else { &name };
        format!("{prefix}{name}")
    }
}

/// The parameter of a layer that a name without its prefix means.
fn of_layer(name: &str, cell: bool) -> Option<Role> {
    let (kind, role) = KINDS.iter().find(|(kind, _)| name.starts_with(kind))?;
    let rest = &name[kind.len()..];
    if cell {
        return rest.is_empty().then(|| role(0, 0));
    }
    let rest = rest.strip_prefix("_l")?;
    let (number, direction) = match rest.strip_suffix("_reverse") {
        Some(number) => (number, 1),
        None => (rest, 0),
    };
    // As PyTorch writes it, since a name has to be one of one parameter: `00` isn't a number, nor is `+0`.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || number.len() > 1 && number.starts_with('0') {
        return None;
    }
    Some(role(number.parse().ok()?, direction))
}

/// What stands before the names of the LSTMs among these, and whether each is a cell: of whatever tensor of
/// a layer there is.
pub(super) fn lstms<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(&'a str, bool)> {
    let mut found = Vec::new();
    for name in names {
        let kind = KINDS.iter().filter_map(|(kind, _)| name.rfind(kind)).max();
        let Some((prefix, rest)) = kind.map(|at| name.split_at(at)) else { continue };
        let lstm = match (of_layer(rest, false), of_layer(rest, true)) {
            (Some(_), _) => (prefix, false),
            (_, Some(_)) => (prefix, true),
            _ => continue,
        };
        // Those of one LSTM mostly stand together.
        if found.last() != Some(&lstm) {
            found.push(lstm);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

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
        let of_head = matches!(role, Role::HeadWeight | Role::HeadBias);
        match self {
            Wanted::Lstm => !of_head && role != Role::Embedding,
            Wanted::Cell => {
                let [ih, hh] = [Role::WeightIh(0, 0), Role::WeightHh(0, 0)];
                [ih, hh, Role::BiasIh(0, 0), Role::BiasHh(0, 0)].contains(&role)
            }
            Wanted::Linear => of_head,
            Wanted::Forecaster | Wanted::Any => true,
        }
    }

    /// Checks that a model is one of them.
    pub(super) fn expect(self, shape: &StackShape) -> Result<()> {
        let lstm = shape.layers > 0;
        let single = shape.layers == 1 && !shape.bidirectional;
        let plain = shape.projection.is_none() && !shape.learned_state;
        let right = match self {
            Wanted::Lstm => lstm && shape.head == Head::Sequence,
            Wanted::Cell => single && plain && shape.head == Head::Sequence,
            Wanted::Linear => !lstm,
            Wanted::Forecaster => lstm && shape.head != Head::Sequence,
            Wanted::Any => lstm,
        };
        if right {
            return Ok(());
        }
        let is = match (lstm, shape.head) {
            (false, _) => "a `Linear`",
            (true, Head::Sequence) => "an `Lstm`",
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

fn refused<T>(problem: String) -> Result<T> {
    Err(Error::StateDict { problem })
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
}

impl<'a> From<&'a [(String, Array)]> for Given<'a> {
    fn from(tensors: &'a [(String, Array)]) -> Given<'a> {
        Given { tensors, left_out: &[], rounded: &[], within: "" }
    }
}

impl<'a> From<&'a Checkpoint> for Given<'a> {
    fn from(file: &'a Checkpoint) -> Given<'a> {
        let Checkpoint { tensors, left_out, rounded, .. } = file;
        Given { tensors, left_out, rounded, within: "" }
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
            finite: true,
        };
        let within = |name: &str| name.starts_with(given.within);
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
        sorted.others.sort_unstable();
        if let Some(pair) = sorted.others.windows(2).find(|pair| pair[0] == pair[1]) {
            sorted.problems.push(format!("{} stands twice", pair[0]));
        }
        sorted
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
    /// the letters of the sizes that nothing tells.
    pub(super) fn implied(&self, wanted: Wanted) -> Result<(StackShape, String)> {
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
                unknown.push(letter);
                1
            })
        };
        let hidden =
            self.most(layers, 1 + usize::from(bidirectional), |role, shape| match (role, shape) {
                (Role::WeightIh(..) | Role::WeightHh(..), &[rows, _]) => quarter(rows),
                (Role::BiasIh(..) | Role::BiasHh(..), &[rows]) => quarter(rows),
                (Role::WeightHr(..), &[_, hidden]) => Some(hidden),
                _ => None,
            });
        let projection =
            self.most(layers, 1 + usize::from(bidirectional), |role, shape| match (role, shape) {
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
        let embedding = self.has(Role::Embedding);
        let outputs = size(Role::HeadWeight, 2, 0).or_else(|| size(Role::HeadBias, 1, 0));
        let head = match self.has(Role::HeadWeight) || self.has(Role::HeadBias) || layers == 0 {
            true => Head::Linear(known('O', outputs)),
            false if wanted == Wanted::Forecaster => Head::Identity,
            false => Head::Sequence,
        };
        let (input, hidden) = match layers {
            0 => {
                let input = known('I', size(Role::HeadWeight, 2, 1));
                (input, input)
            }
            _ => {
                let input = size(Role::WeightIh(0, 0), 2, 1)
                    .or_else(|| size(Role::WeightIh(0, 1), 2, 1))
                    .or_else(|| size(Role::Embedding, 2, 1));
                (known('I', input), known('H', hidden))
            }
        };
        let encoding = match embedding {
            true => Encoding::Embedding(known('V', size(Role::Embedding, 2, 0))),
            false => Encoding::Values,
        };
        let shape = StackShape {
            layers,
            bias,
            head,
            bidirectional,
            projection: projected.then(|| known('P', projection)),
            learned_state: self.has(Role::InitialH) || self.has(Role::InitialC),
            encoding,
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
        layers: usize,
        directions: usize,
        said: impl Fn(Role, &[usize]) -> Option<usize>,
    ) -> Option<usize> {
        let mut votes: HashMap<usize, (usize, usize)> = HashMap::new();
        let places = (0..layers).flat_map(|l| (0..directions).map(move |d| (l, d)));
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
        }
        self.problems.finish(found)
    }

    fn not_finite(&self, array: &Array) -> Option<String> {
        let at = array.data().iter().position(|v| self.finite && !v.is_finite())?;
        Some(format!("has {} at element {at}", array.data()[at]))
    }
}

/// What is wrong with the shape of a parameter's tensor.
fn misshapen(array: &Array, sizes: &[(&'static str, usize)], unknown: &str) -> Option<String> {
    let fits = |(&size, &(label, wanted)): (&usize, &(&'static str, usize))| match (
        is_unknown(label, unknown),
        label,
    ) {
        (false, _) => size == wanted,
        (true, "4H") => size.is_multiple_of(4),
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

/// The layer and the direction of a parameter, where it is a layer's.
fn place(role: Role) -> Option<(usize, usize)> {
    match role {
        Role::WeightIh(l, d)
        | Role::WeightHh(l, d)
        | Role::BiasIh(l, d)
        | Role::BiasHh(l, d)
        | Role::WeightHr(l, d) => Some((l, d)),
        _ => None,
    }
}

fn layer(role: Role) -> Option<usize> {
    place(role).map(|(layer, _)| layer)
}

fn direction(role: Role) -> Option<usize> {
    place(role).map(|(_, direction)| direction)
}
