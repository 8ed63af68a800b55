//! How the rows of a text become one.

use crate::checkpoint::{CheckpointError, content};
use attendant_formats::{Config, Refusal};
use std::path::Path;

/// How the rows of a text become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first one, that of a token that stands before the text.
    First,
    /// The largest of each column.
    Largest,
    /// Their mean.
    Mean,
    /// Their sum over the root of their number.
    OverRoot,
    /// Their mean, the n-th counting n times.
    Weighted,
    /// The last one.
    Last,
}

/// Their names in configurations, and their switches there, in the order in which several stand side by side.
const NAMES: [(&str, &str, Pooling); 6] = [
    ("cls", "pooling_mode_cls_token", Pooling::First),
    ("max", "pooling_mode_max_tokens", Pooling::Largest),
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    ("mean_sqrt_len", "pooling_mode_mean_sqrt_len_tokens", Pooling::OverRoot),
    ("weightedmean", "pooling_mode_weightedmean_tokens", Pooling::Weighted),
    ("lasttoken", "pooling_mode_lasttoken", Pooling::Last),
];

impl Pooling {
    /// Those that a configuration names: one by its name, or each by its switch.
    ///
    /// # Errors
    /// If the file cannot be read, or names none or one that is not known.
    pub(super) fn read(path: &Path) -> Result<Vec<Pooling>, CheckpointError> {
        let config = Config::open(path)?;
        let refuse = |why: Refusal| content(path, why);
        if let Some(mode) = config.get("pooling_mode").given() {
            let name = mode.text().map_err(refuse)?;
            let known = NAMES.iter().find(|(known, ..)| *known == name);
            return Ok(vec![known.ok_or_else(|| refuse(mode.wanted(names())))?.2]);
        }
        let mut poolings = Vec::new();
        for (_, switch, pooling) in NAMES {
            let switch = config.get(switch).given();
            if switch.map(|switch| switch.flag()).transpose().map_err(refuse)? == Some(true) {
                poolings.push(pooling);
            }
        }
        match poolings.is_empty() {
            true => Err(content(path, format!("pooling_mode: got none, wanted {}", names()))),
            false => Ok(poolings),
        }
    }

    /// What the configurations call it.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(.., pooling)| *pooling == self).map_or("", |(name, ..)| name)
    }

    /// The row of rows `[n, width]`, of which there is at least one.
    pub(super) fn of(self, rows: &[f32], width: usize) -> Vec<f32> {
        let count = rows.len() / width;
        let weighed = |weight: &dyn Fn(usize) -> f64, over: f64| -> Vec<f32> {
            let sum = |column| (0..count).map(|row| weight(row) * f64::from(rows[row * width + column])).sum::<f64>();
            (0..width).map(|column| (sum(column) / over) as f32).collect()
        };
        match self {
            Pooling::First => rows[..width].to_vec(),
            Pooling::Last => rows[rows.len() - width..].to_vec(),
            Pooling::Largest => {
                let largest = |column| (0..count).map(|row| rows[row * width + column]).fold(f32::NEG_INFINITY, f32::max);
                (0..width).map(largest).collect()
            }
            Pooling::Mean => weighed(&|_| 1.0, count as f64),
            Pooling::OverRoot => weighed(&|_| 1.0, (count as f64).sqrt()),
            Pooling::Weighted => weighed(&|row| (row + 1) as f64, (count * (count + 1) / 2) as f64),
        }
    }
}

fn names() -> String {
    NAMES.map(|(name, ..)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_one() {
        let rows = [1.0, -8.0, 3.0, 2.0, 5.0, 0.0, 7.0, 10.0];
        for (pooling, want) in [
            (Pooling::First, [1.0, -8.0]),
            (Pooling::Last, [7.0, 10.0]),
            (Pooling::Largest, [7.0, 10.0]),
            (Pooling::Mean, [4.0, 1.0]),
            (Pooling::OverRoot, [8.0, 2.0]),
            (Pooling::Weighted, [5.0, 3.6]),
        ] {
            assert_eq!(pooling.of(&rows, 2), want, "{pooling:?}");
        }
    }

    #[test]
    fn configurations_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Pooling::read(&path).map_err(|why| why.to_string().split_once("config.json: ").unwrap().1.to_owned())
        };
        assert_eq!(read(r#"{"pooling_mode": "lasttoken"}"#), Ok(vec![Pooling::Last]));
        let switches = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true, "pooling_mode_max_tokens": false}"#;
        assert_eq!(read(switches), Ok(vec![Pooling::First, Pooling::Mean]));
        assert_eq!(read(r#"{"pooling_mode_lasttoken": true}"#), Ok(vec![Pooling::Last]));
        let names = "cls, max, mean, mean_sqrt_len, weightedmean, lasttoken";
        assert_eq!(read("{}"), Err(format!("pooling_mode: got none, wanted {names}")));
        assert_eq!(read(r#"{"pooling_mode": "sum"}"#), Err(format!("pooling_mode: wanted {names}, got \"sum\"")));
        assert_eq!(read(r#"{"pooling_mode_cls_token": 1}"#), Err("pooling_mode_cls_token: wanted true or false, got 1".into()));
    }
}
