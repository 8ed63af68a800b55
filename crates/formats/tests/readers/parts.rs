//! Models in several GGUF files that must be refused, and some that must be read.

use crate::alone;
use crate::hostile::Case;
use attendant_formats::gguf::Writer;
use attendant_formats::{Access, Dtype, Metadata, Weights};
use std::fs;

const FIRST: &str = "m-00001-of-00003.gguf";
const SECOND: &str = "m-00002-of-00003.gguf";
const THIRD: &str = "m-00003-of-00003.gguf";

/// A part that says this of itself, with tensors of these names.
fn saying(number: u16, count: u16, tensors: i32, names: &[&str]) -> Vec<u8> {
    let said = Writer::new().entry("split.no", 2, &number.to_le_bytes()).entry("split.count", 2, &count.to_le_bytes()).entry(
        "split.tensors.count",
        5,
        &tensors.to_le_bytes(),
    );
    names.iter().fold(said, |file, name| file.tensor(name, Dtype::F32, &[1], &[number as u8; 4])).finish()
}

/// The part of this number, from 0, of a model of three.
fn part(number: u16, names: &[&str]) -> Vec<u8> {
    saying(number, 3, 3, names)
}

pub(crate) fn table() -> Vec<Case> {
    let case = |name, parts: [Vec<u8>; 3], says| Case {
        name,
        files: [FIRST, SECOND, THIRD].into_iter().zip(parts).collect(),
        open: FIRST,
        says,
    };
    let opened = |name, open, files, says| Case { name, files, open, says };
    let good = || [part(0, &["a"]), part(1, &["b"]), part(2, &["c"])];
    let [first, second, third] = good();
    let no_number = Writer::new().entry("split.count", 2, &[3, 0]).tensor("b", Dtype::F32, &[1], &[0; 4]).finish();
    vec![
        opened(
            "a part of a model is absent",
            FIRST,
            vec![(FIRST, first.clone()), (SECOND, second.clone())],
            &["m-00003-of-00003.gguf: No such file"],
        ),
        opened(
            "a part that is not the first",
            SECOND,
            [FIRST, SECOND, THIRD].into_iter().zip(good()).collect(),
            &["m-00002-of-00003.gguf: split.no: wanted the first part, m-00001-of-00003.gguf, got part 2 of 3"],
        ),
        opened(
            "a first part under the name of the second",
            SECOND,
            vec![(SECOND, first.clone())],
            &["split.no: wanted the first part, m-00001-of-00003.gguf"],
        ),
        opened(
            "a part under the name of no part",
            "model.gguf",
            vec![("model.gguf", first.clone())],
            &["split.count: 3 parts, wanted NAME-00001-of-00003.gguf for the first, got \"model.gguf\""],
        ),
        opened(
            "a part whose name says another count",
            "m-00001-of-00002.gguf",
            vec![("m-00001-of-00002.gguf", first.clone())],
            &["split.count: 3 parts, wanted NAME-00001-of-00003.gguf for the first, got \"m-00001-of-00002.gguf\""],
        ),
        opened("folder of a part that is not the first", "", vec![(SECOND, second.clone())], &["or a .gguf file, got none"]),
        case(
            "second part under the name of the first",
            [second.clone(), second.clone(), third.clone()],
            &["m-00001-of-00003.gguf: split.no: wanted 0, which the name of the file says, got 1"],
        ),
        case(
            "parts exchanged",
            [first.clone(), third.clone(), second.clone()],
            &["m-00002-of-00003.gguf: split.no: wanted 1, which the name of the file says, got 2"],
        ),
        case(
            "part without a number",
            [first.clone(), no_number, third.clone()],
            &["m-00002-of-00003.gguf: split.no: wanted 1, which the name of the file says, got none"],
        ),
        case(
            "part of another count",
            [first.clone(), second.clone(), saying(2, 4, 3, &["c"])],
            &["m-00003-of-00003.gguf: split.count: wanted 3, which the first part says, got 4"],
        ),
        case(
            "part that says it is whole",
            [first.clone(), Writer::new().tensor("b", Dtype::F32, &[1], &[0; 4]).finish(), third.clone()],
            &["m-00002-of-00003.gguf: split.count: missing, wanted what the first part says"],
        ),
        case(
            "tensor in two parts",
            [first.clone(), second.clone(), part(2, &["a"])],
            &["m-00003-of-00003.gguf: tensor \"a\": wanted a name of its own, got one that an earlier part has"],
        ),
        case(
            "parts with a tensor less than the first says",
            [first.clone(), part(1, &[]), third.clone()],
            &["m-00001-of-00003.gguf: split.tensors.count: wanted the 2 that the parts have, got 3"],
        ),
        case(
            "part that is no GGUF file",
            [first.clone(), b"PK\x03\x04 and more".to_vec(), third.clone()],
            &["m-00002-of-00003.gguf: magic, byte 0: wanted \"GGUF\""],
        ),
        case("part that is cut off", [first.clone(), second[..40].to_vec(), third.clone()], &["m-00002-of-00003.gguf: "]),
        Case::file(
            FIRST,
            "more parts than a model may have",
            saying(0, 1025, 3, &["a"]),
            &["split.count: wanted at most 1024 parts, got 1025"],
        ),
        Case::file(
            FIRST,
            "count of parts that is text",
            Writer::new().string("split.count", "3").finish(),
            &["split.count: wanted a whole number, got \"3\""],
        ),
        Case::file(
            FIRST,
            "count of parts below 0",
            Writer::new().entry("split.count", 5, &(-3i32).to_le_bytes()).finish(),
            &["split.count: wanted a whole number, got -3"],
        ),
        // Each fits the memory for one file.
        case(
            "parts that take more memory than a whole file may",
            [0, 1, 2].map(crowded),
            &["-of-00003.gguf: ", "fit the memory allowed for"],
        ),
    ]
}

