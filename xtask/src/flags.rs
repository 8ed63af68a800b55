//! The few flags a chore takes.

use std::str::FromStr;

/// The words after the chore's name that no one has asked for yet.
pub(crate) struct Flags(Vec<String>);

impl Flags {
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Flags {
        Flags(words.collect())
    }

    /// Whether the word `--name` is there.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() < before
    }

    /// The word after `--name`, if `--name` is there.
    ///
    /// # Errors
    /// If nothing follows it, or what follows does not parse.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        if at + 1 == self.0.len() {
            return Err(format!("{name}: wants a value"));
        }
        let word = self.0.drain(at..at + 2).nth(1).expect("two words were drained");
        word.parse().map(Some).map_err(|_| format!("{name}: got {word:?}"))
    }

    /// The words after the first `--`, which are not flags.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let Some(at) = self.0.iter().position(|word| word == "--") else { return Vec::new() };
        self.0.drain(at..).skip(1).collect()
    }

    /// The words that are no flags.
    pub(crate) fn words(&mut self) -> Vec<String> {
        let (flags, words) = std::mem::take(&mut self.0).into_iter().partition(|word| word.starts_with('-'));
        self.0 = flags;
        words
    }

    /// Call last.
    ///
    /// # Errors
    /// If a word is left that no one asked for.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(word) => Err(format!("{word:?} is not understood here; `cargo x help` lists what is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Flags {
        Flags::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn takes_what_is_asked_for_and_refuses_the_rest() {
        let mut all = flags("--check --runs 3 --runs 4 extra");
        assert!(all.switch("--check"));
        assert!(!all.switch("--check"));
        assert_eq!(all.value::<usize>("--runs"), Ok(Some(3)));
        assert_eq!(all.value::<usize>("--runs"), Ok(Some(4)));
        assert_eq!(all.value::<usize>("--runs"), Ok(None));
        assert!(all.finish().unwrap_err().contains("extra"));
    }

    #[test]
    fn words_after_two_dashes_are_no_flags() {
        let mut all = flags("--check -- --runs 3 -- x");
        assert_eq!(all.rest(), ["--runs", "3", "--", "x"]);
        assert_eq!(all.rest(), [""; 0]);
        assert_eq!(all.value::<usize>("--runs"), Ok(None));
        assert!(all.switch("--check"));
    }

    #[test]
    fn names_the_flag_whose_value_is_wrong_or_missing() {
        assert_eq!(flags("--runs x").value::<usize>("--runs"), Err("--runs: got \"x\"".into()));
        assert_eq!(flags("--runs").value::<usize>("--runs"), Err("--runs: wants a value".into()));
    }
}
