//! What goes well.

use crate::server::{COMMIT, Repository, Server};
use crate::{Place, bytes, events, names, small};
use attendant_hub::{Hub, Part, Settings};
use std::fs;
use std::sync::Arc;

#[test]
fn a_model_lies_in_the_cache_as_everyone_expects_it() {
    let repository = small();
    let place = Place::of(repository.clone());
    let folder = place.fetch("a/b").unwrap();
    assert_eq!(folder, place.cached(&format!("snapshots/{COMMIT}")));
    assert_eq!(place.snapshot(), ["config.json", "model.safetensors"]);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), repository.files["model.safetensors"]);
    assert_eq!(fs::read_to_string(place.cached("refs/main")).unwrap(), COMMIT);
    let mut blobs = ["config.json", "model.safetensors"].map(|path| repository.etag(path));
    blobs.sort();
    assert_eq!(names(&place.cached("blobs")), blobs);
    #[cfg(unix)]
    {
        let link = fs::read_link(folder.join("config.json")).unwrap();
        assert_eq!(link.to_str().unwrap(), format!("../../blobs/{}", repository.etag("config.json")));
    }
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let place = Place::of(small());
    place.fetch("a/b").unwrap();
    let before = place.server.asked().len();
    place.fetch("a/b").unwrap();
    let again: Vec<_> = place.server.asked()[before..].iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(again, ["/api/models/a/b/revision/main?blobs=true"]);
    // A commit does not change: nobody is asked.
    place.fetch(&format!("a/b@{COMMIT}")).unwrap();
    assert_eq!(place.server.asked().len(), before + 1);
}

#[test]
fn a_cache_that_was_copied_without_its_locks_is_a_cache() {
    let place = Place::of(small());
    place.fetch("a/b").unwrap();
    fs::remove_dir_all(place.folder.path().join("hub/.locks")).unwrap();
    fs::remove_dir_all(place.cached("refs")).unwrap();
    place.fetch("a/b").unwrap();
    assert_eq!(fs::read_to_string(place.cached("refs/main")).unwrap(), COMMIT);
}

#[test]
fn shards_are_those_of_the_index() {
    let index = r#"{"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}"#;
    let repository = Repository::new(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index.as_bytes()),
        ("model-1.safetensors", &bytes(10)),
        ("model-2.safetensors", &bytes(20)),
        ("model-3.safetensors", &bytes(30)),
        ("tokenizer.json", b"{}"),
        ("README.md", b"#"),
    ]);
    let place = Place::of(repository);
    place.fetch("a/b").unwrap();
    let want = ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "tokenizer.json"];
    assert_eq!(place.snapshot(), want);
    assert!(place.offline("a/b", Part::Everything).is_ok());
    fs::remove_file(place.cached(&format!("snapshots/{COMMIT}/model-2.safetensors"))).unwrap();
    let line = place.offline("a/b", Part::Everything).unwrap_err().to_string();
    assert!(line.starts_with("a/b: offline, and not whole in ") && line.contains("models--a--b"), "{line}");
}

#[test]
fn one_file_of_a_gguf_repository_is_chosen_by_its_name() {
    let repository = Repository::new(&[("q/b-Q4_0.gguf", &bytes(40)), ("q/b-Q8_0.gguf", &bytes(80))]);
    let place = Place::of(repository);
    assert!(place.refusal("a/b").contains("wanted one of them: a/b:FILE"));
    let path = place.fetch("a/b:q8_0").unwrap();
    assert!(path.ends_with(format!("snapshots/{COMMIT}/q/b-Q8_0.gguf")));
    assert_eq!(fs::read(&path).unwrap(), bytes(80));
    assert_eq!(place.offline("a/b:q/b-Q8_0.gguf", Part::Everything).unwrap(), path);
    assert!(place.offline("a/b:Q4_0", Part::Everything).is_err());
}

