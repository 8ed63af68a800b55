//! The fused operations, each a method of [`Tape`](crate::Tape) with its backward beside it.

mod activation;
mod arithmetic;
mod attention;
mod columns;
mod embedding;
mod linear;
mod loss;
mod norm;
mod packed;
mod recurrence;
mod rotary;
mod share;
mod target;

pub use attendant_kernels::activation::{Gelu, Unary};
pub use attendant_kernels::attention::{Run, Span, Visible};
pub use attendant_kernels::loss::IGNORE;
pub use attendant_kernels::rope::{Rope, RopeLayout};
pub use attendant_kernels::scan::Scan;
pub use attendant_kernels::selective::SelectiveScan;
pub use attention::{Keys, Softmax};
pub use linear::HeadMatrix;
pub use recurrence::{Recurrence, ScanGate, Selection};
