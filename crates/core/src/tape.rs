//! The tape: rows of `f32`, and the operations that made them, in order.
//!
//! Every operation is fused and brings its own backward ([`Op`]). Going backward is one loop from the last node to the
//! first; a node's value and gradient go back to the pool of buffers as soon as nothing can ask for them.

use crate::buffer::{Buffer, Buffers};
use crate::processor::Processor;
use crate::tensor::Tensor;
use attendant_kernels::quant::Matrix;
use attendant_kernels::{Machine, Precision, elementwise};
use std::sync::Arc;

/// Rows on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var(usize);

/// How a node's gradient passes to the nodes it was made from.
pub trait Op: Send {
    /// Adds to the gradients of the inputs. `output` is the node itself; `gradient` that of its value.
    fn backward(&self, pass: &mut Backward<'_>, output: Var, gradient: &[f32]);
}

enum Value {
    Owned(Buffer),
    Shared(Arc<Tensor>),
    Freed,
}

struct Node {
    rows: usize,
    width: usize,
    value: Value,
    gradient: Option<Buffer>,
    op: Option<Box<dyn Op>>,
    /// Whether a gradient should flow into or through this node.
    tracked: bool,
}

/// Rows and the operations that made them.
pub struct Tape {
    nodes: Vec<Node>,
    buffers: Buffers,
    processor: Processor,
    recording: bool,
    activations: Activations,
    precision: Precision,
}

/// How rows are multiplied with weights of few bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// As they are, with weights as their format defines them.
    #[default]
    F32,
    /// Rounded to bytes, 32 with one scale: faster, and off by what the rounding gives. Many rows are rounded to bf16 instead, with their
    /// weights, where the processor is faster in it; so is what attention of many rows multiplies.
    Int8,
}

impl Tape {
    /// An empty tape that records.
    pub fn new(processor: Processor) -> Tape {
        Tape {
            nodes: Vec::new(),
            buffers: Buffers::default(),
            processor,
            recording: true,
            activations: Activations::default(),
            precision: Precision::default(),
        }
    }

    /// An empty tape that does not record: nothing can go backward, and a [`Tape::scope`] frees what it used.
    pub fn inference(processor: Processor) -> Tape {
        Tape { recording: false, ..Tape::new(processor) }
    }

    /// The same, with every buffer full of NaN until it is written.
    pub fn poisoned(self) -> Tape {
        Tape { buffers: Buffers::new(true), ..self }
    }

    /// The same, with rows that are multiplied with weights of few bits taken so.
    pub fn with_activations(self, activations: Activations) -> Tape {
        Tape { activations, ..self }
    }

    /// The same, with products of parameters, and those of attention, in this precision.
    pub fn with_precision(self, precision: Precision) -> Tape {
        Tape { precision, ..self }
    }

    /// What products with parameters and those of attention multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// How rows are multiplied with weights of few bits.
    pub fn activations(&self) -> Activations {
        self.activations
    }

    /// Whether operations are remembered for going backward.
    pub fn recording(&self) -> bool {
        self.recording
    }

    /// What computes.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// Bytes of all buffers, in use or free.
    pub fn allocated_bytes(&self) -> usize {
        self.buffers.allocated_bytes()
    }

    /// Rows that no gradient flows to.
    ///
    /// # Panics
    /// If `values` is not `rows * width` long.
    pub fn constant(&mut self, rows: usize, width: usize, values: &[f32]) -> Var {
        assert_eq!(values.len(), rows * width, "constant of {rows} x {width}");
        let mut buffer = self.buffers.take(values.len());
        buffer.copy_from_slice(values);
        self.push(rows, width, Value::Owned(buffer), false)
    }

    /// Rows whose gradient can be asked for after [`Tape::backward`].
    ///
    /// # Panics
    /// If `values` is not `rows * width` long.
    pub fn leaf(&mut self, rows: usize, width: usize, values: &[f32]) -> Var {
        let var = self.constant(rows, width, values);
        self.nodes[var.0].tracked = self.recording;
        var
    }

