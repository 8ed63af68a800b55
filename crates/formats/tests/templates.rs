//! Templates of the kinds that published models carry, and what hostile ones may not do.

use attendant_formats::template::{Chat, ChatTemplate, Date, special_token};
use serde_json::json;
use std::time::{Duration, Instant};

fn filled(template: &str, chat: &Chat) -> String {
    ChatTemplate::new(template).unwrap().render(chat).unwrap()
}

fn conversation() -> Chat {
    Chat::of([("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello "), ("user", " 1 < 2? ")])
        .with("bos_token", "<s>")
        .with("eos_token", "</s>")
}

#[test]
fn a_template_of_turns_with_marks() {
    let template = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n\
        You are kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    assert_eq!(
        filled(template, &Chat::of([("user", "Hi")])),
        "<|im_start|>system\nYou are kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    let whole = Chat { add_generation_prompt: false, ..Chat::of([("system", "x"), ("user", "y")]) };
    assert_eq!(filled(template, &whole), "<|im_start|>system\nx<|im_end|>\n<|im_start|>user\ny<|im_end|>\n");
}

#[test]
fn a_template_that_wants_turns_to_alternate() {
    let template = "{{ bos_token }}{%- if messages[0]['role'] == 'system' %}\n    {%- set system = messages[0]['content'].strip() ~ '\\n\\n' %}\n\
        {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n\
        {%- for message in loop_messages %}\n    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n        \
        {{- raise_exception('Roles must alternate') }}\n    {%- endif %}\n    {%- if message['role'] == 'user' %}\n        \
        {{- '[INST] ' + (system if loop.first and system is defined else '') + message['content'] | trim + ' [/INST]' }}\n    \
        {%- else %}\n        {{- ' ' + message['content'] | trim + eos_token }}\n    {%- endif %}\n{%- endfor %}";
    assert_eq!(filled(template, &conversation()), "<s>[INST] Be brief.\n\nHi [/INST] Hello</s>[INST] 1 < 2? [/INST]");
    let wrong = ChatTemplate::new(template).unwrap().render(&Chat::of([("user", "a"), ("user", "b")])).unwrap_err().to_string();
    assert!(wrong.ends_with("the template refuses the conversation: \"Roles must alternate\""), "{wrong}");
}

#[test]
fn a_template_with_headers_date_and_tools() {
    let template = "{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n        {%- set date_string = strftime_now(\"%d %b %Y\") %}\n    \
        {%- else %}\n        {%- set date_string = \"26 Jul 2024\" %}\n    {%- endif %}\n{%- endif %}\n{{- '<|h|>' + date_string + '\\n' }}\n\
        {%- if tools is not none %}\n    {%- for t in tools %}\n        {{- t | tojson(indent=4) }}\n        {{- \"\\n\" }}\n    {%- endfor %}\n{%- endif %}";
    let tools = json!([{ "name": "add", "parameters": { "b": [1, 2.5, true, null], "a": "<é\n\">" } }]);
    let chat = Chat { today: Date::new(2026, 11, 4), tools: Some(tools), ..Chat::default() };
    assert_eq!(
        filled(template, &chat),
        "<|h|>04 Nov 2026\n{\n    \"name\": \"add\",\n    \"parameters\": {\n        \"b\": [\n            1,\n            2.5,\n            \
         true,\n            null\n        ],\n        \"a\": \"<é\\n\\\">\"\n    }\n}\n"
    );
    assert_eq!(filled(template, &Chat::default()), "<|h|>26 Jul 2024\n");
    let spaced = "{{ tools|tojson }} {{ tools[0].parameters|tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=true) }}";
    assert_eq!(
        filled(spaced, &chat),
        "[{\"name\": \"add\", \"parameters\": {\"b\": [1, 2.5, true, null], \"a\": \"<é\\n\\\">\"}}] \
         {\"a\":\"<\\u00e9\\n\\\">\",\"b\":[1,2.5,true,null]}"
    );
}

#[test]
fn a_template_that_looks_back_and_cuts_thoughts_off() {
    let template = "{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n    \
        {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns.multi_step and message.role == \"user\" and message.content is string \
        and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}\n        {%- set ns.multi_step = false %}\n        \
        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n    {%- set content = message.content %}\n    \
        {%- if message.role == 'assistant' and '</think>' in content %}\n        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n    \
        {%- endif %}\n    {{- '[' + message.role ~ ':' ~ loop.index0 ~ ':' ~ ns.last + ']' + content }}\n    \
        {%- if loop.index0 == 2 %}{% break %}{% endif %}\n{%- endfor %}";
    let chat = Chat::of([("user", "a"), ("assistant", "<think>hm</think>\n\nb"), ("user", "c"), ("user", "never")]);
    assert_eq!(filled(template, &chat), "[user:0:3]a[assistant:1:3]b[user:2:3]c");
}

#[test]
fn white_space_and_names_are_jinjas() {
    let chat = conversation();
    assert_eq!(filled("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", &chat), "a\n  b\nc");
    assert_eq!(filled("{% generation %}\nx\n{% endgeneration %}y", &chat), "x\ny");
    assert_eq!(
        filled("{{ messages[1].content }}{{ messages[1]['nothing'] }}{{ nothing }}|{{ None }}|{{ True }}", &chat),
        "Hi|None|True"
    );
    assert_eq!(filled("{%- macro m(x, y=2) -%}({{ x }}{{ y }}){%- endmacro -%}{{ m(1) ~ m('a', y='b') }}", &chat), "(12)(ab)");
    assert_eq!(
        filled("{{ 'a,b'.split(',')|join('-') }} {{ ' x '.strip().upper() }} {{ {'k': 1}.items()|list|length }}", &chat),
        "a-b X 1"
    );
    assert_eq!(filled("{{ messages|map(attribute='role')|join(', ') }}", &chat), "system, user, assistant, user");
    assert_eq!(filled("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ 'ab'[::-1] }}", &chat), "2ba");
    assert_eq!(filled("{{ 'a\nb'|indent(2) }}{{ 'abab'|replace('a', 'x') }}{{ 'ab c'|title }}", &chat), "a\n  bxbxbAb C");
    assert_eq!(filled("{{ 1 ~ none ~ [1, 'a'] }}{{ '~' ~ 2 * 3 }}", &chat), filled("{{ 1 }}{{ none }}{{ [1, 'a'] }}~6", &chat));
}

#[test]
fn a_configuration_names_its_template() {
    let named = json!({ "chat_template": [{ "name": "tool_use", "template": "t" }, { "name": "default", "template": "d" }],
                        "bos_token": { "content": "<s>" }, "eos_token": "</s>" });
    assert_eq!(ChatTemplate::from_config(&named).unwrap().unwrap().render(&Chat::default()).unwrap(), "d");
    assert_eq!(ChatTemplate::from_config(&json!({})).unwrap(), None);
    assert!(ChatTemplate::from_config(&json!({ "chat_template": 1 })).is_err());
    assert_eq!((special_token(&named, "bos_token"), special_token(&named, "eos_token")), (Some("<s>"), Some("</s>")));
}

/// Templates that loop, explode, nest or ask for what they may not have.
const HOSTILE: &[(&str, &str)] = &[
    ("no template", "{% for %}"),
    ("unclosed", "{{ 'a"),
    ("unclosed block", "{% if true %}"),
    ("unknown tag", "{% include 'x' %}"),
    ("unknown filter", "{{ 1|nothing }}"),
    ("another file", "{% extends '/etc/passwd' %}"),
    ("import", "{% import '/etc/passwd' as x %}"),
    ("nested loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
    ("long range", "{{ range(1000000000)|list|length }}"),
    ("long output", "{% for a in range(100000) %}{{ 'x' * 1000 }}{% endfor %}"),
    ("long text", "{{ 'x' * 100000000 }}"),
    (
        "doubling",
        "{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
    ),
    (
        "doubling by plus",
        "{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ),
    (
        "doubling lists",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    ),
    (
        "doubling lists joined",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ('' ~ ns.x)|length }}",
    ),
    (
        "doubling lists as text",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|string|length }}",
    ),
    (
        "doubling lists as JSON",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson|length }}",
    ),
    (
        "doubling lists in upper case",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|upper|length }}",
    ),
    ("many long texts joined", "{% set s = 'x' * 1000000 %}{{ ([s] * 100000)|join|length }}"),
    ("many long texts joined by method", "{% set s = 'x' * 1000000 %}{{ ''.join([s] * 100000)|length }}"),
    ("many long texts put together", "{% set s = 'x' * 1000000 %}{{ ('' ~ [s] * 100000)|length }}"),
    ("many long texts as JSON", "{% set s = 'x' * 1000000 %}{{ ([s] * 100000)|tojson|length }}"),
    ("a long text replaced", "{% set s = 'x' * 1000000 %}{{ s|replace('x', s)|length }}"),
    ("a long text replaced by method", "{% set s = 'x' * 1000000 %}{{ s.replace('', s)|length }}"),
    ("wide indent", "{{ ('a\n' * 10000)|indent(1000000000)|length }}"),
    ("wide JSON", "{{ [[[[1]]]]|tojson(indent=100000000000) }}{{ raise_exception('done') }}"),
    ("wide format", "{{ '{:99999999999}'.format(1) }}"),
    ("wide printf", "{{ '%99999999999d'|format(1) }}"),
    ("a macro that calls itself", "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}"),
    ("two macros", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}"),
    ("a recursive loop", "{% for x in [[[1]]] recursive %}{{ loop([[x]]) }}{% endfor %}"),
    ("a method of nothing", "{{ ''.__class__.__mro__() }}"),
    ("Python", "{{ messages.__init__.__globals__['os'].system('true') }}"),
    ("an object", "{{ namespace.__call__() }}{{ cycler() }}"),
    ("division", "{{ 1 / 0 }}{{ 1 // 0 }}{{ raise_exception('done') }}"),
    ("a long message", "{{ raise_exception('x\n' * 100000) }}"),
    ("not a date", "{{ strftime_now('%d') }}"),
];

