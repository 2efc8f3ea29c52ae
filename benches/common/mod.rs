//! What the bench of whole sequences is made of.

pub mod data;
pub mod peak;
pub mod record;
pub mod shape;
pub mod table;
pub mod verify;
pub mod work;