    /// A parameter, read in place. Its gradient can be asked for after [`Tape::backward`].
    ///
    /// # Panics
    /// If the tape records and the parameter is packed.
    pub fn parameter(&mut self, tensor: &Arc<Tensor>) -> Var {
        assert!(!self.recording || tensor.packed().is_none(), "a tape that records was given packed weights");
        self.push(tensor.rows(), tensor.width(), Value::Shared(tensor.clone()), self.recording)
    }

    /// The matrix of a parameter that is packed.
    pub(crate) fn packed(&self, var: Var) -> Option<&Matrix> {
        match &self.nodes[var.0].value {
            Value::Shared(tensor) => tensor.packed(),
            _ => None,
        }
    }

    /// Whether any parameter has weights of few bits.
    pub(crate) fn has_few_bits(&self) -> bool {
        (0..self.nodes.len()).any(|node| self.packed(Var(node)).is_some_and(|matrix| !matrix.format().is_float()))
    }

    /// Rows read in place that no gradient flows to.
    pub fn shared(&mut self, tensor: &Arc<Tensor>) -> Var {
        self.push(tensor.rows(), tensor.width(), Value::Shared(tensor.clone()), false)
    }

    fn push(&mut self, rows: usize, width: usize, value: Value, tracked: bool) -> Var {
        self.nodes.push(Node { rows, width, value, gradient: None, op: None, tracked });
        Var(self.nodes.len() - 1)
    }

    /// How many rows.
    pub fn rows(&self, var: Var) -> usize {
        self.nodes[var.0].rows
    }

    /// Values in one row.
    pub fn width(&self, var: Var) -> usize {
        self.nodes[var.0].width
    }

    /// The values, row-major.
    ///
    /// # Panics
    /// If they were freed: after [`Tape::backward`], or with the scope that made them; if they are packed weights.
    pub fn value(&self, var: Var) -> &[f32] {
        let node = &self.nodes[var.0];
        match &node.value {
            Value::Owned(buffer) => &buffer[..node.rows * node.width],
            Value::Shared(tensor) => tensor.data(),
            Value::Freed => panic!("rows {} were freed", var.0),
        }
    }

    /// The gradient of a leaf or parameter, if any flowed to it.
    pub fn gradient(&self, var: Var) -> Option<&[f32]> {
        self.nodes[var.0].gradient.as_deref()
    }

    /// Takes the gradient of a leaf or parameter out of the tape. Hand it back with [`Tape::give`] when done.
    pub fn take_gradient(&mut self, var: Var) -> Option<Buffer> {
        self.nodes[var.0].gradient.take()
    }

    /// Takes back a buffer for reuse.
    pub fn give(&mut self, buffer: Buffer) {
        self.buffers.give(buffer);
    }

    /// Whether a gradient flows to these rows.
    pub fn tracked(&self, var: Var) -> bool {
        self.nodes[var.0].tracked
    }

    /// The same values as rows of another width.
    ///
    /// # Panics
    /// If `width` does not divide the values.
    pub fn reshape(&mut self, x: Var, width: usize) -> Var {
        let len = self.rows(x) * self.width(x);
        assert!(width > 0 && len.is_multiple_of(width), "{len} values as rows of {width}");
        self.operation(&[x], len / width, width, Reshape { x }, |tape, y, _| y.copy_from_slice(tape.value(x)))
    }

    /// Makes a node: `compute(values, output, scratch maker)` fills the output, which holds anything before.
    ///
    /// The way in for a mechanism that brings its own fused operation. The operation is dropped when nothing records or no
    /// input is tracked.
    pub fn operation(
        &mut self,
        inputs: &[Var],
        rows: usize,
        width: usize,
        op: impl Op + 'static,
        compute: impl FnOnce(&Tape, &mut [f32], &mut Buffers),
    ) -> Var {
        let mut buffers = std::mem::take(&mut self.buffers);
        let mut output = buffers.take(rows * width);
        compute(self, &mut output, &mut buffers);
        self.buffers = buffers;
        let tracked = self.recording && inputs.iter().any(|input| self.nodes[input.0].tracked);
        let var = self.push(rows, width, Value::Owned(output), tracked);
        if tracked {
            self.nodes[var.0].op = Some(Box::new(op));
        }
        var
    }

