//! Names of models on a hub.

use crate::error::{Error, Result};
use crate::path::{check, is_commit};
use attendant_formats::quoted;
use std::fmt;

/// The longest name of an owner or a model, in bytes.
const LONGEST: usize = 96;
/// What a name ends in that is the path of a file.
const FILES: [&str; 4] = [".gguf", ".safetensors", ".json", ".txt"];

/// A model on a hub: `owner/name`, after it perhaps `@revision` (a branch, a tag or a commit), and after that perhaps `:file` (one GGUF
/// file of the repository: its path there, or a part of its name that no other has, such as `Q4_K_M`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    owner: String,
    model: String,
    revision: Option<String>,
    file: Option<String>,
}

impl Name {
    /// Reads a name. `None` if this is a path and no such name.
    ///
    /// # Errors
    /// If it is one, but its revision or its file is none that a hub could have.
    pub fn parse(text: &str) -> Result<Option<Name>> {
        let (rest, file) = text.split_once(':').map_or((text, None), |(rest, file)| (rest, Some(file)));
        let (rest, revision) = rest.split_once('@').map_or((rest, None), |(rest, revision)| (rest, Some(revision)));
        let Some((owner, model)) = rest.split_once('/') else { return Ok(None) };
        let is_file = |text: &str| FILES.iter().any(|end| text.to_ascii_lowercase().ends_with(end));
        if !is_part(owner) || !is_part(model) || (file.is_none() && revision.is_none() && is_file(model)) {
            return Ok(None);
        }
        let refuse = |what: &str, got: &str, why: &str| Err(Error::refused(text, format_args!("{what} {}: {why}", quoted(got))));
        if let Some(revision) = revision.filter(|revision| !is_revision(revision)) {
            return refuse("revision", revision, "wanted a branch, a tag or a commit");
        }
        if let Some((file, why)) = file.and_then(|file| Some((file, check(file).err()?))) {
            return refuse("file", file, why);
        }
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ok(Some(Name { owner: owner.into(), model: model.into(), revision: own(revision), file: own(file) }))
    }

    /// Owner and name, as hubs write them.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.model)
    }

    /// The folder of the model in a cache.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.model)
    }

    pub(crate) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The revision, if that is a commit, which never changes.
    pub(crate) fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    pub(crate) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

/// As it is read.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.model)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}

fn is_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = (1..=LONGEST).contains(&part.len()) && part.bytes().all(plain);
    // Two hyphens part owner and name where a cache makes a folder of both.
    fits && !part.starts_with(['-', '.']) && !part.ends_with(['-', '.']) && !part.contains("--") && !part.contains("..")
}

fn is_revision(revision: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+');
    let hidden = |part: &str| part.starts_with(['-', '.']) || part.ends_with(".lock");
    check(revision).is_ok() && revision.bytes().all(plain) && !revision.split('/').any(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_and_written() {
        for text in
            ["a/b", "Qwen/Qwen2.5-0.5B", "a/b@main", "a/b@refs/pr/1", "a/b:x.gguf", "a/b@v1.0:q/x-Q4_0.gguf", "a/b:Q4_K_M"]
        {
            assert_eq!(Name::parse(text).unwrap().expect(text).to_string(), text);
        }
        let name = Name::parse("a/b").unwrap().unwrap();
        assert_eq!((name.folder().as_str(), name.revision(), name.commit()), ("models--a--b", "main", None));
        assert!(Name::parse(&format!("a/b@{}", "0a".repeat(20))).unwrap().unwrap().commit().is_some());
    }

    #[test]
    fn a_path_is_no_name() {
        for text in [
            "a",
            "/a/b",
            "./a",
            "../a",
            "a/b/c",
            "a/../b",
            "a//b",
            "~/a",
            "a\\b/c",
            "C:/a",
            "a/b.gguf",
            "a/model.safetensors",
            "a/config.json",
            "a/b--c",
            "-a/b",
            "a/.b",
            "a/b.",
            "a/",
            "/b",
            "a b/c",
            "a/b\n",
            "",
        ] {
            assert_eq!(Name::parse(text).unwrap(), None, "{text:?}");
        }
        assert_eq!(Name::parse(&format!("a/{}", "b".repeat(97))).unwrap(), None);
    }

    #[test]
    fn a_revision_or_a_file_that_no_hub_has_is_refused() {
        for (text, want) in [
            ("a/b@", "a/b@: revision \"\": wanted a branch"),
            ("a/b@../../x", "revision \"../../x\""),
            ("a/b@x y", "revision \"x y\""),
            ("a/b@a%2f", "revision"),
            ("a/b:", "a/b:: file \"\": wanted a path without empty parts"),
            ("a/b:../x.gguf", "file \"../x.gguf\": wanted a path below the repository"),
            ("a/b:/etc/x.gguf", "file \"/etc/x.gguf\""),
            ("a/b:x\\y.gguf", "wanted a path without control characters"),
        ] {
            let line = Name::parse(text).unwrap_err().to_string();
            assert!(line.contains(want), "{text}: {line}");
        }
    }
}
