//! A template as the engine gets it. The engine has fuel, and some of what it does it does before it asks for the price: it adds lists
//! without looking how long they are, and compares and writes out lists that hold the same list again and again. So each operand of such
//! an operator is given to a filter of [`super::fuel`], which asks first: `a == b` becomes `(a)|__weighed == (b)|__weighed`.

use super::pieces::{Fault, Kind, Outcome, Piece, Pieces, Token};
use crate::error::quoted;

/// How often a template may say `elif`: each nests in the one before.
const MOST_BRANCHES: usize = 1000;
/// How many parameters a macro may have: the engine copies their names whenever it comes to the macro.
const MOST_PARAMETERS: usize = 50;
/// How deep loops, macros and `with` may nest: a name is sought in each.
const MOST_SCOPES: usize = 20;

/// The template for the engine, whose lines stay where they were.
pub(super) fn rewritten(source: &str) -> Outcome<String> {
    let mut pieces = Pieces::of(source);
    let mut out = String::with_capacity(source.len());
    let (mut line, mut branches, mut scopes) = (1, 0, 0_usize);
    while let Some(piece) = pieces.next()? {
        let (open, close, tokens) = match piece {
            // A text that looks like a tag, or would with what follows it.
            Piece::Text(text) => {
                line += text.bytes().filter(|byte| *byte == b'\n').count() as u32;
                let parts = if text.contains('{') { ["{% raw %}", text, "{% endraw %}"] } else { ["", text, ""] };
                out.extend(parts);
                continue;
            }
            Piece::Output(tokens) => ("{{", " }}", tokens),
            Piece::Tag(tokens) => ("{%", " %}", tokens),
        };
        match tokens.first().map_or("", |token| token.text) {
            "elif" => branches += 1,
            "for" | "macro" | "call" | "with" => scopes += 1,
            "endfor" | "endmacro" | "endcall" | "endwith" => scopes = scopes.saturating_sub(1),
            _ => {}
        }
        if branches > MOST_BRANCHES {
            return pieces.fault(format!("says elif more than {MOST_BRANCHES} times"));
        }
        if scopes > MOST_SCOPES {
            return pieces.fault(format!("loops, macros and with nest more than {MOST_SCOPES} deep"));
        }
        out += open;
        let left = tokens.into_iter().rev().collect();
        let mut tag = Tag { left, out: &mut out, line, last: pieces.line, depth: 0, links: 0 };
        if open == "{{" { tag.expression().map(drop) } else { tag.statement() }?;
        tag.end()?;
        line = tag.line;
        out += close;
    }
    Ok(out)
}

/// A tag that is being written.
pub(super) struct Tag<'s, 'o> {
    /// The tokens that are left, backwards.
    left: Vec<Token<'s>>,
    pub(super) out: &'o mut String,
    /// Where the engine is, in lines.
    line: u32,
    /// Where the tag ends.
    last: u32,
    pub(super) depth: usize,
    pub(super) links: usize,
}

