//! Where going backward adds.

use crate::buffer::Buffer;
use crate::tape::{Backward, Gradient, Var};

/// Where a kernel adds the gradient of an input: to that of the node, or, where none is wanted, to what is thrown away.
pub(crate) enum Target {
    Wanted(Gradient),
    Unwanted(Buffer),
}

impl Target {
    /// That of `var`, taken out of the tape.
    pub(crate) fn new(pass: &mut Backward<'_>, var: Var) -> Target {
        match pass.gradient(var) {
            Some(gradient) => Target::Wanted(gradient),
            None => Target::Unwanted(pass.scratch(pass.rows(var) * pass.width(var))),
        }
    }

    /// Where to add.
    pub(crate) fn values(&mut self) -> &mut [f32] {
        match self {
            Target::Wanted(gradient) => gradient.values(),
            Target::Unwanted(buffer) => buffer,
        }
    }

    /// Hands back what was taken.
    pub(crate) fn put(self, pass: &mut Backward<'_>) {
        match self {
            Target::Wanted(gradient) => pass.put(gradient),
            Target::Unwanted(buffer) => pass.give(buffer),
        }
    }
}
