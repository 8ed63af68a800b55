//! Comparisons that were never measured, shaped like measured ones: for the tests, and for looking at a report while it is drawn.

use attendant_lab::comparison::{Comparison, Curve, CurvePoint, DecodePoint, Hold, Machine, Measured, Outcome};
use attendant_lab::config::PrecisionKind;
use serde_json::json;

/// What makes one synthetic mechanism unlike another.
struct Made {
    name: &'static str,
    kind: &'static str,
    card: &'static str,
    paper: &'static str,
    loss: f64,
    recall: f64,
    /// Cached values per token and layer, in words and in number.
    formula: &'static str,
    values: u64,
    constant: u64,
    speed: f64,
}

const MHA: Made = Made {
    name: "mha",
    kind: "gqa",
    card: "Every query head has its own keys and values.",
    paper: "Vaswani et al. 2017, 1706.03762",
    loss: 1.512,
    recall: 0.991,
    formula: "2hd = 2·8·32",
    values: 512,
    constant: 0,
    speed: 2400.0,
};

const GQA: Made = Made {
    name: "gqa",
    kind: "gqa",
    card: "Groups of query heads share one head of keys and values.",
    paper: "Ainslie et al. 2023, 2305.13245",
    loss: 1.5165,
    recall: 0.986,
    formula: "2gd = 2·2·32",
    values: 128,
    constant: 0,
    speed: 2750.0,
};

const MQA: Made = Made {
    name: "mqa",
    kind: "gqa",
    card: "All query heads share one head of keys and values.",
    paper: "Shazeer 2019, 1911.02150",
    loss: 1.541,
    recall: 0.952,
    formula: "2d = 2·32",
    values: 64,
    constant: 0,
    speed: 2900.0,
};

const MLA: Made = Made {
    name: "mla",
    kind: "mla",
    card: "Keys and values are expanded from one small latent per token, and only the latent is kept.",
    paper: "DeepSeek-AI 2024, 2405.04434",
    loss: 1.509,
    recall: 0.989,
    formula: "r + d_rope = 96 + 16",
    values: 112,
    constant: 0,
    speed: 2500.0,
};

const MORE: [Made; 4] = [
    Made { name: "gqa-4", loss: 1.5142, recall: 0.988, formula: "2gd = 2·4·32", values: 256, speed: 2600.0, ..GQA },
    Made {
        name: "window",
        kind: "window",
        card: "A query sees the last 256 tokens only.",
        paper: "Beltagy et al. 2020, 2004.05150",
        loss: 1.5231,
        recall: 0.41,
        speed: 2650.0,
        ..MHA
    },
    Made {
        name: "gated_delta_net",
        kind: "delta",
        card: "A matrix of state is corrected by every token and decays under a gate.",
        paper: "Yang et al. 2024, 2412.06464",
        loss: 1.5188,
        recall: 0.723,
        formula: "",
        values: 0,
        constant: 135_168,
        speed: 1900.0,
    },
    Made {
        name: "cross-layer",
        kind: "shared",
        card: "Two layers share one cache.",
        paper: "Brandon et al. 2024, 2405.12981",
        loss: 1.517,
        recall: 0.984,
        formula: "2gd / 2 = 2·2·32 / 2",
        values: 64,
        speed: 2980.0,
        ..GQA
    },
];

/// Every comparison below, by name.
pub(crate) fn all() -> Vec<(&'static str, Comparison)> {
    vec![
        ("four", four()),
        ("eight", eight()),
        ("alone", alone()),
        ("one_seed", one_seed()),
        ("failed", failed()),
        ("hostile", hostile()),
        ("nothing", nothing()),
    ]
}

/// Four mechanisms at equal parameters, three seeds.
pub(crate) fn four() -> Comparison {
    comparison(&[MHA, GQA, MQA, MLA], 3)
}

/// Eight mechanisms, crowded in every chart, one of them without a growing cache.
pub(crate) fn eight() -> Comparison {
    let [a, b, c, d] = MORE;
    Comparison { held: Hold::None, ..comparison(&[MHA, GQA, MQA, MLA, a, b, c, d], 3) }
}

/// No mechanism at all.
pub(crate) fn nothing() -> Comparison {
    comparison(&[], 0)
}

/// One mechanism alone.
pub(crate) fn alone() -> Comparison {
    comparison(&[MLA], 3)
}

/// One seed: no intervals; and no recall.
pub(crate) fn one_seed() -> Comparison {
    let mut comparison = comparison(&[MHA, GQA, MQA, MLA], 1);
    comparison.mechanisms.iter_mut().for_each(|outcome| outcome.recall = None);
    comparison
}

