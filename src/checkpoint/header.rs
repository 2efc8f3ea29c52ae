//! The header of a safetensors file: JSON that says which tensor stands where.
//!
//! Nothing in it is believed: what it takes in memory goes by its length, whatever sizes it claims.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use safetensors::Dtype as Known;
use serde::de::value::{Error as NoName, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::tensor::Array;

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
    /// One of the format's.
    Known(Known),
    /// One that the format doesn't have, or not yet; nobody knows how large its elements are.
    Other(Box<str>),
}

impl Dtype {
    /// Bytes of an element, where it is read as f32.
    pub(super) fn read(&self) -> Option<usize> {
        match self {
            Dtype::Known(Known::F64) => Some(8),
            Dtype::Known(Known::F32) => Some(4),
            Dtype::Known(Known::F16 | Known::BF16) => Some(2),
            _ => None,
        }
    }

    /// Bytes of so many elements, of which several may share one; an error where they aren't whole or can't
    /// be counted, and `None` where nobody knows.
    fn bytes(&self, elements: Option<u64>) -> Result<Option<u64>, ()> {
        let elements = elements.ok_or(())?;
        let Dtype::Known(known) = self else { return Ok(None) };
        let bits = elements.checked_mul(known.bitsize() as u64).ok_or(())?;
        if bits.is_multiple_of(8) { Ok(Some(bits / 8)) } else { Err(()) }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dtype::Known(known) => known.fmt(f),
            Dtype::Other(name) => f.write_str(name),
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
                match dtype.bytes(elements) {
                    Ok(bytes) if bytes.is_none_or(|bytes| bytes == end - start) => {
                        at = *end;
                        continue;
                    }
                    _ => format!("isn't of its shape {shape:?} of {dtype}"),
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
        let name = String::deserialize(deserializer)?;
        let known = Known::deserialize(StrDeserializer::<NoName>::new(&name));
        Ok(known.map_or_else(|_| Dtype::Other(name.into()), Dtype::Known))
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

/// The header of a file with these tensors of f32, one after the other, and these texts.
pub(super) struct Written<'a> {
    pub(super) tensors: &'a [(&'a str, &'a Array)],
    pub(super) metadata: &'a HashMap<String, String>,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // In the order of their names, not in a hash's, which is another one every time.
        map.serialize_entry(METADATA, &self.metadata.iter().collect::<BTreeMap<_, _>>())?;
        let mut start = 0;
        for (name, array) in self.tensors {
            let end = start + 4 * array.data().len();
            let info = safetensors::tensor::TensorInfo {
                dtype: Known::F32,
                shape: array.shape().to_vec(),
                data_offsets: (start, end),
            };
            map.serialize_entry(name, &info)?;
            start = end;
        }
        map.end()
    }
}
