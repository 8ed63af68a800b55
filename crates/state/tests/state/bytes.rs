//! Bytes: as declared, to the byte, and by known figures; what forks share.

use crate::cases::{any_rows, every_storage, for_random_cases, pick};
use attendant_core::Random;
use attendant_core::kernels::attention::{Cells, Run};
use attendant_state::{Dtype, Growth, Paging, Plane, PlaneStore, Rings, SequenceState, StateLayout, Storage};

fn every_growth() -> StateLayout {
    StateLayout::new([
        Plane::new("k", 6, Growth::PerToken).heads(2),
        Plane::new("bias", 3, Growth::PerToken).exact(),
        Plane::new("blocks", 10, Growth::PerBlock { tokens: 16 }).heads(2),
        Plane::new("window", 9, Growth::Ring { window: 17, keep: 4 }).heads(3),
        Plane::new("state", 7, Growth::Constant),
        Plane::new("source", 4, Growth::PerSource),
    ])
}

/// Appends what `tokens` tokens and `source` source rows give, as one call does.
fn call(state: &mut SequenceState, random: &mut Random, tokens: usize, source: usize) {
    let position = state.position();
    for layer in 0..state.layers() {
        for index in 0..state.layer(layer).planes().len() {
            let store = state.layer_mut(layer).plane_mut(index);
            let Plane { width, growth, .. } = *store.plane();
            let count = match growth {
                Growth::PerToken | Growth::Ring { .. } => tokens,
                Growth::PerBlock { tokens: block } => (position + tokens) / block - position / block,
                Growth::PerSource => source,
                Growth::Constant => {
                    store.set_constant(&any_rows(random, 1, width));
                    continue;
                }
            };
            store.append(&any_rows(random, count, width));
        }
    }
    state.advance(tokens);
}

#[test]
fn declared_is_allocated_however_the_rows_come() {
    for storage in every_storage() {
        for_random_cases(4, |random| {
            let layouts = vec![every_growth(); 3];
            let mut state = SequenceState::new(&layouts, storage);
            let mut source = 0;
            for _ in 0..12 {
                let (tokens, rows) = (pick(random, &[1, 3, 17, 63, 65, 100]), pick(random, &[0, 1, 5]));
                call(&mut state, random, tokens, rows);
                source += rows;
                let declared: usize = layouts.iter().map(|layout| layout.bytes(state.position(), source, storage)).sum();
                assert_eq!((state.allocated_bytes(), state.declared_bytes()), (declared, declared), "{storage:?}");
            }
        });
    }
}

#[test]
fn reserved_room_is_declared_and_stays() {
    for storage in every_storage() {
        let mut random = Random::new(1, "reserve");
        let layouts = vec![every_growth(); 2];
        let mut state = SequenceState::new(&layouts, storage);
        state.reserve(1000);
        let reserved = state.allocated_bytes();
        assert_eq!(reserved, state.declared_bytes());
        let declared: usize = layouts.iter().map(|layout| layout.bytes(1000, 0, storage)).sum();
        if let Paging::Contiguous { .. } = storage.paging {
            assert_eq!(reserved, declared, "{storage:?}");
            call(&mut state, &mut random, 1000, 0);
            state.truncate(0).expect("everything is forgotten");
            assert_eq!(state.allocated_bytes(), reserved, "{storage:?}");
        } else {
            call(&mut state, &mut random, 1000, 0);
            assert_eq!(state.allocated_bytes(), declared, "{storage:?}");
            state.truncate(0).expect("everything is forgotten");
            assert_eq!(state.allocated_bytes(), layouts.iter().map(StateLayout::constant_bytes).sum::<usize>(), "{storage:?}");
        }
    }
}

#[test]
fn rows_with_room_for_them_are_not_moved() {
    let mut store = PlaneStore::new(Plane::new("k", 6, Growth::PerToken).heads(2), Storage::contiguous(4));
    store.reserve(100);
    store.append(&[1.0; 6]);
    let start = |store: &PlaneStore| match store.runs()[..] {
        [Run { rows, data: Cells::F32(values), .. }] => (rows, values.as_ptr()),
        _ => unreachable!("one run in f32"),
    };
    let (_, first) = start(&store);
    (1..100).for_each(|_| store.append(&[1.0; 6]));
    assert_eq!(start(&store), (100, first));
}

/// DeepSeek-V2-Lite keeps 512 + 64 values in each of 27 layers: 31,104 bytes a token in 16 bits. Llama-3-8B keeps keys and
/// values of 8 heads of 128 in each of 32 layers: 65,536 values.
#[test]
fn bytes_per_token_of_published_models() {
    let mla = StateLayout::new([Plane::new("latent", 512 + 64, Growth::PerToken)]);
    assert_eq!(27.0 * mla.bytes_per_token(Dtype::Bf16), 31_104.0);
    let gqa = StateLayout::new(["k", "v"].map(|name| Plane::new(name, 8 * 128, Growth::PerToken).heads(8)));
    assert_eq!(32.0 * gqa.bytes_per_token(Dtype::F32), 4.0 * 65_536.0);
    assert_eq!(32.0 * gqa.bytes_per_token(Dtype::Int8), 65_536.0 + 32.0 * 2.0 * 8.0 * 4.0);
    let blocks = StateLayout::new([Plane::new("blocks", 10, Growth::PerBlock { tokens: 16 })]);
    assert_eq!(blocks.bytes_per_token(Dtype::F16), 20.0 / 16.0);
}

#[test]
fn forks_share_pages_until_one_writes() {
    let mut random = Random::new(1, "forks");
    let layout = StateLayout::new([
        Plane::new("k", 6, Growth::PerToken).heads(2),
        Plane::new("window", 9, Growth::Ring { window: 64, keep: 0 }),
        Plane::new("state", 7, Growth::Constant),
    ]);
    let storage = Storage::paged(16);
    let mut prompt = SequenceState::new(&[layout], storage);
    call(&mut prompt, &mut random, 100, 0);
    let forks = [prompt.fork(), prompt.fork()];
    assert_eq!(SequenceState::allocated_together([&prompt, &forks[0], &forks[1]]), prompt.allocated_bytes());

    let [mut fork, other] = forks;
    call(&mut fork, &mut random, 1, 0);
    let copied = 4 * (16 * 6 + 16 * 9 + 7);
    assert_eq!(SequenceState::allocated_together([&prompt, &fork, &other]), prompt.allocated_bytes() + copied);
    assert_eq!(SequenceState::allocated_together([&fork]), fork.allocated_bytes());
}

#[test]
fn a_ring_that_keeps_all_is_a_plane_of_rows_per_token() {
    let plane = |growth| StateLayout::new([Plane::new("k", 6, growth)]);
    let (ring, rows) = (plane(Growth::Ring { window: 8, keep: 2 }), plane(Growth::PerToken));
    for storage in every_storage() {
        for tokens in [0, 1, 9, 10, 11, 100] {
            let all = ring.bytes(tokens, 0, storage.rings(Rings::KeepAll));
            assert_eq!(all, rows.bytes(tokens, 0, storage));
            assert_eq!(
                ring.bytes(tokens, 0, storage.rings(Rings::Overwrite)),
                ring.bytes(tokens.min(10), 0, storage.rings(Rings::Overwrite))
            );
        }
    }
}
