//! How parameters are called: PyTorch's names, behind any prefix.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::plan::{Encoding, HeadLinear, MODULES, Role, StackShape};

/// How a model's parameters are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The modules of LSTM layers, the lowest first.
    pub(crate) lstm: Vec<LstmModule>,
    /// What stands before the names of each linear layer of the head.
    pub(crate) head: Vec<String>,
    /// What stands before the embedding's.
    pub(crate) embedding: String,
    /// Whether the LSTM is a `torch.nn.LSTMCell`, whose names have no `_l0`.
    pub(crate) cell: bool,
}

/// A module of LSTM layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LstmModule {
    /// What stands before its names.
    pub(crate) prefix: String,
    /// How many layers it has; of the only one, as many as there are.
    pub(crate) layers: usize,
}

/// A layer's parameter, from the layer and the direction.
pub(super) type OfLayer = fn(usize, usize) -> Role;

/// The kinds of a layer's parameters.
pub(super) const KINDS: [(&str, OfLayer); 6] = [
    ("weight_ih", Role::WeightIh),
    ("weight_hh", Role::WeightHh),
    ("weight_hr", Role::WeightHr),
    ("weight_peephole", Role::WeightPeephole),
    ("bias_ih", Role::BiasIh),
    ("bias_hh", Role::BiasHh),
];

impl Names {
    pub(crate) fn new(lstm: &str, head: &str) -> Names {
        let lstm = vec![LstmModule { prefix: lstm.to_owned(), layers: usize::MAX }];
        let embedding = "embedding.".to_owned();
        Names { lstm, head: vec![head.to_owned()], embedding, cell: false }
    }

    /// Those of a model for which less is said than it has: a stack of modules by its layers' numbers, linear
    /// layers by those that `nn.Sequential` gives them.
    pub(super) fn of_model(mut self, shape: &StackShape, modules: bool) -> Names {
        if let ([module], true) = (&*self.lstm, modules) {
            let prefix = |l: usize| format!("{}{l}.", module.prefix);
            let of = |l: usize| LstmModule { prefix: prefix(l), layers: 1 };
            self.lstm = (0..shape.layers).map(of).collect();
        }
        let linears = shape.head.linears(shape.features());
        if let ([head], true) = (&*self.head, linears.len() > 1) {
            self.head = numbered(head, &linears);
        }
        self
    }

    /// Checks that there are as many as a model has modules, and that no two mean the same tensor.
    pub(super) fn expect(&self, shape: &StackShape) -> Result<()> {
        let refused = |name: &str, expected: String, got: String| {
            Err(Error::Value { operation: "model", name: name.to_owned(), expected, got })
        };
        let layers = self.lstm.iter().map(|module| module.layers).fold(0, usize::saturating_add);
        if self.lstm.is_empty() || shape.layers > 0 && layers != shape.layers && self.lstm.len() > 1
        {
            let expected = format!("those of {} layers", shape.layers);
            return refused("names of the LSTM's modules", expected, format!("of {layers}"));
        }
        let linears = shape.head.linears(shape.features()).len().max(1);
        if self.head.len() != linears {
            let got = self.head.len().to_string();
            return refused("names of the head's linear layers", linears.to_string(), got);
        }
        // Of each module a name, which has to be nobody else's.
        let firsts = self.modules().map(|(_, first)| first).filter(|&first| first < shape.layers);
        let of_layers = firsts.map(|first| Role::WeightIh(first, 0));
        let of_head = (0..linears).map(Role::HeadWeight).filter(|_| shape.outputs() > 0);
        let embedding = matches!(shape.encoding, Encoding::Embedding(_)).then_some(Role::Embedding);
        let mut roles = of_layers.chain(of_head).chain(embedding);
        match roles.find(|&role| self.role(&self.of(role)) != Some(role)) {
            None => Ok(()),
            Some(role) => {
                let expected = "different ones for each module".to_owned();
                refused("names", expected, format!("{} twice", self.of(role)))
            }
        }
    }

    /// The same behind something else.
    pub(super) fn behind(&self, prefix: &str) -> Names {
        let of = |own: &str| format!("{prefix}{own}");
        let module = |LstmModule { prefix, layers }: &LstmModule| LstmModule {
            prefix: of(prefix),
            layers: *layers,
        };
        Names {
            lstm: self.lstm.iter().map(module).collect(),
            head: self.head.iter().map(|head| of(head)).collect(),
            embedding: of(&self.embedding),
            cell: self.cell,
        }
    }

    /// The modules of layers, each with the number of its first layer.
    pub(super) fn modules(&self) -> impl Iterator<Item = (&LstmModule, usize)> {
        let mut below = 0usize;
        self.lstm.iter().map(move |module| {
            let first = below;
            below = below.saturating_add(module.layers);
            (module, first)
        })
    }

    /// The module of a layer, and the number of its first layer.
    fn module_of(&self, layer: usize) -> (&LstmModule, usize) {
        let mut found = (&self.lstm[0], 0);
        for (module, first) in self.modules() {
            if first <= layer {
                found = (module, first);
            }
        }
        found
    }

