//! AdamW over a model's parameters, and its state as tensors.

use crate::config::TrainingConfig;
use crate::error::{LabError, Result};
use attendant_core::buffer::Buffer;
use attendant_core::kernels::Machine;
use attendant_core::kernels::optimizer::{AdamW, adamw, clip_scale, sum_squares, sum_squares_scratch};
use attendant_model::{Decoder, NamedTensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs;
use std::path::Path;

/// How the names of values of parameters begin.
const VALUE: &str = "value.";

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
        let mut views = Vec::new();
        for NamedTensor { name, tensor } in inexact {
            let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytemuck::cast_slice(tensor.data()));
            views.push((format!("{VALUE}{name}"), view.map_err(|why| unreadable(path, why))?));
        }
        for (kind, moments) in [("first", &self.first), ("second", &self.second)] {
            for (parameter, moment) in decoder.parameters().iter().zip(moments) {
                let bytes = bytemuck::cast_slice(moment);
                let view = TensorView::new(Dtype::F32, parameter.tensor.shape().to_vec(), bytes);
                views.push((format!("{kind}.{}", parameter.name), view.map_err(|why| unreadable(path, why))?));
            }
        }
        let bytes = safetensors::serialize(views, None).map_err(|why| unreadable(path, why))?;
        fs::write(path, bytes).map_err(|why| LabError::io(path, why))
    }

    /// Reads what [`Optimizer::save`] wrote, values of parameters into them.
    ///
    /// # Errors
    /// If the file cannot be read or does not fit the model.
    pub fn load(decoder: &mut Decoder, path: &Path) -> Result<Optimizer> {
        let bytes = fs::read(path).map_err(|why| LabError::io(path, why))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|why| unreadable(path, why))?;
        let mut optimizer = Optimizer::new(decoder);
        let names: Vec<String> = decoder.parameters().iter().map(|parameter| format!("{VALUE}{}", parameter.name)).collect();
        for (name, tensor) in names.iter().zip(decoder.parameters_mut()) {
            if let Ok(view) = tensors.tensor(name) {
                fill(tensor.data_mut(), view.data()).map_err(|why| unreadable(path, format!("{name}: {why}")))?;
            }
        }
        for (kind, moments) in [("first", &mut optimizer.first), ("second", &mut optimizer.second)] {
            for (parameter, moment) in decoder.parameters().iter().zip(moments) {
                let name = format!("{kind}.{}", parameter.name);
                let view = tensors.tensor(&name).map_err(|why| unreadable(path, format!("{name}: {why}")))?;
                fill(moment, view.data()).map_err(|why| unreadable(path, format!("{name}: {why}")))?;
            }
        }
        Ok(optimizer)
    }
}

/// Takes values from their bytes.
fn fill(values: &mut [f32], bytes: &[u8]) -> Result<(), String> {
    if bytes.len() != size_of_val(values) {
        return Err(format!("{} bytes, wanted {}", bytes.len(), size_of_val(values)));
    }
    values.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, from)| *to = f32::from_le_bytes(*from));
    Ok(())
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> LabError {
    attendant_core::Error::config(path.display().to_string(), why.to_string()).into()
}
