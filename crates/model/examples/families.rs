//! Prints the table of docs/families.md.

#[path = "../tests/judge/mod.rs"]
mod judge;

use judge::{CASES, families};

fn main() {
    println!("| family | `model_type` | mechanism | {} |", CASES.join(" | "));
    println!("| --- | --- | --- |{}", " --- |".repeat(CASES.len()));
    for family in families() {
        let word = |key: &str| family.meta[key].as_str().unwrap_or_default().to_owned();
        let verdicts = family.judge().map(|verdict| verdict.to_string()).join(" | ");
        println!("| {} | `{}` | {} | {verdicts} |", family.name, word("model_type"), word("mechanism"));
    }
}
