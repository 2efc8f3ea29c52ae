//! What a file says of the model whose parameters it holds.

use std::collections::HashMap;

use super::LstmConfig;
use super::config::Said;
use super::names::{LstmModule, Names};
use crate::plan::{
    Activation, Bias, Cell, Encoding, Head, HeadModule, MODULES, Nonlinearity, Probability,
    Readout, StackShape,
};

impl Activation {
    pub(super) const KEY: &'static str = "gatefold.activation";

    /// What a file says of it: nothing for the softmax, as in files that are older than the choice.
    pub(super) fn entry(self) -> Option<(String, String)> {
        (self == Activation::Sigmoid).then(|| (Activation::KEY.to_owned(), "sigmoid".to_owned()))
    }

    pub(super) fn described(
        metadata: &HashMap<String, String>,
    ) -> std::result::Result<Activation, String> {
        match metadata.get(Activation::KEY).map(String::as_str) {
            None | Some("softmax") => Ok(Activation::Softmax),
            Some("sigmoid") => Ok(Activation::Sigmoid),
            Some(other) => Err(format!("{} is {other:?}", Activation::KEY)),
        }
    }
}

/// What a file says of a model, apart from how it is called.
pub(super) fn description(shape: &StackShape, config: &LstmConfig) -> [(&'static str, String); 19] {
    let head = match &shape.head {
        Head::Sequence => "sequence".to_owned(),
        Head::Identity => "identity".to_owned(),
        Head::Linear(outputs) => outputs.to_string(),
        Head::Modules(modules) => joined(modules),
    };
    let encoding = match shape.encoding {
        Encoding::Values => "values".to_owned(),
        Encoding::OneHot => "one_hot".to_owned(),
        Encoding::Embedding(vocabulary) => format!("embedding: {vocabulary}"),
    };
    let bias = match shape.bias {
        Bias::None => "none",
        Bias::Single => "single: bias_hh is written as zero",
        Bias::Double => "double",
    };
    let output = match shape.output {
        None => "none",
        Some(Activation::Softmax) => "softmax",
        Some(Activation::Sigmoid) => "sigmoid",
    };
    let padding_idx = shape.padding_idx.map_or("none".to_owned(), |token| token.to_string());
    [
        ("input_size", shape.input.to_string()),
        ("hidden_size", shape.hidden.to_string()),
        ("hidden_sizes", joined(&config.sizes)),
        ("num_layers", shape.layers.to_string()),
        ("bias", bias.to_owned()),
        ("head", head),
        ("output_activation", output.to_owned()),
        ("encoding", encoding),
        ("padding_idx", padding_idx),
        ("tied", shape.tied.to_string()),
        ("bidirectional", shape.bidirectional.to_string()),
        ("reverse", shape.reverse.to_string()),
        ("proj_size", config.proj_size.to_string()),
        ("cell", shape.cell.to_string()),
        ("batch_first", config.batch_first.to_string()),
        ("learned_state", shape.learned_state.to_string()),
        ("readout", shape.readout.name().to_owned()),
        ("dropout", config.dropout.to_string()),
        ("seed", config.seed.to_string()),
    ]
}

fn joined<T: ToString>(parts: &[T]) -> String {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// What is longer in metadata isn't repeated in a message, and is no prefix.
const LONG: usize = 4096;

/// The names that the metadata give, of which older files have none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) lstm: Option<Vec<LstmModule>>,
    pub(super) head: Option<Vec<String>>,
    pub(super) embedding: Option<String>,
}

impl Named {
    /// What a file says: a prefix as it is, or a list where a module has several.
    pub(super) fn said(naming: &Names) -> [(&'static str, String); 3] {
        let listed =
            |prefixes: Vec<serde_json::Value>| serde_json::Value::from(prefixes).to_string();
        let is_plain = |prefix: &str| !prefix.starts_with('[');
        let lstm = match &*naming.lstm {
            [only] if is_plain(&only.prefix) => only.prefix.clone(),
            several => {
                let pair = |module: &LstmModule| serde_json::json!([module.prefix, module.layers]);
                listed(several.iter().map(pair).collect())
            }
        };
        let head = match &*naming.head {
            [only] if is_plain(only) => only.clone(),
            several => listed(several.iter().map(|head| head.as_str().into()).collect()),
        };
        [("lstm", lstm), ("head", head), ("embedding", naming.embedding.clone())]
    }
}

/// The names that a file's metadata give.
pub(super) fn named(metadata: &HashMap<String, String>) -> std::result::Result<Named, String> {
    let get = |key: &str| metadata.get(&format!("gatefold.prefix.{key}"));
    // Those of several modules begin with it.
    let keys = ["lstm", "head", "embedding"];
    let is_long =
        |key: &&str| get(key).is_some_and(|text| !text.starts_with('[') && text.len() > LONG);
    if let Some(key) = keys.iter().find(|key| is_long(key)) {
        return Err(format!("gatefold.prefix.{key} has more than {LONG} bytes"));
    }
    fn list<T: serde::de::DeserializeOwned>(
        key: &str,
        text: &str,
    ) -> std::result::Result<Vec<T>, String> {
        let list: Option<Vec<T>> = serde_json::from_str(text).ok();
        let fits = |list: &Vec<T>| (1..=MODULES).contains(&list.len());
        list.filter(fits).ok_or_else(|| match text.len() > LONG {
            true => format!("gatefold.prefix.{key} has {} bytes", text.len()),
            false => format!("gatefold.prefix.{key} is {text:?}"),
        })
    }
    let lstm = match get("lstm") {
        Some(text) if text.starts_with('[') => {
            let pairs: Vec<(String, usize)> = list("lstm", text)?;
            let module = |(prefix, layers)| LstmModule { prefix, layers };
            Some(pairs.into_iter().map(module).collect())
        }
        text => text.map(|prefix| vec![LstmModule { prefix: prefix.clone(), layers: usize::MAX }]),
    };
    let head = match get("head") {
        Some(text) if text.starts_with('[') => Some(list("head", text)?),
        text => text.map(|prefix| vec![prefix.clone()]),
    };
    Ok(Named { lstm, head, embedding: get("embedding").cloned() })
}

/// The modules that a description has, such as `linear 8, relu, dropout 0.5, linear 3 without bias`.
fn modules_of(text: &str) -> Option<Head> {
    let mut modules = Vec::new();
    for part in text.split(", ") {
        if modules.len() == MODULES {
            return None;
        }
        let module = match part.split_once(' ') {
            None => HeadModule::Nonlinearity(Nonlinearity::named(part)?),
            Some(("dropout", p)) => HeadModule::Dropout(Probability(p.parse().ok()?)),
            Some(("linear", rest)) => {
                let bare = rest.strip_suffix(" without bias");
                let outputs = bare.unwrap_or(rest).parse().ok()?;
                HeadModule::Linear { outputs, bias: bare.is_none() }
            }
            Some(_) => return None,
        };
        modules.push(module);
    }
    Some(Head::of(modules))
}

/// The settings that the metadata give, where they give any; of what is newer than a file, the defaults.
pub(super) fn described(
    metadata: &HashMap<String, String>,
) -> std::result::Result<Option<(LstmConfig, Head)>, String> {
    let get = |key: &str| metadata.get(&format!("gatefold.{key}")).map(String::as_str);
    let refused = |key: &str| match get(key) {
        Some(text) if text.len() > LONG => format!("gatefold.{key} has {} bytes", text.len()),
        Some(text) => format!("gatefold.{key} is {text:?}"),
        None => format!("gatefold.{key} is missing"),
    };
    fn parsed<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
        text?.parse().ok()
    }
    let required = ["input_size", "hidden_size", "num_layers", "bias", "head"];
    if required.iter().all(|key| get(key).is_none()) {
        return Ok(None);
    }
    let number = |key: &str| parsed(get(key)).ok_or_else(|| refused(key));
    let flag = |key: &str| parsed(get(key).or(Some("false"))).ok_or_else(|| refused(key));
    let or_zero = |key: &str| get(key).or(Some("0"));
    let bias = match get("bias").and_then(|text| text.split(':').next()) {
        Some("none") => Bias::None,
        Some("single") => Bias::Single,
        Some("double") => Bias::Double,
        _ => return Err(refused("bias")),
    };
    let sizes = match get("hidden_sizes").unwrap_or_default() {
        "" => Vec::new(),
        text => {
            let some = text.split(", ").take(MODULES + 1);
            let sizes: Option<Vec<usize>> = some.map(|size| size.parse().ok()).collect();
            let sizes = sizes.filter(|sizes| sizes.len() <= MODULES);
            sizes.ok_or_else(|| refused("hidden_sizes"))?
        }
    };
    let said = Said {
        padding_idx: match get("padding_idx").unwrap_or("none") {
            "none" => None,
            token => Some(parsed(Some(token)).ok_or_else(|| refused("padding_idx"))?),
        },
        output: match get("output_activation").unwrap_or("none") {
            "none" => None,
            "softmax" => Some(Activation::Softmax),
            "sigmoid" => Some(Activation::Sigmoid),
            _ => return Err(refused("output_activation")),
        },
        cell: match get("cell") {
            None => None,
            Some(text) => Some(Cell::named(text).ok_or_else(|| refused("cell"))?),
        },
        tied: flag("tied")?,
        reverse: flag("reverse")?,
        ..Said::default()
    };
    let layers = number("num_layers")?;
    if !sizes.is_empty() && sizes.len() != layers {
        return Err(refused("hidden_sizes"));
    }
    let config = LstmConfig::new(number("input_size")?, number("hidden_size")?)
        .layers(layers)
        .sizes(sizes)
        .bias(bias)
        .bidirectional(flag("bidirectional")?)
        .proj_size(parsed(or_zero("proj_size")).ok_or_else(|| refused("proj_size"))?)
        .batch_first(flag("batch_first")?)
        .learned_state(flag("learned_state")?)
        .dropout(parsed(or_zero("dropout")).ok_or_else(|| refused("dropout"))?)
        .seed(parsed(or_zero("seed")).ok_or_else(|| refused("seed"))?)
        .with_said(&said);
    let text = get("head").ok_or_else(|| refused("head"))?;
    // Files from before there was a choice say so with the head, which read the last output.
    let every_step = text.strip_prefix("every step: ");
    let text = every_step.unwrap_or(text);
    let head = match text {
        "sequence" => Head::Sequence,
        "identity" | "last_hidden" => Head::Identity,
        text => match text.parse() {
            Ok(outputs) => Head::Linear(outputs),
            Err(_) => modules_of(text).ok_or_else(|| refused("head"))?,
        },
    };
    if head == Head::Sequence && config.is_of_modules() {
        return Err("it describes an LSTM without a head as several modules".to_owned());
    }
    let readout = match (get("readout"), every_step) {
        (Some(name), _) => Readout::named(name).ok_or_else(|| refused("readout"))?,
        (None, Some(_)) => Readout::EveryStep,
        (None, None) if head != Head::Sequence && config.bidirectional => Readout::LastOutput,
        (None, None) => Readout::FinalStates,
    };
    let config = config.readout(readout);
    let config = match get("encoding").unwrap_or("values") {
        "values" => config,
        "one_hot" => config.one_hot(),
        text => {
            let vocabulary = parsed(text.strip_prefix("embedding: "));
            config.embedding(vocabulary.ok_or_else(|| refused("encoding"))?)
        }
    };
    Ok(Some((config, head)))
}
