//! The terminal's table, and the sentences and the json that go with it.

mod synthetic;

use attendant_lab::comparison::{Comparison, Hold, Measured};
use attendant_lab::sentence::{headline, sentence};
use attendant_lab::table::{Terminal, table};
use unicode_width::UnicodeWidthStr;

const PLAIN: Terminal = Terminal { width: 120, colour: false };

#[test]
fn four_mechanisms_fit_a_wide_terminal_in_one_block() {
    let text = table(&synthetic::four(), PLAIN);
    assert_eq!(text.matches("mechanism").count(), 1, "{text}");
    assert!(text.lines().all(|line| line.width() <= 120), "{text}");
}

#[test]
fn a_narrow_terminal_parts_the_table_and_loses_nothing() {
    for (_, comparison) in synthetic::all() {
        let wide = table(&comparison, Terminal { width: 400, colour: false });
        let narrow = table(&comparison, Terminal { width: 80, colour: false });
        assert!(narrow.lines().all(|line| line.width() <= 80 || line.contains("failed:")), "{narrow}");
        for figure in wide.lines().skip(2).flat_map(str::split_whitespace) {
            assert!(narrow.contains(figure), "{figure} is lost:\n{narrow}");
        }
    }
}

#[test]
fn decode_speeds_stay_together_where_they_fit() {
    let text = table(&synthetic::four(), Terminal { width: 80, colour: false });
    let heads = text.lines().find(|line| line.contains("256")).unwrap();
    assert!(heads.contains("16k"), "{text}");
    // Narrower than the four of them: they part, and each block has at least one.
    let text = table(&synthetic::four(), Terminal { width: 24, colour: false });
    assert_eq!(text.matches("16k").count(), 1, "{text}");
}

#[test]
fn columns_stay_aligned() {
    let text = table(&synthetic::four(), PLAIN);
    let lines: Vec<&str> = text.lines().collect();
    let widths: Vec<usize> = lines[1..6].iter().map(|line| line.width()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "the last column is ragged: {widths:?}\n{text}");
}

#[test]
fn colour_only_adds_escape_sequences() {
    for comparison in [synthetic::four(), synthetic::failed()] {
        let coloured = table(&comparison, Terminal { width: 120, colour: true });
        assert!(coloured.contains("\x1b[1m"));
        let mut bare = coloured.clone();
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m"] {
            bare = bare.replace(code, "");
        }
        let trimmed: String = bare.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        assert_eq!(trimmed, table(&comparison, PLAIN));
    }
}