impl<'s> Tag<'s, '_> {
    pub(super) fn fault<T>(&self, why: impl Into<String>) -> Outcome<T> {
        let line = self.left.last().map_or(self.last, |token| token.line);
        Err(Fault { line, why: why.into() })
    }

    pub(super) fn wanted<T>(&self, what: &str) -> Outcome<T> {
        let got = self.left.last().map_or("the end of the tag".into(), |token| quoted(token.text).to_string());
        self.fault(format!("wanted {what}, got {got}"))
    }

    /// The next token.
    pub(super) fn peek(&self) -> Option<Token<'s>> {
        self.left.last().copied()
    }

    /// The token behind so many others.
    pub(super) fn ahead(&self, tokens: usize) -> Option<Token<'s>> {
        self.left.iter().nth_back(tokens).copied()
    }

    /// Whether a word or a symbol comes next.
    pub(super) fn is(&self, text: &str) -> bool {
        self.left.last().is_some_and(|token| token.kind != Kind::Text && token.text == text)
    }

    /// The next token, without writing it.
    pub(super) fn skip(&mut self) -> Option<Token<'s>> {
        let token = self.left.pop()?;
        while self.line < token.line {
            self.out.push('\n');
            self.line += 1;
        }
        self.out.push(' ');
        Some(token)
    }

    /// Writes the next token.
    pub(super) fn copy(&mut self) {
        if let Some(token) = self.skip() {
            self.out.push_str(token.text);
            self.line += token.text.bytes().filter(|byte| *byte == b'\n').count() as u32;
        }
    }

    /// Writes a word or a symbol if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let is = self.is(text);
        if is {
            self.copy();
        }
        is
    }

    pub(super) fn expect(&mut self, text: &str) -> Outcome<()> {
        if self.take(text) { Ok(()) } else { self.wanted(text) }
    }

    pub(super) fn name(&mut self) -> Outcome<&'s str> {
        match self.peek() {
            Some(Token { kind: Kind::Word, text, .. }) => {
                self.copy();
                Ok(text)
            }
            _ => self.wanted("a name"),
        }
    }

    fn end(&self) -> Outcome<()> {
        if self.peek().is_none() { Ok(()) } else { self.wanted("the end of the tag") }
    }

    fn statement(&mut self) -> Outcome<()> {
        let word = match self.peek() {
            Some(Token { kind: Kind::Word, text, .. }) => text,
            _ => return self.wanted("a name"),
        };
        // transformers finds by it in training what the model is to say itself.
        let stands_for = match word {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            "set" => return self.set(),
            _ => None,
        };
        if let Some(stands_for) = stands_for {
            self.skip();
            self.out.push_str(stands_for);
            return Ok(());
        }
        let known =
            "if elif else endif for endfor break continue macro endmacro call endcall with endwith filter endfilter endset do";
        if !known.split(' ').any(|known| known == word) {
            return self.fault(format!("{} is no tag of a chat template", quoted(word)));
        }
        self.copy();
        match word {
            "if" | "elif" => self.any().map(drop),
            "for" => {
                self.targets()?;
                self.expect("in")?;
                self.operand(super::fuel::LOOKED_THROUGH, Self::any)?;
                if self.take("if") {
                    self.expression()?;
                }
                Ok(())
            }
            "macro" => {
                self.name()?;
                self.parameters()
            }
            "call" => {
                if self.is("(") {
                    self.parameters()?;
                }
                self.expression().map(drop)
            }
            "with" => self.separated(|tag| {
                tag.targets_of_one()?;
                tag.expect("=")?;
                tag.expression().map(drop)
            }),
            "filter" => self.filters(),
            "do" => self.expression().map(drop),
            _ => Ok(()),
        }
    }

    /// `set x = 1`, `set x, y = pair`, `set x` of a block; and `set n.x = 1`, which becomes a call of the namespace.
    fn set(&mut self) -> Outcome<()> {
        if self.ahead(2).is_none_or(|token| token.text != ".") {
            self.copy();
            self.targets()?;
            if !self.take("=") {
                return if self.is("|") { self.filters_behind_bar() } else { Ok(()) };
            }
            return self.several();
        }
        self.skip();
        self.out.push_str("do");
        self.name()?;
        loop {
            self.expect(".")?;
            match (self.peek(), self.ahead(1)) {
                (Some(Token { kind: Kind::Word, text, .. }), Some(next)) if next.text == "=" => {
                    self.skip();
                    self.skip();
                    self.out.extend([super::namespace::SET, "('", text, "',"]);
                    self.several()?;
                    self.out.push(')');
                    return Ok(());
                }
                (Some(Token { kind: Kind::Word, .. }), Some(next)) if next.text == "." => self.copy(),
                _ => return self.wanted("a name of a namespace and ="),
            }
        }
    }

    /// `a`, `a, b` or `(a, b)`.
    fn targets(&mut self) -> Outcome<()> {
        self.separated(Self::targets_of_one)
    }

    fn targets_of_one(&mut self) -> Outcome<()> {
        if !self.take("(") {
            return self.name().map(drop);
        }
        // Brackets in brackets are not worth a recursion.
        self.separated(|tag| tag.name().map(drop))?;
        self.expect(")")
    }

    /// What `read` reads, as often as commas follow.
    fn separated(&mut self, mut read: impl FnMut(&mut Self) -> Outcome<()>) -> Outcome<()> {
        read(self)?;
        while self.take(",") {
            read(self)?;
        }
        Ok(())
    }

    /// `(a, b=1)` of a macro.
    fn parameters(&mut self) -> Outcome<()> {
        self.expect("(")?;
        let mut count = 0;
        self.bracketed(")", |tag| {
            count += 1;
            if count > MOST_PARAMETERS {
                return tag.fault(format!("a macro has more than {MOST_PARAMETERS} parameters"));
            }
            tag.name()?;
            if tag.take("=") { tag.expression().map(drop) } else { Ok(()) }
        })
    }

    fn filters_behind_bar(&mut self) -> Outcome<()> {
        self.expect("|")?;
        self.filters()
    }

    /// `trim | upper`.
    fn filters(&mut self) -> Outcome<()> {
        self.filter()?;
        while self.take("|") {
            self.filter()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without white space, the filters by their first letter.
    fn short(source: &str) -> String {
        let tight: String = rewritten(source).unwrap().split_whitespace().collect();
        let filters = ["weighed", "text", "listed", "item", "key", "held"];
        let tight = tight.replace("|__looked_through", "|through");
        filters.iter().fold(tight, |tight, filter| tight.replace(&format!("|__{filter}"), &format!("|{}", &filter[..1])))
    }

    #[test]
    fn operands_that_could_cost_more_than_they_are_charged_are_asked_first() {
        for (source, wanted) in [
            ("a + b {{ a }} ~", "a+b{{a}}~"),
            ("{{ 1 + 2 - 3 }}", "{{(1+2-3)|l}}"),
            ("{{ a ~ 'b' ~ c * 2 }}", "{{(a)|t~'b'~((c*2)|l)|t}}"),
            ("{% if a.b == 'c' and not d %}", "{%if(a.b)|w=='c'andnotd%}"),
            ("{% if a not in b < 3 %}", "{%if(a)|wnotin(b)|w<3%}"),
            ("{{ a[0].b['c'][d] }}", "{{((((a)|i(0)).b['c'])|i(d))}}"),
            ("{{ a[1:] | length }}", "{{((((a)|through)[1:])|l)|length}}"),
            ("{{ -a | abs }}", "{{-a|abs}}"),
            ("{{ [1, 'b'] }}{{ [a] }}{{ (a, 1) }}", "{{[1,'b']}}{{(([a])|h)}}{{(((a,1))|h)}}"),
            ("{{ {'a': 1, b: c} }}", "{{(({'a':1,(b)|k:c})|h)}}"),
            ("{% for a, b in c if a is defined %}", "{%fora,bin(c)|throughifaisdefined%}"),
            ("{% set n.x = a + 1 %}{% set x = 1, a %}", "{%don.__set('x',(a+1)|l)%}{%setx=((1,a))|h%}"),
            ("{{ f(a) }}{{ loop.changed(a) }}", "{{f(a)}}{{loop.changed((a)|w)}}"),
            ("{% raw %}{{ a ~ b }}{% endraw %}{# a ~ b #}", "{%raw%}{{a~b}}{%endraw%}"),
            ("{%- generation -%}x{% endgeneration %}", "{%iftrue%}x{%endif%}"),
            ("{{ a is divisibleby 3 if b else c }}", "{{aisdivisibleby3ifbelsec}}"),
        ] {
            assert_eq!(short(source), wanted, "{source}");
        }
    }

    #[test]
    fn lines_stay_where_they_were() {
        let source = "a\n{# b\n #}\n{%- if c\n  == d -%}\n\n{{ e }}";
        let lines = rewritten(source).unwrap();
        assert_eq!(lines.lines().position(|line| line.contains("e }}")), Some(6));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (source, why) in [
            ("\n{{ a b }}", "wanted the end of the tag, got \"b\""),
            ("\n{{ a +\n }}", "wanted a value, got the end of the tag"),
            ("\n{% include 'a' %}", "\"include\" is no tag of a chat template"),
            ("\n{{ f(*a) }}", "wanted a value, got \"*\""),
        ] {
            let fault = rewritten(source).unwrap_err();
            assert!((2..=3).contains(&fault.line) && fault.why == why, "{source}: {fault:?}");
        }
    }
}
