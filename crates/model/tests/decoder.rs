//! Decoders of every mechanism: chunks, learning, round trips, and what is refused.

use attendant_core::{Processor, Random, Tape};
use attendant_mech::{Batch, Order, Size, preset, presets};
use attendant_model::plan::{Groups, Placement, Reads, Routing, Score, Shared};
use attendant_model::{Activation, Dense, Embedding, Experts, FeedForward, Form, Head, Layer, Norm, Plan, Positions, Step};
use attendant_model::{Decoder, LogitRows, checkpoint};
use attendant_state::{Dtype, SequenceState, Storage};
use serde_json::{Value, json};

const SIZE: Size = Size { d_model: 20, heads: 2, d_head: 10 };

/// Presets that a decoder can have.
fn causal() -> impl Iterator<Item = (&'static str, Value)> {
    presets()
        .map(|name| (name, preset(name, SIZE).unwrap()))
        .filter_map(|(name, made)| (made.mechanism.order() == Order::Causal).then_some((name, made.configuration)))
}

fn plan(mixers: Vec<Value>) -> Plan {
    with_feed_forward(mixers, Dense::swiglu(17).into())
}

fn with_feed_forward(mixers: Vec<Value>, feed_forward: FeedForward) -> Plan {
    Plan {
        vocab_size: 33,
        d_model: SIZE.d_model,
        context: 65,
        norm: Norm::rms(1e-5),
        embedding: Embedding::default(),
        layers: mixers.into_iter().map(|mixer| Layer::pre(mixer, feed_forward)).collect(),
        head: Head::default(),
        encoder: None,
    }
}

fn learned(context: usize) -> Embedding {
    Embedding { positions: Positions::Learned { context }, ..Embedding::default() }
}

/// Experts of every kind of routing.
fn experts() -> Vec<Experts> {
    let expert = Dense::swiglu(5);
    let plain = Experts { count: 4, identities: 0, expert, routing: Routing::softmax(2), shared: None };
    let groups = Some(Groups { count: 2, kept: 1, best: 2 });
    let sigmoid = Routing { score: Score::Sigmoid, preference: true, groups, renormalise: true, factor: 1.5, ..plain.routing };
    let clamped = Dense { d_ff: 5, form: Form::Clamped { limit: 0.5, alpha: 1.7 }, bias: true };
    vec![
        Experts { routing: sigmoid, shared: Some(Shared { expert, gate: true }), ..plain },
        Experts { routing: Routing { weigh_input: true, ..Routing::softmax(1) }, ..plain },
        Experts { identities: 2, expert: clamped, routing: Routing { bias: true, ..plain.routing }, ..plain },
        plain,
    ]
}

/// Steps in every arrangement, with every form and activation between.
fn arranged(mixer: &Value) -> Vec<Layer> {
    let dense = |form| Step::feed_forward(Dense { d_ff: 7, form, bias: true });
    let mix = || Step::mixer(mixer.clone());
    vec![
        Layer::new([mix().norm(Placement::After), dense(Form::Gated(Activation::GeluTanh)).norm(Placement::After)]),
        Layer::new([mix().norm(Placement::Around).factor(0.5), dense(Form::Plain(Activation::Relu)).norm(Placement::Around)]),
        Layer::new([mix().norm(Placement::Sum), dense(Form::Plain(Activation::Gelu)).norm(Placement::Sum)]),
        Layer::new([mix().norm(Placement::Base), dense(Form::Plain(Activation::ReluSquared)).norm(Placement::Base)]),
        Layer::new([mix(), dense(Form::Gated(Activation::Silu)).reads(Reads::Same), mix().reads(Reads::Beside)]),
        Layer::new([mix().norm(Placement::None).later(1), dense(Form::Plain(Activation::Silu)).reads(Reads::Same)]),
    ]
}

