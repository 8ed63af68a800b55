//! The expressions of tags, written out as they are read: what binds how is the engine's grammar, what is put around operands is ours.

use super::fuel::{HELD, ITEM, KEY, LISTED, LOOKED_THROUGH, TEXT, WEIGHED};
use super::pieces::{Kind, Outcome, Token};
use super::rewrite::Tag;

/// How deep brackets may nest.
const DEPTH: usize = 100;
/// How many operators, filters and accesses a tag may have: the engine nests them in each other.
const MOST_LINKS: usize = 1000;
/// How many sums or products become one list at a time: those of the engine are slow when they are deep, and nest no deeper than this.
const LISTED_AT_ONCE: usize = 16;

/// The longest text that costs no more than an instruction to compare, in bytes.
const SHORT: usize = 64;

/// Whether what was read is a number, a short text or a constant, which cost nothing to look at.
type Literal = bool;

impl Tag<'_, '_> {
    /// Gives what was written since `start` to a filter.
    fn filtered(&mut self, start: usize, filter: &str) {
        self.out.insert(start, '(');
        self.out.extend([")|", filter]);
    }

    /// The same where more may follow it.
    fn filtered_whole(&mut self, start: usize, filter: &str) {
        self.filtered(start, filter);
        self.out.insert(start, '(');
        self.out.push(')');
    }

    /// An operand, given to a filter unless it is a literal.
    pub(super) fn operand(&mut self, filter: &str, read: fn(&mut Self) -> Outcome<Literal>) -> Outcome<Literal> {
        let start = self.out.len();
        let literal = read(self)?;
        if !literal {
            self.filtered(start, filter);
        }
        Ok(literal)
    }

    fn link(&mut self) -> Outcome<()> {
        self.links += 1;
        if self.links > MOST_LINKS { self.fault(format!("a tag has more than {MOST_LINKS} operators")) } else { Ok(()) }
    }

