//! What a repository holds, as the hub says.

use crate::error::{Error, Result};
use crate::path::{is_commit, is_sha256};
use attendant_formats::json::{self, Limits};
use attendant_formats::quoted;
use serde_json::Value;

/// The most files of a repository.
const MAX_FILES: usize = 65_536;
/// What a listing may take.
pub(crate) const LIMITS: Limits = Limits { bytes: 16 << 20, depth: 64, memory: 256 << 20 };

/// The files of a repository at one commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<Listed>,
}

/// A file of a repository. Its path may be anything.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) path: String,
    /// Its length in bytes, where the hub says so.
    pub(crate) size: Option<u64>,
    /// Of large files.
    pub(crate) sha256: Option<String>,
}

impl Listing {
    /// Reads what the hub says about `what`.
    pub(crate) fn parse(what: &str, text: &[u8]) -> Result<Listing> {
        let refuse = |why: String| Error::refused(what, format_args!("listing: {why}"));
        let value = json::parse(text, LIMITS).map_err(|refusal| refuse(refusal.to_string()))?;
        let commit = value["sha"].as_str().unwrap_or_default();
        if !is_commit(commit) {
            return Err(refuse(format!("sha: got {}, wanted a commit", quoted(commit))));
        }
        let siblings = value["siblings"].as_array().ok_or_else(|| refuse("siblings: missing, wanted files".into()))?;
        if siblings.len() > MAX_FILES {
            return Err(refuse(format!("siblings: got {}, wanted at most {MAX_FILES}", siblings.len())));
        }
        let files = siblings.iter().map(Listed::parse).collect::<Option<_>>();
        let files = files.ok_or_else(|| refuse("siblings: wanted a file name in each".into()))?;
        Ok(Listing { commit: commit.to_ascii_lowercase(), files })
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Listed> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn paths(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.path.as_str()).collect()
    }
}

impl Listed {
    fn parse(value: &Value) -> Option<Listed> {
        let large = &value["lfs"];
        let sha256 = large["sha256"].as_str().or(large["oid"].as_str()).filter(|text| is_sha256(text));
        let size = value["size"].as_u64().or(large["size"].as_u64());
        Some(Listed { path: value["rfilename"].as_str()?.into(), size, sha256: sha256.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_listing_is_read_and_whatever_else_is_refused() {
        let text = format!(
            "{{\"sha\": \"{COMMIT}\", \"other\": [1], \"siblings\": [{{\"rfilename\": \"a\", \"size\": 7}}, {{\"rfilename\": \"b\", \
             \"lfs\": {{\"sha256\": \"{}\", \"size\": 9}}}}]}}",
            "0".repeat(64)
        );
        let listing = Listing::parse("a/b", text.as_bytes()).unwrap();
        assert_eq!((listing.commit.as_str(), listing.paths()), (COMMIT, vec!["a", "b"]));
        assert_eq!((listing.files[0].size, listing.files[1].size), (Some(7), Some(9)));
        assert!(listing.files[0].sha256.is_none() && listing.files[1].sha256.is_some());
        let many = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{}{{}}]}}", "{},".repeat(MAX_FILES));
        for (text, want) in [
            ("<html>", "a/b: listing: JSON, byte 0: expected value"),
            ("{\"sha\": \"../x\", \"siblings\": []}", "sha: got \"../x\", wanted a commit"),
            (&format!("{{\"sha\": \"{COMMIT}\"}}"), "siblings: missing"),
            (&format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{{\"rfilename\": 1}}]}}"), "wanted a file name in each"),
            (&many, "siblings: got 65537, wanted at most 65536"),
            (&"[".repeat(100), "nested too deep"),
        ] {
            let line = Listing::parse("a/b", text.as_bytes()).unwrap_err().to_string();
            assert!(line.contains(want), "{line}");
        }
    }
}