/// One plan for each mechanism, one with every one of them and the other choices around, one with every arrangement of steps, and
/// those with experts.
fn plans() -> Vec<(String, Plan)> {
    let mut plans: Vec<_> = causal().map(|(name, layer)| (name.to_string(), plan(vec![layer.clone(), layer]))).collect();
    let all = plan(causal().map(|(_, layer)| layer).collect());
    let positions = Positions::Learned { context: 65 };
    let other = Plan {
        norm: Norm::layer(1e-3),
        embedding: Embedding { positions, width: Some(6), scale: 1.5, token_types: 2, norm: true },
        head: Head { tied: true, bias: true, scale: 0.5, softcap: Some(3.0), ..Head::default() },
        ..with_feed_forward(causal().map(|(_, layer)| layer).collect(), Dense::gelu(17).into())
    };
    let gqa = preset("gqa", SIZE).unwrap().configuration;
    let embedding = Embedding { positions: Positions::Sinusoidal, ..Embedding::default() };
    let steps = Plan { layers: arranged(&gqa), embedding, ..plan(vec![gqa.clone()]) };
    plans.extend([("all".into(), all), ("all, other parts".into(), other), ("every arrangement".into(), steps)]);
    plans.extend(
        experts()
            .into_iter()
            .enumerate()
            .map(|(i, experts)| (format!("experts {i}"), with_feed_forward(vec![gqa.clone(); 2], experts.into()))),
    );
    plans
}

