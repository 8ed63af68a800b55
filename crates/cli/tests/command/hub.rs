//! MODEL as a name: fetched from a hub on this machine, then read without it.

#[path = "../../../hub/tests/hub/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the crate")]
mod server;

use crate::{Place, code, error, newest};
use server::{Repository, Server};
use sha2::{Digest, Sha256};
use std::fs;
use std::process::{Command, Output};

/// The SHA-256 of some bytes, as hubs write it.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hub with the model `a/b`, trained for a moment.
fn hub(place: &Place) -> Server {
    place.good("train --config run.toml --out run");
    let folder = newest(&place.path("run"));
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
    });
    let repository = Repository { files: files.collect(), ..Repository::default() };
    Server::start(move |asked| repository.answer(asked))
}

fn command(place: &Place, words: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = place.command(words);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.env("HF_HOME", place.path("home")).env_remove("HF_HUB_OFFLINE").envs(variables.iter().copied());
    command
}

fn run(place: &Place, words: &str, variables: &[(&str, &str)]) -> Output {
    command(place, words, variables).output().unwrap()
}

#[test]
fn a_name_is_fetched_and_then_needs_no_hub() {
    let place = Place::new();
    let server = hub(&place);
    let (online, offline) = ([("HF_ENDPOINT", &*server.address)], [("HF_HUB_OFFLINE", "1")]);
    let output = run(&place, "inspect a/b --json", &online);
    assert_eq!(code(&output), 0, "{}", error(&output));
    let (words, file) = ("generate a/b -p 1 --max-new 4 --temperature 0", "generate run -p 1 --max-new 4 --temperature 0");
    let output = run(&place, words, &offline);
    assert_eq!(code(&output), 2, "{}", error(&output));
    assert!(error(&output).starts_with("attendant: a/b: offline, and not whole in "), "{}", error(&output));
    let output = run(&place, words, &online);
    assert_eq!(code(&output), 0, "{}", error(&output));
    assert!(error(&output).contains("MB are in the cache now"), "{}", error(&output));
    assert_eq!(output.stdout, place.good(file).into_bytes());
    let asked = server.asked().len();
    let again = run(&place, words, &offline);
    assert_eq!((code(&again), again.stdout, server.asked().len()), (0, output.stdout, asked));
    // A folder of this name comes first.
    fs::create_dir_all(place.path("a/b")).unwrap();
    assert!(error(&run(&place, words, &online)).contains("a/b: got no checkpoint there"));
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn what_cannot_be_fetched_is_one_line() {
    let place = Place::new();
    let server = Server::start(|_| server::Answer::new(404).with("content-length", 0));
    let gone = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for (words, endpoint, want, line) in [
        ("inspect a/b", &server.address, 2, "a/b: the hub has no such model, or does not show it; set HF_TOKEN if it is private"),
        ("logits a/b --ids x --out y", &gone, 1, "a/b: 127.0.0.1"),
        ("eval a/b@../x --text text.txt", &gone, 2, "a/b@../x: revision \"../x\": wanted a branch, a tag or a commit"),
        ("chat a/b:../x.gguf", &gone, 2, "a/b:../x.gguf: file \"../x.gguf\": wanted a path below the repository"),
        ("inspect a/b", &"hub".to_owned(), 2, "HF_ENDPOINT: got \"hub\", wanted http:// or https:// and a host"),
        ("inspect ./a/b", &gone, 2, "./a/b"),
        ("inspect a/b.gguf", &gone, 2, "a/b.gguf"),
    ] {
        let output = run(&place, words, &[("HF_ENDPOINT", endpoint)]);
        let said = error(&output);
        assert_eq!((code(&output), said.lines().count()), (want, 1), "{words}: {said}");
        assert!(said.starts_with(&format!("attendant: {line}")), "{words}: {said}");
    }
    assert!(!place.path("home").exists());
}

#[test]
fn a_full_disk_keeps_what_was_fetched() {
    let place = Place::new();
    let server = hub(&place);
    let pages = |name| fs::metadata(newest(&place.path("run")).join(name)).unwrap().len().div_ceil(4096);
    // The page more is that of the revision's name.
    let room = pages("config.json") + pages("tokenizer.json") + 1 + pages("model.safetensors") / 2;
    // A mount of its own name space: it needs no rights and is gone with the process. The filler leaves room for half of the weights.
    let script = format!(
        "mkdir home && mount -t tmpfs -o size=1200k none home || exit 77; head -c {}k /dev/zero > home/filler\n\
         \"$0\" generate a/b -p 1; echo \"exit $?\"; ls home/hub/models--a--b/snapshots/*; ls -l home/hub/models--a--b/blobs | grep -c incomplete\n\
         rm home/filler; \"$0\" generate a/b -p 1 --max-new 2 > text; echo \"exit $?\"",
        1200 - 4 * room
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_attendant")])
        .current_dir(place.folder.path())
        .envs([("HF_HOME", "home"), ("HF_ENDPOINT", &server.address), ("HF_HUB_OFFLINE", "0"), ("NO_PROXY", "127.0.0.1")])
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && !error(&output).contains("unshare") => output,
        other => return println!("skipped: no tiny disk here: {other:?}"),
    };
    let (said, talk) = (String::from_utf8_lossy(&output.stdout), error(&output));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.first(), lines.last()), (Some(&"exit 1"), Some(&"exit 0")), "{said}{talk}");
    assert!(!lines.contains(&"model.safetensors") && lines.contains(&"1"), "{said}{talk}");
    assert!(talk.lines().next().is_some_and(|line| line.contains("No space left on device")), "{talk}");
}
