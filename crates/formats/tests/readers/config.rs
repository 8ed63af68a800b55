//! Configurations that must be refused, by a reader such as each family of models has.

use crate::hostile::Case;
use attendant_formats::{Config, Error, Refusal};
use std::path::Path;

/// The most heads, and the widest rows, of a model.
const HEADS: std::ops::RangeInclusive<usize> = 1..=4096;
const WIDTH: std::ops::RangeInclusive<usize> = 1..=1 << 20;

/// Reads a configuration as a family does: each field once, in its range.
pub(crate) fn read(path: &Path) -> Result<(), Error> {
    fields(&Config::open(path)?).map_err(|refusal| refusal.in_file(path))
}

fn fields(config: &Config) -> Result<(), Refusal> {
    let width = config.get("hidden_size").size(WIDTH)?;
    let heads = config.get("num_attention_heads");
    if !width.is_multiple_of(heads.size(HEADS)?) {
        return Err(heads.wanted(format_args!("a divisor of hidden_size, {width}")));
    }
    if let Some(key_heads) = config.get("num_key_value_heads").given()
        && !heads.size(HEADS)?.is_multiple_of(key_heads.size(HEADS)?)
    {
        return Err(key_heads.wanted("a divisor of num_attention_heads"));
    }
    config.get("rope_theta").given().map(|theta| theta.float(1e-3..=1e12)).transpose()?;
    config.get("rms_norm_eps").given().map(|eps| eps.float(0.0..=1.0)).transpose()?;
    config.get("tie_word_embeddings").given().map(|tie| tie.flag()).transpose()?;
    if let Some(layers) = config.get("layer_types").given() {
        layers.items(1024)?.try_for_each(|layer| layer.text().map(drop))?;
    }
    if let Some(scaling) = config.get("rope_scaling").given() {
        scaling.object()?.get("factor").float(1.0..=1e6)?;
    }
    Ok(())
}

pub(crate) fn table() -> Vec<Case> {
    let config = |(name, bytes, says)| Case::file("config.json", name, bytes, says);
    let generation = |(name, bytes, says)| Case::file("generation_config.json", name, bytes, says);
    documents().into_iter().chain(values()).map(config).chain(generations().into_iter().map(generation)).collect()
}

