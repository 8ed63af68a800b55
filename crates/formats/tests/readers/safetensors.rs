//! safetensors files that must be refused.

use crate::hostile::Case;
use crate::valid::safetensors;

/// The header of one tensor `a` of these fields.
fn one(fields: &str, data: usize) -> Vec<u8> {
    safetensors(format!("{{\"a\":{{{fields}}}}}"), data)
}

/// The header of one tensor of bytes, of this name as JSON has it.
fn named(name: &str) -> Vec<u8> {
    safetensors(format!("{{\"{name}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}}}"), 1)
}

/// One tensor of this type, shape and range.
fn tensor(dtype: &str, shape: &str, range: &str, data: usize) -> Vec<u8> {
    one(&format!("\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{range}"), data)
}

/// Two tensors of bytes in these ranges.
fn two(first: [usize; 2], second: [usize; 2], data: usize) -> Vec<u8> {
    let entry =
        |[start, end]: [usize; 2]| format!("{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{start},{end}]}}", end - start);
    safetensors(format!("{{\"a\":{},\"b\":{}}}", entry(first), entry(second)), data)
}

fn length(length: u64, rest: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], rest].concat()
}

const GOOD: &str = r#""dtype":"U8","shape":[1],"data_offsets":[0,1]"#;

pub(crate) fn table() -> Vec<Case> {
    let cases = [framing(), structure(), shapes(), ranges(), names()];
    let case = |(name, bytes, says)| Case::file("model.safetensors", name, bytes, says);
    cases.into_iter().flatten().map(case).collect()
}

