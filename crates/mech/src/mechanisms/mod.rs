//! One file for each mechanism.

pub mod cross;
pub mod gqa;
pub mod gru;
pub mod linear;
pub mod mla;
pub mod swa;