type Row = (&'static str, Vec<u8>, &'static [&'static str]);

fn documents() -> Vec<Row> {
    let many = format!("{{\"x\":[{}0]}}", "0,".repeat(400_000));
    let empties = format!("{{\"x\":[{}[]]}}", "[],".repeat(400_000));
    let keys: Vec<String> = (0..200_000).map(|index| format!("\"{index}\":0")).collect();
    vec![
        ("empty", Vec::new(), &["JSON, byte 0: EOF"]),
        ("blank", b"  \n ".to_vec(), &["JSON, byte", "EOF"]),
        ("text", b"hidden_size: 64".to_vec(), &["JSON, byte", "expected value"]),
        ("list", b"[]".to_vec(), &["JSON, byte 0: wanted an object, got an array of 0"]),
        ("null", b"null".to_vec(), &["JSON, byte 0: wanted an object, got null"]),
        ("cut off", b"{\"hidden_size\":".to_vec(), &["JSON, byte", "EOF while parsing a value"]),
        ("comma at the end", b"{\"hidden_size\":64,}".to_vec(), &["JSON, byte", "trailing comma"]),
        ("comment", b"{/* */}".to_vec(), &["JSON, byte 1: key must be a string"]),
        ("single quotes", b"{'hidden_size':64}".to_vec(), &["JSON, byte 1: key must be a string"]),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec(), &["JSON, byte 0: expected value"]),
        ("byte order mark", "\u{feff}{}".as_bytes().to_vec(), &["JSON, byte 0: expected value"]),
        ("more behind it", b"{} {}".to_vec(), &["JSON, byte 3: trailing characters"]),
        (
            "field twice",
            b"{\"hidden_size\":64,\n\"hidden_size\":65}".to_vec(),
            &["JSON, byte 31: key \"hidden_size\" occurs twice"],
        ),
        ("field twice, once escaped", b"{\"a\":1,\"\\u0061\":2}".to_vec(), &["key \"a\" occurs twice"]),
        ("lists 3,000 deep", format!("{{\"x\":{}", "[".repeat(3000)).into_bytes(), &["JSON, byte", "nested too deep"]),
        ("objects 3,000 deep", "{\"x\":".repeat(3000).into_bytes(), &["JSON, byte", "nested too deep"]),
        ("above the cap", [b"{}".to_vec(), vec![b' '; 4 << 20]].concat(), &["file: wanted at most 4194304 bytes"]),
        ("numbers that take many times their length", many.into_bytes(), &["JSON, byte", "bytes of memory"]),
        ("lists that take many times their length", empties.into_bytes(), &["JSON, byte", "bytes of memory"]),
        ("200,000 fields", format!("{{{}}}", keys.join(",")).into_bytes(), &["JSON, byte", "bytes of memory"]),
        ("key with a line break that occurs twice", b"{\"a\\nb\":1,\"a\\nb\":2}".to_vec(), &["key \"a\\nb\" occurs twice"]),
        ("string that is no UTF-8", b"{\"x\":\"\xff\"}".to_vec(), &["JSON, byte", "invalid unicode"]),
        ("number of 1e999", b"{\"x\":1e999}".to_vec(), &["JSON, byte", "number out of range"]),
    ]
}

fn values() -> Vec<Row> {
    let with = |fields: &str| format!("{{\"hidden_size\":64,\"num_attention_heads\":4{fields}}}").into_bytes();
    let heads = |heads: &str| format!("{{\"hidden_size\":64,\"num_attention_heads\":{heads}}}").into_bytes();
    let layers = format!(",\"layer_types\":[{}\"\"]", "\"\",".repeat(1024));
    vec![
        (
            "no heads",
            b"{\"hidden_size\":64}".to_vec(),
            &["num_attention_heads: wanted a whole number from 1 to 4096, got nothing"],
        ),
        ("0 heads", heads("0"), &["num_attention_heads: wanted a whole number from 1 to 4096, got 0"]),
        ("heads below 0", heads("-4"), &["num_attention_heads: wanted a whole number", "got -4"]),
        ("half a head", heads("0.5"), &["num_attention_heads: wanted a whole number", "got 0.5"]),
        ("2^63 heads", heads("9223372036854775808"), &["num_attention_heads", "got 9223372036854775808"]),
        ("2^64 heads", heads("18446744073709551616"), &["num_attention_heads"]),
        ("1e300 heads", heads("1e300"), &["num_attention_heads", "got 1e+300"]),
        ("heads that are text", heads("\"4\\n\""), &["num_attention_heads", "got \"4\\n\""]),
        ("heads that are a list", heads("[4]"), &["got an array of 1"]),
        ("heads that are null", heads("null"), &["got null"]),
        ("heads that do not divide the width", heads("5"), &["num_attention_heads: wanted a divisor of hidden_size, 64, got 5"]),
        (
            "key heads that do not divide the heads",
            with(",\"num_key_value_heads\":3"),
            &["num_key_value_heads: wanted a divisor of num_attention_heads, got 3"],
        ),
        ("more key heads than heads", with(",\"num_key_value_heads\":8"), &["num_key_value_heads: wanted a divisor"]),
        ("0 key heads", with(",\"num_key_value_heads\":0"), &["num_key_value_heads: wanted a whole number from 1"]),
        ("width of 0", b"{\"hidden_size\":0}".to_vec(), &["hidden_size: wanted a whole number from 1 to 1048576, got 0"]),
        ("width of 2^40", b"{\"hidden_size\":1099511627776}".to_vec(), &["hidden_size", "got 1099511627776"]),
        ("rotation of NaN", with(",\"rope_theta\":NaN"), &["JSON, byte", "expected value"]),
        ("rotation of NaN as text", with(",\"rope_theta\":\"NaN\""), &["rope_theta: wanted a number from 0.001", "got \"NaN\""]),
        ("rotation of Infinity", with(",\"rope_theta\":[Infinity]"), &["rope_theta: wanted a number"]),
        ("rotation of 0", with(",\"rope_theta\":0"), &["rope_theta: wanted a number from 0.001 to 1000000000000, got 0"]),
        ("rotation below 0", with(",\"rope_theta\":-10000.0"), &["rope_theta", "got -10000.0"]),
        ("epsilon below 0", with(",\"rms_norm_eps\":-1e-5"), &["rms_norm_eps: wanted a number from 0 to 1"]),
        ("flag of 1", with(",\"tie_word_embeddings\":1"), &["tie_word_embeddings: wanted true or false, got 1"]),
        ("1,025 layers", with(&layers), &["layer_types: wanted an array of at most 1024, got an array of 1025"]),
        ("layer that is a number", with(",\"layer_types\":[\"a\",2]"), &["layer_types[1]: wanted a string, got 2"]),
        ("scaling that is a list", with(",\"rope_scaling\":[]"), &["rope_scaling: wanted an object, got an array of 0"]),
        (
            "scaling by 0",
            with(",\"rope_scaling\":{\"factor\":0}"),
            &["rope_scaling.factor: wanted a number from 1 to 1000000, got 0"],
        ),
        ("scaling by nothing", with(",\"rope_scaling\":{}"), &["rope_scaling.factor: wanted a number", "got nothing"]),
    ]
}

fn generations() -> Vec<Row> {
    let ends = format!("{{\"eos_token_id\":[{}1]}}", "1,".repeat(4096));
    vec![
        ("temperature below 0", b"{\"temperature\":-0.1}".to_vec(), &["temperature: wanted a number from 0 to 1000, got -0.1"]),
        ("temperature of 1e308", b"{\"temperature\":1e308}".to_vec(), &["temperature: wanted a number from 0 to 1000"]),
        ("temperature of NaN", b"{\"temperature\":NaN}".to_vec(), &["JSON, byte"]),
        ("top_p above 1", b"{\"top_p\":1.01}".to_vec(), &["top_p: wanted a number from 0 to 1, got 1.01"]),
        ("top_k of half a token", b"{\"top_k\":0.5}".to_vec(), &["top_k: wanted a whole number"]),
        ("penalty of 0", b"{\"repetition_penalty\":0}".to_vec(), &["repetition_penalty: wanted a number from 0.001"]),
        (
            "token below 0",
            b"{\"eos_token_id\":-1}".to_vec(),
            &["eos_token_id: wanted a whole number from 0 to 4294967295, got -1"],
        ),
        ("token of 2^32", b"{\"bos_token_id\":4294967296}".to_vec(), &["bos_token_id: wanted a whole number"]),
        (
            "token that is text",
            b"{\"eos_token_id\":[1,\"</s>\"]}".to_vec(),
            &["eos_token_id[1]: wanted a whole number", "got \"</s>\""],
        ),
        ("4,097 ends", ends.into_bytes(), &["eos_token_id: wanted an array of at most 4096, got an array of 4097"]),
        ("2^63 tokens to add", b"{\"max_new_tokens\":9223372036854775808}".to_vec(), &["max_new_tokens: wanted a whole number"]),
        ("sampling of maybe", b"{\"do_sample\":\"maybe\"}".to_vec(), &["do_sample: wanted true or false, got \"maybe\""]),
    ]
}
