//! Connections that break, and processes that end.

use crate::server::{Answer, Asked, COMMIT, Repository};
use crate::{Place, names, safetensors, small};
use attendant_hub::Part;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A hub whose answers to a request for the weights go through this, with how many there were before.
fn weights(change: impl Fn(usize, &Asked, Answer) -> Answer + Send + Sync + 'static) -> Place {
    let (repository, count) = (small(), AtomicUsize::new(0));
    Place::new(move |asked| {
        let answer = repository.answer(asked);
        if asked.is("GET", "model.safetensors") { change(count.fetch_add(1, Ordering::Relaxed), asked, answer) } else { answer }
    })
}

fn starts(place: &Place) -> Vec<usize> {
    let asked = place.server.asked();
    asked.iter().filter(|asked| asked.is("GET", "model.safetensors")).map(Asked::start).collect()
}

fn is_whole(place: &Place) -> bool {
    fs::read(place.cached(&format!("snapshots/{COMMIT}/model.safetensors"))).unwrap() == safetensors(300_000)
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let place = weights(|count, _, answer| Answer { cut: (count < 2).then_some(100_000), ..answer });
    place.fetch("a/b").unwrap();
    assert_eq!(starts(&place), [0, 100_000, 200_000]);
    assert!(is_whole(&place));
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let pause = Duration::from_secs(2);
    let place = weights(move |count, _, answer| Answer { stall: (count == 0).then_some((100_000, pause)), ..answer });
    place.fetch("a/b").unwrap();
    assert_eq!(starts(&place), [0, 100_000]);
    assert!(is_whole(&place));
}

#[test]
fn what_was_fetched_is_kept_for_the_next_attempt() {
    let broken = Arc::new(AtomicBool::new(true));
    let breaks = broken.clone();
    let place = weights(move |_, _, answer| Answer { cut: breaks.load(Ordering::Relaxed).then_some(1000), ..answer });
    let line = place.refusal("a/b");
    assert!(line.contains("a/b: model.safetensors: ") && line.contains("3000 of 300000 bytes are kept"), "{line}");
    let part = place.incomplete(&small(), "model.safetensors");
    assert_eq!(fs::read(&part).unwrap(), safetensors(300_000)[..3000]);
    assert!(place.offline("a/b", Part::Everything).is_err());
    broken.store(false, Ordering::Relaxed);
    place.fetch("a/b").unwrap();
    assert_eq!(starts(&place), [0, 1000, 2000, 3000]);
    assert!(is_whole(&place) && !part.exists());
}

#[test]
fn a_beginning_that_is_none_is_fetched_anew() {
    for begun in [vec![7; 1000], vec![7; 300_000], vec![7; 300_001]] {
        let place = weights(|_, _, answer| answer);
        let part = place.incomplete(&small(), "model.safetensors");
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, &begun).unwrap();
        place.fetch("a/b").unwrap();
        assert!(is_whole(&place) && !part.exists(), "{}", begun.len());
    }
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let repository = small();
    let place = weights(move |count, _, _| {
        let whole = Answer::new(200).body(repository.files["model.safetensors"].clone());
        Answer { cut: (count == 0).then_some(100_000), ..whole }
    });
    place.fetch("a/b").unwrap();
    assert_eq!(starts(&place), [0, 100_000]);
    assert!(is_whole(&place));
}

#[test]
fn a_range_of_something_else_is_refused() {
    let place = weights(|count, _, answer| match count {
        0 => Answer { cut: Some(100_000), ..answer },
        _ => answer.with("content-range", "bytes 0-299999/300000"),
    });
    let line = place.refusal("a/b");
    assert!(line.contains("got range \"bytes 0-299999/300000\", wanted bytes 100000 to 300000 of 300000"), "{line}");
}

#[test]
fn two_at_once_fetch_once() {
    let place = Arc::new(weights(|_, _, answer| Answer { stall: Some((1000, Duration::from_millis(100))), ..answer }));
    let threads: Vec<_> =
        (0..2).map(|_| place.clone()).map(|place| std::thread::spawn(move || place.fetch("a/b").unwrap())).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(starts(&place), [0]);
    assert!(is_whole(&place));
}

#[test]
fn a_blob_that_was_cut_off_is_fetched_anew() {
    let place = Place::of(small());
    place.fetch("a/b").unwrap();
    fs::write(place.cached(&format!("blobs/{}", small().etag("model.safetensors"))), b"cut off").unwrap();
    place.fetch("a/b").unwrap();
    assert!(is_whole(&place));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let place = Place::of(Repository::new(&[("x.gguf", b"x")]));
    fs::write(place.folder.path().join("hub"), b"a file").unwrap();
    let line = place.refusal("a/b");
    assert!(line.contains("hub") && line.contains("blobs") && names(place.folder.path()) == ["hub"], "{line}");
}
