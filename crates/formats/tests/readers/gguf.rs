//! GGUF files that must be refused.

use crate::hostile::Case;
use attendant_formats::Dtype;
use attendant_formats::gguf::Writer;

type Row = (&'static str, Vec<u8>, &'static [&'static str]);

pub(crate) fn table() -> Vec<Case> {
    let rows = [framing(), keys(), values(), arrays(), descriptions(), shapes(), places()];
    let case = |(name, bytes, says)| Case::file("model.gguf", name, bytes, says);
    rows.into_iter().flatten().map(case).collect()
}

/// A file of these counts, and what follows them.
fn counts(tensors: u64, entries: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF", &3u32.to_le_bytes()[..], &tensors.to_le_bytes(), &entries.to_le_bytes(), rest].concat()
}

/// A text of a length that may be a lie.
fn text(length: u64, text: &str) -> Vec<u8> {
    [&length.to_le_bytes()[..], text.as_bytes()].concat()
}

/// A file of one entry with the key `k`: what follows the type of the value.
fn value(kind: u32, value: &[u8]) -> Vec<u8> {
    Writer::new().entry("k", kind, value).finish()
}

/// The same, ending with the value.
fn last_value(kind: u32, value: &[u8]) -> Vec<u8> {
    counts(0, 1, &[&text(1, "k")[..], &kind.to_le_bytes(), value].concat())
}

/// An array: type of its items, how many it says they are, and what follows.
fn array(kind: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
}

fn framing() -> Vec<Row> {
    let version = |version: u32| [&b"GGUF"[..], &version.to_le_bytes(), &[0; 16]].concat();
    vec![
        ("empty", Vec::new(), &["magic, byte 0: wanted 4 bytes, got the 0"]),
        ("half a magic", b"GG".to_vec(), &["magic, byte 0"]),
        ("magic only", b"GGUF".to_vec(), &["version, byte 4: wanted 4 bytes, got the 0"]),
        ("another magic", b"GGML\x01\0\0\0".to_vec(), &["magic, byte 0: wanted \"GGUF\", got \"GGML\""]),
        ("magic of control characters", b"\x1b[1m\x03\0\0\0".to_vec(), &["got \"\\x1b[1m\""]),
        ("half a version", b"GGUF\x03\0".to_vec(), &["version, byte 4: wanted 4 bytes, got the 2"]),
        ("version 0", version(0), &["version, byte 4: wanted 2 or 3, got 0"]),
        ("version 1", version(1), &["version, byte 4: wanted 2 or 3, got 1"]),
        ("version 4", version(4), &["version, byte 4: wanted 2 or 3, got 4"]),
        ("big-endian", version(3u32.swap_bytes()), &["version, byte 4: wanted a little-endian file, got version 3 big-endian"]),
        ("no counts", b"GGUF\x03\0\0\0".to_vec(), &["tensor count, byte 8: wanted 8 bytes"]),
        ("half the counts", [b"GGUF\x03\0\0\0", &[0; 12][..]].concat(), &["metadata count, byte 16: wanted 8 bytes"]),
        ("2^63 tensors", counts(1 << 63, 0, &[0; 64]), &["tensor count, byte 8: wanted at most 65536, got 9223372036854775808"]),
        ("65,537 tensors", counts(65_537, 0, &[0; 64]), &["tensor count, byte 8: wanted at most 65536, got 65537"]),
        (
            "more tensors than there is room for",
            counts(65_536, 0, &[0; 64]),
            &["tensor count, byte 8", "has room for, got 65536"],
        ),
        (
            "2^63 entries",
            counts(0, 1 << 63, &[0; 64]),
            &["metadata count, byte 16: wanted at most 4096, got 9223372036854775808"],
        ),
        ("2^64 - 1 entries", counts(0, u64::MAX, &[0; 64]), &["metadata count, byte 16"]),
        (
            "more entries than there is room for",
            counts(0, 4096, &[0; 64]),
            &["metadata count, byte 16", "has room for, got 4096"],
        ),
        ("one entry that is absent", counts(0, 1, b""), &["metadata count, byte 16: wanted at most the 0"]),
    ]
}

fn keys() -> Vec<Row> {
    let key = |key: Vec<u8>| counts(0, 1, &[key, vec![0; 64]].concat());
    let not_utf8 = [&3u64.to_le_bytes()[..], b"a\xffb"].concat();
    vec![
        ("key of 2^63 bytes", key(text(1 << 63, "k")), &["metadata[0].key, byte 24: wanted at most 65535"]),
        ("key of 2^64 - 8 bytes, which wraps to before it", key(text(u64::MAX - 7, "k")), &["metadata[0].key, byte 24"]),
        ("key past the end", key(text(1000, "k")), &["metadata[0].key, byte 24", "has room for, got 1000"]),
        (
            "key of 65,536 bytes",
            key(text(65_536, &"k".repeat(65_536))),
            &["metadata[0].key, byte 24: wanted at most 65535, got 65536"],
        ),
        ("key of nothing", key(text(0, "")), &["metadata[0].key, byte 24: wanted a key without control characters, got \"\""]),
        ("key with a line break", Writer::new().number("a\nb", 1).finish(), &["metadata[0].key, byte 24", "got \"a\\nb\""]),
        ("key that is no UTF-8", key(not_utf8), &["metadata[0].key, byte 33: wanted UTF-8, got the byte 0xff"]),
        (
            "key that occurs twice",
            Writer::new().number("k", 1).number("k", 2).finish(),
            &["metadata[1].key, byte 41", "\"k\", which occurs twice"],
        ),
    ]
}

fn values() -> Vec<Row> {
    vec![
        ("unknown type of value", value(13, &[0; 8]), &["metadata \"k\", byte 33: wanted a type of value up to 12, got 13"]),
        ("type of value 2^32 - 1", value(u32::MAX, &[0; 8]), &["metadata \"k\", byte 33", "got 4294967295"]),
        ("bool of 2", value(7, &[2]), &["metadata \"k\", byte 37: wanted 0 or 1 for a bool, got 2"]),
        ("number cut off", last_value(4, &[1, 2]), &["metadata \"k\", byte 37: wanted 4 bytes, got the 2"]),
        ("wide number cut off", last_value(12, &[0; 7]), &["metadata \"k\", byte 37: wanted 8 bytes, got the 7"]),
        ("string of 2^63 bytes", value(8, &text(1 << 63, "x")), &["metadata \"k\", byte 37: wanted at most 16777216"]),
        ("string of 2^64 - 1 bytes", value(8, &text(u64::MAX, "x")), &["metadata \"k\", byte 37"]),
        ("string past the end", value(8, &text(1000, "x")), &["metadata \"k\", byte 37", "has room for, got 1000"]),
        (
            "string above the cap",
            value(8, &text((16 << 20) + 1, &"x".repeat((16 << 20) + 1))),
            &["wanted at most 16777216, got 16777217"],
        ),
        (
            "string that is no UTF-8",
            value(8, &[2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0x28]),
            &["metadata \"k\", byte 45: wanted UTF-8, got the byte 0xc3"],
        ),
        (
            "string that is half a character",
            value(8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xc3]),
            &["metadata \"k\", byte 45: wanted UTF-8"],
        ),
        (
            "alignment 0",
            Writer::new().number("general.alignment", 0).finish(),
            &["general.alignment: wanted a power of two up to 1048576, got 0"],
        ),
        (
            "alignment 24",
            Writer::new().number("general.alignment", 24).finish(),
            &["general.alignment: wanted a power of two", "got 24"],
        ),
        (
            "alignment 2^31",
            Writer::new().number("general.alignment", 1 << 31).finish(),
            &["general.alignment: wanted a power of two", "got 2147483648"],
        ),
        (
            "alignment 2^63",
            Writer::new().entry("general.alignment", 10, &(1u64 << 63).to_le_bytes()).finish(),
            &["got 9223372036854775808"],
        ),
        (
            "alignment below 0",
            Writer::new().entry("general.alignment", 5, &(-32i32).to_le_bytes()).finish(),
            &["got -32, a signed number"],
        ),
        (
            "alignment that is text",
            Writer::new().string("general.alignment", "a\nb").finish(),
            &["general.alignment", "got \"a\\nb\""],
        ),
    ]
}

fn arrays() -> Vec<Row> {
    let deep = |depth: usize| [array(9, 1, b"").repeat(depth), array(0, 0, b"")].concat();
    let empties = array(9, 1_600_000, &array(0, 0, b"").repeat(1_600_000));
    let bytes = array(0, 3_200_000, &vec![0; 3_200_000]);
    let longest = [lacking_one(1_700_000, "abcdefghijkl"), text(u64::MAX, "")].concat();
    let emptiest = [lacking_one(3_140_000, ""), text(u64::MAX, "")].concat();
    let strings = |count: usize| array(8, count as u64, &[0; 8].repeat(count));
    vec![
        (
            "array of an unknown type",
            value(9, &array(13, 1, &[0; 8])),
            &["metadata \"k\", byte 37: wanted a type of value up to 12, got 13"],
        ),
        ("array of 2^63", value(9, &array(0, 1 << 63, &[0; 8])), &["metadata \"k\", byte 41", "got 9223372036854775808"]),
        (
            "array of 2^61 wide numbers, whose bytes wrap to 0",
            value(9, &array(10, 1 << 61, &[0; 8])),
            &["metadata \"k\", byte 41"],
        ),
        ("array past the end", value(9, &array(4, 1000, &[0; 8])), &["metadata \"k\", byte 41", "has room for, got 1000"]),
        ("array of 2^32 strings", value(9, &array(8, 1 << 32, &[0; 8])), &["metadata \"k\", byte 41: wanted at most 4294967295"]),
        (
            "array whose second string is past the end",
            value(9, &array(8, 2, &[text(1, "a"), text(1 << 62, "b")].concat())),
            &["metadata \"k\", byte 58"],
        ),
        ("array of bools of 7", value(9, &array(7, 2, &[1, 7])), &["metadata \"k\", byte 50: wanted 0 or 1 for a bool, got 7"]),
        ("array without a count", last_value(9, &[0; 4]), &["metadata \"k\", byte 41: wanted 8 bytes, got the 0"]),
        ("arrays 5 deep", value(9, &deep(4)), &["metadata \"k\", byte 85: wanted arrays at most 4 deep"]),
        ("arrays 3,000 deep", value(9, &deep(3000)), &["wanted arrays at most 4 deep"]),
        ("arrays 1,000,000 deep", value(9, &deep(1_000_000)), &["wanted arrays at most 4 deep"]),
        (
            "arrays of nothing that take many times their length",
            value(9, &empties),
            &["metadata \"k\"", "fit the memory allowed"],
        ),
        ("bytes that take many times their length", value(9, &bytes), &["metadata \"k\"", "fit the memory allowed"]),
        ("vocabulary that just fits, and a lie", value(9, &longest), &["metadata \"k\", byte 34000049"]),
        ("empty vocabulary that just fits, and a lie", value(9, &emptiest), &["metadata \"k\", byte"]),
        ("three million strings of nothing", value(9, &strings(3_200_000)), &["metadata \"k\"", "fit the memory allowed"]),
    ]
}

/// An array of so many strings and one more, which does not follow.
fn lacking_one(count: usize, each: &str) -> Vec<u8> {
    array(8, count as u64 + 1, &text(each.len() as u64, each).repeat(count))
}

/// A file of one tensor, described and without data.
fn tensor(name: &str, extents: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    Writer::new().description(name, extents, kind, offset).finish()
}

fn descriptions() -> Vec<Row> {
    let description = |bytes: &[&[u8]]| counts(1, 0, &[&bytes.concat()[..], &[0; 64]].concat());
    let twice = Writer::new().tensor("t", Dtype::F32, &[1], &[0; 4]).tensor("t", Dtype::F32, &[1], &[0; 4]);
    vec![
        ("name of 2^63 bytes", description(&[&text(1 << 63, "t")]), &["tensors[0].name, byte 24: wanted at most 1024"]),
        ("name past the end", description(&[&text(500, "t")]), &["tensors[0].name, byte 24", "has room for, got 500"]),
        (
            "name of 1,025 bytes",
            tensor(&"n".repeat(1025), &[1], 0, 0),
            &["tensors[0].name, byte 24: wanted at most 1024, got 1025"],
        ),
        ("name of nothing", description(&[&text(0, "")]), &["tensors[0].name, byte 24: wanted a name, got none"]),
        (
            "name that leaves the folder",
            tensor("../../etc/passwd", &[1], 0, 0),
            &["tensors[0].name, byte 24", "got \"../../etc/passwd\""],
        ),
        ("name with a line break", tensor("t\nattendant: fine", &[1], 0, 0), &["got \"t\\nattendant: fine\""]),
        ("name that colours the terminal", tensor("\u{1b}[31m", &[1], 0, 0), &["got \"\\u{1b}[31m\""]),
        ("name that is no UTF-8", description(&[&text(2, ""), b"\xff\xfe"]), &["tensors[0].name, byte 32: wanted UTF-8"]),
        ("name that occurs twice", twice.finish(), &["tensors[1].name, byte 57", "\"t\", which occurs twice"]),
        (
            "description cut off at its type",
            counts(1, 0, &[&text(1, "t")[..], &1u32.to_le_bytes(), &1u64.to_le_bytes(), &[0; 3]].concat()),
            &["tensor \"t\": type, byte 45: wanted 4 bytes, got the 3"],
        ),
        ("unknown type", tensor("t", &[1], 43, 0), &["tensor \"t\": type, byte 45: wanted a known type, got 43"]),
        ("type 2^32 - 1", tensor("t", &[1], u32::MAX, 0), &["tensor \"t\": type, byte 45", "got 4294967295"]),
        ("type withdrawn early", tensor("t", &[32], 4, 0), &["tensor \"t\": type, byte 45", "4, Q4_2, which GGUF has withdrawn"]),
        ("type withdrawn late", tensor("t", &[32], 31, 0), &["31, Q4_0_4_4, which GGUF has withdrawn"]),
    ]
}

fn shapes() -> Vec<Row> {
    vec![
        ("rank 9", tensor("t", &[1; 9], 0, 0), &["tensor \"t\": dimensions, byte 33: wanted at most 8, got 9"]),
        (
            "rank 2^32 - 1",
            counts(1, 0, &[&text(1, "t")[..], &[255; 4], &[0; 64]].concat()),
            &["dimensions, byte 33: wanted at most 8, got 4294967295"],
        ),
        ("extent 0", tensor("t", &[0], 0, 0), &["tensor \"t\": shape, byte 37: wanted no extent of 0, got [0]"]),
        ("extent 0 among others", tensor("t", &[32, 0, 4], 0, 0), &["wanted no extent of 0, got [4, 0, 32]"]),
        ("extent 2^63", tensor("t", &[1 << 63], 0, 0), &["tensor \"t\": shape, byte 37", "more elements than can be counted"]),
        ("product that wraps to 0", tensor("t", &[1 << 32, 1 << 32], 0, 0), &["more elements than can be counted"]),
        ("product that wraps to 2", tensor("t", &[6_148_914_691_236_517_206, 3], 0, 0), &["more elements than can be counted"]),
        (
            "product of four that wraps",
            tensor("t", &[1 << 16, 1 << 16, 1 << 16, 1 << 16], 0, 0),
            &["more elements than can be counted"],
        ),
        ("bytes that wrap to 0", tensor("t", &[1 << 62], 0, 0), &["tensor \"t\": shape, byte 37"]),
        (
            "rows of no whole blocks of 32",
            tensor("t", &[33], 2, 0),
            &["tensor \"t\": shape, byte 37: wanted rows of whole blocks of 32 elements for Q4_0, got [33]"],
        ),
        (
            "rows of no whole blocks of 256",
            tensor("t", &[576, 4], 12, 0),
            &["whole blocks of 256 elements for Q4_K, got [4, 576]"],
        ),
        (
            "rows that make whole blocks only together",
            tensor("t", &[16, 2], 8, 0),
            &["whole blocks of 32 elements for Q8_0, got [2, 16]"],
        ),
        (
            "terabytes in a file of 100 bytes",
            tensor("t", &[1 << 40], 0, 0),
            &["tensor \"t\": offset, byte", "wanted 4398046511104 bytes within"],
        ),
    ]
}

fn places() -> Vec<Row> {
    let data = |writer: Writer, bytes: usize| [writer.finish(), vec![0; bytes]].concat();
    let two =
        |first: u64, second: u64| data(Writer::new().description("a", &[16], 0, first).description("b", &[16], 0, second), 128);
    let mut short = Writer::new().tensor("t", Dtype::F32, &[16], &[0; 64]).finish();
    short.pop();
    vec![
        (
            "no data",
            tensor("t", &[4], 0, 0),
            &["tensor \"t\": offset, byte 49: wanted 16 bytes within the 0 bytes of data, got offset 0"],
        ),
        ("data cut off by a byte", short, &["tensor \"t\": offset, byte 49: wanted 64 bytes within the 63 bytes of data"]),
        (
            "offset past the end",
            data(Writer::new().description("t", &[4], 0, 64), 64),
            &["tensor \"t\": offset, byte 49", "got offset 64"],
        ),
        ("offset 2^63", data(Writer::new().description("t", &[4], 0, 1 << 63), 64), &["got offset 9223372036854775808"]),
        (
            "offset whose end wraps",
            data(Writer::new().description("t", &[8], 0, u64::MAX - 31), 64),
            &["got offset 18446744073709551584"],
        ),
        (
            "offset off the alignment",
            data(Writer::new().description("t", &[4], 0, 4), 64),
            &["tensor \"t\": offset, byte 49: wanted a multiple of 32, got 4"],
        ),
        ("tensors that overlap", two(0, 32), &["tensor \"b\", byte", "wanted tensors apart, got 32 bytes of \"a\""]),
        ("tensors in the same place", two(64, 64), &["wanted tensors apart, got 64 bytes of \"a\""]),
        ("tensors that overlap backwards", two(32, 0), &["wanted tensors apart, got 32 bytes of \"b\""]),
        (
            "descriptions cut off",
            counts(2, 0, &[&text(1, "t")[..], &1u32.to_le_bytes(), &1u64.to_le_bytes(), &[0; 12], &[0; 21]].concat()),
            &["tensors[1].name, byte"],
        ),
    ]
}
