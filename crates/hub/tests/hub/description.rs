//! What inspecting needs: configuration and headers, and not the weights.

use crate::server::{Answer, COMMIT, Repository};
use crate::{Place, names, safetensors, small};
use attendant_formats::gguf::Writer;
use attendant_formats::{Access, Dtype, Weights};
use attendant_hub::Part;
use std::fs;
use std::path::PathBuf;

const LARGE: usize = 5_000_000;

fn describe(place: &Place, name: &str) -> attendant_hub::Result<PathBuf> {
    place.fetch_with(place.settings(), name, Part::Description)
}

fn large() -> Repository {
    Repository::new(&[("config.json", b"{}"), ("model.safetensors", &safetensors(LARGE))])
}

#[test]
fn the_header_comes_without_the_weights_and_does_not_pass_for_them() {
    let place = Place::of(large());
    let folder = describe(&place, "a/b").unwrap();
    assert_eq!(folder, place.cached(&format!(".headers/{COMMIT}")));
    let weights = Weights::open(&folder, Access::Mapped).unwrap();
    assert_eq!(weights.get("x").unwrap().shape, [LARGE - 108]);
    let ranges: Vec<_> = place.server.asked().iter().filter_map(|asked| asked.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=0-65535"]);
    assert_eq!(place.snapshot(), ["config.json"]);
    assert_eq!(names(&place.cached("blobs")), [large().etag("config.json")]);
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let file = fs::metadata(folder.join("model.safetensors")).unwrap();
        assert!(file.len() == LARGE as u64 && file.blocks() * 512 < LARGE as u64 / 2, "{} blocks", file.blocks());
    }
    assert!(place.offline("a/b", Part::Everything).is_err());
    assert_eq!(place.offline("a/b", Part::Description).unwrap(), folder);
    let before = place.server.asked().len();
    assert_eq!(describe(&place, "a/b").unwrap(), folder);
    assert_eq!(place.server.asked().len(), before + 1);
}

#[test]
fn the_header_of_every_part_of_a_gguf_file_comes() {
    let part = |number: u16, name: &str| {
        let said = Writer::new().entry("split.no", 2, &number.to_le_bytes()).entry("split.count", 2, &[2, 0]);
        said.tensor(name, Dtype::I8, &[LARGE], &vec![1; LARGE]).finish()
    };
    let files = [("b-00001-of-00002.gguf", &part(0, "x")[..]), ("b-00002-of-00002.gguf", &part(1, "y"))];
    let place = Place::of(Repository::new(&files));
    let path = describe(&place, "a/b").unwrap();
    assert_eq!(path, place.cached(&format!(".headers/{COMMIT}/{}", files[0].0)));
    let weights = Weights::open(&path, Access::Mapped).unwrap();
    assert_eq!((weights.get("x").unwrap().shape, weights.get("y").unwrap().shape), (&[LARGE][..], &[LARGE][..]));
    let ranges: Vec<_> = place.server.asked().iter().filter_map(|asked| asked.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=0-65535"; 2]);
}

#[test]
fn whole_weights_are_their_own_description() {
    let place = Place::of(large());
    let folder = place.fetch("a/b").unwrap();
    assert_eq!(describe(&place, "a/b").unwrap(), folder);
    assert_eq!(place.offline("a/b", Part::Description).unwrap(), folder);
    assert!(!place.cached(".headers").exists());
}

#[test]
fn a_long_header_comes_in_steps() {
    let data = LARGE - 8 - 2_000_000;
    let header = format!("{{\"x\":{{\"dtype\":\"U8\",\"shape\":[{data}],\"data_offsets\":[0,{data}]}}}}");
    let file =
        [&2_000_000u64.to_le_bytes()[..], header.as_bytes(), &vec![b' '; 2_000_000 - header.len()], &vec![0; data]].concat();
    let place = Place::of(Repository::new(&[("config.json", b"{}"), ("model.safetensors", &file)]));
    let folder = describe(&place, "a/b").unwrap();
    assert!(Weights::open(&folder, Access::Mapped).is_ok());
    let ranges: Vec<_> = place.server.asked().iter().filter_map(|asked| asked.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=0-65535", "bytes=65536-1048575", "bytes=1048576-"]);
}

#[test]
fn a_server_without_ranges_is_read_up_to_the_header() {
    let repository = large();
    let place = Place::new(move |asked| match asked.is("GET", "model.safetensors") {
        true => Answer::new(200).body(repository.files["model.safetensors"].clone()),
        false => repository.answer(asked),
    });
    assert!(Weights::open(&describe(&place, "a/b").unwrap(), Access::Mapped).is_ok());
}

#[test]
fn a_header_that_is_none_is_refused() {
    let want_object = "header, byte 8: wanted it to begin with \"{\"";
    for (content, want) in [(vec![0xff; 1000], "header length, byte 0: wanted at most"), (vec![0; LARGE], want_object)] {
        let place = Place::of(Repository::new(&[("config.json", b"{}"), ("model.safetensors", &content)]));
        let line = describe(&place, "a/b").unwrap_err().to_string();
        assert!(line.starts_with(&format!("a/b: model.safetensors: {want}")), "{line}");
        assert!(names(&place.cached(".headers").join(COMMIT)).is_empty());
    }
}

#[test]
fn a_newer_description_does_not_hide_the_weights_that_are_there() {
    let place = Place::of(small());
    let newer = "f".repeat(40);
    let before = place.cached(&format!("snapshots/{newer}"));
    fs::create_dir_all(&before).unwrap();
    fs::create_dir_all(place.cached("refs")).unwrap();
    fs::write(place.cached("refs/main"), &newer).unwrap();
    for (path, content) in &small().files {
        fs::write(before.join(path), content).unwrap();
    }
    assert_eq!(describe(&place, "a/b").unwrap(), place.cached(&format!(".headers/{COMMIT}")));
    assert_eq!(place.offline("a/b", Part::Everything).unwrap(), before);
    place.fetch("a/b").unwrap();
    assert_eq!(place.offline("a/b", Part::Everything).unwrap(), place.cached(&format!("snapshots/{COMMIT}")));
}

#[test]
fn a_configuration_alone_is_a_description_where_there_is_no_more() {
    let place = Place::of(Repository::new(&[("config.json", b"{}"), ("pytorch_model.bin", b"no")]));
    let config = place.cached(&format!("snapshots/{COMMIT}/config.json"));
    assert_eq!(describe(&place, "a/b").unwrap(), config);
    assert!(place.refusal("a/b").contains("got weights as Python objects"));
    // One that has more is asked for more, even at a commit.
    let place = Place::of(large());
    fs::create_dir_all(place.cached(&format!("snapshots/{COMMIT}"))).unwrap();
    fs::write(place.cached(&format!("snapshots/{COMMIT}/config.json")), b"{}").unwrap();
    let name = format!("a/b@{COMMIT}");
    assert!(place.offline(&name, Part::Description).unwrap().ends_with("config.json"));
    assert_eq!(describe(&place, &name).unwrap(), place.cached(&format!(".headers/{COMMIT}")));
}
