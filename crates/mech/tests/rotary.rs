//! Scaled rotations turn as those of transformers 5.23 do: the angles of one step and the factor of its cosines and sines, as its
//! initialisers give them in f32.

use attendant_mech::rotary::{Rotary, Scaling, longrope_factor, mscale};

/// One step of `rotary` in a sequence of `length` rows.
#[track_caller]
fn turns(rotary: &Rotary, length: usize, steps: [f64; 6], factor: f64) {
    rotary.check(12).unwrap();
    for (pair, want) in steps.into_iter().enumerate() {
        let mut head = [0.0; 12];
        head[pair] = 1.0;
        rotary.rotate(&mut head, 1, length);
        let (cos, sin): (f64, f64) = (head[pair], head[pair + 6]);
        assert!((sin.atan2(cos) / want - 1.0).abs() < 1e-6, "pair {pair}: {} against {want}", sin.atan2(cos));
        assert!((sin.hypot(cos) - factor).abs() < 1e-12, "factor {} against {factor}", sin.hypot(cos));
    }
}

fn scaled(base: f64, scaling: Scaling) -> Rotary {
    Rotary { base, scaling, ..Rotary::new(12) }
}

#[test]
fn linear() {
    let steps = [0.25, 0.073890984, 0.021839509, 0.0064549726, 0.0019078567, 0.00056389387];
    turns(&scaled(1500.0, Scaling::Linear { factor: 4.0 }), 20, steps, 1.0);
}

#[test]
fn dynamic() {
    let rotary = scaled(1500.0, Scaling::Dynamic { factor: 2.0, original: 16 });
    turns(&rotary, 24, [1.0, 0.25730336, 0.066205017, 0.017034775, 0.0043831039, 0.0011277877], 1.0);
    turns(&rotary, 9, [1.0, 0.29556394, 0.087358035, 0.02581989, 0.0076314267, 0.0022555755], 1.0);
}

#[test]
fn yarn() {
    let yarn = |base, factor: f64, original, [beta_fast, beta_slow]: [f64; 2], truncate, attention_factor| {
        scaled(base, Scaling::Yarn { factor, original, beta_fast, beta_slow, truncate, attention_factor })
    };
    let steps = [1.0, 0.4338285, 0.13560408, 0.032917682, 0.0044277436, 0.001920882];
    turns(&yarn(150.0, 8.0, 16, [1.0, 0.1], false, mscale(8.0, 1.0)), 24, steps, 1.2079441541679836);
    let steps = [1.0, 0.088738419, 0.031498026, 0.01118034, 0.0039685024, 0.0014086348];
    turns(&yarn(500.0, 4.0, 16, [4.0, 1.0], true, mscale(4.0, 1.0)), 24, steps, 1.138629436111989);
    let steps = [1.0, 0.46415889, 0.21544345, 0.078125, 0.026108935, 0.0074058697];
    let factor = mscale(8.0, 1.0) / mscale(8.0, 0.707);
    turns(&yarn(100.0, 8.0, 16, [0.5, 0.05], true, factor), 24, steps, 1.053118360780668);
    let steps = [1.0, 0.13718863, 0.012743194, 0.00091445434, 1.1069358e-05, 1.5185908e-06];
    turns(&yarn(150_000.0, 32.0, 4096, [32.0, 1.0], true, mscale(32.0, 1.0)), 24, steps, 1.3465735902799727);
}

#[test]
fn llama3() {
    let steps = [1.0, 0.21027067, 0.010919754, 0.0032274863, 0.00095392833, 0.00028194694];
    turns(&scaled(1500.0, Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64 }), 24, steps, 1.0);
}

#[test]
fn longrope() {
    let (short, long) = (vec![1.0, 1.1, 1.2, 1.3, 1.4, 1.5], vec![1.5, 2.2, 2.9, 3.6, 4.3, 5.0]);
    let attention_factor = longrope_factor(4.0, 16);
    let rotary = scaled(1500.0, Scaling::Longrope { short, long, original: 16, attention_factor });
    let factor = 1.224744871391589;
    turns(&rotary, 17, [0.66666669, 0.13434723, 0.030123461, 0.0071721924, 0.0017747503, 0.00045111508], factor);
    turns(&rotary, 16, [1.0, 0.26869446, 0.072798356, 0.019861456, 0.0054510189, 0.0015037169], factor);
}

#[test]
fn a_reversed_rotation_undoes_its_original() {
    let forth = scaled(1500.0, Scaling::None);
    let back = Rotary { reverse: true, ..forth.clone() };
    let start: [f64; 12] = std::array::from_fn(|i| i as f64 - 3.5);
    let mut head = start;
    forth.rotate(&mut head, 7, 9);
    back.rotate(&mut head, 7, 9);
    assert!(head.iter().zip(&start).all(|(got, want)| (got - want).abs() < 1e-12), "{head:?}");
}
