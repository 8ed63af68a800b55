//! Requests to a hub and to where it leads.

use crate::error::{Error, Result};
use crate::settings::{Patience, Settings, Token};
use attendant_formats::quoted;
use std::fmt;
use std::io::{ErrorKind, Read};
use std::time::Duration;
use ureq::http::header::{AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body, Proxy, Timeout};

/// The most hops from one address to another.
const HOPS: usize = 10;
/// The longest time until a server is found.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest time for a short answer, whatever trickles in.
const SHORT: Duration = Duration::from_secs(120);
/// Where the address of a large file is announced, its SHA-256 stands beside it.
pub(crate) const LINKED_ETAG: &str = "x-linked-etag";

pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    home: Uri,
    token: Option<Token>,
    patience: Patience,
}

/// Why an answer is none. What can pass is tried again.
pub(crate) enum Trouble {
    /// Nobody answers at this address.
    Absent(String),
    /// The connection broke, or the server is not well: it may be in a while, perhaps after the pause that it asked for.
    Passing(String, Option<Duration>),
    /// It will be the same the next time.
    Lasting(String),
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Client> {
        let patience = settings.patience;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Each hop is looked at here: a token must not travel along.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("attendant/", env!("CARGO_PKG_VERSION")))
            .proxy(settings.proxy.then(Proxy::try_from_env).flatten())
            .timeout_resolve(Some(patience.silence.min(CONNECT)))
            .timeout_connect(Some(patience.silence.min(CONNECT)))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .build();
        let home = settings.endpoint.parse().map_err(|why| Error::refused("HF_ENDPOINT", format_args!("{why}")))?;
        let (endpoint, token) = (settings.endpoint.clone(), settings.token.clone());
        Ok(Client { agent: config.new_agent(), endpoint, home, token, patience })
    }

    /// The address of something on the hub, part by part, which may hold anything.
    pub(crate) fn address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> String {
        parts.into_iter().fold(self.endpoint.clone(), |address, part| address + "/" + &percent(part))
    }

    /// What a short answer holds.
    pub(crate) fn short(&self, address: &str, longest: u64) -> Result<Vec<u8>, Trouble> {
        self.persist(|| {
            let mut response = self.follow(Method::GET, address, None, |_| false)?;
            let mut text = Vec::new();
            let start = std::time::Instant::now();
            let mut reader = response.body_mut().as_reader().take(longest + 1);
            let mut chunk = vec![0; 1 << 16];
            loop {
                match reader.read(&mut chunk).map_err(|why| Trouble::of_body(&why))? {
                    0 => break,
                    count => text.extend_from_slice(&chunk[..count]),
                }
                if start.elapsed() > SHORT {
                    return Err(Trouble::Lasting(format!("wanted an answer within {} s", SHORT.as_secs())));
                }
            }
            if text.len() as u64 > longest {
                return Err(Trouble::Lasting(format!("wanted an answer of at most {longest} bytes, got more")));
            }
            Ok(text)
        })
    }

    /// The answer that tells what a file is, without the file: the hub's own, where it leads to another host.
    pub(crate) fn head(&self, address: &str) -> Result<Response<Body>, Trouble> {
        self.persist(|| self.follow(Method::HEAD, address, None, |response| response.headers().contains_key(LINKED_ETAG)))
    }

    /// A file from byte `start` on, or up to byte `end`, wherever that leads. It is tried once.
    pub(crate) fn body(&self, address: &str, start: u64, end: Option<u64>) -> Result<Response<Body>, Trouble> {
        let range = match (start, end) {
            (0, None) => None,
            (start, None) => Some(format!("bytes={start}-")),
            (start, Some(end)) => Some(format!("bytes={start}-{}", end - 1)),
        };
        self.follow(Method::GET, address, range.as_deref(), |_| false)
    }

    /// Tries again what may pass.
    pub(crate) fn persist<T>(&self, attempt: impl Fn() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut tries = 1;
        loop {
            match attempt() {
                Err(Trouble::Passing(_, wanted)) if self.pause(tries, wanted) => tries += 1,
                done => return done,
            }
        }
    }

    /// Waits after attempt `tries`, and then says that there may be another: unless it was the last, or the server wants a longer pause
    /// than anyone has.
    pub(crate) fn pause(&self, tries: u32, wanted: Option<Duration>) -> bool {
        let Patience { tries: most, pause, longest_pause, .. } = self.patience;
        if tries >= most || wanted.is_some_and(|wanted| wanted > longest_pause) {
            return false;
        }
        let usual = pause.saturating_mul(2u32.saturating_pow(tries - 1));
        std::thread::sleep(wanted.unwrap_or(usual).clamp(pause, longest_pause));
        true
    }

    /// Goes where the hub leads, until `enough` or there is an answer. The token is sent to the hub and to nobody else.
    fn follow(
        &self,
        method: Method,
        address: &str,
        range: Option<&str>,
        enough: impl Fn(&Response<Body>) -> bool,
    ) -> Result<Response<Body>, Trouble> {
        let mut at: Uri = address.parse().map_err(|why| Trouble::Lasting(format!("{}: {why}", quoted(address))))?;
        for _ in 0..=HOPS {
            let mut request = Request::builder().method(method.clone()).uri(at.clone());
            if let Some(token) = self.token.as_ref().filter(|_| same_origin(&at, &self.home)) {
                request = request.header(AUTHORIZATION, format!("Bearer {}", token.secret()));
            }
            if let Some(range) = range {
                request = request.header(RANGE, range);
            }
            let request = request.body(()).map_err(|why| Trouble::Lasting(why.to_string()))?;
            let response = self.agent.run(request).map_err(|why| Trouble::of(&why, &at))?;
            if enough(&response) || response.status().is_success() {
                return Ok(response);
            }
            match response.headers().get(LOCATION).filter(|_| response.status().is_redirection()) {
                Some(location) => {
                    let location = location.to_str().map_err(|_| Trouble::Lasting("led to no address".into()))?;
                    at = joined(&at, location).map_err(Trouble::Lasting)?;
                }
                None => return Err(self.failed(&response)),
            }
        }
        Err(Trouble::Lasting(format!("led from one address to the next more than {HOPS} times")))
    }

    /// What a status means to whoever wants a model.
    fn failed(&self, response: &Response<Body>) -> Trouble {
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let wanted = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let token =
            if self.token.is_some() { "the token that was sent may not read it" } else { "set HF_TOKEN if it is private" };
        match (status, header("x-error-code")) {
            (_, Some("GatedRepo")) => Trouble::Lasting(format!(
                "gated: accept its terms on its page at {} first, and set HF_TOKEN to a token of that account",
                self.endpoint
            )),
            (_, Some("RevisionNotFound")) => Trouble::Lasting("the hub has no such revision".into()),
            (_, Some("EntryNotFound")) => Trouble::Lasting("the hub has no such file".into()),
            (StatusCode::UNAUTHORIZED, Some("RepoNotFound")) | (StatusCode::NOT_FOUND, _) => {
                Trouble::Lasting(format!("the hub has no such model, or does not show it; {token}"))
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Trouble::Lasting(format!("the hub does not show it (HTTP {}); {token}", status.as_u16()))
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                let after = wanted.map_or(String::new(), |wanted| format!("; it asks to come back in {} s", wanted.as_secs()));
                Trouble::Passing(format!("too many requests (HTTP 429){after}"), wanted)
            }
            (StatusCode::REQUEST_TIMEOUT, _) => Trouble::Passing("the hub waited in vain (HTTP 408)".into(), wanted),
            _ if status.is_server_error() => Trouble::Passing(format!("the hub is not well (HTTP {})", status.as_u16()), wanted),
            _ => Trouble::Lasting(format!("got HTTP {}, wanted the file", status.as_u16())),
        }
    }
}

