//! Which names of a server may become paths here.

/// The longest path in a repository, in bytes.
const LONGEST: usize = 1024;
/// The longest part of one, in bytes, as file systems have it.
const LONGEST_PART: usize = 255;

/// What names a device instead of a file on some system, whatever ending follows.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
/// The same, when a digit follows.
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];

/// Refuses a path that does not lie below the folder it is joined to, or names something else than a file on some system. Its parts are
/// separated by `/`.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    if path.len() > LONGEST {
        return Err("wanted a path of at most 1,024 bytes");
    }
    path.split('/').try_for_each(check_part)
}

fn check_part(part: &str) -> Result<(), &'static str> {
    // What is not printed as it is could forge a line that names it.
    let hidden = |character: char| character != '\'' && character.escape_debug().len() > 1;
    let reserved = |character: char| hidden(character) || r#"<>:"|?*\"#.contains(character);
    let stem = part.split('.').next().unwrap_or(part).to_ascii_lowercase();
    let numbered = |device: &str| stem.strip_prefix(device).is_some_and(|rest| rest.len() == 1 && rest != "0");
    match part {
        "" => Err("wanted a path without empty parts"),
        "." | ".." => Err("wanted a path below the repository"),
        _ if part.len() > LONGEST_PART => Err("wanted parts of at most 255 bytes"),
        _ if part.contains(reserved) => Err("wanted a path without control characters and none of < > : \" | ? * \\"),
        _ if part.ends_with(['.', ' ']) => Err("wanted a path whose parts end in neither a point nor a space"),
        _ if DEVICES.contains(&stem.as_str()) || NUMBERED_DEVICES.iter().any(|device| numbered(device)) => {
            Err("wanted a path without names of devices")
        }
        _ => Ok(()),
    }
}

/// Whether this is a commit: 40 hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether this is a SHA-256: 64 hexadecimal digits in small letters.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_folder_or_name_no_file_are_refused() {
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\\b",
            "..\\a",
            "C:a",
            "c:/a",
            "a\nb",
            "a\0",
            "a\u{202e}b",
            "a|b",
            "a?",
            "a*",
            "a.",
            "a ",
            "con",
            "CON.json",
            "a/nul.safetensors",
            "com1",
            "LPT9.txt",
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
        assert!(check(&"a".repeat(256)).is_err() && check(&"a/".repeat(600)).is_err());
        for path in
            ["a", ".gitattributes", "model-00001-of-00002.safetensors", "onnx/model.onnx", "größe", "a b", "com", "com10", "a..b"]
        {
            assert_eq!(check(path), Ok(()), "{path:?}");
        }
    }
}
