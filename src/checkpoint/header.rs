//! The header of a safetensors file: JSON that says which tensor stands where.
//!
//! Nothing in it is believed: what it takes in memory goes by its length, whatever sizes it claims.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The header's entry that holds texts instead of a tensor.
pub(super) const METADATA: &str = "__metadata__";

/// Texts of a file, at most: each takes far more memory than bytes in it.
pub(super) const MAX_TEXTS: usize = 1 << 14;

/// Sizes of a shape, at most.
pub(super) const MAX_DIMENSIONS: usize = 64;

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    /// In the order of their names.
    pub(super) tensors: Vec<Entry>,
    pub(super) metadata: HashMap<String, String>,
}

/// What it says of a tensor.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Its bytes in the data.
    pub(super) bytes: (u64, u64),
}

/// The type of a tensor's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    F32,
    F16,
    Bf16,
    Other(Box<str>),
}

impl Dtype {
    /// Bytes of an element, where it is read.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Dtype::F32 => Some(4),
            Dtype::F16 | Dtype::Bf16 => Some(2),
            Dtype::Other(_) => None,
        }
    }
}

impl Header {
    /// Parses a header and checks that its tensors fill `len` bytes of data, each of them once.
    pub(super) fn parse(text: &[u8], len: u64) -> Result<Header, String> {
        let mut header: Header = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let tensors = &mut header.tensors;
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(format!("{} stands twice", pair[0].name));
        }
        let mut placed: Vec<&Entry> = tensors.iter().collect();
        placed.sort_by_key(|entry| entry.bytes);
        let mut at = 0;
        for Entry { name, dtype, shape, bytes: (start, end) } in placed {
            let problem = if end < start {
                "ends before it starts".to_owned()
            } else if *end > len {
                format!("ends behind the data's {len} bytes")
            } else if *start < at {
                "overlaps another tensor".to_owned()
            } else if *start > at {
                format!("leaves a hole before it, from byte {at} on")
            } else {
                let elements = shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size as u64));
                let taken = |width: u64| elements.and_then(|n| n.checked_mul(width));
                match dtype.bytes() {
                    Some(width) if taken(width) != Some(end - start) => {
                        format!("isn't of its shape {shape:?}")
                    }
                    _ => {
                        at = *end;
                        continue;
                    }
                }
            };
            return Err(format!("{name}, bytes {start} to {end}, {problem}"));
        }
        match len - at {
            0 => Ok(header),
            rest => Err(format!("no tensor has the last {rest} bytes")),
        }
    }
}

/// A visitor of maps, from what it expects and what it makes of them.
macro_rules! visit_map {
    ($type:ident, $expected:literal, $visit:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct OfMap;

                impl<'de> Visitor<'de> for OfMap {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        $visit(map)
                    }
                }
                deserializer.deserialize_map(OfMap)
            }
        }
    };
}

/// The texts of a file.
struct Texts(HashMap<String, String>);

visit_map!(Header, "a map of tensors", header);
visit_map!(Texts, "a map of texts", texts);

fn header<'de, A: MapAccess<'de>>(mut map: A) -> Result<Header, A::Error> {
    let (mut tensors, mut metadata) = (Vec::new(), None);
    while let Some(name) = map.next_key::<String>()? {
        if name != METADATA {
            let Info { dtype, shape: Shape(shape), data_offsets: bytes } = map.next_value()?;
            tensors.push(Entry { name, dtype, shape, bytes });
        } else if metadata.replace(map.next_value::<Option<Texts>>()?).is_some() {
            return Err(A::Error::custom(format_args!("{METADATA} stands twice")));
        }
    }
    let metadata = metadata.flatten().map_or_else(HashMap::new, |Texts(texts)| texts);
    Ok(Header { tensors, metadata })
}

fn texts<'de, A: MapAccess<'de>>(mut map: A) -> Result<Texts, A::Error> {
    let mut texts = HashMap::new();
    while let Some((key, text)) = map.next_entry::<String, String>()? {
        if texts.contains_key(&key) {
            return Err(A::Error::custom(format_args!("{key} stands twice in {METADATA}")));
        }
        if texts.len() == MAX_TEXTS {
            return Err(A::Error::custom(format_args!("more than {MAX_TEXTS} texts")));
        }
        texts.insert(key, text);
    }
    Ok(Texts(texts))
}

/// What stands under a tensor's name.
#[derive(serde::Deserialize)]
struct Info {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dtype, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::Bf16,
            other => Dtype::Other(other.into()),
        })
    }
}

struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        struct OfSequence;

        impl<'de> Visitor<'de> for OfSequence {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_DIMENSIONS} sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(size) = sizes.next_element()? {
                    if shape.len() == MAX_DIMENSIONS {
                        return Err(A::Error::invalid_length(MAX_DIMENSIONS + 1, &self));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(OfSequence)
    }
}