impl Trouble {
    fn of(why: &ureq::Error, at: &Uri) -> Trouble {
        let host = at.authority().map_or("", |authority| authority.as_str());
        let said = format!("{host}: {}", why.to_string().trim_start_matches("io: "));
        match why {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => Trouble::Absent(said),
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Trouble::Absent(said),
            ureq::Error::Timeout(_) | ureq::Error::Protocol(_) | ureq::Error::BodyStalled => Trouble::Passing(said, None),
            ureq::Error::Io(io) => match io.kind() {
                // A certificate that nobody vouches for, or a server that speaks something else.
                ErrorKind::InvalidData => Trouble::Lasting(said),
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                    Trouble::Passing(said, None)
                }
                _ => Trouble::Absent(said),
            },
            _ => Trouble::Lasting(said),
        }
    }

    /// The connection broke while a body came.
    pub(crate) fn of_body(why: &std::io::Error) -> Trouble {
        let silent = matches!(why.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
        Trouble::Passing(if silent { "the server is silent".into() } else { format!("the connection broke: {why}") }, None)
    }

    /// The connection was closed too soon.
    pub(crate) fn ended(after: u64, of: u64) -> Trouble {
        Trouble::Passing(format!("the connection ended after {after} of {of} bytes"), None)
    }

    /// Says more.
    pub(crate) fn and(self, more: &str) -> Trouble {
        match self {
            Trouble::Absent(why) => Trouble::Absent(why + more),
            Trouble::Passing(why, pause) => Trouble::Passing(why + more, pause),
            Trouble::Lasting(why) => Trouble::Lasting(why + more),
        }
    }

    /// Says of what.
    pub(crate) fn about(self, what: impl fmt::Display) -> Error {
        match self {
            Trouble::Absent(why) | Trouble::Passing(why, _) => Error::unreached(what, why),
            Trouble::Lasting(why) => Error::refused(what, why),
        }
    }
}

