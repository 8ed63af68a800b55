//! A hub on this machine, for as long as a test lasts.

use super::sha256;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path.ends_with(end)
    }

    /// The byte that a range begins at.
    pub(crate) fn start(&self) -> usize {
        self.range().map_or(0, |(start, _)| start)
    }

    fn range(&self) -> Option<(usize, Option<usize>)> {
        let (start, end) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse().unwrap(), end.parse().ok()))
    }
}

/// What is answered.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// After so many bytes of the body the connection ends.
    pub(crate) cut: Option<usize>,
    /// After so many bytes of the body nothing comes for so long.
    pub(crate) stall: Option<(usize, Duration)>,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new(), cut: None, stall: None }
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Answer {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        let length = self.body.len();
        self.with("content-length", length)
    }
}

/// A server that answers as it is told.
pub(crate) struct Server {
    pub(crate) address: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (log, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let server = Server { address, log: log.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                // A client that goes away is no fault of the server.
                thread::spawn(move || drop(serve(stream, &log, &*answer)));
            }
        });
        server
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests there were of this kind.
    pub(crate) fn count(&self, method: &str, end: &str) -> usize {
        self.asked().iter().filter(|asked| asked.is(method, end)).count()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let asked = Asked { method, path, headers };
    log.lock().unwrap().push(asked.clone());
    let answer = answer(&asked);
    let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "HTTP/1.1 {} X\r\nconnection: close\r\n{headers}\r\n", answer.status)?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    let body = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    let (before, pause) = answer.stall.unwrap_or((body.len(), Duration::ZERO));
    stream.write_all(&body[..before])?;
    thread::sleep(pause);
    stream.write_all(&body[before..])
}

/// The files of the model `a/b`. Those that end in `.safetensors` and `.gguf` are large ones.
#[derive(Clone, Default)]
pub(crate) struct Repository {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Where large files lie; on the hub itself, if nowhere else.
    pub(crate) elsewhere: Option<String>,
}

impl Repository {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Repository {
        let files = files.iter().map(|(path, content)| (path.to_string(), content.to_vec())).collect();
        Repository { files, elsewhere: None }
    }

    fn is_large(path: &str) -> bool {
        path.ends_with(".safetensors") || path.ends_with(".gguf")
    }

    pub(crate) fn etag(&self, path: &str) -> String {
        let content = &self.files[path];
        let hash = sha256(content);
        if Repository::is_large(path) { hash } else { hash[..40].to_owned() }
    }

    pub(crate) fn listing(&self) -> String {
        let file = |(path, content): (&String, &Vec<u8>)| {
            let large = format!(", \"lfs\": {{\"sha256\": \"{}\", \"size\": {}}}", self.etag(path), content.len());
            let large = if Repository::is_large(path) { large } else { String::new() };
            format!("{{\"rfilename\": {path:?}, \"size\": {}{large}}}", content.len())
        };
        let siblings: Vec<_> = self.files.iter().map(file).collect();
        format!("{{\"id\": \"a/b\", \"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", siblings.join(", "))
    }

    /// What a hub that is well answers.
    pub(crate) fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap();
        if path.starts_with("/api/models/a/b/revision/") {
            return Answer::new(200).body(self.listing());
        }
        let file = path.strip_prefix(&format!("/a/b/resolve/{COMMIT}/")).filter(|file| self.files.contains_key(*file));
        let Some(file) = file else { return Answer::new(404).with("x-error-code", "EntryNotFound") };
        match &self.elsewhere {
            Some(address) if Repository::is_large(file) => Answer::new(302)
                .with("location", format!("{address}/{file}?signed"))
                .with("x-linked-etag", format!("\"{}\"", self.etag(file)))
                .with("x-linked-size", self.files[file].len())
                .with("x-repo-commit", COMMIT)
                .with("content-length", 0),
            _ => self.content(file, asked).with("etag", format!("\"{}\"", self.etag(file))).with("x-repo-commit", COMMIT),
        }
    }

    /// A file or a range of it.
    pub(crate) fn content(&self, file: &str, asked: &Asked) -> Answer {
        let content = &self.files[file];
        let Some((start, end)) = asked.range() else { return Answer::new(200).body(content.clone()) };
        let end = end.map_or(content.len(), |end| content.len().min(end + 1));
        let range = format!("bytes {start}-{}/{}", end - 1, content.len());
        Answer::new(206).body(&content[start..end]).with("content-range", range)
    }
}
