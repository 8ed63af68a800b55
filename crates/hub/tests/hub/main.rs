//! Fetching from a hub on this machine: what goes well, and what a server or a disk can do to it.

mod description;
mod fetching;
mod hostile;
mod interruption;
mod server;

use attendant_hub::{Event, Hub, Name, Part, Patience, Result, Settings, Token};
use server::{Answer, Asked, Repository, Server};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A cache, and a hub to fill it from.
struct Place {
    folder: TempDir,
    server: Server,
}

impl Place {
    fn new(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Place {
        Place { folder: tempfile::tempdir().unwrap(), server: Server::start(answer) }
    }

    /// A hub that is well.
    fn of(repository: Repository) -> Place {
        Place::new(move |asked| repository.answer(asked))
    }

    fn settings(&self) -> Settings {
        let home = self.folder.path().to_path_buf();
        let mut settings = Settings::of(|name| (name == "HF_HOME").then(|| home.clone().into_os_string())).unwrap();
        settings.endpoint = self.server.address.clone();
        settings.token = Some(Token::new("hf_secret", "the test").unwrap());
        settings.proxy = false;
        let milliseconds = Duration::from_millis;
        let (pause, longest_pause, silence) = (milliseconds(1), milliseconds(2000), milliseconds(250));
        settings.patience = Patience { tries: 3, pause, longest_pause, silence };
        settings
    }

    fn fetch_with(&self, settings: Settings, name: &str, part: Part) -> Result<PathBuf> {
        Hub::new(settings)?.fetch(&Name::parse(name)?.expect(name), part, &mut |_| ())
    }

    fn fetch(&self, name: &str) -> Result<PathBuf> {
        self.fetch_with(self.settings(), name, Part::Everything)
    }

    /// Why it cannot be fetched: one line, that holds no secret.
    fn refusal(&self, name: &str) -> String {
        let line = self.fetch(name).unwrap_err().to_string();
        assert!(line.lines().count() == 1 && !line.contains("hf_secret"), "{line}");
        line
    }

    fn offline(&self, name: &str, part: Part) -> Result<PathBuf> {
        self.fetch_with(Settings { offline: true, ..self.settings() }, name, part)
    }

    fn cached(&self, path: &str) -> PathBuf {
        self.folder.path().join("hub/models--a--b").join(path)
    }

    fn incomplete(&self, repository: &Repository, path: &str) -> PathBuf {
        self.cached(&format!("blobs/{}.incomplete", repository.etag(path)))
    }

    /// The paths in the snapshot.
    fn snapshot(&self) -> Vec<String> {
        names(&self.cached(&format!("snapshots/{}", server::COMMIT)))
    }
}

/// The names in a folder, which need not be there.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The SHA-256 of some bytes, as hubs write it.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that are not all the same.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * index / 7 % 251) as u8).collect()
}

/// A file of safetensors that has this many bytes.
fn safetensors(count: usize) -> Vec<u8> {
    let header = |data: usize| format!("{{\"x\":{{\"dtype\":\"U8\",\"shape\":[{data}],\"data_offsets\":[0,{data}]}}}}");
    let data = count - 8 - 100;
    let header = format!("{:100}", header(data));
    [&100u64.to_le_bytes()[..], header.as_bytes(), &bytes(data)].concat()
}

/// A model of two files.
fn small() -> Repository {
    let text = r#"{"model_type": "llama"}"#;
    Repository::new(&[
        ("config.json", text.as_bytes()),
        ("model.safetensors", &safetensors(300_000)),
        ("pytorch_model.bin", b"no"),
    ])
}

fn events(hub: &Hub, name: &str) -> Vec<String> {
    let mut said = Vec::new();
    hub.fetch(&Name::parse(name).unwrap().unwrap(), Part::Everything, &mut |event: Event| said.push(format!("{event:?}")))
        .unwrap();
    said
}
