//! ONNX's messages, as far as a model with LSTMs needs them:
//! [onnx.proto](https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).

use prost::Message;
use prost::bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};

/// Declares messages.
macro_rules! messages {
    ($($(#[$about:meta])* $name:ident { $($fields:tt)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name { $($fields)* }
    )*};
}

messages! {
    /// A file.
    Model {
        #[prost(int64, tag = "1")]
        pub(crate) ir_version: i64,
        #[prost(string, tag = "2")]
        pub(crate) producer_name: String,
        #[prost(string, tag = "3")]
        pub(crate) producer_version: String,
        #[prost(message, optional, tag = "7")]
        pub(crate) graph: Option<Graph>,
        #[prost(message, repeated, tag = "8")]
        pub(crate) opset_import: Vec<OperatorSet>,
        #[prost(message, repeated, tag = "14")]
        pub(crate) metadata_props: Vec<Entry>,
        #[prost(message, repeated, tag = "25")]
        pub(crate) functions: Vec<Function>,
    }
    /// Which version of the operators of a domain a file has.
    OperatorSet {
        #[prost(string, tag = "1")]
        pub(crate) domain: String,
        #[prost(int64, tag = "2")]
        pub(crate) version: i64,
    }
    /// An operator of the file's own, of which the name is looked at.
    Function {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
    }
    /// Operators in an order in which they can be computed.
    Graph {
        #[prost(message, repeated, tag = "1")]
        pub(crate) node: Vec<Node>,
        #[prost(string, tag = "2")]
        pub(crate) name: String,
        #[prost(message, repeated, tag = "5")]
        pub(crate) initializer: Vec<Tensor>,
        #[prost(message, repeated, tag = "11")]
        pub(crate) input: Vec<Info>,
        #[prost(message, repeated, tag = "12")]
        pub(crate) output: Vec<Info>,
    }
    /// An operator with its inputs and outputs.
    Node {
        #[prost(string, repeated, tag = "1")]
        pub(crate) input: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        pub(crate) output: Vec<String>,
        #[prost(string, tag = "3")]
        pub(crate) name: String,
        #[prost(string, tag = "4")]
        pub(crate) op_type: String,
        #[prost(message, repeated, tag = "5")]
        pub(crate) attribute: Vec<Attribute>,
        #[prost(string, tag = "7")]
        pub(crate) domain: String,
    }
    /// A setting of an operator.
    Attribute {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(float, tag = "2")]
        pub(crate) f: f32,
        #[prost(int64, tag = "3")]
        pub(crate) i: i64,
        #[prost(bytes = "bytes", tag = "4")]
        pub(crate) s: Bytes,
        #[prost(message, optional, boxed, tag = "5")]
        pub(crate) t: Option<Box<Tensor>>,
        #[prost(message, optional, boxed, tag = "6")]
        pub(crate) g: Option<Box<Graph>>,
        #[prost(float, repeated, tag = "7")]
        pub(crate) floats: Vec<f32>,
        #[prost(int64, repeated, tag = "8")]
        pub(crate) ints: Vec<i64>,
        #[prost(bytes = "bytes", repeated, tag = "9")]
        pub(crate) strings: Vec<Bytes>,
        #[prost(int32, tag = "20")]
        pub(crate) r#type: i32,
    }
    /// A constant.
    Tensor {
        #[prost(int64, repeated, tag = "1")]
        pub(crate) dims: Vec<i64>,
        #[prost(int32, tag = "2")]
        pub(crate) data_type: i32,
        #[prost(float, repeated, tag = "4")]
        pub(crate) float_data: Vec<f32>,
        #[prost(int32, repeated, tag = "5")]
        pub(crate) int32_data: Vec<i32>,
        #[prost(int64, repeated, tag = "7")]
        pub(crate) int64_data: Vec<i64>,
        #[prost(string, tag = "8")]
        pub(crate) name: String,
        #[prost(bytes = "bytes", tag = "9")]
        pub(crate) raw_data: Bytes,
        #[prost(double, repeated, tag = "10")]
        pub(crate) double_data: Vec<f64>,
        #[prost(message, repeated, tag = "13")]
        pub(crate) external_data: Vec<Entry>,
        #[prost(int32, tag = "14")]
        pub(crate) data_location: i32,
    }
    /// A key and what it is said to be.
    Entry {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(string, tag = "2")]
        pub(crate) value: String,
    }
    /// An input or an output of the graph.
    Info {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(message, optional, tag = "2")]
        pub(crate) r#type: Option<Type>,
    }
    /// What a value is.
    Type {
        #[prost(message, optional, tag = "1")]
        pub(crate) tensor_type: Option<TensorType>,
    }
    /// What a tensor is.
    TensorType {
        #[prost(int32, tag = "1")]
        pub(crate) elem_type: i32,
        #[prost(message, optional, tag = "2")]
        pub(crate) shape: Option<Dims>,
    }
    /// The shape of a tensor.
    Dims {
        #[prost(message, repeated, tag = "1")]
        pub(crate) dim: Vec<Dim>,
    }
    /// A size, or what it is called.
    Dim {
        #[prost(int64, optional, tag = "1")]
        pub(crate) dim_value: Option<i64>,
        #[prost(string, optional, tag = "2")]
        pub(crate) dim_param: Option<String>,
    }
}

