//! generation_config.json: how its author thinks a model should be sampled.

use crate::config::{Config, Field};
use crate::error::{Error, Result};
use std::path::Path;

/// The most tokens that may end a text.
const MAX_ENDS: usize = 4096;

/// What the file says; what it leaves open is none, or empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Whether to sample at all, or to take the likeliest token.
    pub do_sample: Option<bool>,
    /// What logits are divided by.
    pub temperature: Option<f64>,
    /// From how many of the likeliest tokens to sample; 0 for all.
    pub top_k: Option<usize>,
    /// From the likeliest tokens that together have this probability.
    pub top_p: Option<f64>,
    /// From tokens at least this likely, relative to the likeliest.
    pub min_p: Option<f64>,
    /// What logits of tokens that have occurred are divided by, or multiplied with below zero.
    pub repetition_penalty: Option<f64>,
    /// How many tokens to add.
    pub max_new_tokens: Option<usize>,
    /// How many tokens to reach, those of the prompt included.
    pub max_length: Option<usize>,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The token that fills.
    pub pad_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_ids: Vec<u32>,
}

impl GenerationConfig {
    /// Reads what the file says.
    ///
    /// # Errors
    /// If it is not as [`Config::parse`] wants it, or a field is out of range.
    pub fn parse(text: &[u8]) -> Result<GenerationConfig> {
        GenerationConfig::of(&Config::parse(text)?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// As [`GenerationConfig::parse`], and if the file cannot be read.
    pub fn open(path: &Path) -> Result<GenerationConfig, Error> {
        GenerationConfig::of(&Config::open(path)?).map_err(|refusal| refusal.in_file(path))
    }

    fn of(config: &Config) -> Result<GenerationConfig> {
        let size = |name| optional(config.get(name), |field| field.size(0..=u32::MAX as usize));
        let float = |name, range: std::ops::RangeInclusive<f64>| optional(config.get(name), |field| field.float(range.clone()));
        let token = |name| optional(config.get(name), token);
        Ok(GenerationConfig {
            do_sample: optional(config.get("do_sample"), |field| field.flag())?,
            temperature: float("temperature", 0.0..=1e3)?,
            top_k: size("top_k")?,
            top_p: float("top_p", 0.0..=1.0)?,
            min_p: float("min_p", 0.0..=1.0)?,
            repetition_penalty: float("repetition_penalty", 1e-3..=1e3)?,
            max_new_tokens: size("max_new_tokens")?,
            max_length: size("max_length")?,
            bos_token_id: token("bos_token_id")?,
            pad_token_id: token("pad_token_id")?,
            eos_token_ids: ends(config.get("eos_token_id"))?,
        })
    }
}

fn optional<T>(field: Field<'_>, read: impl FnOnce(&Field<'_>) -> Result<T>) -> Result<Option<T>> {
    field.given().map(|field| read(&field)).transpose()
}

fn token(field: &Field<'_>) -> Result<u32> {
    field.size(0..=u32::MAX as usize).map(|id| id as u32)
}

/// One token or several.
fn ends(field: Field<'_>) -> Result<Vec<u32>> {
    match field.given() {
        None => Ok(Vec::new()),
        Some(field) if field.is_array() => field.items(MAX_ENDS)?.map(|item| token(&item)).collect(),
        Some(field) => Ok(vec![token(&field)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_open_stays_open() {
        assert_eq!(GenerationConfig::parse(b"{}"), Ok(GenerationConfig::default()));
        let read =
            GenerationConfig::parse(br#"{"eos_token_id": 2, "temperature": 0.6, "top_k": null, "do_sample": true}"#).unwrap();
        assert_eq!((read.eos_token_ids, read.temperature, read.top_k, read.do_sample), (vec![2], Some(0.6), None, Some(true)));
        assert_eq!(GenerationConfig::parse(br#"{"eos_token_id": [2, 7]}"#).unwrap().eos_token_ids, [2, 7]);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (text, want) in [
            (r#"{"temperature": -1}"#, "temperature: wanted a number from 0 to 1000, got -1"),
            (r#"{"top_p": 1.5}"#, "top_p: wanted a number from 0 to 1, got 1.5"),
            (r#"{"eos_token_id": [2, -7]}"#, "eos_token_id[1]: wanted a whole number from 0 to 4294967295, got -7"),
            (r#"{"bos_token_id": 4294967296}"#, "bos_token_id: wanted a whole number from 0 to 4294967295, got 4294967296"),
            (r#"{"max_new_tokens": "many"}"#, "max_new_tokens: wanted a whole number from 0 to 4294967295, got \"many\""),
        ] {
            assert_eq!(GenerationConfig::parse(text.as_bytes()).unwrap_err().to_string(), want);
        }
    }
}