/// Whether a secret of one address may be told the other.
fn same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().or(if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    one.scheme_str() == other.scheme_str() && host(one) == host(other) && port(one) == port(other)
}

/// The address that a redirection leads to.
fn joined(at: &Uri, location: &str) -> Result<Uri, String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, host) = (at.scheme_str().unwrap_or_default(), at.authority().map_or("", |authority| authority.as_str()));
    let text = match location {
        _ if location.contains("://") => location.into(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{host}{location}"),
        _ => format!("{scheme}://{host}{}/{location}", at.path().rsplit_once('/').map_or("", |(folder, _)| folder)),
    };
    match text.parse::<Uri>() {
        Ok(to) if scheme == "https" && to.scheme_str() == Some("http") => {
            Err(format!("led from https to http, at {}", quoted(to.host().unwrap_or_default())))
        }
        Ok(to) if matches!(to.scheme_str(), Some("http" | "https")) && to.host().is_some_and(|host| !host.is_empty()) => Ok(to),
        _ => Err(format!("led to {}, wanted an address of http or https", quoted(&text))),
    }
}

/// One part of an address.
fn percent(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(byte as char),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_is_read_as_browsers_read_it() {
        let at: Uri = "https://hub.example:8443/a/b?c".parse().unwrap();
        for (location, want) in [
            ("https://cdn.example/x?y=z#f", "https://cdn.example/x?y=z"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/x", "https://hub.example:8443/x"),
            ("x", "https://hub.example:8443/a/x"),
        ] {
            assert_eq!(joined(&at, location).unwrap().to_string(), want);
        }
        for location in ["http://hub.example/x", "ftp://cdn.example/x", "file:///etc/passwd", "https://", "://"] {
            assert!(joined(&at, location).is_err(), "{location}");
        }
    }

    #[test]
    fn a_secret_is_told_one_origin() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let home = uri("https://hub.example");
        assert!(same_origin(&uri("https://HUB.example:443/x"), &home));
        for other in ["http://hub.example", "https://hub.example:444", "https://hub.example.evil", "https://evil/hub.example"] {
            assert!(!same_origin(&uri(other), &home), "{other}");
        }
    }

    #[test]
    fn parts_of_an_address_hold_anything() {
        assert_eq!(percent("größe 1%?#@:"), "gr%C3%B6%C3%9Fe%201%25%3F%23%40%3A");
    }
}
