//! The pieces of a template: text, `{{ outputs }}` and `{% tags %}`, with the white space removed that transformers removes. The engine
//! sees what is written of them, and never decides where a piece ends.

/// What is wrong with a template, and in which line.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) why: String,
}

pub(super) type Outcome<T> = Result<T, Fault>;

#[derive(Debug, PartialEq)]
pub(super) enum Piece<'s> {
    Text(&'s str),
    Output(Vec<Token<'s>>),
    Tag(Vec<Token<'s>>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token<'s> {
    pub(super) line: u32,
    pub(super) kind: Kind,
    /// As the template has it, with the quotes of a text.
    pub(super) text: &'s str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Text,
    Symbol,
}

/// The longest name and the longest number, in bytes: names are compared and numbers are read without being paid for.
const LONGEST_WORD: usize = 200;

/// The white space that goes behind a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    All,
    /// The end of the line.
    Line,
    Nothing,
}

impl After {
    fn of(sign: Option<char>) -> After {
        match sign {
            Some('-') => After::All,
            Some('+') => After::Nothing,
            _ => After::Line,
        }
    }
}

/// Reads a template piece by piece.
pub(super) struct Pieces<'s> {
    source: &'s str,
    rest: &'s str,
    pub(super) line: u32,
}

impl<'s> Pieces<'s> {
    pub(super) fn of(source: &'s str) -> Pieces<'s> {
        let source = source.strip_suffix('\n').map_or(source, |source| source.strip_suffix('\r').unwrap_or(source));
        Pieces { source, rest: source, line: 1 }
    }

    pub(super) fn fault<T>(&self, why: impl Into<String>) -> Outcome<T> {
        Err(Fault { line: self.line, why: why.into() })
    }

    /// The next bytes, which are then behind.
    fn take(&mut self, length: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count() as u32;
        taken
    }

    /// The next piece, which may be a text of nothing; none at the end.
    pub(super) fn next(&mut self) -> Outcome<Option<Piece<'s>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let begins = self.rest.as_bytes().windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"));
        match begins {
            Some(0) => {}
            begins => {
                let text = self.take(begins.unwrap_or(self.rest.len()));
                return Ok(Some(Piece::Text(self.before_tag(text))));
            }
        }
        if self.rest.starts_with("{#") {
            let Some(end) = self.rest[2..].find("#}") else { return self.fault("a comment has no end") };
            let sign = self.take(2 + end)[2..].chars().next_back();
            self.take(2);
            self.after_tag(After::of(sign));
            return Ok(Some(Piece::Text("")));
        }
        let output = self.take(2) == "{{";
        if self.rest.starts_with(['-', '+']) {
            self.take(1);
        }
        if let Some((length, after)) = basic_tag(self.rest, "raw").filter(|_| !output) {
            self.take(length);
            return self.raw(after).map(Some);
        }
        let (tokens, after) = self.tokens(if output { "}}" } else { "%}" })?;
        self.after_tag(if output && after == After::Line { After::Nothing } else { after });
        Ok(Some(if output { Piece::Output(tokens) } else { Piece::Tag(tokens) }))
    }

    /// Text that ends where the rest begins, without the white space that a tag there removes.
    fn before_tag(&self, text: &'s str) -> &'s str {
        match self.rest.as_bytes().get(2) {
            Some(b'-') => text.trim_end(),
            Some(b'+') => text,
            Some(_) if !self.rest.starts_with("{{") => {
                let kept = text.trim_end_matches(|space: char| space.is_whitespace() && !matches!(space, '\n' | '\r'));
                // The line may have begun before this text, behind a tag that took the end of its line with it.
                let before = self.source.len() - self.rest.len() - text.len();
                let begins = if kept.is_empty() { self.source[..before].chars().next_back() } else { kept.chars().next_back() };
                if begins.is_none_or(|last| matches!(last, '\n' | '\r')) { kept } else { text }
            }
            _ => text,
        }
    }

    fn after_tag(&mut self, after: After) {
        let behind_return = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        let behind = match after {
            After::All => self.rest.trim_start(),
            After::Line => behind_return.strip_prefix('\n').unwrap_or(behind_return),
            After::Nothing => self.rest,
        };
        self.take(self.rest.len() - behind.len());
    }

    /// What stands up to `{% endraw %}`, as it is.
    fn raw(&mut self, after: After) -> Outcome<Piece<'s>> {
        let tags = self.rest.match_indices("{%").map(|(at, _)| at);
        let end = tags.into_iter().find_map(|at| {
            let inner = &self.rest[at + 2..];
            let sign = usize::from(inner.starts_with(['-', '+']));
            basic_tag(&inner[sign..], "endraw").map(|(length, after)| (at, 2 + sign + length, after))
        });
        let Some((at, tag, after_end)) = end else { return self.fault("raw text has no end") };
        let all = self.rest.len();
        self.after_tag(after);
        let text = self.take(at.saturating_sub(all - self.rest.len()));
        let text = self.before_tag(text);
        self.take(tag);
        self.after_tag(after_end);
        Ok(Piece::Text(text))
    }

    /// The tokens up to where the tag closes, which is behind then; and what goes after it.
    fn tokens(&mut self, close: &str) -> Outcome<(Vec<Token<'s>>, After)> {
        let mut tokens: Vec<Token<'s>> = Vec::new();
        let mut open = 0_usize;
        loop {
            self.take(self.rest.len() - self.rest.trim_ascii_start().len());
            if open == 0 {
                let sign = self.rest.chars().next().filter(|sign| matches!(sign, '-' | '+'));
                let length = usize::from(sign.is_some());
                if self.rest[length..].starts_with(close) {
                    self.take(length + 2);
                    return Ok((tokens, After::of(sign)));
                }
            }
            let token = self.token(tokens.last().is_some_and(|before| before.text == "."))?;
            match token.text {
                "(" | "[" | "{" => open += 1,
                ")" | "]" | "}" if open == 0 => return self.fault("a bracket closes that was not opened"),
                ")" | "]" | "}" => open -= 1,
                _ => {}
            }
            tokens.push(token);
        }
    }

    /// The next token; behind a dot, digits are the place of an item.
    fn token(&mut self, behind_dot: bool) -> Outcome<Token<'s>> {
        let word = |text: &str| text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let line = self.line;
        let (kind, length) = match self.rest.chars().next() {
            None => return self.fault("a tag has no end"),
            Some(quote @ ('"' | '\'')) => {
                let mut escaped = false;
                let end = self.rest[1..].find(|character| {
                    let ends = character == quote && !escaped;
                    escaped = character == '\\' && !escaped;
                    ends
                });
                let Some(end) = end else { return self.fault("a text has no end") };
                (Kind::Text, end + 2)
            }
            Some('0'..='9') => {
                let whole = word(self.rest);
                let fraction = self.rest[whole..]
                    .strip_prefix('.')
                    .filter(|rest| !behind_dot && rest.starts_with(|c: char| c.is_ascii_digit()));
                (Kind::Number, fraction.map_or(whole, |rest| whole + 1 + word(rest)))
            }
            Some(first) if first.is_ascii_alphabetic() || first == '_' => (Kind::Word, word(self.rest)),
            Some(first) => {
                let two = ["//", "**", "==", "!=", ">=", "<="].iter().any(|symbol| self.rest.starts_with(symbol));
                if !two && !"+-*/%.,:~|=><()[]{}".contains(first) {
                    return self.fault(format!("{} is no part of an expression", crate::error::quoted(&first.to_string())));
                }
                (Kind::Symbol, if two { 2 } else { 1 })
            }
        };
        if matches!(kind, Kind::Word | Kind::Number) && length > LONGEST_WORD {
            return self.fault(format!("a name or a number has {length} characters, wanted at most {LONGEST_WORD}"));
        }
        Ok(Token { line, kind, text: self.take(length) })
    }
}