type Row = (&'static str, Vec<u8>, &'static [&'static str]);

fn framing() -> Vec<Row> {
    vec![
        ("empty", Vec::new(), &["header length, byte 0: wanted 8 bytes, got 0"]),
        ("seven bytes", vec![2, 0, 0, 0, 0, 0, 0], &["header length, byte 0: wanted 8 bytes, got 7"]),
        ("header of no length", length(0, b""), &["header, byte 8: wanted it to begin with"]),
        ("header of 2^63 bytes", length(1 << 63, b"{}"), &["header length, byte 0", "got 9223372036854775808"]),
        ("header of 2^64 - 1 bytes", length(u64::MAX, b"{}"), &["header length, byte 0", "got 18446744073709551615"]),
        ("header of 2^64 - 8 bytes, which wraps to the beginning", length(u64::MAX - 7, b"{}"), &["header length, byte 0"]),
        (
            "header longer than the file",
            length(3, b"{}"),
            &["header length, byte 0: wanted at most the 2 bytes that follow, got 3"],
        ),
        ("header above the cap", safetensors(vec![b' '; (16 << 20) + 1], 0), &["wanted at most 16777216 bytes, got 16777217"]),
        ("header that is all the cap and blank", safetensors(vec![b' '; 16 << 20], 0), &["byte 8: wanted it to begin with"]),
        ("header with a space before it", safetensors(" {}", 0), &["byte 8: wanted it to begin with \"{\""]),
        ("header that is a list", safetensors("[]", 0), &["byte 8: wanted it to begin with"]),
        ("header that is null", safetensors("null", 0), &["byte 8: wanted it to begin with"]),
        ("header with a byte order mark", safetensors("\u{feff}{}", 0), &["byte 8: wanted it to begin with"]),
        ("header cut off", safetensors("{\"a\":", 0), &["header, byte 12", "EOF"]),
        ("header that ends within a string", safetensors("{\"a", 0), &["header, byte", "EOF while parsing a string"]),
        ("header with more behind it", safetensors("{}{}", 0), &["header, byte", "trailing characters"]),
        ("zip archive", b"PK\x03\x04\x14\0\0\0\x08\0\0\0".to_vec(), &["header length, byte 0"]),
        ("pickle", b"\x80\x02}q\0(X\x05\0\0\0".to_vec(), &["header length, byte 0"]),
    ]
}

fn structure() -> Vec<Row> {
    let many: Vec<String> = (0..4097).map(|index| format!("\"{index}\":\"\"")).collect();
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        (
            "tensor named twice",
            safetensors(format!("{{\"a\":{{{GOOD}}},\"a\":{{{GOOD}}}}}"), 1),
            &["header, byte 63", "tensor \"a\" occurs twice"],
        ),
        (
            "tensor named twice, once escaped",
            safetensors(format!("{{\"a\":{{{GOOD}}},\"\\u0061\":{{{GOOD}}}}}"), 1),
            &["tensor \"a\" occurs twice"],
        ),
        ("metadata twice", safetensors(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), &["\"__metadata__\" occurs twice"]),
        ("metadata with a key twice", safetensors(r#"{"__metadata__":{"x":"","x":""}}"#, 0), &["key \"x\" occurs twice"]),
        ("metadata of a number", safetensors(r#"{"__metadata__":{"x":1}}"#, 0), &["header, byte", "expected a string"]),
        ("metadata that is a list", safetensors(r#"{"__metadata__":[]}"#, 0), &["expected an object of strings"]),
        ("metadata that is null", safetensors(r#"{"__metadata__":null}"#, 0), &["expected an object of strings"]),
        (
            "metadata of 4,097 entries",
            safetensors(format!("{{\"__metadata__\":{{{}}}}}", many.join(",")), 0),
            &["at most 4096 entries"],
        ),
        ("metadata 3,000 deep", safetensors(format!("{{\"__metadata__\":{{\"x\":{}}}}}", deep(3000)), 0), &["header, byte"]),
        ("tensor 3,000 deep", safetensors(format!("{{\"a\":{}}}", deep(3000)), 0), &["expected an object with dtype"]),
        (
            "shape 3,000 deep",
            one(&format!("\"dtype\":\"U8\",\"shape\":{},\"data_offsets\":[0,1]", deep(3000)), 1),
            &["header, byte"],
        ),
        ("tensor that is a string", safetensors(r#"{"a":"b"}"#, 0), &["expected an object with dtype"]),
        ("tensor that is null", safetensors(r#"{"a":null}"#, 0), &["expected an object with dtype"]),
        ("tensor that is a list of its fields", safetensors(r#"{"a":["U8",[1],[0,1]]}"#, 1), &["expected an object with dtype"]),
        (
            "tensor with a field that colours the terminal",
            one(&format!("{GOOD},\"\\u001b[31m\":1"), 1),
            &["unknown field `\\u{1b}[31m`"],
        ),
        ("tensor of no fields", one("", 0), &["missing field `dtype`"]),
        ("tensor without a type", one(r#""shape":[1],"data_offsets":[0,1]"#, 1), &["missing field `dtype`"]),
        ("tensor without a shape", one(r#""dtype":"U8","data_offsets":[0,1]"#, 1), &["missing field `shape`"]),
        ("tensor without a range", one(r#""dtype":"U8","shape":[1]"#, 1), &["missing field `data_offsets`"]),
        ("tensor with a type twice", one(&format!("\"dtype\":\"U8\",{GOOD}"), 1), &["duplicate field `dtype`"]),
        ("tensor with a range twice", one(&format!("{GOOD},\"data_offsets\":[0,1]"), 1), &["duplicate field `data_offsets`"]),
        ("tensor with a field of its own", one(&format!("{GOOD},\"strides\":[1]"), 1), &["unknown field `strides`"]),
        ("unknown type", tensor("F3", "[1]", "[0,1]", 1), &["dtype: wanted a known type, got \"F3\""]),
        ("type in small letters", tensor("u8", "[1]", "[0,1]", 1), &["dtype: wanted a known type, got \"u8\""]),
        ("type of another format", tensor("Q4_0", "[32]", "[0,18]", 18), &["dtype: wanted a known type, got \"Q4_0\""]),
        ("type with a line break", tensor("F\\n3", "[1]", "[0,1]", 1), &["got \"F\\n3\""]),
        ("type that is a number", one(r#""dtype":0,"shape":[1],"data_offsets":[0,1]"#, 1), &["expected the name of a type"]),
    ]
}

fn shapes() -> Vec<Row> {
    let million = format!("[{}1]", "1,".repeat(999_999));
    let digits = format!("[{}]", "9".repeat(400));
    vec![
        ("rank 9", tensor("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]", 1), &["header, byte", "at most 8 dimensions"]),
        ("a million dimensions", tensor("U8", &million, "[0,1]", 1), &["at most 8 dimensions"]),
        ("extent 0", tensor("U8", "[4,0]", "[0,0]", 0), &["tensor \"a\": shape: wanted no extent of 0, got [4, 0]"]),
        ("extent below 0", tensor("U8", "[-1]", "[0,1]", 1), &["invalid value: integer `-1`"]),
        ("extent of 1.0", tensor("U8", "[1.0]", "[0,1]", 1), &["invalid type: floating point `1.0`"]),
        ("extent of 2^64", tensor("U8", "[18446744073709551616]", "[0,1]", 1), &["header, byte"]),
        ("extent of 400 digits", tensor("U8", &digits, "[0,1]", 1), &["number out of range"]),
        ("extent of 1e999", tensor("U8", "[1e999]", "[0,1]", 1), &["number out of range"]),
        ("extent that is text", tensor("U8", "[\"1\"]", "[0,1]", 1), &["invalid type: string"]),
        ("shape that is a number", tensor("U8", "1", "[0,1]", 1), &["expected an array of extents"]),
        (
            "product that wraps to 0",
            tensor("U8", "[4294967296,4294967296]", "[0,0]", 0),
            &["tensor \"a\": shape", "more elements than can be counted"],
        ),
        ("product that wraps to 2", tensor("U8", "[3,6148914691236517206]", "[0,2]", 2), &["more elements than can be counted"]),
        ("product of 2^63", tensor("U8", "[9223372036854775808]", "[0,1]", 1), &["more elements than can be counted"]),
        (
            "bytes that wrap to 0",
            tensor("F64", "[2305843009213693952]", "[0,0]", 0),
            &["tensor \"a\": shape", "no whole number of bytes"],
        ),
        ("half a byte", tensor("F4", "[3]", "[0,2]", 2), &["3 elements of F4 are no whole number of bytes"]),
        (
            "terabytes in a file of one byte",
            tensor("F32", "[1099511627776]", "[0,1]", 1),
            &["wanted 4398046511104 bytes", "got the 1"],
        ),
    ]
}

fn ranges() -> Vec<Row> {
    vec![
        (
            "range past the end",
            tensor("U8", "[2]", "[0,2]", 1),
            &["data_offsets: wanted a range within the 1 bytes of data, got [0, 2]"],
        ),
        (
            "range far past the end",
            tensor("U8", "[1]", "[9223372036854775807,9223372036854775808]", 1),
            &["data_offsets: wanted a range within"],
        ),
        ("range of 2^64", tensor("U8", "[1]", "[0,18446744073709551616]", 1), &["header, byte"]),
        (
            "range backwards",
            tensor("U8", "[1]", "[1,0]", 1),
            &["data_offsets: wanted a range within the 1 bytes of data, got [1, 0]"],
        ),
        (
            "range backwards that wraps to the right length",
            tensor("U8", "[1]", "[18446744073709551615,0]", 1),
            &["data_offsets: wanted a range"],
        ),
        ("range of one number", tensor("U8", "[1]", "[0]", 1), &["invalid length 1"]),
        ("range of three numbers", tensor("U8", "[1]", "[0,1,2]", 1), &["header, byte"]),
        ("range below 0", tensor("U8", "[1]", "[-1,0]", 1), &["invalid value: integer `-1`"]),
        ("range of floats", tensor("U8", "[1]", "[0.0,1.0]", 1), &["invalid type: floating point"]),
        (
            "range too short for the shape",
            tensor("F32", "[2]", "[0,4]", 4),
            &["data_offsets: wanted 8 bytes for [2] of F32, got the 4"],
        ),
        (
            "range too long for the shape",
            tensor("F32", "[1]", "[0,8]", 8),
            &["data_offsets: wanted 4 bytes for [1] of F32, got the 8"],
        ),
        ("tensors that overlap", two([0, 4], [2, 6], 6), &["tensor \"b\", byte", "wanted tensors apart, got 2 bytes of \"a\""]),
        ("tensors in the same place", two([0, 4], [0, 4], 4), &["wanted tensors apart, got 4 bytes of \"a\""]),
        ("tensor within another", two([0, 8], [2, 3], 8), &["wanted tensors apart, got 1 bytes of \"a\""]),
        ("hole between tensors", two([0, 2], [3, 4], 4), &["wanted data without gaps, got 1 bytes of no tensor"]),
        (
            "hole before the first tensor",
            tensor("U8", "[1]", "[1,2]", 2),
            &["wanted data without gaps, got 1 bytes of no tensor"],
        ),
        ("bytes behind the last tensor", tensor("U8", "[1]", "[0,1]", 2), &["data, byte", "got 1 bytes more"]),
        (
            "bytes of no tensor",
            safetensors("{}", 7),
            &["data, byte 10: wanted the file to end with its last tensor, got 7 bytes more"],
        ),
        ("data cut off", tensor("F32", "[1000]", "[0,4000]", 3999), &["within the 3999 bytes of data"]),
    ]
}

fn names() -> Vec<Row> {
    let tensor = |index| format!("\"{index}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{index},{}]}}", index + 1);
    let many: Vec<String> = (0..65_537).map(tensor).collect();
    let long = "n".repeat(170);
    let long_tensor = |index| {
        let start = index + usize::from(index == 65_535);
        format!("\"{long}{index}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{start},{}]}}", start + 1)
    };
    let long_many: Vec<String> = (0..65_536).map(long_tensor).collect();
    vec![
        (
            "65,536 tensors with long names and a hole",
            safetensors(format!("{{{}}}", long_many.join(",")), 65_537),
            &["wanted data without gaps"],
        ),
        ("name of nothing", named(""), &["name of a tensor: wanted a name, got none"]),
        ("name that leaves the folder", named("../../etc/passwd"), &["no \"..\", got \"../../etc/passwd\""]),
        ("name that leaves a Windows folder", named("a\\\\..\\\\b"), &["no \"..\""]),
        ("name with a line break", named("a\\nattendant: fine"), &["got \"a\\nattendant: fine\""]),
        ("name that colours the terminal", named("\\u001b[31m"), &["got \"\\u{1b}[31m\""]),
        ("name that turns the line around", named("a\u{202e}b"), &["got \"a\\u{202e}b\""]),
        ("name with a zero byte", named("a\\u0000b"), &["characters that print"]),
        ("name with a raw line break", named("a\nb"), &["control character"]),
        ("name of half a character", named("\\ud800"), &["header, byte"]),
        ("name that is no UTF-8", safetensors(b"{\"\xff\":{}}", 0), &["invalid unicode"]),
        ("name of 1,025 bytes", named(&"n".repeat(1025)), &["wanted at most 1024 bytes, got 1025"]),
        ("name of a megabyte", named(&"n".repeat(1 << 20)), &["wanted at most 1024 bytes, got 1048576"]),
        ("65,537 tensors", safetensors(format!("{{{}}}", many.join(",")), 65_537), &["at most 65536 tensors"]),
    ]
}
