//! Text to learn from, split into a part to train on and a part to judge by.

use crate::error::{LabError, Result};
use flate2::read::GzDecoder;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

const AUSTEN: &[u8] = include_bytes!("../assets/austen.txt.gz");

/// The headings of the novel that validates and of the one after it.
const VALIDATION: [&str; 2] = ["\nPersuasion\n", "\nPRIDE AND PREJUDICE\n"];

/// A text in two parts.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Its name.
    pub name: String,
    /// The part to train on.
    pub train: String,
    /// The part to judge by.
    pub validation: String,
}

impl Corpus {
    /// Jane Austen's six novels; *Persuasion* validates.
    pub fn austen() -> Corpus {
        let mut text = String::new();
        GzDecoder::new(AUSTEN).read_to_string(&mut text).expect("the text in the binary is whole");
        let [start, end] = VALIDATION.map(|heading| text.find(heading).expect("every novel has its heading") + 1);
        Corpus { name: "austen".into(), train: [&text[..start], &text[end..]].concat(), validation: text[start..end].into() }
    }

    /// A UTF-8 file; the last tenth, from the start of a line, validates.
    ///
    /// # Errors
    /// If it cannot be read, is not UTF-8, or is too short to split.
    pub fn from_file(path: &Path) -> Result<Corpus> {
        let bytes = fs::read(path).map_err(|why| match why.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => LabError::content(path, "no such file, wanted a UTF-8 text"),
            ErrorKind::IsADirectory => LabError::content(path, "got a folder, wanted a UTF-8 text"),
            _ => LabError::io(path, why),
        })?;
        let text = String::from_utf8(bytes).map_err(|why| {
            let at = why.utf8_error().valid_up_to();
            LabError::content(path, format!("byte {at}: got 0x{:02x}, wanted UTF-8 text", why.as_bytes()[at]))
        })?;
        let split = last_tenth(&text);
        if text[..split].trim().is_empty() || text[split..].trim().is_empty() {
            return Err(LabError::content(path, format!("got {} bytes of text, wanted enough to split off a tenth", text.len())));
        }
        let name = path.file_stem().map_or_else(|| "text".into(), |stem| stem.to_string_lossy().into_owned());
        Ok(Corpus { name, train: text[..split].into(), validation: text[split..].into() })
    }
}

/// Where the last tenth begins: at the line that begins there or next, or else at the last one before, or within the only line.
fn last_tenth(text: &str) -> usize {
    let tenth = text.floor_char_boundary(text.len() * 9 / 10);
    let after = text[tenth..].find('\n').map(|at| tenth + at + 1).filter(|&at| !text[at..].trim().is_empty());
    let before = || text[..tenth].rfind('\n').map(|at| at + 1).filter(|&at| !text[..at].trim().is_empty());
    after.or_else(before).unwrap_or(tenth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persuasion_and_nothing_else_validates() {
        let corpus = Corpus::austen();
        assert_eq!(corpus.train.len() + corpus.validation.len(), 4_025_034);
        assert!(corpus.validation.starts_with("Persuasion\n"));
        assert!(corpus.validation.contains("Sir Walter Elliot, of Kellynch Hall"));
        assert!(!corpus.train.contains("Kellynch") && corpus.train.contains("Pemberley") && corpus.train.contains("Northanger"));
        assert!(!corpus.validation.contains("Pemberley") && corpus.validation.ends_with("\nFinis\n\n"));
        assert!(corpus.train.starts_with("EMMA\n"));
        assert!(corpus.train.contains("British usage.\n\nPRIDE AND PREJUDICE\n\nBy Jane Austen\n"));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, word) in
            [("empty", &b""[..], "0 bytes"), ("latin1", b"caf\xe9 au lait\n", "byte 3"), ("line", b"\n", "1 bytes")]
        {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = Corpus::from_file(&path).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(word) && !error.contains('\n'), "{error}");
        }
        let refused = |path: &Path| Corpus::from_file(path).unwrap_err().to_string();
        assert!(refused(&folder.path().join("missing")).ends_with("missing: no such file, wanted a UTF-8 text"));
        assert!(refused(folder.path()).ends_with("got a folder, wanted a UTF-8 text"));
    }

    #[test]
    fn the_last_tenth_begins_with_a_line() {
        for (text, validation) in [
            ("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", "j\n"),
            ("short\na last line that is longer than a tenth\n", "a last line that is longer than a tenth\n"),
            ("in one line, \u{e9}t", "\u{e9}t"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("novel.txt");
            fs::write(&path, text).unwrap();
            let corpus = Corpus::from_file(&path).unwrap();
            assert_eq!((corpus.name.as_str(), corpus.validation.as_str()), ("novel", validation));
            assert_eq!(corpus.train + &corpus.validation, text);
        }
    }
}
