//! One measured figure, as a line of JSON.

use serde_json::Value;

/// What was measured, and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// The work, in words that every program writes alike.
    pub(super) work: String,
    /// How it was set up, where there are several ways.
    pub(super) variant: Option<String>,
    /// Milliseconds, median.
    pub(super) ms: f64,
    /// Share of what the machine reached beside it.
    pub(super) share: Option<f64>,
}

impl Line {
    /// `None` if the line is no figure: programs also print what they are.
    pub(super) fn parse(text: &str) -> Option<Line> {
        let value: Value = serde_json::from_str(text).ok()?;
        let what = value.get("what").or_else(|| value.get("bench"))?.as_str()?;
        let ms = value.get("ms").or_else(|| value.get("step_ms"))?.as_f64()?;
        let mut work = vec![what.to_owned()];
        // One format under two names: int8 with a scale for each so many values.
        let dtype = value.get("dtype").and_then(Value::as_str).map(|name| if name == "q8_0" { "int8" } else { name });
        work.extend(dtype.map(str::to_owned));
        work.extend(value.get("shape").and_then(Value::as_str).map(str::to_owned));
        // Latent attention has one shape, which some programs spell out.
        let sizes: &[&str] = if what == "mla" { &["L"] } else { &["kv", "D", "L"] };
        for name in sizes {
            work.extend(value.get(name).and_then(Value::as_u64).map(|size| format!("{name} {size}")));
        }
        work.extend(value.get("B").and_then(Value::as_u64).filter(|&batch| batch != 1).map(|batch| format!("B {batch}")));
        let variant = value.get("variant").and_then(Value::as_str).map(str::to_owned);
        Some(Line { work: work.join(" "), variant, ms, share: value.get("share").and_then(Value::as_f64) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(text: &str) -> String {
        Line::parse(text).expect("a figure").work
    }

    #[test]
    fn the_same_work_has_the_same_words() {
        let ours =
            r#"{"peer":"attendant","what":"decode","variant":"warm","dtype":"int8","kv":8,"D":128,"L":8192,"B":1,"ms":1.5}"#;
        let theirs = r#"{"peer":"ggml","what":"decode","dtype":"q8_0","B":1,"H":32,"kv":8,"D":128,"L":8192,"ms":9.0}"#;
        assert_eq!(work(ours), "decode int8 kv 8 D 128 L 8192");
        assert_eq!(work(theirs), work(ours));
        let latent = r#"{"what":"mla","dtype":"f32","kv":1,"D":576,"L":8192,"B":2,"ms":4.0}"#;
        assert_eq!(work(latent), "mla f32 L 8192 B 2");
        assert_eq!(work(r#"{"bench":"train","mode":"f32","step_ms":1900.0}"#), "train");
    }

    #[test]
    fn what_is_no_figure_is_passed_over() {
        for text in ["", "hello", "{}", r#"{"peer":"torch","version":"2"}"#, r#"{"what":"decode","ms":"fast"}"#] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