impl Model {
    /// Decodes a file, once it is known to take little more memory than it has bytes.
    pub(crate) fn of(bytes: Bytes) -> Result<Model, String> {
        let most = PARTS + bytes.len().saturating_mul(4);
        let mut taken = 0usize;
        weigh(&mut bytes.clone(), MODEL, DEPTH, &mut taken, most)?;
        Model::decode(bytes).map_err(|error| format!("it isn't a whole ONNX model: {error}"))
    }

    /// The version of ONNX's own operators.
    pub(crate) fn opset(&self) -> i64 {
        let own = |set: &&OperatorSet| set.domain.is_empty() || set.domain == "ai.onnx";
        self.opset_import.iter().find(own).map_or(0, |set| set.version)
    }
}

/// Bytes that the parts of a model may take beside four times its file.
const PARTS: usize = 64 << 20;

/// How deep messages stand in each other, at most: graphs in branches.
const DEPTH: u32 = 64;

/// A message by those of its fields that may take more memory than a file has bytes.
struct Fields(&'static [(u32, Field)]);

enum Field {
    Message(&'static Fields),
    /// Numbers as wide in a file as in memory.
    Fixed,
    /// Numbers of a byte or more in a file, and of so many in memory.
    Varints(usize),
    Texts,
}

const MODEL: &Fields = &Fields(&[
    (7, Field::Message(&GRAPH)),
    (8, Field::Message(FLAT)),
    (14, Field::Message(FLAT)),
    (25, Field::Message(FLAT)),
]);
static GRAPH: Fields = Fields(&[
    (1, Field::Message(&NODE)),
    (5, Field::Message(TENSOR)),
    (11, Field::Message(INFO)),
    (12, Field::Message(INFO)),
]);
static NODE: Fields =
    Fields(&[(1, Field::Texts), (2, Field::Texts), (5, Field::Message(&ATTRIBUTE))]);
static ATTRIBUTE: Fields = Fields(&[
    (5, Field::Message(TENSOR)),
    (6, Field::Message(&GRAPH)),
    (7, Field::Fixed),
    (8, Field::Varints(8)),
    (9, Field::Texts),
]);
const TENSOR: &Fields = &Fields(&[
    (1, Field::Varints(8)),
    (4, Field::Fixed),
    (5, Field::Varints(4)),
    (7, Field::Varints(8)),
    (10, Field::Fixed),
    (13, Field::Message(FLAT)),
]);
const INFO: &Fields = &Fields(&[(2, Field::Message(TYPE))]);
const TYPE: &Fields = &Fields(&[(1, Field::Message(TENSOR_TYPE))]);
const TENSOR_TYPE: &Fields = &Fields(&[(2, Field::Message(DIMS))]);
const DIMS: &Fields = &Fields(&[(1, Field::Message(FLAT))]);
const FLAT: &Fields = &Fields(&[]);

/// Bytes that a message takes beside its lists, at most: no other is larger.
const MESSAGE: usize = size_of::<Tensor>();
const _: () = assert!(MESSAGE >= size_of::<Node>() && MESSAGE >= size_of::<Attribute>());

/// Adds up what decoding takes, twice as much for lists, which grow by doubling. An empty message or text has two
/// bytes in a file, and hundreds when decoded.
fn weigh(
    bytes: &mut Bytes,
    fields: &Fields,
    depth: u32,
    taken: &mut usize,
    most: usize,
) -> Result<(), String> {
    let broken = |_| "it isn't a whole ONNX model: it ends in the middle, or isn't one".to_owned();
    let short = || "it isn't a whole ONNX model: a field ends behind the file".to_owned();
    while bytes.has_remaining() {
        let (tag, wire) = decode_key(bytes).map_err(broken)?;
        let field = fields.0.iter().find(|(known, _)| *known == tag).map(|(_, field)| field);
        let len = match wire {
            WireType::Varint => {
                decode_varint(bytes).map_err(broken)?;
                0
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => {
                usize::try_from(decode_varint(bytes).map_err(broken)?).map_err(|_| short())?
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err("it holds groups, which ONNX has not".to_owned());
            }
        };
        if len > bytes.remaining() {
            return Err(short());
        }
        let mut inner = bytes.split_to(len);
        *taken = taken.saturating_add(match field {
            None => 0,
            Some(Field::Message(_)) => 2 * MESSAGE,
            Some(Field::Texts) => 2 * size_of::<Bytes>(),
            Some(Field::Fixed) => 2 * len.max(8),
            // A number ends with a byte below 128.
            Some(Field::Varints(width)) => {
                2 * width * inner.iter().filter(|&&byte| byte < 128).count().max(1)
            }
        });
        if *taken > most {
            return Err(format!(
                "it is made of so many parts that they would take more than {most} bytes of memory"
            ));
        }
        if let (Some(Field::Message(fields)), WireType::LengthDelimited) = (field, wire) {
            let depth = depth.checked_sub(1).ok_or("its graphs stand too deep in each other")?;
            weigh(&mut inner, fields, depth, taken, most)?;
        }
    }
    Ok(())
}
