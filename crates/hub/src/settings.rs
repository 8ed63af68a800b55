//! Where the hub and the cache are, as the variables say that every program of the field reads.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::Uri;

/// The hub that is asked unless HF_ENDPOINT names another.
const ENDPOINT: &str = "https://huggingface.co";
/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 4096;

/// Where the hub and the cache are, and who asks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the cache, in which each model has one.
    pub cache: PathBuf,
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Who asks. It is sent to the hub only, whatever host that leads to.
    pub token: Option<Token>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// Whether the proxy is used that the environment names.
    pub proxy: bool,
    /// How long to wait, and how often to try.
    pub patience: Patience,
}

/// How long to wait for a server, and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts at one request, the first included.
    pub tries: u32,
    /// The pause after the first attempt; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause that a server may ask for.
    pub longest_pause: Duration,
    /// For a connection, and for the next bytes of a body.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        let seconds = Duration::from_secs;
        Patience { tries: 5, pause: seconds(1), longest_pause: seconds(60), silence: seconds(30) }
    }
}

/// A secret. It does not print.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes a token.
    ///
    /// # Errors
    /// If it holds what cannot be sent; the line does not repeat it. `origin` names where it was found.
    pub fn new(text: &str, origin: impl fmt::Display) -> Result<Token> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::refused(origin, "wanted a token: visible ASCII characters, at most 4,096"));
        }
        Ok(Token(text.into()))
    }

    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Settings {
    /// What the variables of this process say.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub fn of_environment() -> Result<Settings> {
        Settings::of(|name| std::env::var_os(name))
    }

    /// What these variables say: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE
    /// and TRANSFORMERS_OFFLINE, and the older names of the first; where they are silent, what `huggingface_hub` does.
    ///
    /// # Errors
    /// If the address of the hub or the token cannot be used, or no folder is known for the cache.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
        let folder = |name: &str| set(name).map(|value| expanded(PathBuf::from(value), home.as_deref()));
        let hf_home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| Some(home.as_ref()?.join(".cache/huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hf_home.as_ref()?.join("hub")))
            .ok_or_else(|| Error::refused("HF_HOME", "got neither it nor HOME, wanted a folder for the cache"))?;
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let truth = |name: &str| {
            text(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
        };
        let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(|name| Some((name, text(name)?)));
        let token = match named {
            _ if truth("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some((name, token)) => Some(Token::new(&token, name)?),
            None => match folder("HF_TOKEN_PATH").or_else(|| Some(hf_home?.join("token"))) {
                Some(path) => token_of(&path)?,
                None => None,
            },
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').to_owned();
        check_endpoint(&endpoint)?;
        let offline = truth(if set("HF_HUB_OFFLINE").is_some() { "HF_HUB_OFFLINE" } else { "TRANSFORMERS_OFFLINE" });
        Ok(Settings { cache, endpoint, token, offline, proxy: true, patience: Patience::default() })
    }
}

fn check_endpoint(endpoint: &str) -> Result<()> {
    let fits = |uri: &Uri| {
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        plain && uri.query().is_none() && matches!(uri.scheme_str(), Some("http" | "https"))
    };
    match endpoint.parse::<Uri>() {
        Ok(uri) if fits(&uri) && !endpoint.contains('#') => Ok(()),
        _ => Err(Error::refused("HF_ENDPOINT", format_args!("got {endpoint:?}, wanted http:// or https:// and a host"))),
    }
}

/// The token that a login has left.
fn token_of(path: &Path) -> Result<Option<Token>> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(LONGEST_TOKEN as u64 + 2).read_to_string(&mut text)) {
        Ok(_) if text.trim().is_empty() => Ok(None),
        Ok(_) => Token::new(&text, path.display()).map(Some),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(Error::io(path)(why)),
    }
}

/// `~` at the beginning as people write it in files that no shell reads.
fn expanded(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_cache_is_where_the_nearest_variable_says() {
        let cache = |variables: &[(&str, &str)]| of(variables).unwrap().cache;
        let all = [
            ("HF_HUB_CACHE", "/c"),
            ("HUGGINGFACE_HUB_CACHE", "/o"),
            ("HF_HOME", "~/h"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/u"),
        ];
        for (from, want) in ["/c", "/o", "/u/h/hub", "/x/huggingface/hub", "/u/.cache/huggingface/hub"].into_iter().enumerate() {
            assert_eq!(cache(&all[from..]), Path::new(want));
        }
        assert_eq!(of(&[]).unwrap_err().to_string(), "HF_HOME: got neither it nor HOME, wanted a folder for the cache");
    }

    #[test]
    fn a_token_comes_from_the_variable_or_the_file_and_does_not_print() {
        let folder = tempfile::tempdir().unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        let token = |variables: &[(&str, &str)]| of(variables).unwrap().token.map(|token| token.secret().to_owned());
        assert_eq!(token(&[home]), None);
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(token(&[home]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[home, ("HF_TOKEN", "hf_variable")]).as_deref(), Some("hf_variable"));
        assert_eq!(token(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let line = of(&[home, ("HF_TOKEN", "secret\r\nHost: x")]).unwrap_err().to_string();
        assert_eq!(line, "HF_TOKEN: wanted a token: visible ASCII characters, at most 4,096");
        assert!(!format!("{:?}", of(&[home]).unwrap()).contains("hf_file"));
    }

    #[test]
    fn the_address_of_a_hub_is_a_host() {
        let endpoint = |value: &str| of(&[("HOME", "/u"), ("HF_ENDPOINT", value)]).map(|settings| settings.endpoint);
        assert_eq!(endpoint("").unwrap(), ENDPOINT);
        assert_eq!(endpoint("http://localhost:8080/mirror/").unwrap(), "http://localhost:8080/mirror");
        for wrong in ["hub", "ftp://hub", "https://", "https://me@hub", "https://hub/?a", "https://hub#a", "https://h ub"] {
            let line = endpoint(wrong).unwrap_err().to_string();
            assert!(line.starts_with("HF_ENDPOINT: got"), "{wrong}: {line}");
        }
    }

    #[test]
    fn offline_is_said_in_several_words() {
        let offline = |name: &str, value: &str| of(&[("HOME", "/u"), (name, value)]).unwrap().offline;
        assert!(offline("HF_HUB_OFFLINE", "1") && offline("HF_HUB_OFFLINE", "Yes") && offline("TRANSFORMERS_OFFLINE", "true"));
        assert!(!offline("HF_HUB_OFFLINE", "0") && !offline("HOME", "/u"));
    }
}
