//! What a server can answer that must not be believed.

use crate::server::{Answer, Asked, COMMIT};
use crate::{Place, bytes, names, small};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A hub that is well but for some answers.
fn but(change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Place {
    let repository = small();
    Place::new(move |asked| change(asked, repository.answer(asked)))
}

fn listed(siblings: &str) -> Place {
    let text = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{siblings}]}}");
    Place::new(move |asked| if asked.path.starts_with("/api/") { Answer::new(200).body(text.clone()) } else { Answer::new(404) })
}

#[test]
fn names_that_leave_the_folder_are_refused_before_anything_is_fetched() {
    for path in ["../../x.gguf", "/x.gguf", "x\\\\y.gguf", "a:b.gguf", "con.gguf", "a//x.gguf", "x\\u0000.gguf", "x\\n.gguf"] {
        let place = listed(&format!("{{\"rfilename\": \"{path}\"}}"));
        let line = place.refusal("a/b");
        assert!(line.starts_with("a/b: file \"") && line.contains(": wanted a path"), "{line}");
        assert_eq!(place.server.asked().len(), 1, "{path}");
        assert!(!place.folder.path().join("hub").exists() && names(place.folder.path()).is_empty(), "{path}");
    }
}

#[test]
fn an_index_that_names_other_folders_is_refused() {
    let mut repository = small();
    repository.files.remove("model.safetensors");
    let index = r#"{"weight_map": {"x": "../model.safetensors"}}"#;
    repository.files.insert("model.safetensors.index.json".into(), index.into());
    let line = Place::of(repository).refusal("a/b");
    assert!(line.contains("wanted the name of a .safetensors file in the folder of the index"), "{line}");
}

#[test]
fn a_listing_has_a_length() {
    let place = Place::new(|_| Answer::new(200).body(vec![b' '; (16 << 20) + 1]));
    assert_eq!(place.refusal("a/b"), "a/b: wanted an answer of at most 16777216 bytes, got more");
}

#[test]
fn a_length_that_differs_from_what_was_announced_is_refused() {
    type Change = fn(&Asked, Answer) -> Answer;
    for (change, want) in [
        (
            (|asked, answer| {
                if asked.is("GET", "model.safetensors") { answer.body(bytes(300_001)) } else { answer }
            }) as Change,
            "got 300001 bytes, wanted 300000",
        ),
        (
            |asked, answer| if asked.is("GET", "model.safetensors") { answer.body(bytes(7)) } else { answer },
            "got 7 bytes, wanted 300000",
        ),
        (
            |asked, answer| if asked.is("HEAD", "model.safetensors") { answer.with("x-linked-size", 7) } else { answer },
            "got 7 bytes, wanted the 300000 that are listed",
        ),
        (
            |asked, answer| {
                let endless = Answer { headers: vec![("etag".into(), "x".into())], ..answer.clone() };
                if asked.is("GET", "model.safetensors") { Answer { body: bytes(300_001), ..endless } } else { answer }
            },
            "got more than the 300000 bytes that were announced",
        ),
    ] {
        let place = but(change);
        let line = place.refusal("a/b");
        assert!(line.starts_with("a/b: model.safetensors: ") && line.contains(want), "{line}");
        assert_eq!(place.snapshot(), ["config.json"]);
        assert!(!place.cached("refs").exists());
    }
}

#[test]
fn content_that_is_not_its_hash_is_dropped() {
    let place = but(
        |asked, answer| {
            if asked.is("GET", "model.safetensors") { Answer { body: vec![7; 300_000], ..answer } } else { answer }
        },
    );
    let line = place.refusal("a/b");
    assert!(line.ends_with("got other bytes than its SHA-256 says; nothing of it was kept"), "{line}");
    assert_eq!(place.snapshot(), ["config.json"]);
    assert_eq!(names(&place.cached("blobs")), [small().etag("config.json")]);
}

