//! From a plan to parameters: what there is, in which order and under which name, and where the layers find it.
//!
//! Where published checkpoints of Llama, GLM-4 and DeepSeek V3 have a parameter, it has their name.

use crate::plan::check::{LayerMechanisms, Mechanisms};
use crate::plan::{Dense, Embedding, Experts, FeedForward, Layer, Norm, Part, Plan, Positions, Wiring};
use attendant_core::{Error, Random, Result, Tensor};
use attendant_mech::{Init, Mechanism, Order, Parameter};
use std::sync::Arc;

/// A parameter and its name.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Its name in a checkpoint that was written here.
    pub name: String,
    /// Its values.
    pub tensor: Arc<Tensor>,
}

/// The layers, and where every parameter stands among the model's.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) table: usize,
    pub(crate) decoder: Stack,
    pub(crate) encoder: Option<Stack>,
    pub(crate) head: HeadPlace,
}

/// Layers and what stands before and after them.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) embedding: EmbeddingPlace,
    pub(crate) layers: Vec<Vec<StepPlace>>,
    pub(crate) norm: Option<NormPlace>,
}

#[derive(Debug)]
pub(crate) struct EmbeddingPlace {
    pub(crate) plan: Embedding,
    pub(crate) project: Option<usize>,
    pub(crate) positions: Option<usize>,
    pub(crate) token_types: Option<usize>,
    pub(crate) norm: Option<NormPlace>,
}

#[derive(Debug)]
pub(crate) struct StepPlace {
    pub(crate) wiring: Wiring,
    pub(crate) part: PartPlace,
    pub(crate) before: Option<NormPlace>,
    pub(crate) after: Option<NormPlace>,
}

#[derive(Debug)]
pub(crate) enum PartPlace {
    Mixer(MixerPlace),
    Dense(DensePlace),
    Experts(Box<ExpertsPlace>),
}