    /// Like [`Tape::operation`], for one that also gives saved rows, to which no gradient flows: what its backward needs
    /// or a state. `op` is made with them; `compute` fills the output and them. Gives both.
    pub fn operation_saving<O: Op + 'static>(
        &mut self,
        inputs: &[Var],
        [rows, width]: [usize; 2],
        [saved_rows, saved_width]: [usize; 2],
        op: impl FnOnce(Var) -> O,
        compute: impl FnOnce(&Tape, &mut [f32], &mut [f32], &mut Buffers),
    ) -> (Var, Var) {
        let mut saved = self.buffers.take(saved_rows * saved_width);
        let place = self.push(saved_rows, saved_width, Value::Freed, false);
        let output = self.operation(inputs, rows, width, op(place), |tape, y, buffers| compute(tape, y, &mut saved, buffers));
        self.nodes[place.0].value = Value::Owned(saved);
        (output, place)
    }

    /// Runs `body` and, when nothing records, frees everything it made but the rows it returns.
    pub fn scope<E>(&mut self, body: impl FnOnce(&mut Tape) -> Result<Var, E>) -> Result<Var, E> {
        let start = self.nodes.len();
        let result = body(self);
        if self.recording {
            return result;
        }
        let kept = match &result {
            Ok(var) if var.0 >= start => Some(self.nodes.swap_remove(var.0)),
            _ => None,
        };
        self.free_from(start);
        let result = result?;
        Ok(match kept {
            Some(node) => {
                self.nodes.push(node);
                Var(start)
            }
            None => result,
        })
    }

    /// The same for rows that `body` makes of `x` and nothing reads afterwards: when nothing records, `x` is freed as well.
    pub fn replace<E>(&mut self, x: Var, body: impl FnOnce(&mut Tape) -> Result<Var, E>) -> Result<Var, E> {
        let y = self.scope(body)?;
        let value = &mut self.nodes[x.0].value;
        if !self.recording && y.0 != x.0 && matches!(value, Value::Owned(_)) {
            let value = std::mem::replace(value, Value::Freed);
            self.buffers.free(value.owned());
        }
        Ok(y)
    }

    /// Empties the tape; its buffers stay for the next use.
    pub fn clear(&mut self) {
        self.free_from(0);
    }

    fn free_from(&mut self, start: usize) {
        while self.nodes.len() > start {
            let node = self.nodes.pop().expect("longer than start");
            self.buffers.free(node.value.owned());
            self.buffers.free(node.gradient);
        }
    }

    /// Goes backward from `output`, whose own gradient is all ones. Afterwards leaves and parameters have their gradients;
    /// everything made by an operation is freed.
    pub fn backward(&mut self, output: Var) {
        let len = self.rows(output) * self.width(output);
        let mut seed = self.buffers.take(len);
        seed.fill(1.0);
        self.backward_from(output, seed);
    }

    /// Goes backward from `output` with a given gradient of it.
    ///
    /// # Panics
    /// If the gradient is not as long as the rows.
    pub fn backward_with(&mut self, output: Var, gradient: &[f32]) {
        assert_eq!(gradient.len(), self.rows(output) * self.width(output), "gradient of the output");
        let mut seed = self.buffers.take(gradient.len());
        seed.copy_from_slice(gradient);
        self.backward_from(output, seed);
    }

    fn backward_from(&mut self, output: Var, seed: Buffer) {
        self.nodes[output.0].gradient = Some(seed);
        for index in (0..=output.0).rev() {
            let Some(op) = self.nodes[index].op.take() else { continue };
            if let Some(gradient) = self.nodes[index].gradient.take() {
                op.backward(&mut Backward { tape: self }, Var(index), &gradient);
                self.buffers.give(gradient);
            }
            let value = std::mem::replace(&mut self.nodes[index].value, Value::Freed);
            self.buffers.free(value.owned());
        }
    }
}

