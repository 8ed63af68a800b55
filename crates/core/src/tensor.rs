//! A parameter: values with a shape, shared between the model that holds it and the tapes that read it.

use crate::buffer::Buffer;
use attendant_kernels::quant::Matrix;
use std::sync::Arc;

/// Values of any shape, row-major; or a packed matrix, which only products and embeddings read.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Values(Buffer),
    Packed(Arc<Matrix>),
}

impl Tensor {
    /// Zeros of a shape.
    pub fn zeros(shape: &[usize]) -> Tensor {
        Tensor { shape: shape.to_vec(), data: Data::Values(Buffer::zeros(shape.iter().product())) }
    }

    /// Given values.
    ///
    /// # Panics
    /// If there are not as many as the shape says.
    pub fn new(shape: &[usize], values: &[f32]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "tensor of shape {shape:?}");
        Tensor { shape: shape.to_vec(), data: Data::Values(values.into()) }
    }

    /// A packed matrix.
    pub fn from_packed(matrix: Matrix) -> Tensor {
        Tensor { shape: vec![matrix.rows(), matrix.width()], data: Data::Packed(Arc::new(matrix)) }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many values it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Values(values) => size_of_val(&values[..]),
            Data::Packed(matrix) => matrix.bytes(),
        }
    }

    /// As rows: the first axis if there are two or more, else one.
    pub fn rows(&self) -> usize {
        if self.shape.len() > 1 { self.shape[0] } else { 1 }
    }

    /// Values in one of [`Tensor::rows`].
    pub fn width(&self) -> usize {
        if self.shape.len() > 1 { self.shape[1..].iter().product() } else { self.count() }
    }

    /// The matrix, if it is packed.
    pub fn packed(&self) -> Option<&Matrix> {
        match &self.data {
            Data::Values(_) => None,
            Data::Packed(matrix) => Some(matrix),
        }
    }

    /// Its values.
    ///
    /// # Panics
    /// If they are packed.
    pub fn data(&self) -> &[f32] {
        match &self.data {
            Data::Values(values) => values,
            Data::Packed(matrix) => panic!("{matrix:?} was asked for its values"),
        }
    }

    /// Its values, to change.
    ///
    /// # Panics
    /// If they are packed.
    pub fn data_mut(&mut self) -> &mut [f32] {
        match &mut self.data {
            Data::Values(values) => values,
            Data::Packed(matrix) => panic!("{matrix:?} was asked for its values"),
        }
    }
}
