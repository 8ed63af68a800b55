#![no_main]

use attendant_formats::{Chat, ChatTemplate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|template: &str| {
    let chat = Chat::of([("system", "Be brief."), ("user", "Hi \u{e9}"), ("assistant", "<b>")]);
    if let Err(refusal) = ChatTemplate::new(template).and_then(|template| template.render(&chat)) {
        let refusal = refusal.to_string();
        assert!(!refusal.contains(char::is_control) && !refusal.contains("cannot be used"), "{refusal}");
    }
});