    /// The parameter that a name means.
    pub(super) fn role(&self, name: &str) -> Option<Role> {
        let of_module = |(module, first): (&LstmModule, usize)| {
            let rest = name.strip_prefix(&module.prefix)?;
            match rest {
                "h_0" if !self.cell && first == 0 => return Some(Role::InitialH),
                "c_0" if !self.cell && first == 0 => return Some(Role::InitialC),
                _ => {}
            }
            let role = of_layer(rest, self.cell)?;
            let l = layer(role).filter(|&l| l < module.layers)?;
            Some(role.of_layer(first.saturating_add(l)))
        };
        let of_head = |(number, head): (usize, &String)| match name.strip_prefix(head)? {
            "weight" => Some(Role::HeadWeight(number)),
            "bias" => Some(Role::HeadBias(number)),
            _ => None,
        };
        let is_embedding = || name.strip_prefix(&self.embedding) == Some("weight");
        let of_lstm = self.modules().find_map(of_module);
        of_lstm
            .or_else(|| self.head.iter().enumerate().find_map(of_head))
            .or_else(|| is_embedding().then_some(Role::Embedding))
    }

    /// Whether a name is a parameter's, or begins as one of a layer's.
    pub(super) fn is_of_model(&self, name: &str) -> bool {
        let kind = |rest: &str| KINDS.iter().any(|(kind, _)| rest.starts_with(kind));
        let begins = |module: &LstmModule| name.strip_prefix(&module.prefix).is_some_and(kind);
        self.role(name).is_some() || self.lstm.iter().any(begins)
    }

    /// Whether a name is that of a linear layer in a `nn.Sequential` where the head's name is.
    pub(super) fn is_of_sequential(&self, name: &str) -> bool {
        let rest = match &*self.head {
            [head] if !head.is_empty() => name.strip_prefix(head.as_str()),
            _ => None,
        };
        let number = rest.and_then(|rest| rest.strip_suffix(".weight"));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// Whether a name stands in one of the modules.
    pub(super) fn has(&self, name: &str) -> bool {
        let lstms = self.lstm.iter().map(|module| &module.prefix);
        let mut prefixes = lstms.chain(&self.head).chain([&self.embedding]);
        let inside = |prefix: &String| !prefix.is_empty() && name.starts_with(prefix.as_str());
        prefixes.any(inside) || self.is_of_model(name)
    }

    /// The parameter's name in PyTorch.
    pub(crate) fn of(&self, role: Role) -> String {
        let (prefix, role) = match role {
            Role::HeadWeight(number) | Role::HeadBias(number) => {
                // More than are named belong to no model.
                (self.head.get(number).map_or("", String::as_str), role)
            }
            Role::Embedding => (self.embedding.as_str(), role),
            Role::InitialH | Role::InitialC => (self.lstm[0].prefix.as_str(), role),
            of_layer => {
                let l = layer(of_layer).unwrap_or(0);
                let (module, first) = self.module_of(l);
                (module.prefix.as_str(), of_layer.of_layer(l - first))
            }
        };
        let name = role.to_string();
        let name = if self.cell { name.strip_suffix("_l0").unwrap_or(&name) } else { &name };
        format!("{prefix}{name}")
    }
}

/// What stands before the names of linear layers in a `nn.Sequential`, by the numbers of their modules.
pub(super) fn numbered(prefix: &str, linears: &[HeadLinear]) -> Vec<String> {
    linears.iter().map(|linear| format!("{prefix}{}.", linear.module)).collect()
}

/// A name in two, before the kind of the layer's parameter that it ends with.
fn before_kind(name: &str) -> Option<(&str, &str)> {
    KINDS.iter().filter_map(|(kind, _)| name.rfind(kind)).max().map(|at| name.split_at(at))
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
        let Some((prefix, rest)) = before_kind(name) else { continue };
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

/// The modules of layers under some prefixes, the lowest first. One has all layers that there are; of several,
/// or of a list's, names tell how many each has.
pub(super) fn lstms_in(prefixes: &[String], names: &[&str]) -> Vec<LstmModule> {
    let mut last: HashMap<&str, usize> = HashMap::new();
    for name in names {
        let Some((prefix, rest)) = before_kind(name) else { continue };
        if let Some(l) = of_layer(rest, false).and_then(layer) {
            let most = last.entry(prefix).or_default();
            *most = l.max(*most);
        }
    }
    let several = |prefixes: &[String]| -> Vec<LstmModule> {
        // One of which nothing is there has a layer, whose tensors are missing.
        let layers = |prefix: &str| last.get(prefix).map_or(1, |last| last.saturating_add(1));
        let module =
            |prefix: &String| LstmModule { prefix: prefix.clone(), layers: layers(prefix) };
        prefixes.iter().map(module).collect()
    };
    let alone = |prefix: &str| vec![LstmModule { prefix: prefix.to_owned(), layers: usize::MAX }];
    let [prefix] = prefixes else { return several(prefixes) };
    // The modules of a list have its name and a number, from 0 on.
    let numbered = (0..MODULES).map(|l| format!("{prefix}{l}."));
    let listed: Vec<String> = numbered.take_while(|own| last.contains_key(own.as_str())).collect();
    match &*listed {
        [] => alone(prefix),
        _ if last.contains_key(prefix.as_str()) => alone(prefix),
        [only] => alone(only),
        _ => several(&listed),
    }
}

/// The error of a state dict.
pub(super) fn refused<T>(problem: String) -> Result<T> {
    Err(Error::StateDict { problem })
}

/// The layer and the direction of a parameter, where it is a layer's.
pub(super) fn place(role: Role) -> Option<(usize, usize)> {
    match role {
        Role::WeightIh(l, d)
        | Role::WeightHh(l, d)
        | Role::BiasIh(l, d)
        | Role::BiasHh(l, d)
        | Role::WeightHr(l, d)
        | Role::WeightPeephole(l, d) => Some((l, d)),
        _ => None,
    }
}

pub(super) fn layer(role: Role) -> Option<usize> {
    place(role).map(|(layer, _)| layer)
}

pub(super) fn direction(role: Role) -> Option<usize> {
    place(role).map(|(_, direction)| direction)
}
