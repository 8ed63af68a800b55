//! `cargo x docs`: the parts of documents that a program writes. They stand between two comments, and the rest of the file is a person's.

use crate::built::{self, Program};
use crate::flags::Flags;
use crate::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A generated part: what its opening comment calls it, the file it stands in, and the program of the workspace that prints it.
struct Part {
    name: &'static str,
    file: &'static str,
    program: &'static str,
    words: &'static [&'static str],
    /// The language of the code block that it stands in, if it stands in one.
    block: Option<&'static str>,
}

const PARTS: &[Part] = &[
    Part {
        name: "mechanisms",
        file: "docs/mechanisms.md",
        program: "attendant",
        words: &["mechanisms", "--markdown"],
        block: None,
    },
    Part {
        name: "models",
        file: "docs/models.md",
        program: "attendant",
        words: &["inspect", "--known", "--markdown"],
        block: None,
    },
    Part { name: "cli", file: "docs/cli.md", program: "attendant", words: &["docs", "cli"], block: None },
    Part { name: "config", file: "docs/config.md", program: "attendant", words: &["docs", "config"], block: Some("toml") },
    Part { name: "families", file: "docs/families.md", program: "families", words: &[], block: None },
    Part { name: "gguf", file: "docs/families.md", program: "families", words: &["gguf"], block: None },
];

const OPEN: &str = "<!-- generated: ";
const CLOSE: &str = "<!-- end generated -->";

/// Writes every generated part, or with `--check` only compares.
///
/// # Errors
/// As [`current`]; without `--check`, a part that is out of date is not an error.
pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let check = flags.switch("--check");
    flags.finish()?;
    if check {
        return current();
    }
    let programs = build()?;
    for part in PARTS {
        let (old, new) = both(part, &programs)?;
        if old != new {
            fs::write(root().join(part.file), new).map_err(|e| format!("{}: {e}", part.file))?;
            println!("{}: {} written", part.file, part.name);
        }
    }
    Ok(())
}

/// Whether every generated part is what the command prints now.
///
/// # Errors
/// If a part is out of date (with its first line that differs), a marker is missing or unknown, or the command fails.
pub(crate) fn current() -> Result<(), String> {
    let mut stale = unknown_parts(&root().join("docs"))?;
    let programs = build()?;
    for part in PARTS {
        let (old, new) = both(part, &programs)?;
        if let Some(line) = first_difference(&old, &new) {
            stale.push(format!("{}: {} is out of date, first at {line}", part.file, part.name));
        }
    }
    if stale.is_empty() { Ok(()) } else { Err(format!("{}\nrun `cargo x docs`", stale.join("\n"))) }
}

/// The programs that print the parts. They are built as the tests build them, so that no crate is built twice.
fn build() -> Result<Vec<Program>, String> {
    built::programs(&["build", "--quiet", "--locked", "--workspace", "--bin", "attendant", "--example", "families"], &[])
}

/// The file as it is and as it should be.
fn both(part: &Part, programs: &[Program]) -> Result<(String, String), String> {
    let old = fs::read_to_string(root().join(part.file)).map_err(|e| format!("{}: {e}", part.file))?;
    let program = programs.iter().find(|program| program.name == part.program);
    let program = program.ok_or_else(|| format!("{}: cargo built no program of this name", part.program))?;
    let command = format!("{} {}", part.program, part.words.join(" "));
    let run = Command::new(&program.path).args(part.words).current_dir(root()).env_remove("ATTENDANT_ISA").output();
    let output = run.map_err(|e| format!("{command}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| format!("{command}: printed something that is not text"))?;
    let text = match part.block {
        Some(language) => format!("```{language}\n{}\n```", text.trim()),
        None => text.trim().to_owned(),
    };
    let new = replaced(&old, part.name, &text).map_err(|why| format!("{}: {why}", part.file))?;
    Ok((old, new))
}

/// `document` with `text` between the markers of `name`.
fn replaced(document: &str, name: &str, text: &str) -> Result<String, String> {
    let open = format!("{OPEN}{name} -->");
    let (before, rest) = document.split_once(&open).ok_or_else(|| format!("has no line {open}"))?;
    let (inside, after) = rest.split_once(CLOSE).ok_or_else(|| format!("{open} has no {CLOSE}"))?;
    if inside.contains(OPEN) {
        return Err(format!("another part begins between {open} and {CLOSE}"));
    }
    Ok(format!("{before}{open}\n\n{text}\n\n{CLOSE}{after}"))
}

/// The first line where two texts differ, and how.
fn first_difference(old: &str, new: &str) -> Option<String> {
    let end = "(the end)";
    let line = |text: &str, at: usize| text.split('\n').nth(at).unwrap_or(end).to_owned();
    let count = old.split('\n').count().max(new.split('\n').count());
    let at = (0..count).find(|&at| line(old, at) != line(new, at));
    at.map(|at| format!("line {}:\n  has   {}\n  wants {}", at + 1, line(old, at), line(new, at)))
}

/// Markers in the documents of `folder` whose part is not in the table: no one would keep them current.
fn unknown_parts(folder: &Path) -> Result<Vec<String>, String> {
    let mut unknown = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let file = format!("docs/{}", path.file_name().unwrap_or_default().to_string_lossy());
            let names = text.lines().filter_map(|line| line.strip_prefix(OPEN)?.strip_suffix(" -->"));
            let strange = names.filter(|name| !PARTS.iter().any(|part| part.name == *name && part.file == file));
            unknown
                .extend(strange.map(|name| format!("{file}: no command writes the part {name}; see PARTS in xtask/src/docs.rs")));
        }
    }
    Ok(unknown.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "# Title\n<!-- generated: cli -->\nold\n<!-- end generated -->\nafter <!-- end generated -->\n";
        let want = "# Title\n<!-- generated: cli -->\n\nnew\n\n<!-- end generated -->\nafter <!-- end generated -->\n";
        assert_eq!(replaced(document, "cli", "new").as_deref(), Ok(want));
        assert_eq!(replaced(want, "cli", "new").as_deref(), Ok(want));
    }

    #[test]
    fn broken_markers_are_refused() {
        for (document, why) in [
            ("no marker", "has no line <!-- generated: cli -->"),
            ("<!-- generated: cli -->\nold", "has no <!-- end generated -->"),
            ("<!-- generated: cli -->\n<!-- generated: config -->\n<!-- end generated -->", "another part begins"),
        ] {
            assert!(replaced(document, "cli", "new").unwrap_err().contains(why), "{document}");
        }
    }

    #[test]
    fn the_first_difference_shows_both_lines() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n").as_deref(), Some("line 2:\n  has   b\n  wants c"));
        assert_eq!(first_difference("a", "a\nc").as_deref(), Some("line 2:\n  has   (the end)\n  wants c"));
    }

    #[test]
    fn a_marker_that_no_command_writes_is_found() {
        let folder = std::env::temp_dir().join(format!("xtask-docs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cli.md"), "<!-- generated: cli -->\n<!-- generated: mechanisms -->\n").unwrap();
        let unknown = unknown_parts(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(unknown.unwrap(), ["docs/cli.md: no command writes the part mechanisms; see PARTS in xtask/src/docs.rs"]);
    }
}
