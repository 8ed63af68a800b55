//! Prints the tables of docs/families.md: of families, or with `gguf` of the architectures of that format.

#[path = "../tests/judge/mod.rs"]
mod judge;

use judge::{CASES, Family, converted, families};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("gguf") => {
            println!("| file | architecture | `model_type` | mechanism | plain |");
            println!("| --- | --- | --- | --- | --- |");
            for family in converted() {
                let [architecture, model_type, mechanism] =
                    ["architecture", "model_type", "mechanism"].map(|key| word(&family, key));
                println!("| {} | `{architecture}` | `{model_type}` | {mechanism} | {} |", family.name, family.judge_file());
            }
        }
        _ => {
            println!("| family | `model_type` | mechanism | {} |", CASES.join(" | "));
            println!("| --- | --- | --- |{}", " --- |".repeat(CASES.len()));
            for family in families() {
                let verdicts = family.judge().map(|verdict| verdict.to_string()).join(" | ");
                println!("| {} | `{}` | {} | {verdicts} |", family.name, word(&family, "model_type"), word(&family, "mechanism"));
            }
        }
    }
}

/// What a family's meta.json says.
fn word(family: &Family, key: &str) -> String {
    family.meta[key].as_str().unwrap_or_default().to_owned()
}
