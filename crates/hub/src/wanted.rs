//! A file of a hub: what the hub says of it, and its bytes.

use crate::client::{Client, LINKED_ETAG, Trouble};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::path::{self, is_sha256};
use attendant_formats::quoted;
use std::io::{self, Read};
use std::ops::Range;
use ureq::Body;
use ureq::http::{Response, StatusCode};

/// The longest file, in bytes.
const LONGEST: u64 = 1 << 40;

/// A file of a repository at one commit.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a Name,
    pub(crate) commit: &'a str,
    pub(crate) path: &'a str,
    /// What the listing says of it.
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<&'a str>,
}

/// What a file is, as the hub says.
pub(crate) struct Facts {
    /// What its content is called in the cache.
    pub(crate) etag: String,
    pub(crate) size: u64,
    /// Of large files.
    pub(crate) sha256: Option<String>,
}

impl Wanted<'_> {
    /// What messages call it.
    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.name, self.path)
    }

    /// Refuses a path that must not become one here.
    pub(crate) fn check(&self) -> Result<()> {
        path::check(self.path).map_err(|why| Error::refused(self.name, format_args!("file {}: {why}", quoted(self.path))))
    }

    fn address(&self, client: &Client) -> String {
        let repository = self.name.repository();
        client.address(repository.split('/').chain(["resolve", self.commit]).chain(self.path.split('/')))
    }

    /// What the hub says of the file, as far as that can be used.
    pub(crate) fn facts(&self, client: &Client) -> Result<Facts> {
        let refuse = |why: String| Error::refused(self.title(), why);
        let response = client.head(&self.address(client)).map_err(|trouble| trouble.about(self.title()))?;
        let number = |name: &str| text(&response, name).and_then(|text| text.parse::<u64>().ok());
        if let Some(commit) = text(&response, "x-repo-commit").filter(|commit| !commit.eq_ignore_ascii_case(self.commit)) {
            return Err(refuse(format!("got commit {}, wanted {}", quoted(commit), self.commit)));
        }
        let etag = text(&response, LINKED_ETAG).or(text(&response, "etag")).unwrap_or_default();
        let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=128).contains(&etag.len()) || !etag.bytes().all(plain) {
            return Err(refuse(format!("etag: got {}, wanted letters and digits", quoted(etag))));
        }
        let own = number("content-length").filter(|_| response.status().is_success());
        let size = match (number("x-linked-size").or(own), self.size) {
            (Some(said), Some(listed)) if said != listed => {
                return Err(refuse(format!("got {said} bytes, wanted the {listed} that are listed")));
            }
            (said, listed) => said.or(listed).ok_or_else(|| refuse("the hub does not say how long it is".into()))?,
        };
        if size > LONGEST {
            return Err(refuse(format!("got {size} bytes, wanted at most {LONGEST}")));
        }
        let sha256 = is_sha256(etag).then_some(etag);
        if let (Some(etag), Some(listed)) = (sha256, self.sha256)
            && etag != listed
        {
            return Err(refuse(format!("got SHA-256 {etag}, wanted {listed}, which is listed")));
        }
        Ok(Facts { etag: etag.into(), size, sha256: sha256.or(self.sha256).map(str::to_owned) })
    }

    /// An answer that is to hold these of `size` bytes, and where it begins: at the beginning of the file, if the server has no ranges.
    pub(crate) fn open(&self, client: &Client, range: Range<u64>, size: u64) -> Result<(Response<Body>, u64), Trouble> {
        let end = (range.end < size).then_some(range.end);
        let response = client.body(&self.address(client), range.start, end)?;
        let (start, end) = if response.status() == StatusCode::PARTIAL_CONTENT {
            let got = text(&response, "content-range").unwrap_or_default();
            if got != format!("bytes {}-{}/{size}", range.start, range.end - 1) {
                let why = format!("got range {}, wanted bytes {} to {} of {size}", quoted(got), range.start, range.end);
                return Err(Trouble::Lasting(why));
            }
            (range.start, range.end)
        } else {
            (0, size)
        };
        match text(&response, "content-length").and_then(|text| text.parse::<u64>().ok()) {
            Some(length) if length != end - start => Err(Trouble::Lasting(format!("got {length} bytes, wanted {}", end - start))),
            _ => Ok((response, start)),
        }
    }

    /// These of `size` bytes.
    pub(crate) fn range(&self, client: &Client, range: Range<u64>, size: u64) -> Result<Vec<u8>> {
        let read = || {
            let (mut response, start) = self.open(client, range.clone(), size)?;
            let (mut reader, mut bytes) = (response.body_mut().as_reader(), Vec::new());
            let skipped = io::copy(&mut (&mut reader).take(range.start - start), &mut io::sink());
            let wanted = range.end - range.start;
            skipped.and_then(|_| reader.take(wanted).read_to_end(&mut bytes)).map_err(|why| Trouble::of_body(&why))?;
            if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(Trouble::ended(bytes.len() as u64, wanted)) }
        };
        client.persist(read).map_err(|trouble| trouble.about(self.title()))
    }
}

fn text<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}
