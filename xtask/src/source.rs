//! Rust source with everything that is not code taken out, so that a rule about code does not trip over a comment or a string.

/// The source with comments and literals blanked. Every byte keeps its place, so a position in the result is a position in the source.
pub(crate) fn code(source: &str) -> String {
    let mut scan = Scan { source: source.as_bytes(), code: Vec::with_capacity(source.len()) };
    while scan.at() < source.len() {
        let length = scan.not_code();
        if length == 0 {
            scan.code.push(scan.source[scan.at()]);
        } else {
            scan.blank(length);
        }
    }
    String::from_utf8(scan.code).expect("literals and comments are blanked whole, so no character was cut")
}

/// Whether `name` stands in `code` as a word of its own.
pub(crate) fn has_word(code: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(part_of_word)
            && !code[at + name.len()..].chars().next().is_some_and(part_of_word)
    })
}

/// The number, counted from 1, of the line that holds the byte `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

struct Scan<'a> {
    source: &'a [u8],
    code: Vec<u8>,
}

impl Scan<'_> {
    fn at(&self) -> usize {
        self.code.len()
    }

    fn blank(&mut self, length: usize) {
        let part = &self.source[self.at()..self.at() + length];
        self.code.extend(part.iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
    }

    /// How many bytes of comment or literal begin here; 0 in code.
    fn not_code(&self) -> usize {
        let rest = &self.source[self.at()..];
        match rest {
            [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => block_comment(rest),
            [b'"', ..] => quoted(rest, b'"'),
            [b'r', b'"' | b'#', ..] if self.word_begins() => raw_string(rest),
            [b'\'', b'\\', ..] => quoted(rest, b'\''),
            [b'\'', first, ..] => character(rest, *first),
            _ => 0,
        }
    }

    /// Whether an `r` here can open a raw string: it is not the end of a name, except of the prefixes `b` and `c`.
    fn word_begins(&self) -> bool {
        let part_of_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match self.code.as_slice() {
            [.., before, b'b' | b'c'] => !part_of_word(*before),
            [.., before] => !part_of_word(*before),
            [] => true,
        }
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0; // a raw identifier
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = 2 + hashes;
    let end = rest[body..].windows(close.len()).position(|window| window == close);
    end.map_or(rest.len(), |end| body + end + close.len())
}

/// A character literal, or nothing if the quote opens a lifetime.
fn character(rest: &[u8], first: u8) -> usize {
    let width = match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_go_and_the_rest_keeps_its_place() {
        let cases = [
            ("a // todo!()\nb", "a b"),
            ("a /* x /* y */ \n z */ b", "a b"),
            (r#"f("dbg!(\"x\")", 'q', '\'', b'"') g"#, "f( , , , b ) g"),
            (r###"f(r#"a "quoted" b"#, br"x\", xr"y") g"###, "f( , b , xr ) g"),
            ("fn f<'a>(r#type: &'a str) -> &'static str", "fn f<'a>(r#type: &'a str) -> &'static str"),
            ("'é' \"é\" x", "x"),
            ("\"open", ""),
        ];
        for (source, want) in cases {
            let got = code(source);
            assert_eq!(got.split_whitespace().collect::<Vec<_>>(), want.split_whitespace().collect::<Vec<_>>(), "{source}");
            assert_eq!(got.len(), source.len(), "{source}");
            assert!(
                got.bytes().zip(source.bytes()).all(|(kept, byte)| kept == byte || (kept == b' ' && byte != b'\n')),
                "{source}"
            );
        }
    }

    #[test]
    fn a_word_is_not_part_of_another() {
        assert!(has_word("registry! { mla, gqa }", "gqa"));
        assert!(!has_word("registry! { mla, gqa_tied }", "gqa"));
        assert!(!has_word("registry! { mqgqa }", "gqa"));
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!([0, 1, 2, 3].map(|at| line_of("a\nb\n", at)), [1, 1, 2, 2]);
    }
}
