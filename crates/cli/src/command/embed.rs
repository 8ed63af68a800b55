//! `attendant embed`

use crate::arguments::Embed;
use crate::command::processor;
use crate::failure::{Done, Failure};
use crate::model::{Needs, resolve};
use crate::output::{print, say};
use attendant_lab::LabError;
use attendant_model::embed::{Embedded, Embedder};
use attendant_model::exchange::{self, Output};
use serde_json::json;
use std::io::Read;
use std::path::Path;

pub(crate) fn run(options: &Embed) -> Done {
    let path = resolve(&options.model, Needs::Everything)?;
    let texts = texts(options)?;
    let embedder = Embedder::open(&path, options.max_length)?;
    if !path.join("modules.json").exists() {
        say(format!("{}: has no modules.json: rows are averaged, and vectors are not normalised", path.display()));
    }
    let embedded = embedder.embed(&processor(options.threads)?, &texts)?;
    let cut = embedded.iter().filter(|text| text.cut).count();
    if cut > 0 {
        say(format!("{cut} of {} texts have more than {} tokens: the rest of them is not read", texts.len(), embedder.most()));
    }
    let alike = options.similarity.then(|| similarity(&embedded));
    match (&options.out, options.json) {
        (Some(out), _) => {
            let values = embedded.iter().flat_map(|text| text.values.iter().copied()).collect();
            let mut outputs = vec![Output::new("embeddings", &[texts.len(), embedder.width()], values)];
            outputs.extend(alike.map(|alike| Output::new("similarity", &[texts.len(); 2], alike.concat())));
            Ok(exchange::write(out, &outputs)?)
        }
        (None, true) => print(report(&embedder, &texts, &embedded, alike)),
        (None, false) => print(match alike {
            Some(alike) => alike.iter().map(|row| line(row, 4)).collect::<String>(),
            None => embedded.iter().map(|text| line(&text.values, 7)).collect(),
        }),
    }
}

fn texts(options: &Embed) -> Result<Vec<String>, Failure> {
    let (name, text) = match (&options.file, options.stdin) {
        (Some(path), _) => (path.display().to_string(), std::fs::read_to_string(path)),
        (None, true) => {
            let mut text = String::new();
            ("standard input".into(), std::io::stdin().read_to_string(&mut text).map(|_| text))
        }
        (None, false) => return Ok(options.texts.clone()),
    };
    let text = text.map_err(|why| LabError::io(Path::new(&name), why))?;
    let texts: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if texts.is_empty() {
        return Err(Failure::Refused(format!("{name}: got no text, wanted one in each line")));
    }
    Ok(texts)
}

/// The cosine between every two vectors; 0 where one has no direction.
fn similarity(embedded: &[Embedded]) -> Vec<Vec<f32>> {
    let product = |a: &Embedded, b: &Embedded| a.values.iter().zip(&b.values).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    let lengths: Vec<f64> = embedded.iter().map(|text| f64::sqrt(product(text, text))).collect();
    let cosine = |i: usize, j: usize| match lengths[i] * lengths[j] {
        0.0 => 0.0,
        over => (product(&embedded[i], &embedded[j]) / over) as f32,
    };
    (0..embedded.len()).map(|i| (0..embedded.len()).map(|j| cosine(i, j)).collect()).collect()
}

fn report(embedder: &Embedder, texts: &[String], embedded: &[Embedded], alike: Option<Vec<Vec<f32>>>) -> String {
    let vectors = texts.iter().zip(embedded).map(|(text, embedded)| {
        let Embedded { tokens, cut, values } = embedded;
        json!({ "text": text, "tokens": tokens, "cut": cut, "values": values })
    });
    let after = embedder.after();
    let mut report = json!({
        "width": embedder.width(),
        "pooling": after.poolings.iter().map(|pooling| pooling.name()).collect::<Vec<_>>(),
        "normalised": after.normalised,
        "embeddings": vectors.collect::<Vec<_>>(),
    });
    if let Some(alike) = alike {
        report["similarity"] = json!(alike);
    }
    format!("{report}\n")
}

fn line(values: &[f32], digits: usize) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:.digits$}")).collect();
    values.join(" ") + "\n"
}