#[test]
fn all_parts_of_a_gguf_file_come_and_its_first_is_the_model() {
    let parts = ["q/b-Q8_0-00001-of-00002.gguf", "q/b-Q8_0-00002-of-00002.gguf"];
    let place = Place::of(Repository::new(&[(parts[0], &bytes(40)), (parts[1], &bytes(80))]));
    let path = place.fetch("a/b:q8_0").unwrap();
    assert!(path.ends_with(format!("snapshots/{COMMIT}/{}", parts[0])));
    let second = place.cached(&format!("snapshots/{COMMIT}/{}", parts[1]));
    assert_eq!(fs::read(&second).unwrap(), bytes(80));
    assert_eq!(place.offline("a/b", Part::Everything).unwrap(), path);
    fs::remove_file(second).unwrap();
    assert!(place.offline("a/b", Part::Everything).unwrap_err().to_string().contains("offline, and not whole in "));
    let place = Place::of(Repository::new(&[(parts[0], &bytes(40))]));
    assert!(place.refusal("a/b").contains("got no q/b-Q8_0-00002-of-00002.gguf, wanted it"));
}

#[test]
fn a_revision_is_asked_for_by_its_name() {
    let place = Place::of(small());
    place.fetch("a/b@refs/pr/1").unwrap();
    assert_eq!(place.server.asked()[0].path, "/api/models/a/b/revision/refs%2Fpr%2F1?blobs=true");
    assert_eq!(fs::read_to_string(place.cached("refs/refs/pr/1")).unwrap(), COMMIT);
    assert!(!place.cached("refs/main").exists());
    assert!(place.offline("a/b@refs/pr/1", Part::Everything).is_ok());
}

#[test]
fn offline_asks_nobody() {
    let place = Place::of(small());
    assert!(place.offline("a/b", Part::Everything).is_err());
    assert!(place.server.asked().is_empty());
    place.fetch("a/b").unwrap();
    let before = place.server.asked().len();
    assert_eq!(place.offline("a/b", Part::Everything).unwrap(), place.cached(&format!("snapshots/{COMMIT}")));
    assert_eq!(place.server.asked().len(), before);
}

#[test]
fn the_token_is_told_the_hub_and_nobody_that_it_leads_to() {
    let mut repository = small();
    let content = repository.clone();
    let other = Arc::new(Server::start(move |asked| {
        content.content(asked.path.trim_start_matches('/').trim_end_matches("?signed"), asked)
    }));
    repository.elsewhere = Some(other.address.clone());
    let place = Place::of(repository);
    place.fetch("a/b").unwrap();
    assert_eq!(other.count("GET", "model.safetensors?signed"), 1);
    assert!(other.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    let told = place.server.asked();
    assert!(told.iter().all(|asked| asked.headers.get("authorization").is_some_and(|value| value == "Bearer hf_secret")));
}

#[test]
fn a_hub_that_cannot_be_reached_leaves_the_cache() {
    let place = Place::of(small());
    place.fetch("a/b").unwrap();
    // Nobody listens where a listener has gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { endpoint: format!("http://{gone}"), ..place.settings() };
    let said = events(&Hub::new(settings.clone()).unwrap(), "a/b");
    assert!(said.len() == 1 && said[0].contains("Cached(") && said[0].contains("127.0.0.1"), "{said:?}");
    let line = place.fetch_with(settings, "a/other", Part::Everything).unwrap_err().to_string();
    assert!(line.starts_with("a/other: 127.0.0.1:"), "{line}");
}

#[test]
fn progress_ends_at_the_whole() {
    let place = Place::of(small());
    let said = events(&Hub::new(place.settings()).unwrap(), "a/b");
    let whole = 300_000 + small().files["config.json"].len();
    let last = format!("Fetching {{ file: \"model.safetensors\", done: {whole}, whole: {whole} }}");
    assert_eq!(said.last(), Some(&last), "{said:?}");
}
