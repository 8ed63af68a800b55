//! A model cut into several GGUF files of one folder, `NAME-00001-of-00003.gguf` and so on. Each says in its metadata which of how many it
//! is; only the first says more.

use super::Value;
use crate::error::{Error, Refusal, Result, quoted};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

/// The most files of a model.
pub const MAX_PARTS: usize = 1024;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Which of how many files one is, as its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    stem: String,
    /// From 1.
    number: usize,
    count: usize,
}

impl Part {
    /// Reads the name of a file; none if it is not that of a part.
    pub fn of(name: &str) -> Option<Part> {
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let five = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse::<usize>().ok()).flatten()
        };
        let (number, count) = (five(number)?, five(count)?);
        ((1..=count).contains(&number) && count <= MAX_PARTS).then(|| Part { stem: stem.into(), number, count })
    }

    /// Whether it is the one that leads to the others.
    pub fn is_first(&self) -> bool {
        self.number == 1
    }

    /// The names of all parts.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|number| self.name(number))
    }

    fn name(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

/// What the metadata of a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// From 0.
    number: Option<usize>,
    count: usize,
    /// Of all parts.
    tensors: Option<usize>,
}

impl Said {
    /// Reads the metadata of a file; none if it is a whole one.
    ///
    /// # Errors
    /// If it is one of more parts than a model may have, or says so in what is no number.
    pub(crate) fn of(metadata: &BTreeMap<String, Value>) -> Result<Option<Said>> {
        let whole_number = |key: &str| match metadata.get(key) {
            None => Ok(None),
            Some(&Value::Unsigned(number)) => Ok(usize::try_from(number).ok()),
            Some(&Value::Signed(number)) if number >= 0 => Ok(usize::try_from(number).ok()),
            Some(other) => Err(Refusal::new(key, format_args!("wanted a whole number, got {}", other.summary()))),
        };
        match whole_number(COUNT)? {
            None | Some(0 | 1) => Ok(None),
            Some(count @ ..=MAX_PARTS) => {
                Ok(Some(Said { number: whole_number(NUMBER)?, count, tensors: whole_number(TENSORS)? }))
            }
            Some(count) => Err(Refusal::new(COUNT, format_args!("wanted at most {MAX_PARTS} parts, got {count}"))),
        }
    }

    /// The names of all parts, the first of which is at `path`.
    ///
    /// # Errors
    /// If the file is another part, or its name is not that of this one.
    pub(crate) fn names(self, path: &Path) -> Result<Vec<String>, Error> {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let part = Part::of(name).filter(|part| part.count == self.count).ok_or_else(|| {
            let why =
                format_args!("{0} parts, wanted NAME-00001-of-{0:05}.gguf for the first, got {1}", self.count, quoted(name));
            Refusal::new(COUNT, why).in_file(path)
        })?;
        if !part.is_first() {
            let why = format_args!("wanted the first part, {}, got part {} of {}", part.name(1), part.number, part.count);
            return Err(Refusal::new(NUMBER, why).in_file(path));
        }
        self.check(self, 0, path)?;
        Ok(part.names().collect())
    }

    /// Checks what the part of this number, from 0, says beside this one, the first.
    ///
    /// # Errors
    /// If it says that it is another, or one of another number of parts.
    pub(crate) fn check(self, said: Said, number: usize, path: &Path) -> Result<(), Error> {
        if said.count != self.count {
            let why = format_args!("wanted {}, which the first part says, got {}", self.count, said.count);
            return Err(Refusal::new(COUNT, why).in_file(path));
        }
        if said.number != Some(number) {
            let got = said.number.map_or("none".into(), |number| number.to_string());
            return Err(
                Refusal::new(NUMBER, format_args!("wanted {number}, which the name of the file says, got {got}")).in_file(path)
            );
        }
        Ok(())
    }

    /// Refuses another number of tensors than the first part says.
    ///
    /// # Errors
    /// With both numbers.
    pub(crate) fn check_tensors(self, count: usize, path: &Path) -> Result<(), Error> {
        match self.tensors {
            Some(said) if said != count => {
                Err(Refusal::new(TENSORS, format_args!("wanted the {count} that the parts have, got {said}")).in_file(path))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_part_of_how_many() {
        let part = Part::of("big-Q4_K_M-00002-of-00003.gguf").unwrap();
        assert!(!part.is_first());
        let names = ["big-Q4_K_M-00001-of-00003.gguf", "big-Q4_K_M-00002-of-00003.gguf", "big-Q4_K_M-00003-of-00003.gguf"];
        assert_eq!(part.names().collect::<Vec<_>>(), names);
        assert!(Part::of("a-of-b-00001-of-00002.gguf").unwrap().is_first());
        for name in [
            "x.gguf",
            "x-00000-of-00003.gguf",
            "x-00004-of-00003.gguf",
            "x-1-of-3.gguf",
            "x-+0001-of-00003.gguf",
            "x-00001-of-99999.gguf",
            "x-00001-of-00003.safetensors",
            "00001-of-00003.gguf",
        ] {
            assert_eq!(Part::of(name), None, "{name}");
        }
    }
}
