#![no_main]

use attendant_formats::{Config, Field, Fields};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(config) = Config::parse(text) {
        visit(&config.fields());
    }
});

/// Asks every field for everything.
fn visit(fields: &Fields) {
    for name in fields.names() {
        ask(&fields.get(name));
    }
}

fn ask(field: &Field) {
    assert!(field.size(1..=64).is_ok_and(|size| (1..=64).contains(&size)) || field.size(1..=64).is_err());
    assert!(field.float(-1.0..=1.0).map_or(true, |number| number.abs() <= 1.0));
    let _ = (field.flag(), field.text(), field.clone().given());
    if let Ok(fields) = field.object() {
        visit(&fields);
    }
    if let Ok(items) = field.items(100) {
        items.for_each(|item| ask(&item));
    }
    assert!(!field.wanted("nothing").to_string().contains(char::is_control));
}
