//! From a plan to parameters: what there is, in which order and under which name, and where the layers find it.

use crate::plan::{FeedForward, Norm, Plan, Positions};
use attendant_core::{Error, Random, Result, Tensor};
use attendant_mech::{Init, Mechanism, Parameter};
use std::sync::Arc;

/// A parameter and its published name.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its values.
    pub tensor: Arc<Tensor>,
}

/// The layers, and where every parameter stands among the model's.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) layers: Vec<Layer>,
    pub(crate) embedding: usize,
    pub(crate) positions: Option<usize>,
    pub(crate) norm: NormPlace,
    pub(crate) head: usize,
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) mechanism: Box<dyn Mechanism>,
    pub(crate) mixer: Vec<(&'static str, usize)>,
    pub(crate) before_mixer: NormPlace,
    pub(crate) before_feed_forward: NormPlace,
    pub(crate) gate: Option<usize>,
    pub(crate) up: usize,
    pub(crate) down: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NormPlace {
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
}

/// Before training, layers add this share of what products of their width would. A token then stays recognisable in the residual
/// stream: where the first layer's noise drowns it, heads that look for a token take far longer to form.
const SHARE: f64 = 0.2;

/// A parameter before training, from its own random stream.
///
/// # Errors
/// If no memory could hold it.
pub(crate) fn drawn(seed: u64, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
    let bytes = shape.iter().try_fold(size_of::<f32>(), |bytes, &side| bytes.checked_mul(side));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::shape(name, "one that memory can hold", format!("{shape:?}")));
    }
    let mut tensor = Tensor::zeros(shape);
    match init {
        Init::Constant(value) => tensor.data_mut().fill(value),
        Init::Normal(deviation) => Random::new(seed, name).fill_normal(tensor.data_mut(), deviation),
    }
    Ok(tensor)
}

impl Parts {
    /// Asks `fill` for every parameter, in order.
    pub(crate) fn assemble<E>(
        plan: &Plan,
        mechanisms: Vec<Box<dyn Mechanism>>,
        fill: impl FnMut(&str, &[usize], Init) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(Parts, Vec<NamedTensor>), E> {
        let residual = SHARE * (2.0 * mechanisms.len() as f64).powf(-0.5);
        let mut builder = Builder { plan, residual, fill, parameters: Vec::new() };
        // Logits begin with a deviation of one where the head shares this table.
        let embeddings = Init::Normal((plan.d_model as f64).powf(-0.5));
        let embedding = builder.add("model.embed_tokens.weight".into(), &[plan.vocab_size, plan.d_model], embeddings)?;
        let positions = match plan.positions {
            Positions::None => None,
            Positions::Learned { context } => {
                Some(builder.add("model.embed_positions.weight".into(), &[context, plan.d_model], embeddings)?)
            }
        };
        let layers =
            mechanisms.into_iter().enumerate().map(|(i, mechanism)| builder.layer(i, mechanism)).collect::<Result<_, _>>()?;
        let norm = builder.norm("model.norm")?;
        let head = match plan.tie_embeddings {
            true => embedding,
            false => builder.product("lm_head.weight".into(), plan.vocab_size, plan.d_model, 1.0)?,
        };
        Ok((Parts { layers, embedding, positions, norm, head }, builder.parameters))
    }
}

struct Builder<'a, F> {
    plan: &'a Plan,
    /// Factor of the deviation of products that add to the residual stream.
    residual: f64,
    fill: F,
    parameters: Vec<NamedTensor>,
}

impl<E, F: FnMut(&str, &[usize], Init) -> std::result::Result<Tensor, E>> Builder<'_, F> {
    fn add(&mut self, name: String, shape: &[usize], init: Init) -> std::result::Result<usize, E> {
        let tensor = Arc::new((self.fill)(&name, shape, init)?);
        self.parameters.push(NamedTensor { name, tensor });
        Ok(self.parameters.len() - 1)
    }

    fn norm(&mut self, name: &str) -> std::result::Result<NormPlace, E> {
        let width = [self.plan.d_model];
        let weight = self.add(format!("{name}.weight"), &width, Init::Constant(1.0))?;
        let bias = match self.plan.norm {
            Norm::Rms => None,
            Norm::Layer => Some(self.add(format!("{name}.bias"), &width, Init::Constant(0.0))?),
        };
        Ok(NormPlace { weight, bias })
    }

    fn product(&mut self, name: String, outer: usize, inner: usize, factor: f64) -> std::result::Result<usize, E> {
        self.add(name, &[outer, inner], Init::Normal(factor / (inner as f64).sqrt()))
    }

    fn layer(&mut self, index: usize, mechanism: Box<dyn Mechanism>) -> std::result::Result<Layer, E> {
        let (d_model, d_ff) = (self.plan.d_model, self.plan.d_ff);
        let prefix = format!("model.layers.{index}");
        let before_mixer = self.norm(&format!("{prefix}.input_layernorm"))?;
        let mut mixer = Vec::new();
        for parameter in mechanism.params() {
            let init = match parameter.init {
                Init::Normal(deviation) if parameter.name == "o_proj" => Init::Normal(deviation * self.residual),
                init => init,
            };
            let name = format!("{prefix}.self_attn.{}", published(&parameter));
            mixer.push((parameter.name, self.add(name, &parameter.shape, init)?));
        }
        let before_feed_forward = self.norm(&format!("{prefix}.post_attention_layernorm"))?;
        let gate = match self.plan.feed_forward {
            FeedForward::SwiGlu => Some(self.product(format!("{prefix}.mlp.gate_proj.weight"), d_ff, d_model, 1.0)?),
            FeedForward::Gelu => None,
        };
        let up = self.product(format!("{prefix}.mlp.up_proj.weight"), d_ff, d_model, 1.0)?;
        let down = self.product(format!("{prefix}.mlp.down_proj.weight"), d_model, d_ff, self.residual)?;
        Ok(Layer { mechanism, mixer, before_mixer, before_feed_forward, gate, up, down })
    }
}

/// The published name of a mechanism's parameter: biases and weights hang under their product's name.
fn published(parameter: &Parameter) -> String {
    let name = parameter.name;
    match name.strip_suffix("_bias") {
        _ if parameter.bare => name.into(),
        Some(product) => format!("{product}_proj.bias"),
        None => format!("{name}.weight"),
    }
}
