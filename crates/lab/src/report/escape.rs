//! Text that others chose, made safe to stand in a page.

use serde::Serialize;

/// Text for an element's content or a quoted attribute.
pub(super) fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(letter),
            // Neither html nor xml can hold these, and overrides of the writing direction could reorder a whole row.
            control if control.is_control() || matches!(control, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                safe.push('\u{fffd}')
            }
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// Json for a `<script>` element: nothing in it can end the element, open a comment or be read as markup.
///
/// # Errors
/// When the value has no json form.
pub(super) fn script_json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut safe = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            // These letters only occur inside json strings, where their escapes mean the same.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => safe.push(other),
        }
    }
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_leaves_nothing_that_opens_or_closes() {
        let safe = markup("</td><script>alert('1')</script>\" onload=\"x & y\u{0}\u{202e}");
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{0}', '\u{202e}']), "{safe}");
        assert_eq!(markup("2hd = 2·4·32 × 4"), "2hd = 2·4·32 × 4");
    }

    #[test]
    fn script_json_cannot_close_its_element_and_reads_back() {
        let hostile = "</script><!-- <script> ]]> & \u{2028}";
        let json = script_json(&hostile).unwrap();
        assert!(!json.contains(['<', '>', '&', '\u{2028}']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }
}