/// The second mechanism diverges after a third of its training; nothing it reports is a number any more.
pub(crate) fn failed() -> Comparison {
    let mut comparison = four();
    let outcome = &mut comparison.mechanisms[1];
    outcome.failure = Some("diverged at step 412 of seed 2: loss is not a number".to_owned());
    outcome.loss = Measured::over_seeds(vec![f64::NAN, 1.52, f64::NAN]);
    outcome.recall = None;
    outcome.decode.clear();
    outcome.training_tokens_per_second = f64::NAN;
    for curve in &mut outcome.curves {
        curve.points.truncate(14);
        for (index, point) in curve.points.iter_mut().enumerate().skip(11) {
            point.validation = Some(4.0 * (index as f64 - 9.0).exp());
        }
        curve.points.push(CurvePoint { tokens: 4_000_000, train: Some(f64::INFINITY), validation: Some(f64::NAN) });
    }
    comparison
}

/// Names and texts that try to break out of wherever they are put.
pub(crate) fn hostile() -> Comparison {
    let mut comparison = four();
    comparison.text = "</script><script>alert(\"text\")</script>".to_owned();
    comparison.machine.cpu = "<img src=x onerror=alert('cpu')>".to_owned();
    comparison.configuration = json!({ "</script>": "<!-- ]]> & \u{2028} <script>" });
    let outcome = &mut comparison.mechanisms[3];
    outcome.name = "\"><script>alert(1)</script>\u{1b}[31m".to_owned();
    outcome.card = "</p></article><svg onload=alert(2)>".to_owned();
    outcome.paper = "a & b < c > d '\"".to_owned();
    outcome.cache_formula = "<b>r</b> & d".to_owned();
    outcome.failure = Some("</td></table> & done".to_owned());
    comparison
}

fn comparison(made: &[Made], seeds: u64) -> Comparison {
    Comparison {
        version: "0.1.0".to_owned(),
        created: "2026-11-24 09:12 UTC".to_owned(),
        machine: Machine { cpu: "AMD EPYC 7B13".to_owned(), threads: 2, isa: "avx2".to_owned() },
        configuration: json!({
            "d_model": 256, "n_layers": 4, "tokens": TOKENS, "seeds": (1..=seeds).collect::<Vec<_>>(),
            "mechanisms": made.iter().map(|made| json!({ "kind": made.kind, "name": made.name })).collect::<Vec<_>>(),
        }),
        text: "austen".to_owned(),
        held: Hold::Params,
        precision: PrecisionKind::Bf16,
        vocabulary: 1024,
        mechanisms: made.iter().enumerate().map(|(index, made)| outcome(index as u64, made, seeds)).collect(),
    }
}

const TOKENS: u64 = 10_000_000;
const LAYERS: u64 = 4;

fn outcome(index: u64, made: &Made, seeds: u64) -> Outcome {
    let noise = |seed: u64, salt: u64| unit(index * 1009 + seed * 31 + salt) - 0.5;
    let final_loss = |seed: u64| made.loss + 0.004 * noise(seed, 1);
    let decode = [256_usize, 1024, 4096, 16384].map(|context| {
        // Time per token: a part that is always paid and one that grows with the bytes read.
        let bytes = (made.values * 4 * LAYERS) as f64 * context as f64 + made.constant as f64;
        let tokens_per_second = 1.0 / (1.0 / made.speed + bytes / 18e9);
        DecodePoint { context, tokens_per_second, min: tokens_per_second * 0.97, max: tokens_per_second * 1.02 }
    });
    Outcome {
        name: made.name.to_owned(),
        kind: made.kind.to_owned(),
        card: made.card.to_owned(),
        paper: made.paper.to_owned(),
        parameters: 3_412_480 + index * 2_816,
        loss: Measured::over_seeds((1..=seeds).map(final_loss).collect()),
        recall_chance: Some(0.125),
        recall: Some(Measured::over_seeds((1..=seeds).map(|seed| (made.recall + 0.012 * noise(seed, 7)).min(1.0)).collect())),
        cache_bytes_per_token: (made.values * 4 * LAYERS) as f64,
        cache_formula: if made.formula.is_empty() { String::new() } else { format!("{} values x 4 layers x 4 B", made.formula) },
        constant_bytes: made.constant,
        decode: decode.into(),
        training_tokens_per_second: 10.0 * made.speed,
        cpu_seconds: 2.0 * seeds as f64 * TOKENS as f64 / (10.0 * made.speed),
        learning_rate: [0.003, 0.002, 0.0015][index as usize % 3],
        curves: (1..=seeds).map(|seed| Curve { seed, points: curve(final_loss(seed), |step| noise(seed, 100 + step)) }).collect(),
        failure: None,
    }
}

fn curve(end: f64, noise: impl Fn(u64) -> f64) -> Vec<CurvePoint> {
    let steps = 40;
    let point = |step: u64| {
        let done = step as f64 / steps as f64;
        let validation = end
            + 5.4 * ((-14.0 * done).exp() - (-14.0_f64).exp())
            + 0.24 * (1.0 - done).powi(2) * done.powf(0.3)
            + 0.006 * noise(step) * (1.0 - done);
        CurvePoint { tokens: TOKENS * step / steps, train: Some(validation - 0.03 * done), validation: Some(validation) }
    };
    (0..=steps).map(point).collect()
}

/// A number in 0..1 that looks random and is the same on every run.
fn unit(mut state: u64) -> f64 {
    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state ^ (state >> 31)) as f64 / u64::MAX as f64
}
