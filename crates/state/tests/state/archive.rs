//! Files: damaged, cut off, foreign.

use crate::cases::{RINGS, any_layouts, every_storage, for_random_cases, pick};
use crate::model::Model;
use attendant_core::Random;
use attendant_state::{ArchiveError, Dtype, Growth, Plane, SequenceState, StateLayout, Storage};
use std::io::{self, Read};

/// Bytes before the first plane: magic, version, type, rings, fingerprint, position.
const HEADER: usize = 8 + 3 * 4 + 2 * 8;

fn written(state: &SequenceState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write(&mut bytes).expect("a vector takes everything");
    bytes
}

fn sequence(layouts: &[StateLayout], storage: Storage, random: &mut Random) -> (SequenceState, Model) {
    let (mut state, mut model) = (SequenceState::new(layouts, storage), Model::new(layouts, storage));
    for _ in 0..3 {
        let tokens = pick(random, &[1, 3, 17, 65]);
        model.append(&mut state, random, tokens);
        model.advance(&mut state, tokens);
    }
    (state, model)
}

fn small(storage: Storage) -> (Vec<StateLayout>, SequenceState) {
    let layouts = vec![StateLayout::new([
        Plane::new("k", 2, Growth::PerToken).heads(2),
        Plane::new("window", 1, Growth::Ring { window: 2, keep: 1 }),
        Plane::new("state", 3, Growth::Constant),
    ])];
    let mut state = SequenceState::new(&layouts, storage);
    state.layer_mut(0).plane_mut(0).append(&[1.0; 10]);
    state.layer_mut(0).plane_mut(1).append(&[2.0; 5]);
    state.layer_mut(0).plane_mut(2).set_constant(&[3.0; 3]);
    state.advance(5);
    (layouts, state)
}

