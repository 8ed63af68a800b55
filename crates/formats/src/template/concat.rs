//! `a ~ b` in a template writes a list out before the engine looks at its fuel. Here it becomes `(a)|joined ~ (b)|joined`, where the
//! filter looks first; texts and numbers pass it as they are. And `{% generation %}`, with which transformers finds the model's own
//! words in training, becomes a condition that always holds.

use super::filter::JOINED;

/// Words that end what `~` joins.
const BOUNDARIES: [&str; 14] =
    ["if", "elif", "else", "and", "or", "not", "in", "for", "set", "recursive", "call", "do", "with", "filter"];

/// The template with every `~` bounded. What is not understood stays as it is, for the engine to refuse.
pub(super) fn bounded(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.as_bytes().windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#")) {
        out += &rest[..at];
        rest = &rest[at..];
        if rest.starts_with("{#") {
            let end = rest.find("#}").map_or(rest.len(), |end| end + 2);
            out += &rest[..end];
            rest = &rest[end..];
            continue;
        }
        let close = if rest.starts_with("{{") { "}}" } else { "%}" };
        let Some(end) = end_of(&rest[2..], close).map(|end| end + 2) else { break };
        let code = &rest[2..end];
        out += &rest[..2];
        out += &generation(code).unwrap_or_else(|| joined(code));
        rest = &rest[end..];
        let raw = close == "%}" && code.trim_matches(['-', '+']).trim() == "raw";
        if let Some(end) = raw.then(|| end_of_raw(rest)).flatten() {
            out += &rest[..end];
            rest = &rest[end..];
        }
    }
    out + rest
}

/// Where the tag closes, texts in quotes left out.
fn end_of(code: &str, close: &str) -> Option<usize> {
    let mut at = 0;
    let mut open = 0_usize;
    while at < code.len() {
        let token = token(&code[at..]);
        // Two braces may close two dictionaries.
        if code[at..].starts_with(close) && (open == 0 || close == "%}") {
            return Some(at);
        }
        match token {
            "{" => open += 1,
            "}" => open = open.saturating_sub(1),
            _ => {}
        }
        at += token.len();
    }
    None
}