#[test]
fn what_a_file_is_must_be_said_plainly() {
    for (name, value, want) in [
        ("etag", "\"../../x\"", "etag: got \"../../x\", wanted letters and digits"),
        ("etag", "", "etag: got \"\", wanted letters and digits"),
        ("x-linked-etag", "0000", "got other bytes than its SHA-256 says"),
        ("x-repo-commit", "beef", "got commit \"beef\", wanted 0123456789abcdef"),
        ("x-linked-size", "1099511627777", "got 1099511627777 bytes, wanted the 300000 that are listed"),
    ] {
        let place = but(move |asked, answer| {
            let answer = if asked.is("HEAD", "model.safetensors") { answer.with(name, value) } else { answer };
            if asked.is("GET", "model.safetensors") { Answer { body: vec![7; 300_000], ..answer } } else { answer }
        });
        let line = place.refusal("a/b");
        assert!(line.starts_with("a/b: model.safetensors: ") && line.contains(want), "{line}");
    }
    let other = "0".repeat(64);
    let place =
        but(move |asked, answer| if asked.is("HEAD", "model.safetensors") { answer.with("etag", &other) } else { answer });
    assert!(place.refusal("a/b").contains("got SHA-256 0000"));
}

#[test]
fn redirections_end() {
    let place = Place::new(|asked| Answer::new(302).with("location", format!("{}x", asked.path)).with("content-length", 0));
    assert_eq!(place.refusal("a/b"), "a/b: led from one address to the next more than 10 times");
    for (location, want) in [("file:///etc/passwd", "led to \"file:///etc/passwd\""), ("gopher://x", "led to \"gopher://x\"")] {
        let place = Place::new(move |_| Answer::new(302).with("location", location).with("content-length", 0));
        assert!(place.refusal("a/b").contains(want));
    }
}

#[test]
fn each_status_says_what_to_do() {
    for (status, code, want, tries) in [
        (401, "", "the hub does not show it (HTTP 401); the token that was sent may not read it", 1),
        (401, "RepoNotFound", "the hub has no such model, or does not show it", 1),
        (403, "GatedRepo", "gated: accept its terms on its page at http://127.0.0.1", 1),
        (404, "RevisionNotFound", "the hub has no such revision", 1),
        (404, "", "the hub has no such model, or does not show it", 1),
        (418, "", "got HTTP 418", 1),
        (429, "", "too many requests (HTTP 429)", 3),
        (500, "", "the hub is not well (HTTP 500)", 3),
        (503, "", "the hub is not well (HTTP 503)", 3),
    ] {
        let place = Place::new(move |_| Answer::new(status).with("x-error-code", code).with("content-length", 0));
        let line = place.refusal("a/b");
        assert!(line.starts_with("a/b: ") && line.contains(want), "{status} {code}: {line}");
        assert_eq!(place.server.asked().len(), tries, "{status} {code}");
    }
    let place = but(|asked, answer| match asked.path.contains("/resolve/") {
        true => Answer::new(403).with("x-error-code", "GatedRepo").with("content-length", 0),
        false => answer,
    });
    assert!(place.refusal("a/b").starts_with("a/b: config.json: gated: accept its terms"));
}

#[test]
fn a_server_that_asks_for_patience_gets_some() {
    let count = AtomicUsize::new(0);
    let place = but(move |asked, answer| match asked.path.starts_with("/api/") && count.fetch_add(1, Ordering::Relaxed) == 0 {
        true => Answer::new(429).with("retry-after", 1).with("content-length", 0),
        false => answer,
    });
    let start = Instant::now();
    place.fetch("a/b").unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let place = Place::new(|_| Answer::new(429).with("retry-after", 86_400).with("content-length", 0));
    assert_eq!(place.refusal("a/b"), "a/b: too many requests (HTTP 429); it asks to come back in 86400 s");
    assert_eq!(place.server.asked().len(), 1);
}
