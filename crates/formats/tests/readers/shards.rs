//! Indexes and shards that must be refused.

use crate::hostile::Case;
use crate::valid::safetensors;

const INDEX: &str = "model.safetensors.index.json";

/// A shard that holds these tensors of one byte.
fn shard(names: &[&str]) -> Vec<u8> {
    let entry =
        |(at, name): (usize, &&str)| format!("\"{name}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{at},{}]}}", at + 1);
    let entries: Vec<String> = names.iter().enumerate().map(entry).collect();
    safetensors(format!("{{{}}}", entries.join(",")), names.len())
}

/// An index that says that `a` lies in a file of this name.
fn naming(file: &str) -> Vec<u8> {
    format!("{{\"weight_map\":{{\"a\":\"{file}\"}}}}").into_bytes()
}

pub(crate) fn table() -> Vec<Case> {
    let alone = |(name, bytes, says)| Case::file(INDEX, name, bytes, says);
    indexes().into_iter().map(alone).chain(folders()).collect()
}

type Row = (&'static str, Vec<u8>, &'static [&'static str]);

fn indexes() -> Vec<Row> {
    const PLAIN: &[&str] = &["index, byte", "tensor \"a\": wanted the name of a .safetensors file in the folder of the index"];
    let files: Vec<String> = (0..1025).map(|index| format!("\"{index}\":\"{index}.safetensors\"")).collect();
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    vec![
        ("file above the folder", naming("../other.safetensors"), PLAIN),
        ("file at an absolute path", naming("/etc/passwd.safetensors"), PLAIN),
        ("file in a folder below", naming("sub/model.safetensors"), PLAIN),
        ("file across Windows folders", naming("..\\\\other.safetensors"), PLAIN),
        ("file on a drive", naming("C:model.safetensors"), PLAIN),
        ("file that is a device", naming("/dev/zero"), PLAIN),
        ("file that is a pickle", naming("pytorch_model.bin"), PLAIN),
        ("file of no name", naming(""), PLAIN),
        ("file that is the folder", naming("."), PLAIN),
        ("file that hides", naming(".hidden.safetensors"), PLAIN),
        ("file with a zero byte", naming("a\\u0000.safetensors"), PLAIN),
        ("file with a line break", naming("a\\n.safetensors"), &["got \"a\\n.safetensors\""]),
        ("file of 300 letters", naming(&format!("{}.safetensors", "n".repeat(300))), PLAIN),
        ("file that is a number", br#"{"weight_map":{"a":1}}"#.to_vec(), &["index, byte", "expected a string"]),
        ("tensor that leaves the folder", br#"{"weight_map":{"../a":"x.safetensors"}}"#.to_vec(), &["no \"..\""]),
        (
            "tensor named twice",
            br#"{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}"#.to_vec(),
            &["tensor \"a\" occurs twice"],
        ),
        ("map twice", br#"{"weight_map":{"a":"x.safetensors"},"weight_map":{}}"#.to_vec(), &["key \"weight_map\" occurs twice"]),
        ("no map", b"{}".to_vec(), &["missing field `weight_map`"]),
        ("map that is a list", br#"{"weight_map":[]}"#.to_vec(), &["expected an object that gives each tensor its file"]),
        ("map of nothing", br#"{"weight_map":{}}"#.to_vec(), &["weight_map: wanted tensors, got none"]),
        ("list", b"[]".to_vec(), &["expected an object with weight_map"]),
        ("empty", Vec::new(), &["index, byte 0", "EOF"]),
        ("1,025 files", format!("{{\"weight_map\":{{{}}}}}", files.join(",")).into_bytes(), &["at most 1024 files"]),
        ("metadata 3,000 deep", format!("{{\"metadata\":{deep}}}").into_bytes(), &["nested too deep"]),
        (
            "metadata that is much larger in memory",
            format!("{{\"metadata\":[{}0]}}", "[],".repeat(100_000)).into_bytes(),
            &["bytes of memory"],
        ),
        ("metadata with a key twice", br#"{"metadata":{"x":1,"x":2}}"#.to_vec(), &["key \"x\" occurs twice"]),
        ("above the cap", vec![b' '; (16 << 20) + 1], &["file: wanted at most 16777216 bytes, got 16777217"]),
    ]
}

fn folders() -> Vec<Case> {
    let two = br#"{"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}"#.to_vec();
    let case = |name, x: Vec<u8>, y: Vec<u8>, says| Case {
        name,
        files: vec![(INDEX, two.clone()), ("x.safetensors", x), ("y.safetensors", y)],
        open: "",
        says,
    };
    let overlapping = safetensors(r#"{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,0]}}"#, 1);
    vec![
        case("shard without its tensor", shard(&["a"]), shard(&[]), &["y.safetensors", "tensor \"b\": missing"]),
        case(
            "shard with a tensor of its own",
            shard(&["a", "c"]),
            shard(&["b"]),
            &["x.safetensors", "tensor \"c\": wanted only what the index says"],
        ),
        case("shards exchanged", shard(&["b"]), shard(&["a"]), &["x.safetensors", "tensor \"b\": wanted only"]),
        case("tensor in both shards", shard(&["a", "b"]), shard(&["b"]), &["x.safetensors", "tensor \"b\": wanted only"]),
        case("shard that is hostile", shard(&["a"]), overlapping, &["y.safetensors: header, byte", "tensor \"b\": data_offsets"]),
        case("shard that is empty", shard(&["a"]), Vec::new(), &["y.safetensors: header length, byte 0"]),
        Case {
            name: "shard that is absent",
            files: vec![(INDEX, two.clone()), ("x.safetensors", shard(&["a"]))],
            open: "",
            says: &["y.safetensors: No such file"],
        },
        Case { name: "folder of nothing", files: Vec::new(), open: "", says: &["folder: wanted model.safetensors"] },
        Case {
            name: "folder of two models",
            files: vec![("a.gguf", Vec::new()), ("b.gguf", Vec::new())],
            open: "",
            says: &["folder: wanted one .gguf file, got several"],
        },
    ]
}
