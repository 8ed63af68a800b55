//! AdamW over a model's parameters, and its state as tensors.

use crate::config::TrainingConfig;
use crate::error::Result;
use attendant_core::buffer::Buffer;
use attendant_core::kernels::Machine;
use attendant_core::kernels::optimizer::{AdamW, adamw, clip_scale, sum_squares, sum_squares_scratch};
use attendant_formats::{Access, Weights};
use attendant_model::tensor_file::{self, Outgoing};
use attendant_model::{CheckpointError, Decoder, NamedTensor};
use std::path::Path;

/// How the names of values of parameters begin.
const VALUE: &str = "value.";
/// How those of first and second moments begin.
const MOMENTS: [&str; 2] = ["first.", "second."];

/// First and second moments of every parameter.
pub struct Optimizer {
    first: Vec<Buffer>,
    second: Vec<Buffer>,
}

impl Optimizer {
    /// Zero moments.
    pub fn new(decoder: &Decoder) -> Optimizer {
        let zeros = || decoder.parameters().iter().map(|p| Buffer::zeros(p.tensor.count())).collect();
        Optimizer { first: zeros(), second: zeros() }
    }

    /// One step (from 1), with gradients in the order of the parameters. Vectors are not decayed. Gives the norm of the
    /// gradients before clipping; if that is not finite, nothing was changed.
    pub fn step(
        &mut self,
        machine: Machine<'_>,
        decoder: &mut Decoder,
        gradients: &[Option<Buffer>],
        step: u64,
        rate: f64,
        training: &TrainingConfig,
    ) -> f64 {
        let mut scratch = Vec::new();
        let squares = gradients.iter().flatten().map(|gradient| {
            scratch.resize(sum_squares_scratch(gradient.len()), 0.0);
            sum_squares(machine, gradient, &mut scratch)
        });
        let norm = squares.sum::<f64>().sqrt();
        if !norm.is_finite() {
            return norm;
        }
        let scale = clip_scale(norm, training.clip);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((tensor, gradient), (first, second)) in decoder.parameters_mut().zip(gradients).zip(moments) {
            let Some(gradient) = gradient else { continue };
            let weight_decay = if tensor.shape().len() > 1 { training.weight_decay } else { 0.0 };
            let adam = AdamW { learning_rate: rate, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay };
            adamw(machine, tensor.data_mut(), gradient, first, second, step, &adam, scale);
        }
        norm
    }

    /// Writes the moments as safetensors, and the values of the parameters that the model's own files do not hold with all their bits.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, decoder: &Decoder, inexact: &[&NamedTensor], path: &Path) -> Result<()> {
        let outgoing = |kind: &str, parameter: &NamedTensor, values| {
            Outgoing::floats(format!("{kind}{}", parameter.name), parameter.tensor.shape(), values)
        };
        let mut tensors: Vec<_> = inexact.iter().map(|parameter| outgoing(VALUE, parameter, parameter.tensor.data())).collect();
        for (kind, moments) in MOMENTS.into_iter().zip([&self.first, &self.second]) {
            tensors.extend(decoder.parameters().iter().zip(moments).map(|(parameter, moment)| outgoing(kind, parameter, moment)));
        }
        Ok(tensor_file::write(path, tensors, None)?)
    }

    /// Reads what [`Optimizer::save`] wrote into the moments, and values of parameters into them: in place, since a second copy of
    /// the moments is twice the model.
    ///
    /// # Errors
    /// If the file cannot be read or does not fit the model; some moments and values may be the file's by then.
    pub fn load(&mut self, decoder: &mut Decoder, path: &Path) -> Result<()> {
        let tensors = Weights::open(path, Access::Mapped).map_err(CheckpointError::from)?;
        let fill = |name: &str, values: &mut [f32]| {
            let read = tensors.require(name)?.write_f32(values).map_err(|refusal| tensors.refuse(refusal, name));
            // Or the file would be in memory a second time, beside what was made of it.
            tensors.release(name);
            read
        };
        let names: Vec<String> = decoder.parameters().iter().map(|parameter| parameter.name.clone()).collect();
        for (name, tensor) in names.iter().map(|name| format!("{VALUE}{name}")).zip(decoder.parameters_mut()) {
            if tensors.get(&name).is_some() {
                fill(&name, tensor.data_mut()).map_err(CheckpointError::from)?;
            }
        }
        for (kind, moments) in MOMENTS.into_iter().zip([&mut self.first, &mut self.second]) {
            for (name, moment) in names.iter().zip(moments) {
                fill(&format!("{kind}{name}"), moment).map_err(CheckpointError::from)?;
            }
        }
        Ok(())
    }
}