/// A part with 30,000 tensors, whose names are 400 bytes long.
fn crowded(number: u16) -> Vec<u8> {
    let names: Vec<String> = (0..30_000).map(|index| format!("{number}.{index}.{}", "n".repeat(400))).collect();
    let said = Writer::new().entry("split.no", 2, &number.to_le_bytes()).entry("split.count", 2, &3u16.to_le_bytes());
    names.iter().fold(said, |file, name| file.tensor(name, Dtype::I8, &[1], &[0])).finish()
}

#[test]
fn parts_are_one_model_by_the_first_of_them_or_their_folder() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let first = Writer::new().string("general.name", "m").entry("split.no", 2, &[0, 0]).entry("split.count", 2, &[3, 0]);
    for (name, bytes) in [
        (FIRST, first.finish()),
        (SECOND, part(1, &["b", "a"])),
        (THIRD, part(2, &["c"])),
        // Another model, and a name that the others do not have.
        ("m-00001-of-00002.txt", b"?".to_vec()),
        ("m-00004-of-00003.txt", b"?".to_vec()),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    for path in [folder.path().join(FIRST), folder.path().to_owned()] {
        for access in [Access::Mapped, Access::Copied] {
            let weights = Weights::open(&path, access).unwrap();
            let Metadata::Gguf(metadata) = weights.metadata() else { panic!("metadata of a GGUF file") };
            assert!(metadata.contains_key("general.name"));
            assert_eq!(weights.iter().map(|tensor| tensor.name).collect::<Vec<_>>(), ["a", "b", "c"]);
            assert_eq!((weights.require("a").unwrap().bytes, weights.require("c").unwrap().bytes), (&[1; 4][..], &[2; 4][..]));
            weights.release("b");
            weights.release_part("b", 1..9);
            assert_eq!(weights.get("b").unwrap().bytes, [1; 4]);
            assert!(weights.get("d").is_none());
            assert_eq!(weights.files().count(), 3);
            assert!(weights.path().ends_with(FIRST));
        }
    }
    let alone = Weights::open_alone(&folder.path().join(SECOND), Access::Mapped).unwrap();
    assert_eq!(alone.len(), 2);
}

#[test]
fn a_model_of_one_part_is_a_whole_file() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for name in ["m-00001-of-00001.gguf", "any.gguf"] {
        fs::write(folder.path().join(name), saying(0, 1, 1, &["a"])).unwrap();
        assert_eq!(Weights::open(&folder.path().join(name), Access::Mapped).unwrap().len(), 1);
    }
}
