use crate::check::{LONG, ODD, TWO, assert_close, for_random_cases, instruction_sets, poison};
use crate::support::{any, hold, present, signed, within};
use attendant_kernels::optimizer::{AdamW, adamw, clip_scale, sum_squares, sum_squares_scratch};
use attendant_kernels::{Executor, Inline, Machine, naive};
use safetensors::SafeTensors;

type Step = fn(Machine<'_>, &mut [f32], &[f32], &mut [f32], &mut [f32], u64, &AdamW, f32);

const SETTINGS: AdamW = AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };

#[test]
fn adamw_steps() {
    for_random_cases(2, |random| {
        for n in ODD.iter().copied().chain([0, LONG]) {
            let (p, g) = (present(random, n), signed(random, n));
            let (m, v) = (present(random, n), within(random, n, 0.0..1.0));
            for (step, m, v) in [(1, vec![0.0; n], vec![0.0; n]), (1000, m, v)] {
                let run = |f: Step, machine: Machine<'_>| {
                    let (mut p, mut m, mut v) = (p.clone(), m.clone(), v.clone());
                    f(machine, &mut p, &g, &mut m, &mut v, step, &SETTINGS, 0.3);
                    [p, m, v]
                };
                hold(&format!("step {step} of {n}"), 5e-7, run(naive::optimizer::adamw, any()), |machine| run(adamw, machine));
            }
        }
    });
}

#[test]
fn sums_of_squares() {
    for_random_cases(2, |random| {
        for n in ODD.iter().copied().chain([0, LONG]) {
            // Squares beyond the range of f32.
            let x: Vec<f32> = signed(random, n).into_iter().map(|x| x * 1e25).collect();
            let want = naive::optimizer::sum_squares(any(), &x, &mut []);
            for isa in instruction_sets() {
                let run = |executor: &dyn Executor| {
                    let mut scratch = vec![f64::NAN; sum_squares_scratch(n)];
                    sum_squares(Machine { isa, executor }, &x, &mut scratch)
                };
                let got = run(&Inline);
                assert!((got - want).abs() <= 1e-13 * want, "{n} values on {isa:?}: got {got}, want {want}");
                assert_eq!(run(&*TWO).to_bits(), got.to_bits(), "{n} values on {isa:?}, two threads");
            }
        }
    });
}

#[test]
fn clipping() {
    assert_eq!(clip_scale(0.5, 1.0), 1.0);
    assert_eq!(clip_scale(4.0, 1.0), (1.0 / 4.000_001) as f32);
    assert_eq!(clip_scale(0.0, 1.0), 1.0);
    assert_eq!(clip_scale(f64::INFINITY, 1.0), 0.0);
    assert!(clip_scale(f64::NAN, 1.0).is_nan());
}

/// Five steps of `torch.optim.AdamW` on gradients that `clip_grad_norm_` clipped to norm 1.
#[test]
fn pytorch_adamw_with_clipping() {
    let file = SafeTensors::deserialize(include_bytes!("../data/adamw_clip.safetensors")).expect("a safetensors file");
    let tensor = |name: String| -> Vec<f32> {
        let bytes = file.tensor(&name).expect("a tensor").data().as_chunks::<4>().0;
        bytes.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    for isa in instruction_sets() {
        let machine = Machine { isa, ..any() };
        let mut p = tensor("p0".into());
        let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        let start = p.clone();
        for step in 1..=5 {
            let g = tensor(format!("g{step}"));
            let norm = sum_squares(machine, &g, &mut vec![f64::NAN; sum_squares_scratch(g.len())]).sqrt();
            adamw(machine, &mut p, &g, &mut m, &mut v, step, &SETTINGS, clip_scale(norm, 1.0));
            assert_close(&format!("parameters after step {step} on {isa:?}"), &p, &tensor(format!("p{step}")), 3e-7);
        }
        assert!(poison(p.len()) != p && start != p);
    }
}