fn seed() -> u64 {
    let seed = std::env::var("ATTENDANT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    println!("ATTENDANT_SEED={seed}");
    seed
}

fn tokens(seed: u64, count: usize) -> Vec<u32> {
    let mut random = Random::new(seed, "tokens");
    (0..count).map(|_| random.below(33) as u32).collect()
}

fn forward(decoder: &Decoder, batch: &Batch, ids: &[u32], states: &mut [&mut SequenceState]) -> Vec<f32> {
    let mut tape = Tape::inference(Processor::new(2)).poisoned();
    let bound = decoder.bind(&mut tape);
    let logits = decoder.forward(&mut tape, &bound, batch, ids, states, LogitRows::All).unwrap();
    tape.value(logits).to_vec()
}

fn close(what: &str, got: &[f32], want: &[f32], bound: f64) {
    let apart = got.iter().zip(want).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let whole = want.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let error = (apart / whole).sqrt();
    assert!(got.len() == want.len() && error < bound, "{what}: off by {error:.1e}");
}

#[test]
fn chunks_of_two_sequences_give_what_each_gives_whole() {
    let seed = seed();
    for (name, plan) in plans() {
        let decoder = Decoder::new(plan, seed).unwrap();
        let (a, b) = (tokens(seed, 43), tokens(seed + 1, 43));
        let whole = [&a, &b].map(|ids| forward(&decoder, &Batch::even(1, 43), ids, &mut []));
        let mut states = [Storage::paged(5), Storage::contiguous(3)].map(|storage| decoder.new_state(storage));
        let mut random = Random::new(seed, "chunks");
        let mut got = [Vec::new(), Vec::new()];
        while states[0].position() < 43 {
            let firsts = [states[0].position(), states[1].position()];
            let rows = firsts.map(|first| if first == 43 { 0 } else { (1 + random.below(21)).min(43 - first) });
            // Both end together: the last chunk takes what is left.
            let rows = if rows.contains(&0) || firsts.iter().zip(rows).any(|(first, rows)| first + rows == 43) {
                firsts.map(|first| 43 - first)
            } else {
                rows
            };
            let ids: Vec<u32> = [&a, &b]
                .iter()
                .zip(firsts)
                .zip(rows)
                .flat_map(|((ids, first), rows)| ids[first..first + rows].to_vec())
                .collect();
            let [first, second] = &mut states;
            let batch = Batch::new([(rows[0], firsts[0]), (rows[1], firsts[1])]);
            let logits = forward(&decoder, &batch, &ids, &mut [first, second]);
            got[0].extend_from_slice(&logits[..rows[0] * 33]);
            got[1].extend_from_slice(&logits[rows[0] * 33..]);
        }
        close(&name, &got[0], &whole[0], 1e-5);
        close(&name, &got[1], &whole[1], 1e-5);
    }
}

#[test]
fn a_call_that_fails_changes_no_state() {
    for (name, plan) in plans() {
        let decoder = Decoder::new(plan, 1).unwrap();
        let stranger = Decoder::new(self::plan(vec![causal().next().unwrap().1]), 1).unwrap();
        let mut state = decoder.new_state(Storage::paged(4));
        forward(&decoder, &Batch::new([(9, 0)]), &tokens(1, 9), &mut [&mut state]);
        let before = state.clone();
        let mut tape = Tape::inference(Processor::new(1));
        let bound = decoder.bind(&mut tape);
        let mut refuse = |batch: Batch, ids: &[u32], state: &mut SequenceState| {
            assert!(decoder.forward(&mut tape, &bound, &batch, ids, &mut [state], LogitRows::Last).is_err(), "{name}");
        };
        refuse(Batch::new([(2, 9)]), &[1, 33], &mut state);
        refuse(Batch::new([(2, 8)]), &[1, 2], &mut state);
        refuse(Batch::new([(2, 9)]), &[1], &mut state);
        refuse(Batch::new([(0, 9)]), &[], &mut state);
        refuse(Batch::new([(1, 0)]), &[1], &mut stranger.new_state(Storage::paged(4)));
        let [got, want] =
            [state, before].map(|mut state| forward(&decoder, &Batch::new([(3, 9)]), &[4, 5, 6], &mut [&mut state]));
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn declared_bytes_per_token_are_allocated() {
    for (name, plan) in plans() {
        let decoder = Decoder::new(plan, 1).unwrap();
        let mut state = decoder.new_state(Storage::paged(1));
        forward(&decoder, &Batch::new([(1, 0)]), &[1], &mut [&mut state]);
        let constant: usize = decoder.layouts().iter().map(|layout| layout.constant_bytes()).sum();
        let declared = decoder.cache_bytes_per_token(Dtype::F32) + constant as f64;
        assert_eq!(state.allocated_bytes() as f64, declared, "{name}");
    }
}

/// The rows that a layer reads are given back once those of the next are there.
#[test]
fn more_layers_take_no_more_rows() {
    let gqa = preset("gqa", SIZE).unwrap().configuration;
    let bytes = |layers| {
        let decoder = Decoder::new(plan(vec![gqa.clone(); layers]), 1).unwrap();
        let mut tape = Tape::inference(Processor::new(1));
        let bound = decoder.bind(&mut tape);
        let ids = tokens(1, 50);
        decoder.forward(&mut tape, &bound, &Batch::new([(50, 0)]), &ids, &mut [], LogitRows::Last).unwrap();
        tape.allocated_bytes()
    };
    assert_eq!(bytes(2), bytes(6));
}

/// Eight sequences whose second half repeats the first.
#[test]
fn plain_descent_lowers_the_loss() {
    for (name, layer) in causal() {
        let mut decoder = Decoder::new(plan(vec![layer.clone(), layer]), 5).unwrap();
        let mut tape = Tape::new(Processor::new(2));
        let (mut first, mut last) = (None, 0.0);
        for step in 0..60 {
            tape.clear();
            let bound = decoder.bind(&mut tape);
            let rows: Vec<Vec<u32>> = (0..8)
                .map(|row| {
                    let half = tokens(100 + (step * 8 + row) % 8, 5);
                    [&half[..], &half[..]].concat()
                })
                .collect();
            let inputs: Vec<u32> = rows.iter().flat_map(|row| row[..9].to_vec()).collect();
            let targets: Vec<u32> = rows.iter().flat_map(|row| row[1..].to_vec()).collect();
            let logits = decoder.forward(&mut tape, &bound, &Batch::even(8, 9), &inputs, &mut [], LogitRows::All).unwrap();
            let loss = tape.cross_entropy(logits, &targets);
            last = tape.value(loss)[0];
            first.get_or_insert(last);
            tape.backward(loss);
            let gradients: Vec<_> = bound.vars().iter().map(|&var| tape.take_gradient(var)).collect();
            tape.clear();
            // What only chooses gets none.
            let chooses: Vec<bool> = decoder.parameters().iter().map(|parameter| parameter.name.contains(".index_")).collect();
            for ((tensor, gradient), chooses) in decoder.parameters_mut().zip(&gradients).zip(chooses) {
                let Some(gradient) = gradient else {
                    assert!(chooses, "{name}: a parameter without gradient");
                    continue;
                };
                tensor.data_mut().iter_mut().zip(gradient.iter()).for_each(|(x, dx)| *x -= 0.3 * dx);
            }
        }
        let first = first.unwrap();
        assert!(last < 0.7 * first, "{name}: loss {first} -> {last}");
    }
}

/// A small step against the gradient lowers the loss by the step's length: gradients of every arrangement and kind of experts.
#[test]
fn a_step_changes_the_loss_as_the_gradient_says() {
    for (name, plan) in plans() {
        let mut decoder = Decoder::new(plan, 5).unwrap();
        let (inputs, targets) = (tokens(1, 12), tokens(2, 12));
        let loss = |decoder: &Decoder, gradients: bool| {
            let mut tape = Tape::new(Processor::new(2));
            let bound = decoder.bind(&mut tape);
            let logits = decoder.forward(&mut tape, &bound, &Batch::even(2, 6), &inputs, &mut [], LogitRows::All).unwrap();
            let loss = tape.cross_entropy(logits, &targets);
            let value = f64::from(tape.value(loss)[0]);
            if gradients {
                tape.backward(loss);
            }
            let taken = bound.vars().iter().map(|&var| tape.take_gradient(var).filter(|_| gradients));
            (value, taken.map(|gradient| gradient.map(|gradient| gradient.to_vec())).collect::<Vec<_>>())
        };
        let (_, gradients) = loss(&decoder, true);
        let length = gradients.iter().flatten().flatten().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let reach = 2e-3;
        let mut moved = |by: f64| {
            for (tensor, gradient) in decoder.parameters_mut().zip(&gradients) {
                let gradient = gradient.iter().flatten();
                tensor.data_mut().iter_mut().zip(gradient).for_each(|(x, g)| *x += (by / length) as f32 * g);
            }
            loss(&decoder, false).0
        };
        let (above, below) = (moved(reach), moved(-2.0 * reach));
        let slope = (above - below) / (2.0 * reach);
        assert!((slope / length - 1.0).abs() < 0.01, "{name}: the loss rises by {slope}, the gradient says {length}");
    }
}

#[test]
fn saved_and_loaded_is_the_same_bit_for_bit() {
    for (name, plan) in plans() {
        let folder = tempfile::tempdir().unwrap();
        let decoder = Decoder::new(plan, 3).unwrap();
        checkpoint::save(&decoder, folder.path()).unwrap();
        let back = checkpoint::load(folder.path()).unwrap();
        assert_eq!(back.plan(), decoder.plan(), "{name}");
        for (got, want) in back.parameters().iter().zip(decoder.parameters()) {
            assert_eq!((&got.name, got.tensor.shape()), (&want.name, want.tensor.shape()), "{name}");
            let bits = |tensor: &attendant_core::Tensor| tensor.data().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got.tensor), bits(&want.tensor), "{name}: {}", got.name);
        }
    }
}

#[test]
fn configurations_name_the_published_family() {
    let layer = |name: &str| preset(name, SIZE).unwrap().configuration;
    let tilted = |field: &str, value: Value| {
        let mut layer = layer("gqa");
        layer[field] = value;
        layer
    };
    let cases = [
        (plan(vec![layer("gqa"); 2]), "llama"),
        (plan(vec![layer("mha")]), "llama"),
        (plan(vec![layer("mla"); 2]), "deepseek_v3"),
        (plan(vec![layer("gqa"), layer("mla")]), "attendant"),
        (plan(vec![layer("gqa"), layer("mha")]), "attendant"),
        (plan(vec![tilted("bias", json!(true))]), "attendant"),
        (plan(vec![tilted("qk_norm", json!(1e-6))]), "attendant"),
        (Plan { norm: Norm::layer(1e-5), ..plan(vec![layer("gqa")]) }, "attendant"),
        (Plan { embedding: learned(5), ..plan(vec![layer("gqa")]) }, "attendant"),
        (Plan { head: Head { scale: 0.5, ..Head::default() }, ..plan(vec![layer("gqa")]) }, "attendant"),
        (with_feed_forward(vec![layer("gqa")], experts()[0].into()), "attendant"),
        (Plan { layers: arranged(&layer("gqa")), ..plan(vec![layer("gqa")]) }, "attendant"),
    ];
    for (plan, want) in cases {
        let folder = tempfile::tempdir().unwrap();
        checkpoint::save(&Decoder::new(plan.clone(), 0).unwrap(), folder.path()).unwrap();
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(config["model_type"], want, "{plan:?}");
        if want != "attendant" {
            // Without the plan the published keys alone describe the same model.
            config.as_object_mut().unwrap().remove("attendant");
            std::fs::write(&path, config.to_string()).unwrap();
            assert_eq!(checkpoint::load(folder.path()).unwrap().plan(), &plan);
        }
    }
}

#[test]
fn a_plan_that_cannot_be_built_names_the_field() {
    let gqa = || preset("gqa", SIZE).unwrap().configuration;
    let good = || plan(vec![gqa()]);
    let layer = |change: &dyn Fn(&mut Value)| {
        let mut mixer = gqa();
        change(&mut mixer);
        plan(vec![mixer])
    };
    let step = |change: &dyn Fn(&mut Step)| {
        let mut plan = good();
        change(&mut plan.layers[0].steps[0]);
        plan
    };
    let routed = |routing| with_feed_forward(vec![gqa()], Experts { routing, ..experts()[3] }.into());
    let softmax = Routing::softmax;
    let groups = |count, kept, best| Routing { groups: Some(Groups { count, kept, best }), ..softmax(2) };
    let mixed = || {
        let mut everything = gqa();
        everything["pattern"]["see"] = json!("everything");
        everything
    };
    let cases = [
        (Plan { vocab_size: 0, ..good() }, "vocab_size: got 0"),
        (with_feed_forward(vec![gqa()], Dense::swiglu(0).into()), "layers[0][1].d_ff: got 0"),
        (Plan { layers: vec![], ..good() }, "layers: got 0"),
        (Plan { layers: vec![Layer::new([])], ..good() }, "layers[0]: got no steps"),
        (Plan { context: 0, ..good() }, "context: got 0"),
        (Plan { norm: Norm::rms(f32::NAN), ..good() }, "norm.eps: got NaN"),
        (Plan { d_model: 24, ..good() }, "layers[0][0].d_model: got 20"),
        (Plan { embedding: learned(0), ..good() }, "embedding.positions.learned.context: got 0"),
        (Plan { head: Head { softcap: Some(0.0), ..Head::default() }, ..good() }, "head.softcap: got 0"),
        (layer(&|layer| layer["kind"] = json!("nonesuch")), "layers[0][0]: kind: got \"nonesuch\""),
        (layer(&|layer| layer["heads"] = json!(0)), "layers[0][0]: heads: got 0"),
        (layer(&|layer| layer["heads"] = json!(1u64 << 40)), "layers[0][0]: got 1099511627776"),
        (layer(&|layer| layer["head"] = json!(2)), "layers[0][0]: gqa: unknown field `head`"),
        (layer(&|layer| *layer = json!(3)), "layers[0][0]: layer: got 3"),
        (plan(vec![gqa(), mixed()]), "layers: got causal and bidirectional"),
        (plan(vec![preset("cross", SIZE).unwrap().configuration]), "encoder: got none"),
        (step(&|step| step.wiring.reads = Reads::Same), "layers[0][0].reads: got Same"),
        (step(&|step| step.wiring.later = 2), "layers[0][0].later: got 2"),
        (step(&|step| step.wiring.factor = f32::INFINITY), "layers[0][0].factor: got inf"),
        (routed(softmax(0)), "layers[0][1].routing.chosen: got 0, wanted 1 to 4"),
        (routed(softmax(5)), "layers[0][1].routing.chosen: got 5, wanted 1 to 4"),
        (routed(groups(3, 1, 1)), "layers[0][1].routing.groups: got"),
        (routed(groups(4, 1, 1)), "layers[0][1].routing.chosen: got 2, wanted 1 to 1"),
    ];
    for (plan, want) in cases {
        let why = plan.check().expect_err(want).to_string();
        assert!(why.starts_with(want) && !why.contains('\n'), "got {why:?}, wanted {want:?}");
        assert!(Decoder::new(plan, 0).is_err());
    }
}