#[test]
fn names_cannot_steer_the_terminal() {
    let comparison = synthetic::hostile();
    let mut text = table(&comparison, PLAIN);
    text.extend(comparison.mechanisms.iter().map(|outcome| sentence(&comparison, outcome)));
    text += &headline(&comparison);
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn a_comparison_survives_json_even_with_runs_that_are_no_numbers() {
    let sound = synthetic::eight();
    assert_eq!(Comparison::from_json(&sound.to_json().unwrap()).unwrap(), sound);
    let failed = synthetic::failed();
    let read = Comparison::from_json(&failed.to_json().unwrap()).unwrap();
    assert!(read.mechanisms[1].loss.mean.is_nan() && read.mechanisms[1].loss.values[0].is_nan());
    assert_eq!(read.mechanisms[1].loss.values[1], failed.mechanisms[1].loss.values[1]);
    assert_eq!(read.to_json().unwrap(), failed.to_json().unwrap());
}

fn measured(low: f64, high: f64) -> Measured {
    let mean = f64::midpoint(low, high);
    Measured { mean, low: Some(low), high: Some(high), values: vec![low, mean, high] }
}

#[test]
fn sentences_claim_a_difference_only_where_it_is_more_than_chance() {
    let mut comparison = synthetic::four();
    comparison.mechanisms[0].loss = measured(1.50, 1.52);
    comparison.mechanisms[1].loss = measured(1.51, 1.53);
    comparison.mechanisms[2].loss = measured(1.53, 1.55);
    comparison.mechanisms[3].loss = Measured::over_seeds(vec![1.2]);
    let said: Vec<String> = comparison.mechanisms.iter().map(|outcome| sentence(&comparison, outcome)).collect();
    assert!(said[0].starts_with("mha reaches 1.5100 nats per token (95% 1.5000 to 1.5200)"), "{}", said[0]);
    assert!(said[1].contains("0.0100 nats per token above mha’s, no difference that three seeds can show"), "{}", said[1]);
    assert!(
        said[2].contains("0.0300 nats per token above mha’s, more than chance explains (95% 0.0073 to 0.0527)"),
        "{}",
        said[2]
    );
    assert!(said[3].contains("0.3100 nats per token below mha’s, but one seed cannot say"), "{}", said[3]);
    assert!(said[1].contains("25% of the cache bytes per token (2,048 against 8,192)"), "{}", said[1]);
}

#[test]
fn speeds_within_the_spread_of_the_timings_are_called_so() {
    let mut comparison = synthetic::four();
    let reference = comparison.mechanisms[0].decode.clone();
    comparison.mechanisms[1].decode = reference;
    let said = sentence(&comparison, &comparison.mechanisms[1]);
    assert!(said.contains("it decodes 1.00× as fast at 16k tokens of context, within the spread of the timings"), "{said}");
    // The longest context that both were timed at counts.
    comparison.mechanisms[1].decode.truncate(2);
    assert!(sentence(&comparison, &comparison.mechanisms[1]).contains("at 1k tokens"));
}

#[test]
fn the_headline_does_not_praise_what_loses() {
    let mut comparison = synthetic::four();
    assert!(
        headline(&comparison).starts_with("At equal parameters, mla keeps 21.9% of mha’s cache"),
        "{}",
        headline(&comparison)
    );
    let reference = comparison.mechanisms[0].clone();
    comparison.mechanisms[1].loss = reference.loss.clone();
    comparison.mechanisms[1].recall = reference.recall.clone();
    // Worse recall, by more than chance, disqualifies as worse loss does.
    comparison.mechanisms[3].recall = Some(measured(0.4, 0.5));
    assert!(headline(&comparison).contains("gqa keeps 25%"), "{}", headline(&comparison));
    comparison.mechanisms[1].loss = measured(1.60, 1.61);
    let said = headline(&comparison);
    assert!(said.contains("every smaller cache costs loss or recall here; mla keeps"), "{said}");
    assert!(said.contains("recalls 45.0% against"), "{said}");
}

#[test]
fn at_equal_state_the_headline_is_about_loss() {
    let comparison = Comparison { held: Hold::State, ..synthetic::four() };
    let said = headline(&comparison);
    assert!(said.starts_with("At equal state, mla’s loss is") && !said.contains("cache"), "{said}");
}

#[test]
fn the_reference_is_the_first_whatever_its_name_unless_it_failed() {
    let mut comparison = synthetic::four();
    comparison.mechanisms.reverse();
    assert_eq!(comparison.reference().unwrap().name, "mla");
    let said = sentence(&comparison, &comparison.mechanisms[3]);
    assert!(said.starts_with("mha’s loss is") && said.contains("mla’s"), "{said}");
    comparison.mechanisms[0].failure = Some("diverged".to_owned());
    assert_eq!(comparison.reference().unwrap().name, "mqa");
    assert!(!sentence(&comparison, &comparison.mechanisms[2]).contains("mla"));
    comparison.mechanisms.iter_mut().for_each(|outcome| outcome.failure = Some("diverged".to_owned()));
    assert_eq!(headline(&comparison), "No mechanism has a result.");
    comparison.mechanisms.clear();
    assert_eq!(headline(&comparison), "Nothing was compared.");
    assert!(table(&comparison, PLAIN).lines().count() <= 3);
}

#[test]
fn a_state_that_does_not_grow_is_not_called_no_cache() {
    let comparison = synthetic::eight();
    let delta = comparison.mechanisms.iter().find(|outcome| outcome.kind == "delta").unwrap();
    assert!(sentence(&comparison, delta).contains("it keeps 135,168 bytes of state whatever the length"));
}

#[test]
fn recall_that_nobody_learned_is_no_evidence() {
    let mut comparison = synthetic::four();
    for outcome in &mut comparison.mechanisms {
        outcome.recall = Some(Measured::over_seeds(vec![0.145, 0.146, 0.147]));
    }
    let headline = headline(&comparison);
    assert!(!headline.contains("recall"), "{headline}");
    for outcome in &comparison.mechanisms {
        let sentence = sentence(&comparison, outcome);
        assert!(sentence.contains("hardly above the 12.5% of guessing"), "{sentence}");
    }
}
