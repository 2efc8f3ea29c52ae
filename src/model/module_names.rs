//! How the modules of a model are called.

use super::names::{LstmModule, Names};

/// What stands before the names of a model's tensors, module by module. A dot at the end may be left away;
/// what isn't said is `lstm.`, `fc.` and `embedding.`.
///
/// A model of two PyTorch modules `lstm1` and `lstm2` of different sizes, an embedding `words` and two linear
/// layers:
///
/// ```
/// use gatefold::{Device, Forecaster, Head, LstmConfig, ModuleNames};
/// let names =
///     ModuleNames::new().lstms(&["lstm1", "lstm2"]).heads(&["dense", "out"]).embedding("words");
/// let config = LstmConfig::stack(8, &[64, 32]).embedding(1000).names(names);
/// let head = Head::new().linear(16).relu().linear(2);
/// let model = Forecaster::with_head(&Device::cpu(), config, head)?;
/// let tensors = model.state_dict()?;
/// let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
/// assert_eq!(names[..2], ["words.weight", "lstm1.weight_ih_l0"]);
/// assert_eq!(names[9..], ["dense.weight", "dense.bias", "out.weight", "out.bias"]);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModuleNames {
    pub(super) lstm: Option<Prefixes>,
    pub(super) head: Option<Prefixes>,
    pub(super) embedding: Option<String>,
}

/// One prefix, from which those of several modules are made, or one a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Prefixes {
    One(String),
    Each(Vec<String>),
}

impl ModuleNames {
    /// `lstm.`, `fc.` and `embedding.`.
    pub fn new() -> ModuleNames {
        ModuleNames::default()
    }

    /// What the names of the LSTM's tensors begin with, such as `encoder.rnn`. Of a
    /// [stack](crate::LstmConfig::stack) of modules it is that of their `nn.ModuleList`: `lstm.0.`, `lstm.1.` and
    /// so on.
    pub fn lstm(self, prefix: &str) -> Self {
        ModuleNames { lstm: Some(Prefixes::One(prefix.to_owned())), ..self }
    }

    /// Those of several modules that stand on each other, the lowest first, such as `lstm1` and `lstm2`.
    pub fn lstms(self, prefixes: &[&str]) -> Self {
        ModuleNames { lstm: Some(Prefixes::each(prefixes)), ..self }
    }

    /// What the names of the linear layer's tensors begin with. Of several it is that of their
    /// `nn.Sequential`, where each has the number of its module: `fc.0.`, `fc.3.`.
    pub fn head(self, prefix: &str) -> Self {
        ModuleNames { head: Some(Prefixes::One(prefix.to_owned())), ..self }
    }

    /// Those of each of the head's linear layers.
    pub fn heads(self, prefixes: &[&str]) -> Self {
        ModuleNames { head: Some(Prefixes::each(prefixes)), ..self }
    }

    /// What the name of the embedding's weight begins with.
    pub fn embedding(self, prefix: &str) -> Self {
        ModuleNames { embedding: Some(prefix.to_owned()), ..self }
    }
}

/// With a dot at its end, where it has none.
fn with_dot(prefix: &str) -> String {
    let dot = if prefix.is_empty() || prefix.ends_with('.') { "" } else { "." };
    format!("{prefix}{dot}")
}

impl ModuleNames {
    /// These, and where they say nothing others.
    pub(super) fn or(self, others: &ModuleNames) -> ModuleNames {
        ModuleNames {
            lstm: self.lstm.or_else(|| others.lstm.clone()),
            head: self.head.or_else(|| others.head.clone()),
            embedding: self.embedding.or_else(|| others.embedding.clone()),
        }
    }

    /// The names of a new model, whose usual ones are given. Of several modules each is a layer.
    pub(super) fn over(&self, usual: Names) -> Names {
        let each = |prefixes: &Prefixes| -> Vec<String> {
            prefixes.all().iter().map(|prefix| with_dot(prefix)).collect()
        };
        let lstm = match &self.lstm {
            None => usual.lstm,
            Some(prefixes) if prefixes.all().len() == 1 => Names::new(&each(prefixes)[0], "").lstm,
            Some(prefixes) => {
                let module = |prefix: String| LstmModule { prefix, layers: 1 };
                each(prefixes).into_iter().map(module).collect()
            }
        };
        Names {
            lstm,
            head: self.head.as_ref().map_or(usual.head, each),
            embedding: self.embedding.as_deref().map_or(usual.embedding, with_dot),
            cell: usual.cell,
        }
    }
}

impl Prefixes {
    fn each(prefixes: &[&str]) -> Prefixes {
        Prefixes::Each(prefixes.iter().map(|&prefix| prefix.to_owned()).collect())
    }

    pub(super) fn all(&self) -> &[String] {
        match self {
            Prefixes::One(prefix) => std::slice::from_ref(prefix),
            Prefixes::Each(prefixes) => prefixes,
        }
    }
}
