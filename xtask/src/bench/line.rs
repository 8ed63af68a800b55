//! One measured figure, as a line of JSON.

use serde_json::Value;

/// What was measured, and how long it took.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    /// The work, in words that every program writes alike.
    pub(crate) work: String,
    /// How it was set up, where there are several ways.
    pub(crate) variant: Option<String>,
    /// Milliseconds, median.
    pub(crate) ms: f64,
    /// Milliseconds, minimum.
    pub(crate) least: Option<f64>,
    /// How much a second, in `unit`.
    pub(crate) rate: Option<f64>,
    pub(crate) unit: &'static str,
    /// Share of what the machine reached beside it.
    pub(crate) share: Option<f64>,
    /// Who says so, and of which version.
    pub(crate) version: Option<String>,
}

/// Fields that hold a rate, and its unit. The first that is there counts.
const RATES: [(&str, &str); 5] =
    [("tokens_per_second", "tokens/s"), ("tok_s", "tokens/s"), ("gbs", "GB/s"), ("gflops", "GFLOP/s"), ("gops", "GOP/s")];

impl Line {
    /// `None` if the line is no figure: programs also print what they are.
    pub(crate) fn parse(text: &str) -> Option<Line> {
        let value: Value = serde_json::from_str(text).ok()?;
        let word = |name: &str| value.get(name).and_then(Value::as_str);
        let number = |name: &str| value.get(name).and_then(Value::as_f64);
        let what = word("what").or_else(|| word("bench"))?;
        let ms = number("ms").or_else(|| number("step_ms"))?;
        let mut work = vec![what.to_owned()];
        // Formats under two names: so many bits, with a scale for each so many values.
        let dtype = word("dtype").or_else(|| word("mode")).map(|name| match name {
            "q8_0" => "int8",
            "q4_0" => "int4",
            name => name,
        });
        work.extend(dtype.map(str::to_owned));
        work.extend(word("shape").map(str::to_owned));
        // Latent attention has one shape, which some programs spell out.
        let sizes: &[&str] = if what == "mla" { &["L"] } else { &["kv", "D", "L"] };
        for name in sizes {
            work.extend(value.get(name).and_then(Value::as_u64).map(|size| format!("{name} {size}")));
        }
        work.extend(value.get("B").and_then(Value::as_u64).filter(|&batch| batch != 1).map(|batch| format!("B {batch}")));
        let (rate, unit) = RATES.iter().find_map(|(name, unit)| Some((number(name)?, *unit))).unzip();
        Some(Line {
            work: work.join(" "),
            variant: word("variant").map(str::to_owned),
            ms,
            least: number("min_ms").or_else(|| number("min_step_ms")),
            rate,
            unit: unit.unwrap_or_default(),
            share: number("share"),
            version: word("peer").zip(word("version")).map(|(peer, version)| format!("{peer} {version}")),
        })
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
        assert_eq!(work(r#"{"bench":"train","mode":"f32","step_ms":1900.0}"#), "train f32");
    }

    #[test]
    fn rates_have_units() {
        let line = Line::parse(r#"{"peer":"x","version":"2","what":"decode","ms":1.5,"min_ms":1.25,"gbs":9.5,"gflops":80}"#);
        let line = line.expect("a figure");
        assert_eq!((line.rate, line.unit, line.least), (Some(9.5), "GB/s", Some(1.25)));
        assert_eq!(line.version.as_deref(), Some("x 2"));
    }

    #[test]
    fn what_is_no_figure_is_passed_over() {
        for text in ["", "hello", "{}", r#"{"peer":"torch","version":"2"}"#, r#"{"what":"decode","ms":"fast"}"#] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
