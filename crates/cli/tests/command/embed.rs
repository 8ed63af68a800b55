//! Vectors of texts.

use crate::published::publish;
use crate::{Place, code, error};
use attendant_formats::{Access, Weights};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::Stdio;

const TEXTS: &str = "one text\n\nanother, which is longer\nthe third\n";

#[test]
fn vectors_are_the_same_alone_and_together_wherever_the_texts_come_from() {
    let place = Place::new();
    publish(&place, "bert");
    fs::write(place.path("lines.txt"), TEXTS).unwrap();
    let together = place.good("embed model --file lines.txt");
    let alone: String = TEXTS
        .lines()
        .filter(|line| !line.is_empty())
        .map(|text| {
            let output = place.command("embed model").arg(text).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    assert_eq!(together, alone);
    assert!(together.lines().count() == 3 && together.lines().all(|line| line.split(' ').count() == 32), "{together}");
    let mut process = place.command("embed model --stdin");
    let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(TEXTS.as_bytes()).unwrap();
    assert_eq!(process.wait_with_output().unwrap().stdout, together.as_bytes());
}

#[test]
fn texts_are_as_alike_as_the_angles_between_their_vectors() {
    let place = Place::new();
    publish(&place, "bert");
    let report: Value = serde_json::from_str(&place.good("embed model one two one --similarity --json")).unwrap();
    assert_eq!(
        (&report["width"], &report["pooling"][0], &report["embeddings"][1]["tokens"]),
        (&32.into(), &"mean".into(), &3.into())
    );
    let vectors: Vec<Vec<f64>> = serde_json::from_value(
        report["embeddings"].as_array().unwrap().iter().map(|text| text["values"].clone()).collect::<Value>(),
    )
    .unwrap();
    let product = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum::<f64>();
    let matrix = place.good("embed model one two one --similarity");
    for (a, row) in matrix.lines().enumerate() {
        for (b, got) in row.split(' ').enumerate() {
            let want = product(a, b) / (product(a, a) * product(b, b)).sqrt();
            assert!((got.parse::<f64>().unwrap() - want).abs() < 1e-4, "{a}, {b}: got {got}, wanted {want}");
            assert!((report["similarity"][a][b].as_f64().unwrap() - want).abs() < 1e-6);
        }
    }
    assert_eq!(place.good("embed model one two one --similarity --out out.safetensors"), "");
    let written = Weights::open(&place.path("out.safetensors"), Access::Mapped).unwrap();
    let [embeddings, similarity] = ["embeddings", "similarity"].map(|name| written.get(name).unwrap());
    assert_eq!((embeddings.shape, similarity.shape), (&[3, 32][..], &[3, 3][..]));
    let values: Vec<f64> = embeddings.to_f32().unwrap().into_iter().map(f64::from).collect();
    assert_eq!(values, vectors.concat());
}

#[test]
fn what_is_not_read_of_a_text_is_said_and_what_cannot_be_read_refused() {
    let place = Place::new();
    publish(&place, "bert");
    let output = place.run("embed model short a.longer.one --max-length 5");
    let said = "model: has no modules.json: rows are averaged, and vectors are not normalised\n\
                1 of 2 texts have more than 5 tokens: the rest of them is not read\n";
    assert_eq!((code(&output), error(&output).as_str()), (0, said));
    assert_eq!(place.good("embed model a.long --max-length 5"), place.good("embed model a.longer.one --max-length 5"));
    assert!(place.bad("embed model a --max-length 100000", 2).contains("model: length: got 100000, wanted at most the model's "));
    assert!(place.bad("generate model -p a", 2).contains("got one whose rows see later ones"));
    fs::write(place.path("empty.txt"), "\n").unwrap();
    assert_eq!(place.bad("embed model --file empty.txt", 2), "attendant: empty.txt: got no text, wanted one in each line\n");
    assert!(place.bad("embed model --file none.txt", 2).starts_with("attendant: none.txt: No such file"));
}
