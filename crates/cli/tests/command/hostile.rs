//! Model folders made to harm: exit code 2 and one line that says which file, which field and which byte, in little memory.

use crate::{Place, code, error};
use std::fs;
use std::path::Path;
use std::process::Command;

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 5, "hidden_size": 8, "intermediate_size": 3, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}"#;

/// What the whole process may hold, in KiB: the promise is that much for the refusal alone.
const MEMORY: usize = 64 << 10;

/// Refuses a folder of these files beside a good configuration, and gives the line.
fn refused(name: &str, files: &[(&str, &[u8])]) -> String {
    let place = Place::new();
    let folder = place.path("model");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    for (file, bytes) in files {
        fs::write(folder.join(file), bytes).unwrap();
    }
    let output = limited(&place.command("logits model --ids ids.safetensors --out out.safetensors")).output().unwrap();
    let line = error(&output);
    assert_eq!((code(&output), line.lines().count()), (2, 1), "{name}: {line}");
    assert!(output.stdout.is_empty() && !place.path("out.safetensors").exists(), "{name}");
    line
}

/// The same command, where a shell can limit it, with a limit to the memory that it may write to.
fn limited(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    let limit =
        if cfg!(target_os = "linux") { format!("ulimit -d {MEMORY} && exec \"$0\" \"$@\"") } else { "exec \"$0\" \"$@\"".into() };
    shell.arg("-c").arg(limit).arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap_or(Path::new("."))).env_remove("ATTENDANT_ISA").env_remove("NO_COLOR");
    shell
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn weights() {
    let entry =
        |name: &str, at: usize| format!("\"{name}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{at},{}]}}", at + 1);
    let long: Vec<String> = (0..65_536).map(|index| entry(&format!("{}{index}", "n".repeat(170)), index)).collect();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "model/model.safetensors: header length, byte 0: wanted 8 bytes, got 0"),
        ("2^63", [&(1u64 << 63).to_le_bytes()[..], b"{}"].concat(), "header length, byte 0: wanted at most 16777216 bytes"),
        ("as much as allowed, and a hole", safetensors(&format!("{{{}}}", long.join(",")), 65_537), "data, byte"),
        (
            "names that forge lines",
            safetensors(&format!("{{{}}}", entry("a\\nattendant: fine", 0)), 1),
            "got \"a\\nattendant: fine\"",
        ),
        ("the same name twice", safetensors(&format!("{{{},{}}}", entry("a", 0), entry("a", 1)), 2), "tensor \"a\" occurs twice"),
        ("overlap", safetensors(&format!("{{{},{}}}", entry("a", 0), entry("b", 0)), 1), "wanted tensors apart"),
        ("3,000 deep", safetensors(&format!("{{\"a\":{}", "[".repeat(3000)), 0), "header, byte"),
        ("another model", safetensors(&format!("{{{}}}", entry("a", 0)), 1), "tensor model.embed_tokens.weight: missing"),
    ];
    for (name, bytes, want) in cases {
        let line = refused(name, &[("model.safetensors", &bytes)]);
        assert!(line.starts_with("attendant: model/model.safetensors: ") && line.contains(want), "{name}: {line}");
    }
}

#[test]
fn shards() {
    for (file, want) in [
        ("../ids.safetensors", "wanted the name of a .safetensors file in the folder of the index"),
        ("/dev/zero", "wanted the name of a .safetensors file in the folder of the index"),
        ("absent.safetensors", "absent.safetensors: No such file"),
    ] {
        let index = format!("{{\"weight_map\":{{\"a\":\"{file}\"}}}}");
        let line = refused(file, &[("model.safetensors.index.json", index.as_bytes())]);
        assert!(line.contains(want), "{file}: {line}");
    }
}

#[test]
fn configurations() {
    let fields: Vec<String> = (0..200_000).map(|index| format!("\"{index}\":[]")).collect();
    for (name, text, want) in [
        ("3,000 deep", "{\"a\":".repeat(3000), "JSON, byte"),
        ("fields that take many times their length", format!("{{{}}}", fields.join(",")), "bytes of memory"),
        ("a key twice", CONFIG.replace("\"rope_theta\"", "\"vocab_size\""), "key \"vocab_size\" occurs twice"),
        ("rotation of NaN", CONFIG.replace("10000.0", "NaN"), "JSON, byte"),
        ("heads of 0", CONFIG.replace("\"num_attention_heads\": 2", "\"num_attention_heads\": 0"), "num_attention_heads"),
        ("heads of 2^40", CONFIG.replace("\"num_attention_heads\": 2", "\"num_attention_heads\": 1099511627776"), ""),
        (
            "layers of 2^40",
            CONFIG.replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1099511627776"),
            "num_hidden_layers",
        ),
        ("width of 2^40", CONFIG.replace("\"hidden_size\": 8", "\"hidden_size\": 1099511627776"), ""),
        (
            "a head of 2^30",
            CONFIG.replace("\"rope_theta\"", "\"head_dim\": 1073741824, \"rope_theta\""),
            "values to keep of a token",
        ),
    ] {
        let line = refused(name, &[("config.json", text.as_bytes()), ("model.safetensors", &safetensors("{}", 0))]);
        assert!(line.starts_with("attendant: model/") && line.contains(want), "{name}: {line}");
    }
}
