//! Templates of the kinds that published models carry. What hostile ones may not do is a table of `readers`.

use attendant_formats::template::{Chat, ChatTemplate, Date, special_token};
use serde_json::json;

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

#[test]
fn idioms_of_published_templates() {
    let chat = conversation();
    let counted = "{%- set ns = namespace(n=0, said='') -%}{%- for m in messages if m.role == 'user' -%}{%- set ns.n = ns.n + 1 -%}\
        {%- set ns.said = ns.said ~ m['content'].strip() ~ ';' -%}{%- endfor -%}{{ ns.n }} {{ ns.said }}";
    assert_eq!(filled(counted, &chat), "2 Hi;1 < 2?;");
    let parts = json!([{ "type": "image" }, { "type": "text", "text": "What is it?" }]);
    let seen = Chat { messages: vec![json!({ "role": "user", "content": parts })], ..Chat::default() };
    let shown = "{% for part in messages[0]['content'] %}{% if part is string %}{{ part }}{% elif part['type'] == 'image' %}<image>\
        {% elif 'text' in part %}{{ part.text | trim }}{% endif %}{% endfor %}";
    assert_eq!(filled(shown, &seen), "<image>What is it?");
    let calls = json!([{ "type": "function", "function": { "name": "add", "arguments": { "a": 1, "b": [2.5, "x"] } } }]);
    let called = Chat { messages: vec![json!({ "role": "assistant", "content": null, "tool_calls": calls })], ..Chat::default() };
    let written = "{% for m in messages %}{% if m.content is not none and m.content %}{{ m.content }}{% endif %}\
        {% if m.tool_calls is defined and m.tool_calls %}{% for call in m.tool_calls %}{% if call.function is defined %}\
        {% set call = call.function %}{% endif %}<{{ call.name }}>{% for name, value in call.arguments.items() %}{{ name }}=\
        {{ value | tojson if value is not string else value }}{{ ', ' if not loop.last }}{% endfor %}{% endfor %}{% endif %}{% endfor %}";
    assert_eq!(filled(written, &called), "<add>a=1, b=[2.5, \"x\"]");
    let wrapped = "{%- macro turn(role) -%}<{{ role }}>{{ caller() }}</{{ role }}>{%- endmacro -%}{% for m in messages[1:3] %}\
        {% call turn(m.role) %}{{ m.content | trim }}{% endcall %}{% endfor %}";
    assert_eq!(filled(wrapped, &chat), "<user>Hi</user><assistant>Hello</assistant>");
    let block = "{% set system %}{{ messages[0].content }} Now.{% endset %}{{ system | upper }}{% filter lower %}A{{ 'B' }}{% endfilter %}";
    assert_eq!(filled(block, &chat), "BE BRIEF. NOW.ab");
}

/// What a template may do grows with the conversation: each turn costs as much as the one before.
#[test]
fn a_long_conversation_is_written() {
    let template = "{%- for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '<|system|>kind<|end|>\n' }}{% endif %}\
        {%- set content = message.content | trim %}{%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}\
        {{- '<|' + message['role'] + '|>' + content + '<|end|>' + '\n' }}{% if not loop.last and messages[loop.index].role == message.role %}\
        {{- raise_exception('twice') }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
    let turns = |count: usize, said: &str| {
        let role = |turn| if turn % 2 == 0 { "user" } else { "assistant" };
        filled(template, &Chat::of((0..count).map(|turn| (role(turn), said))))
    };
    assert_eq!(turns(2, "x"), "<|system|>kind<|end|>\n<|user|>x<|end|>\n<|assistant|>x<|end|>\n<|assistant|>");
    assert_eq!(turns(4000, "x").matches("|>x<|end|>\n").count(), 4000);
    let long = "word ".repeat(500);
    assert!(turns(4000, &long).len() > 4000 * 2499);
}