fn refused(name: &str, template: &str) {
    let start = Instant::now();
    let result = ChatTemplate::new(template).and_then(|template| template.render(&conversation()));
    let took = start.elapsed();
    let why = result.expect_err(name).to_string();
    assert!(!why.contains('\n') && why.len() < 2000, "{name}: {why}");
    // Debug builds of the engine are slower than released ones.
    assert!(took < Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 }), "{name}: {took:?}");
}

#[test]
fn hostile_templates_are_refused() {
    for (name, template) in HOSTILE {
        refused(name, template);
    }
    refused("too long", &" ".repeat(300_000));
    refused("nested brackets", &format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)));
    refused("nested lists", &format!("{{{{ {}1{} }}}}", "[".repeat(50_000), "]".repeat(50_000)));
    refused("nested conditions", &format!("{}{}", "{% if true %}".repeat(9_000), "{% endif %}".repeat(9_000)));
    refused("many nots", &format!("{{{{ {} 1 }}}}{{{{ raise_exception('done') }}}}", "not ".repeat(50_000)));
    refused("many dots", &format!("{{{{ a{} }}}}{{{{ raise_exception('done') }}}}", ".b".repeat(20_000)));
    refused("many sums", &format!("{{{{ 1{} }}}}{{{{ raise_exception('done') }}}}", " ~ 1".repeat(20_000)));
}

#[test]
fn lists_in_lists_are_dropped_without_harm() {
    let deep = "{% set ns = namespace(x=[1]) %}{% for a in range(20000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|length }}";
    assert_eq!(filled(deep, &Chat::default()), "1");
}