/// The checksum of the format, by its description.
fn sign(bytes: &mut [u8]) {
    let (body, checksum) = bytes.split_at_mut(bytes.len() - 8);
    let mut hash = 14_695_981_039_346_656_037u64;
    for byte in body {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    checksum.copy_from_slice(&hash.to_le_bytes());
}

fn damage(result: Result<SequenceState, ArchiveError>) -> (String, u64) {
    match result {
        Err(ArchiveError::Damaged { field, at, .. }) => (field, at),
        other => panic!("wanted damage, got {other:?}"),
    }
}

#[test]
fn bytes_do_not_depend_on_pages() {
    for_random_cases(20, |random| {
        let layouts = any_layouts(random);
        let seed = random.bits();
        for rings in RINGS {
            let of = |storage: Storage| written(&sequence(&layouts, storage.rings(rings), &mut Random::new(seed, "rows")).0);
            assert_eq!(of(Storage::contiguous(3)), of(Storage::paged(5)));
        }
    });
}

#[test]
fn a_signed_file_is_read_and_nothing_after_it() {
    let (layouts, state) = small(Storage::contiguous(1));
    let mut bytes = written(&state);
    let before = bytes.clone();
    sign(&mut bytes);
    assert_eq!(bytes, before, "the tests sign as the product does");
    bytes.extend([7; 5]);
    let mut from = &bytes[..];
    SequenceState::read(&mut from, &layouts, state.storage()).expect("what was written is read");
    assert_eq!(from, [7; 5]);
}

#[test]
fn every_changed_byte_is_noticed() {
    for storage in [Storage::contiguous(1), Storage::paged(2).dtype(Dtype::Int8)] {
        let (layouts, state) = small(storage);
        let bytes = written(&state);
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                let (field, _) = damage(SequenceState::read(&*bytes, &layouts, storage));
                let header = [(8, "magic"), (12, "version"), (16, "type"), (20, "rings"), (28, "fingerprint of the layouts")];
                if let Some((_, want)) = header.iter().find(|(end, _)| at < *end) {
                    assert_eq!(field, *want, "byte {at}");
                }
            }
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    let storage = Storage::paged(2);
    let (layouts, state) = small(storage);
    let bytes = written(&state);
    for end in 0..bytes.len() {
        let (field, at) = damage(SequenceState::read(&bytes[..end], &layouts, storage));
        assert!(at <= end as u64, "{field} at {at}, cut at {end}");
    }
    let cut = damage(SequenceState::read(&bytes[..HEADER + 8 + 3], &layouts, storage));
    assert_eq!(cut, ("layer 0, plane k".into(), HEADER as u64 + 8));
}

/// Whatever the bytes say, signed or not: an error or a state that works.
#[test]
fn random_damage_never_panics() {
    for_random_cases(400, |random| {
        let storage = pick(random, &every_storage().collect::<Vec<_>>());
        let layouts = any_layouts(random);
        let (state, _) = sequence(&layouts, storage, random);
        let mut bytes = written(&state);
        for _ in 0..1 + random.below(8) {
            let at = if random.below(2) == 0 { 28 + random.below(16) } else { random.below(bytes.len()) };
            bytes[at] = random.bits() as u8;
        }
        sign(&mut bytes);
        if let Ok(mut state) = SequenceState::read(&*bytes, &layouts, storage) {
            let planes = state.layer(0).planes().iter().chain(state.layer(1).planes());
            planes.for_each(|plane| plane.read(&mut Vec::new()));
            state.advance(1);
            state.truncate(0).expect("everything is forgotten");
            assert_eq!(state.allocated_bytes(), state.declared_bytes());
            written(&state);
        }
    });
}

/// A count of rows beyond what follows is an error, found without making room for them.
#[test]
fn counts_beyond_the_input_make_no_room() {
    let storage = Storage::contiguous(1);
    let (layouts, state) = small(storage);
    for (count, field) in [(1u64 << 47, "layer 0, plane k"), (u64::MAX, "layer 0, plane k, rows appended")] {
        let mut bytes = written(&state);
        bytes[28..36].copy_from_slice(&(1u64 << 48).to_le_bytes());
        bytes[36..44].copy_from_slice(&count.to_le_bytes());
        sign(&mut bytes);
        assert_eq!(damage(SequenceState::read(&*bytes, &layouts, storage)).0, field);
    }
    let mut bytes = written(&state);
    bytes[28..36].copy_from_slice(&u64::MAX.to_le_bytes());
    sign(&mut bytes);
    assert_eq!(damage(SequenceState::read(&*bytes, &layouts, storage)), ("position".into(), 28));
}

#[test]
fn files_of_other_models_and_storages_are_named() {
    let storage = Storage::contiguous(1);
    let (layouts, state) = small(storage);
    let bytes = written(&state);
    let message =
        |layouts: &[StateLayout], storage| SequenceState::read(&*bytes, layouts, storage).expect_err("foreign").to_string();
    assert_eq!(message(&layouts, storage.dtype(Dtype::Int8)), "type at byte 12: wanted Int8, got F32");
    assert_eq!(
        message(&layouts, storage.rings(attendant_state::Rings::KeepAll)),
        "rings at byte 16: wanted KeepAll, got Overwrite"
    );
    for other in [
        Plane::new("k", 2, Growth::PerToken),
        Plane::new("v", 2, Growth::PerToken).heads(2),
        Plane::new("k", 4, Growth::PerToken).heads(2),
        Plane::new("k", 2, Growth::PerSource).heads(2),
        Plane::new("k", 2, Growth::PerToken).heads(2).exact(),
    ] {
        let mut planes = layouts[0].planes().to_vec();
        planes[0] = other;
        let message = message(&[StateLayout::new(planes)], storage);
        assert!(message.starts_with("fingerprint of the layouts at byte 20: wanted "), "{message}");
    }
    let text = SequenceState::read(&b"GGUF is another format, and this is longer than a header"[..], &layouts, storage);
    assert_eq!(text.expect_err("foreign").to_string(), "magic at byte 0: wanted \"ATTSTATE\", got \"GGUF is \"");
}

#[test]
fn a_call_that_is_not_complete_is_not_written() {
    let (_, mut state) = small(Storage::contiguous(1));
    state.layer_mut(0).plane_mut(2).set_constant(&[4.0; 3]);
    let why = state.write(io::sink()).expect_err("the constant is ahead").to_string();
    assert_eq!(why, "plane state of layer 0 is ahead of position 5: a call is not complete");
    state.advance(0);
    state.layer_mut(0).plane_mut(1).append(&[2.0]);
    let why = state.write(io::sink()).expect_err("the ring is ahead").to_string();
    assert_eq!(why, "plane window of layer 0 is ahead of position 5: a call is not complete");
    state.advance(1);
    state.write(io::sink()).expect("the call is complete");
}

/// Gives one byte at a time, then fails.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (first, rest) = self.0.split_first().ok_or_else(|| io::Error::other("the disk is gone"))?;
        (out[0], self.0) = (*first, rest);
        Ok(1)
    }
}

#[test]
fn a_reader_that_fails_is_not_called_damage() {
    let (layouts, state) = small(Storage::contiguous(1));
    let bytes = written(&state);
    SequenceState::read(Broken(&bytes), &layouts, state.storage()).expect("it fails only after the last byte");
    match SequenceState::read(Broken(&bytes[..60]), &layouts, state.storage()) {
        Err(ArchiveError::Io(why)) => assert_eq!(why.to_string(), "the disk is gone"),
        other => panic!("wanted the reader's error, got {other:?}"),
    }
}