    /// Runs `read` a level deeper.
    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Outcome<Literal>) -> Outcome<Literal> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.fault(format!("an expression nests more than {DEPTH} deep"));
        }
        let literal = read(self);
        self.depth -= 1;
        literal
    }

    /// `a if b else c`, and what binds more.
    pub(super) fn expression(&mut self) -> Outcome<Literal> {
        self.deeper(|tag| {
            let mut literal = tag.any()?;
            while tag.take("if") {
                tag.link()?;
                literal = false;
                tag.any()?;
                if tag.take("else") {
                    tag.expression()?;
                }
            }
            Ok(literal)
        })
    }

    /// Expressions with commas between, which are a tuple.
    pub(super) fn several(&mut self) -> Outcome<()> {
        let start = self.out.len();
        self.expression()?;
        if self.is(",") {
            while self.take(",") && self.peek().is_some() {
                self.expression()?;
            }
            self.out.insert(start, '(');
            self.out.push(')');
            self.filtered(start, HELD);
        }
        Ok(())
    }

    pub(super) fn any(&mut self) -> Outcome<Literal> {
        self.chain(&["or"], |tag| tag.chain(&["and"], Self::not))
    }

    /// Operands between operators that cost no more than they say.
    fn chain(&mut self, operators: &[&str], read: fn(&mut Self) -> Outcome<Literal>) -> Outcome<Literal> {
        let mut literal = read(self)?;
        while operators.iter().any(|operator| self.take(operator)) {
            self.link()?;
            literal = false;
            read(self)?;
        }
        Ok(literal)
    }

    fn not(&mut self) -> Outcome<Literal> {
        let mut negated = false;
        while self.take("not") {
            self.link()?;
            negated = true;
        }
        Ok(self.compared()? && !negated)
    }

    fn compared(&mut self) -> Outcome<Literal> {
        self.between(WEIGHED, Self::comparison, Self::sum)
    }

    /// How many tokens the comparison has that comes next, if one does.
    fn comparison(&self) -> usize {
        match (self.peek(), self.ahead(1)) {
            (Some(not), Some(within)) if not.text == "not" && within.text == "in" => 2,
            (Some(Token { kind: Kind::Word, text: "in", .. }), _) => 1,
            (Some(Token { kind: Kind::Symbol, text: "==" | "!=" | "<" | "<=" | ">" | ">=", .. }), _) => 1,
            _ => 0,
        }
    }

    fn joined(&mut self) -> Outcome<Literal> {
        self.between(TEXT, |tag| usize::from(tag.is("~")), |tag| tag.made(&["*", "//", "/", "%"], "*", Self::power))
    }

    /// Operands, each given to a filter if there is an operator between them.
    fn between(
        &mut self,
        filter: &str,
        operator: fn(&Self) -> usize,
        read: fn(&mut Self) -> Outcome<Literal>,
    ) -> Outcome<Literal> {
        let start = self.out.len();
        let literal = read(self)?;
        let mut tokens = operator(self);
        if tokens == 0 {
            return Ok(literal);
        }
        if !literal {
            self.filtered(start, filter);
        }
        while tokens > 0 {
            self.link()?;
            (0..tokens).for_each(|_| self.copy());
            self.operand(filter, read)?;
            tokens = operator(self);
        }
        Ok(false)
    }

    fn sum(&mut self) -> Outcome<Literal> {
        self.made(&["+", "-"], "+", Self::joined)
    }

    /// Sums or products, of which the engine makes lists that are computed when they are looked at: they become lists at once.
    fn made(&mut self, operators: &[&str], makes: &str, read: fn(&mut Self) -> Outcome<Literal>) -> Outcome<Literal> {
        let start = self.out.len();
        let mut literal = read(self)?;
        let mut lazy = 0;
        while let Some(operator) = operators.iter().find(|operator| self.is(operator)) {
            if lazy == LISTED_AT_ONCE {
                self.filtered(start, LISTED);
                lazy = 0;
            }
            self.link()?;
            self.copy();
            read(self)?;
            lazy += usize::from(*operator == makes);
            literal = false;
        }
        if lazy > 0 {
            self.filtered(start, LISTED);
        }
        Ok(literal)
    }

    fn power(&mut self) -> Outcome<Literal> {
        self.chain(&["**"], |tag| {
            let mut literal = tag.signed()?;
            while tag.is("|") || tag.is("is") {
                tag.link()?;
                literal = false;
                if tag.take("|") { tag.filter()? } else { tag.test()? }
            }
            Ok(literal)
        })
    }

    /// `trim` or `join(', ')`.
    pub(super) fn filter(&mut self) -> Outcome<()> {
        self.name()?;
        if self.is("(") { self.arguments(None) } else { Ok(()) }
    }

    /// `is not none`, `is divisibleby 3`.
    fn test(&mut self) -> Outcome<()> {
        self.expect("is")?;
        self.take("not");
        self.name()?;
        match self.peek() {
            Some(Token { kind: Kind::Symbol, text: "(", .. }) => self.arguments(None),
            Some(Token { kind: Kind::Word, text: "and" | "or" | "else" | "is", .. }) => Ok(()),
            Some(Token { kind: Kind::Symbol, text: "[" | "{" | "-", .. }) => self.signed().map(drop),
            Some(Token { kind: Kind::Symbol, .. }) | None => Ok(()),
            Some(_) => self.signed().map(drop),
        }
    }

    /// A value with its sign, and with the attributes, items and calls behind it.
    fn signed(&mut self) -> Outcome<Literal> {
        let mut sign = false;
        while self.take("-") {
            self.link()?;
            sign = true;
        }
        let start = self.out.len();
        let mut literal = self.deeper(Self::primary)?;
        let mut changed = false;
        while let Some(Token { kind: Kind::Symbol, text: text @ ("." | "[" | "("), .. }) = self.peek() {
            self.link()?;
            literal = false;
            match text {
                "." => {
                    self.copy();
                    changed = self.peek().is_some_and(|name| name.text == "changed");
                    match self.peek() {
                        Some(Token { kind: Kind::Word | Kind::Number, .. }) => self.copy(),
                        _ => return self.wanted("a name"),
                    }
                    continue;
                }
                "[" => self.item(start)?,
                _ => self.arguments(changed.then_some(WEIGHED))?,
            }
            changed = false;
        }
        Ok(literal && !sign)
    }

    /// `[a]` or `[a:b:c]` of what was written since `start`.
    fn item(&mut self, start: usize) -> Outcome<()> {
        let end = self.out.len();
        self.copy();
        let inner = self.out.len();
        let mut colons = 0;
        while !self.take("]") {
            if colons < 2 && self.take(":") {
                colons += 1;
                continue;
            }
            let name = self.peek().is_some_and(|token| token.kind == Kind::Text);
            let literal = self.expression()?;
            if colons == 0 && self.is("]") {
                if name && literal {
                    self.copy();
                    return Ok(());
                }
                let key = self.out.split_off(inner);
                self.out.pop();
                let space = self.out.split_off(end);
                self.filtered(start, ITEM);
                self.out.insert(start, '(');
                self.out.extend(["(", &space, &key]);
                self.skip();
                self.out.push_str("))");
                return Ok(());
            }
        }
        let slice = self.out.split_off(end);
        self.filtered_whole(start, LOOKED_THROUGH);
        self.out.push_str(&slice);
        self.filtered_whole(start, LISTED);
        Ok(())
    }

    /// `(a, b, c=1)`, each given to a filter if there is one.
    fn arguments(&mut self, filter: Option<&str>) -> Outcome<()> {
        self.expect("(")?;
        self.bracketed(")", |tag| {
            if let (Some(Token { kind: Kind::Word, .. }), Some(Token { kind: Kind::Symbol, text: "=", .. })) =
                (tag.peek(), tag.ahead(1))
            {
                tag.copy();
                tag.copy();
            }
            match filter {
                Some(filter) => tag.operand(filter, Self::expression).map(drop),
                None => tag.expression().map(drop),
            }
        })
    }

    /// What `read` reads with commas between, up to a closing bracket.
    pub(super) fn bracketed(&mut self, close: &str, mut read: impl FnMut(&mut Self) -> Outcome<()>) -> Outcome<()> {
        while !self.take(close) {
            read(self)?;
            if !self.take(",") {
                return self.expect(close);
            }
        }
        Ok(())
    }

    fn primary(&mut self) -> Outcome<Literal> {
        let start = self.out.len();
        let mut literal = true;
        match self.peek() {
            Some(Token { kind: Kind::Number, .. }) => {
                self.copy();
                return Ok(true);
            }
            Some(Token { kind: Kind::Text, .. }) => {
                while self.peek().is_some_and(|token| token.kind == Kind::Text) {
                    self.copy();
                }
                return Ok(self.out.len() - start <= SHORT);
            }
            Some(Token { kind: Kind::Word, text, .. }) => {
                self.copy();
                return Ok(matches!(text, "true" | "True" | "false" | "False" | "none" | "None"));
            }
            Some(Token { text: "(", .. }) => {
                self.copy();
                let mut items = 0;
                while !self.take(")") {
                    literal &= self.expression()?;
                    items += 1;
                    if !self.is(",") && items == 1 {
                        self.expect(")")?;
                        return Ok(literal);
                    }
                    if !self.take(",") {
                        self.expect(")")?;
                        break;
                    }
                }
            }
            Some(Token { text: "[", .. }) => {
                self.copy();
                self.bracketed("]", |tag| tag.expression().map(|item| literal &= item))?;
            }
            Some(Token { text: "{", .. }) => {
                self.copy();
                self.bracketed("}", |tag| {
                    literal &= tag.operand(KEY, Self::expression)?;
                    tag.expect(":")?;
                    tag.expression().map(|value| literal &= value)
                })?;
            }
            _ => return self.wanted("a value"),
        }
        // Literals in a list cannot make it nest.
        if !literal {
            self.filtered_whole(start, HELD);
        }
        Ok(false)
    }
}
