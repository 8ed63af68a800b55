//! Files that are as they should be: what readers take, and what mutation and fuzzing begin with.

use attendant_formats::Dtype;
use attendant_formats::gguf::Writer;

/// Who reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    SafeTensors,
    Index,
    Gguf,
    Config,
    Generation,
}

/// A file: its reader, what it is, and its bytes.
pub(crate) struct Valid {
    pub(crate) reader: Reader,
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// A safetensors file of this header and so many bytes of data.
pub(crate) fn safetensors(header: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let header = header.as_ref();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend((0..data).map(|at| at as u8));
    file
}

/// All of them.
pub(crate) fn files() -> Vec<Valid> {
    let of = |reader| move |(name, bytes): (&'static str, Vec<u8>)| Valid { reader, name, bytes };
    let text = |(name, text): &(&'static str, &str)| (*name, text.as_bytes().to_vec());
    let safetensors = safetensors_files().into_iter().map(of(Reader::SafeTensors));
    let indexes = INDEXES.iter().map(text).map(of(Reader::Index));
    let ggufs = gguf_files().into_iter().map(of(Reader::Gguf));
    let configs = CONFIGS.iter().map(text).map(of(Reader::Config));
    let generations = GENERATIONS.iter().map(text).map(of(Reader::Generation));
    safetensors.chain(indexes).chain(ggufs).chain(configs).chain(generations).collect()
}

fn safetensors_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("no tensors", safetensors("{}", 0)),
        ("one tensor", safetensors(r#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, 24)),
        ("padded header", safetensors("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}   \n", 1)),
        (
            "several types, out of order, with metadata",
            safetensors(
                r#"{"__metadata__":{"format":"pt","note":"größe \u00e9"},
                "b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[8,16]},
                "a.weight":{"shape":[1,4],"data_offsets":[0,8],"dtype":"F16"},
                "scalar":{"dtype":"I64","shape":[],"data_offsets":[16,24]},
                "nibbles":{"dtype":"F4","shape":[3,2],"data_offsets":[24,27]}}"#,
                27,
            ),
        ),
        ("names with slashes", safetensors(r#"{"layer/0/kernel:0":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}"#, 1)),
    ]
}

const INDEXES: &[(&str, &str)] = &[
    ("one shard", r#"{"weight_map":{"a":"model-00001-of-00001.safetensors"}}"#),
    (
        "two shards and sizes",
        r#"{"metadata":{"total_size":48,"more":[1,{"b":null}]},"weight_map":{"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-1.safetensors"}}"#,
    ),
];

fn gguf_files() -> Vec<(&'static str, Vec<u8>)> {
    let every_type = Writer::new()
        .entry("u8", 0, &[1])
        .entry("i8", 1, &[255])
        .entry("u16", 2, &[1, 2])
        .entry("i16", 3, &[1, 255])
        .number("u32", 7)
        .entry("i32", 5, &[255; 4])
        .float("f32", 1e4)
        .flag("bool", true)
        .string("string", "größe\n")
        .strings("strings", &["<s>", "", "Ġthe"])
        .entry("nested", 9, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        .entry("u64", 10, &[255; 8])
        .entry("i64", 11, &[255; 8])
        .entry("f64", 12, &[0, 0, 0, 0, 0, 0, 0xf0, 0x7f]);
    let model = Writer::new()
        .string("general.architecture", "llama")
        .number("general.alignment", 32)
        .number("llama.attention.head_count", 4)
        .strings("tokenizer.ggml.tokens", &["a", "b"])
        .floats("tokenizer.ggml.scores", &[0.0, -1.5])
        .signed("tokenizer.ggml.token_type", &[1, 3])
        .tensor("token_embd.weight", Dtype::Q4_0, &[2, 64], &[1; 72])
        .tensor("blk.0.attn_q.weight", Dtype::Q4_K, &[1, 256], &[2; 144])
        .tensor("output_norm.weight", Dtype::F32, &[8], &[3; 32])
        .tensor("halves", Dtype::F16, &[2, 3, 5], &[4; 60]);
    let mut second = Writer::new().number("n", 1).finish();
    second[4] = 2;
    vec![
        ("nothing", Writer::new().finish()),
        ("every type of value", every_type.finish()),
        ("tensors", model.finish()),
        ("version 2", second),
        ("wide alignment", Writer::new().number("general.alignment", 64).finish()),
    ]
}

const CONFIGS: &[(&str, &str)] = &[
    ("empty", "{}"),
    (
        "llama",
        r#"{"hidden_size":576,"num_attention_heads":9,"num_key_value_heads":3,"rope_theta":10000,"rms_norm_eps":1e-05,
        "tie_word_embeddings":true,"layer_types":["full_attention","sliding_attention"],"rope_scaling":{"factor":2.0}}"#,
    ),
    ("limits that do not bind", r#"{"hidden_size":64,"num_attention_heads":4,"time_step_limit":[0.0,Infinity],"low":-Infinity}"#),
];

const GENERATIONS: &[(&str, &str)] = &[
    ("one end", r#"{"bos_token_id":1,"eos_token_id":2,"transformers_version":"4.42.3"}"#),
    ("several ends", r#"{"do_sample":true,"temperature":0.6,"top_k":64,"top_p":0.95,"min_p":0.0,"eos_token_id":[1,106]}"#),
];

/// Templates of the kinds that published models carry.
pub(crate) const TEMPLATES: [&str; 4] = [
    "{%- for message in messages %}{{- '<|' + message['role'] + '|>' + message.content | trim ~ '\\n' }}{% endfor %}\
     {% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "{%- macro part(x, y='-') %}{{ x ~ y }}{% endmacro %}{% set ns = namespace(n=0, all=[]) %}{% for m in messages[::-1] if m.role %}\
     {% set ns.n = ns.n + loop.index0 * 2 - 1 %}{% set ns.all = ns.all + [m.content[1:], ns.n] %}{{ part(m.role, y=ns.n) }}\
     {% else %}none{% endfor %}{{ ns.all | tojson(indent=2) }}{{ ns.n is odd and not ns.all | length >= 3 }}",
    "{# note #}{% set all %}{% filter upper %}{{ messages | map(attribute='role') | join(', ') | replace('s', 'ss') }}{% endfilter %}\
     {% endset %}{{ all.split('S', 1)[-1].strip('T') if 'SS' in all else {'a': (1, 2.5)}.items() | list }}{% raw %}{{ }}{% endraw %}",
    "{% with a = messages | groupby('role') %}{% for role, of in a %}{{ role.title() }}:{{ of | selectattr('content', 'string') | list | length }}\
     {% for i in range(3, 0, -1) %}{% if i == 1 %}{% break %}{% elif i > 2 %}{% continue %}{% endif %}{{ i ** 2 // 3 % 2 }}{{ loop.cycle('a', 'b') }}{% endfor %}\
     {% endfor %}{% endwith %}{{ [3, 1] | sort | batch(1) | list }}{{ 'x' | indent(2, true) }}{{ none or 1.5 | round }}",
];
