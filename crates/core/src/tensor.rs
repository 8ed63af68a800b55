//! A parameter: values with a shape, shared between the model that holds it and the tapes that read it.

use crate::buffer::Buffer;

/// Values of any shape, row-major.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Buffer,
}

impl Tensor {
    /// Zeros of a shape.
    pub fn zeros(shape: &[usize]) -> Tensor {
        Tensor { shape: shape.to_vec(), data: Buffer::zeros(shape.iter().product()) }
    }

    /// Given values.
    ///
    /// # Panics
    /// If there are not as many as the shape says.
    pub fn new(shape: &[usize], values: &[f32]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "tensor of shape {shape:?}");
        Tensor { shape: shape.to_vec(), data: values.into() }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// As rows: the first axis if there are two or more, else one.
    pub fn rows(&self) -> usize {
        if self.shape.len() > 1 { self.shape[0] } else { 1 }
    }

    /// Values in one of [`Tensor::rows`].
    pub fn width(&self) -> usize {
        if self.shape.len() > 1 { self.shape[1..].iter().product() } else { self.data.len() }
    }

    /// Its values.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Its values, to change.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}