fn end_of_raw(text: &str) -> Option<usize> {
    let ends = text.match_indices("{%").map(|(at, _)| at);
    ends.into_iter().find(|at| text[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw"))
}

/// The first token: a text in quotes, a word, a number, or one character.
fn token(code: &str) -> &str {
    let first = code.chars().next().unwrap_or(' ');
    let length = match first {
        '"' | '\'' => {
            let mut escaped = false;
            let end = code[1..].char_indices().find(|(_, character)| {
                let ends = *character == first && !escaped;
                escaped = *character == '\\' && !escaped;
                ends
            });
            end.map_or(code.len(), |(at, _)| at + 2)
        }
        word if word.is_alphanumeric() || word == '_' => {
            code.find(|character: char| !(character.is_alphanumeric() || character == '_')).unwrap_or(code.len())
        }
        other => other.len_utf8(),
    };
    &code[..length]
}

/// `generation` and `endgeneration`, with the marks for white space around them.
fn generation(code: &str) -> Option<String> {
    let word = code.trim_matches(['-', '+']).trim();
    let stands_for = match word {
        "generation" => "if true",
        "endgeneration" => "endif",
        _ => return None,
    };
    Some(code.replacen(word, stands_for, 1))
}

/// A level of brackets: what was written of it, and where in it the expression and its parts began.
#[derive(Default)]
struct Level {
    out: String,
    /// Where the expression that `~` may join begins.
    start: usize,
    /// Where each `~` of it stands.
    joins: Vec<usize>,
}

impl Level {
    /// Ends an expression: parts that are joined get their filter.
    fn close(&mut self) {
        if !self.joins.is_empty() {
            let mut parts = Vec::new();
            let mut from = self.start;
            for join in self.joins.drain(..) {
                parts.push(self.out[from..join].to_owned());
                from = join + 1;
            }
            parts.push(self.out[from..].to_owned());
            self.out.truncate(self.start);
            let filtered: Vec<String> = parts.iter().map(|part| filtered(part)).collect();
            self.out += &filtered.join("~");
        }
        self.start = self.out.len();
    }
}

/// `a` as `(a)|joined`, with the white space and the marks for it outside.
fn filtered(part: &str) -> String {
    let body = part.trim();
    if body.is_empty() {
        return part.to_owned();
    }
    let (before, after) = part.split_once(body).unwrap_or(("", ""));
    format!("{before}({body})|{JOINED}{after}")
}

/// The code of a tag with what `~` joins filtered.
fn joined(code: &str) -> String {
    if !code.contains('~') {
        return code.to_owned();
    }
    let mark = |edge: Option<char>| edge.filter(|edge| matches!(edge, '-' | '+')).map_or(0, char::len_utf8);
    let begin = mark(code.chars().next());
    let end = code.len() - mark(code[begin..].chars().next_back());
    let mut levels = vec![Level::default()];
    let mut at = begin;
    let mut before = "";
    while at < end {
        let token = token(&code[at..end]);
        at += token.len();
        let level = levels.last_mut().expect("the outermost level stays");
        match token {
            "(" | "[" | "{" => {
                level.out += token;
                levels.push(Level::default());
            }
            ")" | "]" | "}" => {
                level.close();
                let inner = if levels.len() > 1 { levels.pop().map(|level| level.out) } else { None };
                let outer = levels.last_mut().expect("the outermost level stays");
                outer.out += &inner.unwrap_or_default();
                outer.out += token;
            }
            "~" => {
                level.joins.push(level.out.len());
                level.out += token;
            }
            "," | ":" | "=" | "<" | ">" | "!" => {
                level.close();
                level.out += token;
                level.start = level.out.len();
            }
            // Sums bind less than `~` does; a sign is part of what it stands before.
            "+" | "-" if before.ends_with(|last: char| last.is_alphanumeric() || "_)]}'\"".contains(last)) => {
                level.close();
                level.out += token;
                level.start = level.out.len();
            }
            // `is not` belongs to what it tests; a name after a dot is no word of the language.
            word if BOUNDARIES.contains(&word) && before != "." && !(before == "is" && matches!(word, "not" | "in")) => {
                level.close();
                level.out += word;
                level.start = level.out.len();
            }
            other => level.out += other,
        }
        if !token.trim().is_empty() {
            before = token;
        }
    }
    let mut out = String::new();
    for mut level in levels {
        level.close();
        out += &level.out;
    }
    format!("{}{out}{}", &code[..begin], &code[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_filtered_and_nothing_else_changes() {
        let short = |source: &str| bounded(source).replace(JOINED, "j");
        for (source, wanted) in [
            ("a ~ b {{ a }} ~", "a ~ b {{ a }} ~"),
            ("{{ a ~ b }}", "{{ (a)|j ~ (b)|j }}"),
            ("{{- a ~ 'x ~ }} y' ~ b -}}", "{{- (a)|j ~ ('x ~ }} y')|j ~ (b)|j -}}"),
            ("{%- set x = a['~'] ~ 1 + 2 * 3 %}", "{%- set x = (a['~'])|j ~ (1)|j + 2 * 3 %}"),
            ("{% if a ~ b == c ~ d and not e %}", "{% if (a)|j ~ (b)|j == (c)|j ~ (d)|j and not e %}"),
            ("{{ f(a ~ b, k=c ~ d)[e ~ f] ~ g }}", "{{ (f((a)|j ~ (b)|j, k=(c)|j ~ (d)|j)[(e)|j ~ (f)|j])|j ~ (g)|j }}"),
            ("{{ {'k': a ~ b} }}", "{{ {'k': (a)|j ~ (b)|j} }}"),
            ("{{ a ~ (b if c is not none else d) }}", "{{ (a)|j ~ ((b if c is not none else d))|j }}"),
            ("{{ 'a' + b ~ -c * 2 - d ~ e }}", "{{ 'a' + (b)|j ~ (-c * 2)|j - (d)|j ~ (e)|j }}"),
            ("{{ x.in ~ \"\\\"~\" }}", "{{ (x.in)|j ~ (\"\\\"~\")|j }}"),
            ("{% raw %}{{ a ~ b }}{% endraw %}{{ a ~ b }}", "{% raw %}{{ a ~ b }}{% endraw %}{{ (a)|j ~ (b)|j }}"),
            ("{# a ~ b #}{{ a ~", "{# a ~ b #}{{ a ~"),
            ("{%- generation -%}x{% endgeneration %}", "{%- if true -%}x{% endif %}"),
        ] {
            assert_eq!(short(source), wanted, "{source}");
        }
    }
}
