//! `cargo x table`: everything that docs/performance.md compares, measured by one command and printed as a document.

use super::Programs;
use super::table::Aim;
use crate::flags::Flags;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::process::Command;

/// What is measured, under which heading, and what it is to reach.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    title: String,
    /// Below the title.
    note: String,
    /// What `attendant bench` and every other program is asked.
    words: Vec<String>,
    aims: Vec<Aim>,
}

const SECTIONS: &str = include_str!("sections.json");

/// Measures the sections whose titles contain one of the words given, in any case, or all.
///
/// # Errors
/// If a program does not build or fails, or if no section has one of the words.
pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let wanted = flags.rest();
    let sections: Vec<Section> = serde_json::from_str(SECTIONS).map_err(|why| format!("sections.json: {why}"))?;
    let has = |section: &Section, word: &String| section.title.to_lowercase().contains(&word.to_lowercase());
    if let Some(word) = wanted.iter().find(|word| !sections.iter().any(|section| has(section, word))) {
        let titles: Vec<_> = sections.iter().map(|section| section.title.as_str()).collect();
        return Err(format!("table: got {word:?}, which none of these has in it: {}", titles.join("; ")));
    }
    let chosen = |section: &Section| wanted.is_empty() || wanted.iter().any(|word| has(section, word));
    let sections: Vec<Section> = sections.into_iter().filter(chosen).collect();
    let programs = Programs::from(&mut flags)?;
    flags.finish()?;
    let (path, mut log) = programs.log()?;
    println!(
        "# Measured\n\nWritten by `cargo x table`; [performance.md](performance.md) says what to make of it.\n\n{}",
        machine()?
    );
    let rounds = if programs.rounds == 1 { "one round".to_owned() } else { format!("{} rounds", programs.rounds) };
    println!("{} in turn; medians of {rounds} (least of all calls).", joined(&programs));
    let mut versions = BTreeSet::new();
    for Section { title, note, words, aims } in sections {
        let table = programs.measure(&words, programs.table(aims), &mut log)?;
        print!("\n## {title}\n\n{note}\n\n`attendant bench {}`\n\n{table}", words.join(" "));
        versions.extend(table.versions().map(str::to_owned));
        table.strays().for_each(|row| eprintln!("{title}: no row is called {row:?}, which sections.json aims at"));
    }
    let versions: Vec<_> = versions.into_iter().collect();
    if !versions.is_empty() {
        println!("\nMeasured beside: {}.", versions.join(", "));
    }
    eprintln!("every line that was read: {}", path.display());
    Ok(())
}

fn joined(programs: &Programs) -> String {
    programs.programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The day, the revision and the processor.
fn machine() -> Result<String, String> {
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).current_dir(crate::root()).output();
        let output = output.map_err(|why| format!("{program}: {why}"))?;
        Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(format!(
        "{}, revision {}, {}, {threads} processors.",
        said("date", &["+%Y-%m-%d"])?,
        said("git", &["describe", "--always", "--dirty"])?,
        processor.unwrap_or("a processor that does not say its name"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_are_well_formed() {
        let sections: Vec<Section> = serde_json::from_str(SECTIONS).unwrap();
        assert!(sections.iter().all(|section| !section.words.is_empty()));
    }
}