#[derive(Debug)]
pub(crate) struct MixerPlace {
    pub(crate) mechanism: Box<dyn Mechanism>,
    pub(crate) parameters: Vec<(&'static str, usize)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NormPlace {
    pub(crate) weight: Option<usize>,
    pub(crate) bias: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ProductPlace {
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct DensePlace {
    pub(crate) plan: Dense,
    pub(crate) gate: Option<ProductPlace>,
    pub(crate) up: ProductPlace,
    pub(crate) down: ProductPlace,
}

#[derive(Debug)]
pub(crate) struct ExpertsPlace {
    pub(crate) plan: Experts,
    pub(crate) router: ProductPlace,
    pub(crate) preference: Option<usize>,
    pub(crate) experts: Vec<DensePlace>,
    pub(crate) shared: Option<DensePlace>,
    pub(crate) shared_gate: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct HeadPlace {
    pub(crate) transform: Option<(ProductPlace, NormPlace)>,
    pub(crate) project: Option<usize>,
    pub(crate) table: ProductPlace,
}

/// Before training, layers add this share of what products of their width would. A token then stays recognisable in the residual
/// stream: where the first layer's noise drowns it, heads that look for a token take far longer to form.
const SHARE: f64 = 0.2;

/// A parameter before training, from its own random stream.
///
/// # Errors
/// If no memory could hold it.
pub(crate) fn drawn(seed: u64, name: &str, Wanted { shape, init, .. }: Wanted<'_>) -> Result<Tensor> {
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

/// Names and shapes of a plan's parameters, in order, without any of them.
///
/// # Errors
/// If the plan cannot be built.
pub(crate) fn shapes(plan: &Plan) -> Result<Vec<(String, Vec<usize>)>> {
    let mut shapes = Vec::new();
    Parts::assemble(plan, plan.mechanisms()?, |name, wanted| {
        shapes.push((name.to_owned(), wanted.shape.to_vec()));
        Ok::<_, Error>(Tensor::zeros(&[0]))
    })?;
    Ok(shapes)
}

/// A parameter that a model wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) init: Init,
    /// Whether it may stay packed; see [`Parameter::whole`].
    pub(crate) whole: bool,
}

impl<'a> Wanted<'a> {
    fn whole(shape: &'a [usize], init: Init) -> Wanted<'a> {
        Wanted { shape, init, whole: true }
    }

    fn vector(shape: &'a [usize], value: f32) -> Wanted<'a> {
        Wanted { shape, init: Init::Constant(value), whole: false }
    }
}

impl Parts {
    /// Asks `fill` for every parameter, in order.
    pub(crate) fn assemble<E>(
        plan: &Plan,
        mechanisms: Mechanisms,
        fill: impl FnMut(&str, Wanted<'_>) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(Parts, Vec<NamedTensor>), E> {
        let residual = SHARE * (2.0 * mechanisms.layers.len() as f64).powf(-0.5);
        let mut builder = Builder { plan, residual, fill, parameters: Vec::new(), shared: Vec::new() };
        let width = plan.embedding.width.unwrap_or(plan.d_model);
        let table =
            builder.add("model.embed_tokens.weight".into(), Wanted::whole(&[plan.vocab_size, width], builder.embeddings()))?;
        let encoder = match &plan.encoder {
            Some(encoder) => {
                let layers = (&encoder.layers[..], mechanisms.encoder);
                Some(builder.stack("encoder", &encoder.embedding, layers, encoder.norm)?)
            }
            None => None,
        };
        let decoder = builder.stack("model", &plan.embedding, (&plan.layers, mechanisms.layers), plan.head.norm)?;
        let head = builder.head(table)?;
        Ok((Parts { table, decoder, encoder, head }, builder.parameters))
    }
}

struct Builder<'a, F> {
    plan: &'a Plan,
    /// Factor of the deviation of products that add to the residual stream.
    residual: f64,
    fill: F,
    parameters: Vec<NamedTensor>,
    /// Parameters that all layers of the stack have together.
    shared: Vec<(&'static str, usize)>,
}

type Filled<T, E> = std::result::Result<T, E>;

impl<E, F: FnMut(&str, Wanted<'_>) -> Filled<Tensor, E>> Builder<'_, F> {
    /// Logits begin with a deviation of one where the head shares the table.
    fn embeddings(&self) -> Init {
        Init::Normal((self.plan.d_model as f64).powf(-0.5))
    }

    fn add(&mut self, name: String, wanted: Wanted<'_>) -> Filled<usize, E> {
        let tensor = Arc::new((self.fill)(&name, wanted)?);
        self.parameters.push(NamedTensor { name, tensor });
        Ok(self.parameters.len() - 1)
    }

    fn bias(&mut self, name: String, width: usize, there: bool) -> Filled<Option<usize>, E> {
        there.then(|| self.add(name, Wanted::vector(&[width], 0.0))).transpose()
    }

    fn norm(&mut self, name: &str, there: bool) -> Filled<Option<NormPlace>, E> {
        there.then(|| self.norm_of(name, self.plan.d_model)).transpose()
    }

    fn norm_of(&mut self, name: &str, width: usize) -> Filled<NormPlace, E> {
        let (weight, bias) = match self.plan.norm {
            Norm::Rms { weight, .. } => (weight, false),
            Norm::Layer { weight, bias, .. } => (weight, bias),
        };
        let weight = weight.then(|| self.add(format!("{name}.weight"), Wanted::vector(&[width], 1.0))).transpose()?;
        Ok(NormPlace { weight, bias: self.bias(format!("{name}.bias"), width, bias)? })
    }

    fn product(&mut self, name: &str, outer: usize, inner: usize, factor: f64, bias: bool) -> Filled<ProductPlace, E> {
        let init = Init::Normal(factor / (inner as f64).sqrt());
        let weight = self.add(format!("{name}.weight"), Wanted::whole(&[outer, inner], init))?;
        Ok(ProductPlace { weight, bias: self.bias(format!("{name}.bias"), outer, bias)? })
    }

    fn stack(
        &mut self,
        name: &str,
        embedding: &Embedding,
        (layers, mechanisms): (&[Layer], Vec<LayerMechanisms>),
        norm: bool,
    ) -> Filled<Stack, E> {
        self.shared.clear();
        let embedding = self.embedding(name, embedding)?;
        let layers = layers.iter().zip(mechanisms).enumerate();
        let layers = layers.map(|(i, (layer, mechanisms))| self.layer(&format!("{name}.layers.{i}"), layer, mechanisms));
        let layers = layers.collect::<Filled<_, E>>()?;
        Ok(Stack { embedding, layers, norm: self.norm(&format!("{name}.norm"), norm)? })
    }

    fn embedding(&mut self, name: &str, plan: &Embedding) -> Filled<EmbeddingPlace, E> {
        let d_model = self.plan.d_model;
        let init = self.embeddings();
        let project = match plan.width {
            Some(width) => Some(self.product(&format!("{name}.project_in"), d_model, width, 1.0, false)?.weight),
            None => None,
        };
        let rows = match plan.positions {
            Positions::Learned { context } | Positions::Counted { context, .. } => context,
            Positions::None | Positions::Sinusoidal => 0,
        };
        let mut rows_of = |table: &str, rows: usize| {
            (rows > 0).then(|| self.add(format!("{name}.{table}.weight"), Wanted::whole(&[rows, d_model], init))).transpose()
        };
        let positions = rows_of("embed_positions", rows)?;
        let token_types = rows_of("embed_token_types", plan.token_types)?;
        let norm = self.norm(&format!("{name}.embed_norm"), plan.norm)?;
        Ok(EmbeddingPlace { plan: *plan, project, positions, token_types, norm })
    }

    fn head(&mut self, embeddings: usize) -> Filled<HeadPlace, E> {
        let Plan { d_model, vocab_size, embedding, head, .. } = self.plan;
        let transform = match head.transform {
            Some(transform) => {
                let product = self.product("lm_head.dense", *d_model, *d_model, 1.0, transform.bias)?;
                Some((product, self.norm_of("lm_head.norm", *d_model)?))
            }
            None => None,
        };
        let project = match embedding.width {
            Some(width) => Some(self.product("model.project_out", width, *d_model, 1.0, false)?.weight),
            None => None,
        };
        let table = if head.tied {
            ProductPlace { weight: embeddings, bias: self.bias("lm_head.bias".into(), *vocab_size, head.bias)? }
        } else {
            self.product("lm_head", *vocab_size, embedding.width.unwrap_or(*d_model), 1.0, head.bias)?
        };
        Ok(HeadPlace { transform, project, table })
    }

    fn layer(&mut self, name: &str, layer: &Layer, mechanisms: LayerMechanisms) -> Filled<Vec<StepPlace>, E> {
        let mut mechanisms = mechanisms.into_iter();
        let mut names = StepNames::default();
        let mut places = Vec::new();
        for step in &layer.steps {
            let mechanism = matches!(step.part, Part::Mixer(_)).then(|| mechanisms.next()).flatten();
            let [part, before, after] = names.next(mechanism.as_ref().map(|mechanism| mechanism.order()));
            let before = self.norm(&format!("{name}.{before}"), step.wiring.norms_input())?;
            let part = format!("{name}.{part}");
            let part = match (mechanism, &step.part) {
                (Some(mechanism), _) => PartPlace::Mixer(self.mixer(&part, mechanism)?),
                (None, Part::FeedForward(FeedForward::Experts(experts))) => {
                    PartPlace::Experts(Box::new(self.experts(&part, experts)?))
                }
                (None, Part::FeedForward(FeedForward::Dense(dense))) => PartPlace::Dense(self.dense(&part, dense)?),
                (None, Part::Mixer(_)) => unreachable!("a mechanism was built for every mixer"),
            };
            let after = self.norm(&format!("{name}.{after}"), step.wiring.norm.after())?;
            places.push(StepPlace { wiring: step.wiring, part, before, after });
        }
        Ok(places)
    }

    fn mixer(&mut self, name: &str, mechanism: Box<dyn Mechanism>) -> Filled<MixerPlace, E> {
        let mut parameters = Vec::new();
        for parameter in mechanism.params() {
            let init = match parameter.init {
                Init::Normal(deviation) if parameter.name == "o_proj" => Init::Normal(deviation * self.residual),
                init => init,
            };
            let shared = self.shared.iter().find(|(shared, _)| parameter.shared && *shared == parameter.name).copied();
            let at = match shared {
                Some((_, at)) => at,
                None => {
                    let wanted = Wanted { shape: &parameter.shape, init, whole: parameter.whole };
                    self.add(format!("{name}.{}", published(&parameter)), wanted)?
                }
            };
            if parameter.shared && shared.is_none() {
                self.shared.push((parameter.name, at));
            }
            parameters.push((parameter.name, at));
        }
        Ok(MixerPlace { mechanism, parameters })
    }

    fn dense(&mut self, name: &str, plan: &Dense) -> Filled<DensePlace, E> {
        let (d_model, Dense { d_ff, form, bias }) = (self.plan.d_model, *plan);
        let gate = match form.gated() {
            true => Some(self.product(&format!("{name}.gate_proj"), d_ff, d_model, 1.0, bias)?),
            false => None,
        };
        let up = self.product(&format!("{name}.up_proj"), d_ff, d_model, 1.0, bias)?;
        let down = self.product(&format!("{name}.down_proj"), d_model, d_ff, self.residual, bias)?;
        Ok(DensePlace { plan: *plan, gate, up, down })
    }

    fn experts(&mut self, name: &str, plan: &Experts) -> Filled<ExpertsPlace, E> {
        let all = plan.count + plan.identities;
        let router = self.product(&format!("{name}.gate"), all, self.plan.d_model, 1.0, plan.routing.bias)?;
        let preference = self.bias(format!("{name}.gate.e_score_correction_bias"), all, plan.routing.preference)?;
        let experts = (0..plan.count).map(|i| self.dense(&format!("{name}.experts.{i}"), &plan.expert));
        let experts = experts.collect::<Filled<_, E>>()?;
        let (mut shared, mut shared_gate) = (None, None);
        if let Some(plan) = &plan.shared {
            shared = Some(self.dense(&format!("{name}.shared_experts"), &plan.expert)?);
            if plan.gate {
                shared_gate = Some(self.product(&format!("{name}.shared_expert_gate"), 1, self.plan.d_model, 1.0, false)?.weight);
            }
        }
        Ok(ExpertsPlace { plan: *plan, router, preference, experts, shared, shared_gate })
    }
}

/// Names of the steps of a layer: a part's second use ends in `_2`, and so on.
#[derive(Default)]
struct StepNames {
    attention: usize,
    cross: usize,
    feed_forward: usize,
}

impl StepNames {
    /// The names of the next step's part and of the norms before and after it. `order` is that of a mechanism.
    fn next(&mut self, order: Option<Order>) -> [String; 3] {
        let (count, part, before) = match order {
            Some(Order::Cross) => (&mut self.cross, "cross_attn", "pre_cross_attn_layernorm"),
            Some(_) => (&mut self.attention, "self_attn", "input_layernorm"),
            None => (&mut self.feed_forward, "mlp", "post_attention_layernorm"),
        };
        *count += 1;
        let end = if *count > 1 { format!("_{count}") } else { String::new() };
        [format!("{part}{end}"), format!("{before}{end}"), format!("post_{part}_layernorm{end}")]
    }
}

/// The published name of a mechanism's parameter: biases and weights hang under their product's or norm's name.
fn published(parameter: &Parameter) -> String {
    let name = parameter.name;
    match name.strip_suffix("_bias") {
        _ if parameter.bare => name.into(),
        Some(norm) if norm.ends_with("_norm") => format!("{norm}.bias"),
        Some(product) => format!("{product}_proj.bias"),
        None => format!("{name}.weight"),
    }
}