impl Value {
    fn owned(self) -> Option<Buffer> {
        match self {
            Value::Owned(buffer) => Some(buffer),
            _ => None,
        }
    }
}

impl Buffers {
    fn free(&mut self, buffer: Option<Buffer>) {
        if let Some(buffer) = buffer {
            self.give(buffer);
        }
    }
}

/// What an [`Op`] sees while going backward.
pub struct Backward<'a> {
    tape: &'a mut Tape,
}

/// The gradient of one input, out of the tape while an operation adds to it.
pub struct Gradient {
    var: Var,
    buffer: Buffer,
    /// Nothing was added yet: the buffer holds anything and must be overwritten.
    pub fresh: bool,
}

impl Gradient {
    /// The values.
    pub fn values(&mut self) -> &mut [f32] {
        &mut self.buffer
    }
}

impl Backward<'_> {
    /// The values of a node.
    pub fn value(&self, var: Var) -> &[f32] {
        self.tape.value(var)
    }

    /// Rows of a node.
    pub fn rows(&self, var: Var) -> usize {
        self.tape.rows(var)
    }

    /// Width of a node.
    pub fn width(&self, var: Var) -> usize {
        self.tape.width(var)
    }

    /// What computes.
    pub fn machine(&self) -> Machine<'_> {
        self.tape.processor.machine()
    }

    /// What products with parameters and those of attention multiply.
    pub fn precision(&self) -> Precision {
        self.tape.precision
    }

    /// Working memory that holds anything; give it back with [`Backward::give`].
    pub fn scratch(&mut self, len: usize) -> Buffer {
        self.tape.buffers.take(len)
    }

    /// Gives back working memory.
    pub fn give(&mut self, buffer: Buffer) {
        self.tape.buffers.give(buffer);
    }

    /// The gradient of `var` to add to, zeros if nothing was added yet; `None` if no gradient flows there. Hand it back
    /// with [`Backward::put`].
    pub fn gradient(&mut self, var: Var) -> Option<Gradient> {
        let mut gradient = self.gradient_or_fresh(var)?;
        if gradient.fresh {
            gradient.buffer.fill(0.0);
            gradient.fresh = false;
        }
        Some(gradient)
    }

    /// Like [`Backward::gradient`], for an operation that can also overwrite: see [`Gradient::fresh`].
    pub fn gradient_or_fresh(&mut self, var: Var) -> Option<Gradient> {
        let node = &mut self.tape.nodes[var.0];
        if !node.tracked {
            return None;
        }
        let len = node.rows * node.width;
        Some(match node.gradient.take() {
            Some(buffer) => Gradient { var, buffer, fresh: false },
            None => Gradient { var, buffer: self.tape.buffers.take(len), fresh: true },
        })
    }

    /// Hands a gradient back. An operation whose inputs are the same rows has taken a gradient for each: they add up.
    pub fn put(&mut self, gradient: Gradient) {
        let Gradient { var, buffer, .. } = gradient;
        match self.tape.nodes[var.0].gradient.take() {
            None => self.tape.nodes[var.0].gradient = Some(buffer),
            Some(mut sum) => {
                elementwise::add_assign(self.machine(), &mut sum, &buffer);
                self.tape.nodes[var.0].gradient = Some(sum);
                self.give(buffer);
            }
        }
    }

    /// Adds `values` to the gradient of `var`.
    pub fn add(&mut self, var: Var, values: &[f32]) {
        if let Some(mut gradient) = self.gradient_or_fresh(var) {
            if gradient.fresh {
                gradient.buffer.copy_from_slice(values);
            } else {
                elementwise::add_assign(self.machine(), &mut gradient.buffer, values);
            }
            self.put(gradient);
        }
    }
}

struct Reshape {
    x: Var,
}

impl Op for Reshape {
    fn backward(&self, pass: &mut Backward<'_>, _output: Var, gradient: &[f32]) {
        pass.add(self.x, gradient);
    }
}