/// Whether a tag without arguments begins here: how long it is, and what goes after it.
fn basic_tag(text: &str, name: &str) -> Option<(usize, After)> {
    let rest = text.trim_ascii_start().strip_prefix(name)?.trim_ascii_start();
    let sign = rest.chars().next().filter(|sign| matches!(sign, '-' | '+'));
    let end = rest[usize::from(sign.is_some())..].strip_prefix("%}")?;
    Some((text.len() - end.len(), After::of(sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as they are, outputs in brackets, tags in braces.
    fn shown(source: &str) -> Outcome<String> {
        let mut pieces = Pieces::of(source);
        let mut shown = String::new();
        while let Some(piece) = pieces.next()? {
            shown += &match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Output(tokens) => format!("[{}]", tokens.len()),
                Piece::Tag(tokens) => format!("{{{}}}", tokens.len()),
            };
        }
        Ok(shown)
    }

    #[test]
    fn white_space_around_tags_goes_as_in_transformers() {
        for (source, wanted) in [
            ("a\n  {% x %}\n  b\n  {% x %}\nc\n", "a\n{1}  b\n{1}c"),
            ("a  {% x %}  b", "a  {1}  b"),
            ("a{% x %}\r\nb{% x %}\rc", "a{1}b{1}c"),
            ("a\n  {%+ x +%}\nb", "a\n  {1}\nb"),
            ("a\n  {%- x -%}\n  b", "a{1}b"),
            ("a\n  {{ x }}\n  b", "a\n  [1]\n  b"),
            ("a {{- x -}}\n b", "a[1]b"),
            ("a\n  {# {{ x }} #}\n  b {#- x -#} c", "a\n  bc"),
            ("{% x %}\n  {% x %}", "{1}{1}"),
            ("{% raw %}{{ x }} {% y %}{% endraw %}\nz", "{{ x }} {% y %}z"),
            ("{%- raw -%} a {%- endraw -%} z", "az"),
            ("{%raw%}\n a\n {%endraw%}\nz\r\n", " a\nz"),
            ("{{ '}}' ~ {'a': {'b': 1}} }}|", "[11]|"),
            ("{{ 1-}}{{ x -1}}{{ 'a\\'}}' }}", "[1][3][1]"),
            ("{{ x.0.1 + 1.5 }}", "[7]"),
            ("a } {b}", "a } {b}"),
        ] {
            assert_eq!(shown(source).unwrap(), wanted, "{source}");
        }
    }

    #[test]
    fn what_has_no_end_is_a_fault_with_its_line() {
        for source in ["\n{{ 'a", "\n{{ a", "\n{# a", "\n{% raw %}", "\n{{ ( }}", "\n{{ ` }}", "\n{{ ) }}"] {
            assert_eq!(shown(source).unwrap_err().line, 2, "{source}");
        }
    }
}
