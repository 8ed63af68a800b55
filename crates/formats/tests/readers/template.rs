//! Templates that loop, grow, nest or ask for what they may not have are refused in time, in bounds of memory, and by one line.

use crate::clock::Clock;
use crate::hostile::{ROOM, TIME};
use crate::mutation::Draw;
use crate::valid::TEMPLATES;
use crate::{MEMORY, alone};
use attendant_formats::{Chat, ChatTemplate};
use std::time::Duration;

/// What is said of a template that does or makes too much.
const MORE: &str = "more than it may";
/// What is said of one that nests too much.
const DEEP: &str = "deep";
/// What the engine says of it.
const LIMITS: &str = "recursion limit";
/// What is said of a tag that is a chain without end.
const LINKS: &str = "more than 1000 operators";
/// What a template says that is harmless, once it is through.
const DONE: &str = "refuses the conversation: \"done\"";

/// A template that sets `x` again and again, and then does something with it.
fn again(first: &str, next: &str, then: &str) -> String {
    let turn = format!("{{% set n.x = {next} %}}");
    format!("{{% set n = namespace(x={first}) %}}{{% for i in range(99) %}}{turn}{{% endfor %}}{then}")
}

/// A template that gets through.
fn through(template: &str) -> String {
    format!("{template}{{{{ raise_exception('done') }}}}")
}

/// A template that does something again and again with a list of lists of lists, which holds the same item ten thousand times.
fn shared(then: &str) -> String {
    let level = |level: u32| format!("{{% set x{} = [{}] %}}", level + 1, vec![format!("x{level}"); 10].join(", "));
    let levels = |item: &str| format!("{{% set x0 = '{item}' %}}") + &(0..4).map(level).collect::<String>();
    format!("{}{{% set a = x4 %}}{}{{% for i in range(9999) %}}{then}{{% endfor %}}", levels("item"), levels("item"))
}

fn growing() -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("a text doubled by plus", again("'xxxxxxxx'", "n.x + n.x", ""), MORE),
        ("a text doubled by joining", again("'xxxxxxxx'", "n.x ~ n.x", ""), MORE),
        ("a text doubled by a product", again("'xxxxxxxx'", "n.x * 2", ""), MORE),
        ("a text doubled by join", again("'xxxxxxxx'", "[n.x, n.x] | join", ""), MORE),
        ("a text doubled by a method", again("'xxxxxxxx'", "''.join([n.x, n.x])", ""), MORE),
        ("a text doubled by replacing", again("'xxxxxxxx'", "n.x | replace('x', 'xx')", ""), MORE),
        ("a text doubled by a replacing method", again("'xxxxxxxx'", "n.x.replace('x', 'xx')", ""), MORE),
        ("a text grown by an indent", again("'x\\nx\\nx'", "n.x | indent(99999)", ""), MORE),
        ("a text grown by JSON", again("'\"'", "n.x | tojson", ""), MORE),
        ("a text grown by itself as a list", again("'\\\\'", "[n.x] | string", ""), MORE),
        ("a list doubled by plus", again("[1]", "n.x + n.x", ""), MORE),
        ("a list doubled by a product", again("[1]", "n.x * 2", ""), MORE),
        ("a tuple doubled by plus", again("(1,)", "n.x + n.x", ""), MORE),
        ("a tuple doubled by a product", again("(1,)", "2 * n.x", ""), MORE),
        ("a list grown by a list", again("[1]", "(n.x + n.x) | list", ""), MORE),
        ("a list grown by a slice", again("[1]", "(n.x * 3)[1:]", ""), MORE),
        ("a list grown by filling up", again("[1]", "n.x | batch(9999999, 0) | list", ""), MORE),
        ("lists that nest", again("[1]", "[n.x]", "").replace("range(99)", "range(999)"), DEEP),
        ("tuples that nest", again("(1,)", "(n.x,)", "").replace("range(99)", "range(999)"), DEEP),
        ("dicts that nest", again("{}", "{'a': n.x}", "").replace("range(99)", "range(999)"), DEEP),
        ("dicts of names that nest", again("{}", "dict(a=n.x)", "").replace("range(99)", "range(999)"), DEEP),
        ("batches that nest", again("[1]", "n.x | batch(1)", "").replace("range(99)", "range(999)"), DEEP),
        ("batches that are kept", again("[]", "n.x + [[1] | batch(1000)]", "").replace("range(99)", "range(99999)"), MORE),
        ("replies of a count", again("'x'", "n.x.replace('x', 'xxx', 99999999)", ""), MORE),
        ("a long range", "{{ range(1000000000) | list | length }}".into(), "too many elements"),
        ("the longest range", "{{ range(9223372036854775807) }}".into(), "more elements than it may"),
        ("a range backwards", "{{ range(0, -9223372036854775807, -1) }}".into(), "more elements than it may"),
        ("a long text", "{{ 'x' * 100000000 }}".into(), MORE),
        ("the longest text", "{{ 'xxxx' * 9223372036854775807 }}".into(), MORE),
        ("the longest list", "{{ [1, 2, 3] * 9223372036854775807 }}".into(), "too large"),
        ("a wide indent", "{{ ('a\\n' * 10000) | indent(1000000000) }}".into(), MORE),
        ("a wide indent of a word", "{{ 'a\\na' | indent(('x' * 4000000)) }}{{ 'a\\na' | indent('x' * 9999999) }}".into(), "cannot convert"),
        ("wide JSON", through("{{ [[[[1]]]] | tojson(indent=100000000000) }}"), DONE),
        ("JSON with long separators", "{{ range(9999) | tojson(separators=('x' * 99999, ':')) }}".into(), MORE),
        ("long output", "{% for a in range(100000) %}{{ 'x' * 1000 }}{% endfor %}".into(), MORE),
        ("a long text many times", "{% set s = 'x' * 1000000 %}{{ ([s] * 100000) | join }}".into(), MORE),
        ("a long text many times by a method", "{% set s = 'x' * 1000000 %}{{ ''.join([s] * 100000) }}".into(), MORE),
        ("a long text many times as text", "{% set s = 'x' * 1000000 %}{{ '' ~ [s] * 100000 }}".into(), MORE),
        ("a long text many times as JSON", "{% set s = 'x' * 1000000 %}{{ ([s] * 100000) | tojson }}".into(), MORE),
        ("a long separator", "{{ range(9999) | join('x' * 100000) }}".into(), MORE),
        ("a long text replaced", "{% set s = 'x' * 1000000 %}{{ s | replace('x', s) }}".into(), MORE),
        ("a long text in a long text", "{% set s = 'x' * 1000000 %}{{ s.replace('x', s) }}".into(), MORE),
        ("a long text in large letters", "{% set s = 'ΐ' * 100000 %}{% for i in range(99) %}{% set t = s | upper %}{% endfor %}".into(), MORE),
        ("a long text as characters", "{% for i in range(99) %}{% set t = ('x' * 100000) | list %}{% endfor %}".into(), MORE),
        ("a long text as lines", "{% for i in range(99) %}{% set t = ('\\n' * 100000).splitlines() %}{% endfor %}".into(), MORE),
        ("a long text as words", "{% for i in range(99) %}{% set t = ('x ' * 100000).split() %}{% endfor %}".into(), MORE),
        ("a long text as parts", "{% for i in range(99) %}{% set t = ('x,' * 100000) | split(',') %}{% endfor %}".into(), MORE),
        ("macros that write", "{% macro m() %}{{ 'x' * 99999 }}{% endmacro %}{% for i in range(9999) %}{% set x = m() %}{% endfor %}".into(), MORE),
        ("blocks that write", "{% for i in range(9999) %}{% set x %}{{ 'x' * 99999 }}{% endset %}{% endfor %}".into(), MORE),
        ("filters that write", "{% for i in range(9999) %}{% filter upper %}{{ 'x' * 99999 }}{% endfilter %}{% endfor %}".into(), MORE),
        ("calls that write", "{% macro m() %}{{ caller() * 9 }}{% endmacro %}{% for i in range(9999) %}{% call m() %}{{ 'x' * 9999 }}{% endcall %}{% endfor %}".into(), MORE),
        ("lists that are sorted", "{% for i in range(99) %}{% set x = range(9999) | sort %}{% endfor %}".into(), MORE),
        ("lists that are mapped", "{% for i in range(999) %}{% set x = range(9999) | map('string') | list %}{% endfor %}".into(), MORE),
        ("lists that are grouped", "{% for i in range(99) %}{% set x = ([{'a': 1}] * 9999) | groupby('a') %}{% endfor %}".into(), MORE),
        ("lists that are reversed", "{% for i in range(999) %}{% set x = range(9999) | reverse %}{% endfor %}".into(), MORE),
        ("parts of lists", "{% set x = range(9999) %}{% for i in range(9999) %}{% set y = x[1:] %}{% endfor %}".into(), MORE),
        ("dicts that are gone through", shared("{% set d = dict(a=x4) %}{% set y = [d.items(), d.values()] %}"), MORE),
    ]
}

/// A template that does something again and again with a dictionary of many entries.
fn many_entries(then: &str) -> String {
    let entries: String = (0..3000).map(|name| format!("'entry{name}':{name},")).collect();
    format!("{{% set d = {{{entries}}} %}}{{% for i in range(9999) %}}{{% set x = {then} %}}{{% endfor %}}")
}

/// A template with one scope in another.
fn scopes(count: usize, then: &str) -> String {
    let open: String = (1..count).map(|name| format!("{{% with i{name}=1 %}}")).collect();
    format!(
        "{{% set i0 = 1 %}}{open}{then}{}{}{}",
        "{% with a=1 %}".repeat(usize::from(count > 20)),
        "{% endwith %}".repeat(usize::from(count > 20)),
        "{% endwith %}".repeat(count - 1)
    )
}

fn working() -> Vec<(&'static str, String, &'static str)> {
    let long = "{% set s = 'x' * 4000000 %}{% set t = 'x' * 2000000 + 'y' %}";
    let looked = |look: &str| format!("{long}{{% for i in range(9999) %}}{{% set y = {look} %}}{{% endfor %}}");
    vec![
        ("loops in loops", "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".into(), MORE),
        ("a shared list written", shared("{{ x4 }}"), MORE),
        ("a shared list as text", shared("{{ x4 | string | length }}"), MORE),
        ("a shared list joined", shared("{{ '' ~ x4 }}"), MORE),
        ("a shared list as JSON", shared("{{ x4 | tojson | length }}"), MORE),
        ("a shared list in large letters", shared("{{ x4 | upper }}"), MORE),
        ("a shared list replaced", shared("{{ x4 | replace('a', 'b') }}"), MORE),
        ("a shared list indented", shared("{{ x4 | indent }}"), MORE),
        ("a shared list raised", shared("{{ raise_exception(x4) }}"), "refuses the conversation"),
        ("a shared list compared", shared("{{ a == x4 }}"), MORE),
        ("a shared list told apart", shared("{{ a != x4 }}"), MORE),
        ("a shared list ordered", shared("{{ a < x4 }}"), MORE),
        ("a shared list found in itself", shared("{{ a in [x4] }}"), MORE),
        ("a shared list tested", shared("{{ a is eq x4 }}"), MORE),
        ("a shared list selected", shared("{{ [a] | select('==', x4) | list }}"), MORE),
        ("a shared list counted", shared("{{ [a].count(x4) }}"), MORE),
        ("a shared list made unique", shared("{{ [a, x4] | unique | list }}"), MORE),
        ("a shared list sorted", shared("{{ [a, x4] | sort }}"), MORE),
        ("a shared list at its least", shared("{{ [a, x4] | min }}"), MORE),
        ("a shared list that changes", shared("{% for i in [a, x4] %}{{ loop.changed(i) }}{% endfor %}"), MORE),
        ("a shared list as a key", shared("{{ {x4: 1} }}"), "cannot be a key"),
        ("a shared list as an index", shared("{{ {'a': 1}[x4] }}"), "cannot be a key"),
        ("a long text searched", looked("t in s"), MORE),
        ("a long text searched by a method", looked("s.find(t)"), MORE),
        ("a long text compared", looked("s == s ~ ''"), MORE),
        ("a long text ordered", looked("s < s"), MORE),
        ("a long text counted", looked("s.count('y')"), MORE),
        ("a long text measured", looked("s | length"), MORE),
        ("a long text at its end", looked("s[-1]"), MORE),
        ("a long text stripped", looked("t.strip('abcdefghijklmnop')"), MORE),
        ("a long text as a number", looked("s | int"), MORE),
        ("a long text as a fraction", looked("s | float"), MORE),
        ("a long text asked for its case", looked("s is lower"), MORE),
        ("a long text asked for its letters", looked("s.isalpha()"), MORE),
        ("a long beginning", looked("s.startswith(t)"), MORE),
        ("a long beginning among others", looked("s.startswith((t, t, t))"), MORE),
        ("a long key", looked("{s: 1}[s]"), MORE),
        ("a long name", looked("messages[0][s]"), MORE),
        ("a long path", looked("messages | map(attribute=s) | list"), MORE),
        ("many unique items", "{% for i in range(99) %}{{ range(9999) | unique | list | length }}{% endfor %}".into(), MORE),
        ("many items sought", "{% set x = range(9999) %}{% for i in x %}{{ i in x }}{% endfor %}".into(), MORE),
        (
            "many items tested",
            "{% set x = range(9999) %}{% for i in x %}{% set y = x | select('eq', 0) %}{% endfor %}".into(),
            MORE,
        ),
        (
            "many empty tests",
            "{% set x = [] %}{% for i in range(99999) %}{% if x %}{% elif x %}{% elif x %}{% endif %}{% endfor %}".into(),
            MORE,
        ),
        ("many lines indented", looked("t | indent").replace("'x' * 2000000 + 'y'", "'x\\n' * 500000"), MORE),
        ("a place in a range", "{% for i in range(99999) %}{% set y = range(99999)[99998] %}{% endfor %}".into(), MORE),
        (
            "a long text begun",
            looked("[1 for]").replace("{% set y = [1 for] %}", "{% for c in s %}{% break %}{% endfor %}"),
            MORE,
        ),
        ("a long text sliced", looked("s[-1:]"), MORE),
        ("a long text as a key of others", looked("{s: 1}"), MORE),
        ("a long text as a tag", looked(&format!("'{0}' == '{0}'", "x".repeat(32_000))), MORE),
        ("a long name in a tag", looked(&format!("messages[0]['{}']", "x".repeat(65_000))), MORE),
        ("a long text asked for among others", looked("[t, t, t] | select('in', [s]) | list"), MORE),
        ("a long path to sort by", looked("messages | sort(attribute=s)"), MORE),
        ("many paths to sort by", again("range(9999) | list", "n.x | sort(attribute='a,' * 999)", ""), MORE),
        ("a long path to group by", looked("messages | groupby(s)"), MORE),
        ("a long path to select by", looked("messages | selectattr(s) | list"), MORE),
        ("a long text with a capital", looked("s | title"), MORE),
        ("a long text with a capital by a method", looked("(s ~ i).capitalize()"), MORE),
        ("many numbers in a list in a tag", again("[1]", &format!("[[{0}]] == [[{0}]]", "1,".repeat(16_000)), ""), MORE),
        ("many numbers sought in a tag", again("[1]", &format!("2 in [{0}]", "1,".repeat(32_000)), ""), MORE),
        ("many entries copied", many_entries("dict(d, a=1)"), MORE),
        ("many entries sorted", many_entries("d | dictsort"), MORE),
        ("many entries sorted for JSON", many_entries("d | tojson(sort_keys=true)"), MORE),
        ("many entries gone through", many_entries("d.items()"), MORE),
        ("many entries at their last", many_entries("d | last"), MORE),
        ("many entries in a namespace", many_entries("namespace(d)"), MORE),
        ("many entries in a list", many_entries("[d]"), MORE),
        (
            "many parameters called",
            format!(
                "{{% macro m({}) %}}{{% endmacro %}}{{% for i in range(9999) %}}{{{{ m() }}}}{{% endfor %}}",
                "a,".repeat(20_000)
            ),
            "more than 50 parameters",
        ),
        (
            "macros told again",
            format!("{{% for i in range(99999) %}}{{% macro m({}) %}}{{% endmacro %}}{{% endfor %}}", "a,".repeat(50)),
            MORE,
        ),
        (
            "loops compared",
            shared("{% set outer = loop %}{% for j in [x4, a] %}{{ outer == loop }}{% endfor %}"),
            "cannot be held, compared or written",
        ),
        ("macros called", "{% macro m(x) %}{% endmacro %}{% for i in range(99999) %}{{ m(1) }}{% endfor %}".into(), MORE),
        (
            "bodies called",
            "{% macro m() %}{{ caller() }}{% endmacro %}{% for i in range(99999) %}{% call m() %}{% endcall %}{% endfor %}"
                .into(),
            MORE,
        ),
        ("namespaces made", "{% for i in range(99999) %}{% set n = namespace(a=1, b=2) %}{% endfor %}".into(), MORE),
        ("ranges made", "{% for i in range(99999) %}{% set n = range(99999) %}{% set m = range(9) %}{% endfor %}".into(), MORE),
        ("numbers written", "{% for i in range(99999) %}{{ 1.7976931348623157e308 }}{% endfor %}".into(), MORE),
        (
            "numbers rounded",
            "{% for i in range(99999) %}{% set x = 1.7976931348623157e308 | round(1000) %}{% endfor %}".into(),
            MORE,
        ),
        (
            "a name sought in many scopes",
            scopes(20, "{% for i in range(99999) %}{% set x = i0 %}{% set y = absent %}{% endfor %}"),
            MORE,
        ),
        ("scopes in scopes", scopes(21, ""), "more than 20 deep"),
        ("a macro that calls itself", "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}".into(), LIMITS),
        (
            "two macros",
            "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}".into(),
            LIMITS,
        ),
        (
            "a macro that calls itself twice",
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}".into(),
            LIMITS,
        ),
        (
            "a body that calls itself",
            "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}".into(),
            "unknown keyword argument",
        ),
    ]
}

/// A template that is as long as it may be and skips most of it.
fn many_tags(tag: &str) -> String {
    through(&format!("{{% if 0 %}}{}{{% endif %}}", tag.repeat(65_000 / tag.len())))
}

fn nesting() -> Vec<(&'static str, String, &'static str)> {
    let nested = |open: &str, close: &str, count: usize| format!("{{{{ {}1{} }}}}", open.repeat(count), close.repeat(count));
    let chain = |part: &str, count: usize| through(&format!("{{{{ x is defined and x{} }}}}", part.repeat(count)));
    vec![
        ("nested brackets", nested("(", ")", 8_000), DEEP),
        ("nested lists", nested("[", "]", 8_000), DEEP),
        ("nested dicts", nested("{1:", "}", 8_000), DEEP),
        ("nested calls", nested("f(", ")", 8_000), DEEP),
        ("nested items", nested("x[", "]", 8_000), DEEP),
        ("nested arguments of filters", nested("x|f(", ")", 8_000), DEEP),
        ("nested choices", format!("{{{{ {}1 }}}}", "1 if 0 else ".repeat(5_000)), DEEP),
        ("nested conditions", format!("{}{}", "{% if true %}".repeat(2_500), "{% endif %}".repeat(2_500)), LIMITS),
        ("nested loops", format!("{}{}", "{% for i in x %}".repeat(2_000), "{% endfor %}".repeat(2_000)), "more than 20 deep"),
        ("nested macros", format!("{}{}", "{% macro m() %}".repeat(2_000), "{% endmacro %}".repeat(2_000)), "more than 20 deep"),
        ("nested blocks", format!("{}{}", "{% set x %}".repeat(2_000), "{% endset %}".repeat(2_000)), LIMITS),
        ("many nots", through(&format!("{{{{ {} 1 }}}}", "not ".repeat(16_000))), LINKS),
        ("many signs", through(&format!("{{{{ {} 1 }}}}", "-".repeat(50_000))), LINKS),
        ("many attributes", chain(".b", 8_000), LINKS),
        ("many items", chain("[1]", 8_000), LINKS),
        ("many calls", chain("()", 8_000), LINKS),
        ("many filters", chain("|trim", 8_000), LINKS),
        ("many tests", chain(" is none", 8_000), LINKS),
        ("many sums", through(&format!("{{{{ 1{} }}}}", "+1".repeat(32_000))), LINKS),
        ("many powers", through(&format!("{{{{ 1{} }}}}", "**1".repeat(20_000))), LINKS),
        ("many texts joined", through(&format!("{{{{ 1{} }}}}", "~1".repeat(32_000))), LINKS),
        ("many comparisons", through(&format!("{{{{ 1{} }}}}", "<1".repeat(32_000))), LINKS),
        ("many conditions", through(&format!("{{{{ 1{} }}}}", " and 1".repeat(10_000))), LINKS),
        (
            "many branches",
            through(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5_000))),
            "elif more than 1000 times",
        ),
        ("many short tags", through(&"{{1}}".repeat(13_000)), DONE),
        ("many tags with items", many_tags("{{a[b]}}"), DONE),
        ("many tags with slices", many_tags("{{a[b:c]}}"), DONE),
        ("many tags that compare", many_tags("{{a<b}}"), DONE),
        ("many tags that join", many_tags("{{a~b~c}}"), DONE),
        ("many tags that add", many_tags("{{a+b+c}}"), DONE),
        ("many tags with lists", many_tags("{{[a]}}"), DONE),
        ("many tags with dictionaries", many_tags("{{{a:b}}}"), DONE),
        ("many tags that set", many_tags("{%set a.b=c%}"), DONE),
        ("many texts like tags", many_tags("{%raw%}{{{%endraw%}"), DONE),
        ("many names", through(&(0..3_000).map(|name| format!("{{% set x{name}=1 %}}")).collect::<String>()), DONE),
        (
            "many parameters",
            format!("{{% macro m({}) %}}{{% endmacro %}}{{{{ m() }}}}{{{{ m(y=1) }}}}", "a,".repeat(32_000)),
            "more than 50 parameters",
        ),
        ("a namespace in itself", "{% set n = namespace() %}{% set n.x = n %}".into(), "cannot be held"),
        ("a namespace in a list in itself", "{% set n = namespace() %}{% set n.x = [n] %}".into(), "cannot be held"),
        ("a macro in a namespace", "{% macro m() %}{% endmacro %}{% set n = namespace(x=m) %}".into(), "cannot be held"),
        ("a loop in a list", "{% for i in [1] %}{% set x = [loop] %}{% endfor %}".into(), "cannot be held"),
    ]
}

fn forbidden() -> Vec<(&'static str, String, &'static str)> {
    let table = [
        ("no template", "{% for %}", "wanted a name"),
        ("unclosed", "{{ 'a", "no end"),
        ("an unclosed block", "{% if true %}", "unexpected end of input"),
        ("an unclosed comment", "{# a", "no end"),
        ("unclosed raw text", "{% raw %} {% endraw", "no end"),
        ("an unknown tag", "{% include 'x' %}", "is no tag"),
        ("another file", "{% extends '/etc/passwd' %}", "is no tag"),
        ("an import", "{% import '/etc/passwd' as x %}", "is no tag"),
        ("an unknown filter", "{{ 1|nothing }}", "filter nothing is unknown"),
        ("an unknown test", "{{ 1 is nothing }}", "test nothing is unknown"),
        ("a width in a format", "{{ '{:99999999999}'.format(1) }}", "no method"),
        ("a width in another format", "{{ '%99999999999d'|format(1) }}", "filter format is unknown"),
        ("a width in a third format", "{{ '%99999999999d' % 1 }}", "unsupported types"),
        ("Python's classes", "{{ ''.__class__.__mro__() }}", "undefined"),
        ("Python's modules", "{{ messages.__init__.__globals__['os'].system('true') }}", "undefined"),
        ("an object", "{{ namespace.__call__() }}", "no method"),
        ("a generator", "{{ cycler() }}", "cycler is unknown"),
        (
            "a loop that calls itself",
            "{% for x in [[[1]]] recursive %}{{ loop([[x]]) }}{% endfor %}",
            "wanted the end of the tag",
        ),
        ("a list given as arguments", "{{ dict(*messages) }}", "wanted a value"),
        ("a dictionary given as arguments", "{{ dict(**messages[0]) }}", "wanted a value"),
        ("a block of a namespace", "{% set n.x %}{% endset %}", "wanted a name of a namespace"),
        ("a name of no namespace", "{% set n = {} %}{% set n.x = 1 %}", "wanted a namespace"),
        ("other escapes", "{% autoescape true %}{% endautoescape %}", "is no tag"),
        ("all there is", "{{ debug() }}", "debug is unknown"),
        ("a method of ours", "{% set n = namespace() %}{{ n.__set(1) }}", "wanted a name"),
        ("a macro as an item", "{% macro m() %}{% endmacro %}{{ [1] | map('default', m) | list }}{{ [m] }}", "cannot be held"),
        ("a division by 0", "{{ 1 / 0 }}", "unable to calculate"),
        ("a whole division by 0", "{{ 1 // 0 }}", "unable to calculate"),
        ("a remainder by 0", "{{ 1 % 0 }}", "unable to calculate"),
        ("a number without end", "{{ 9 ** 99999999 }}", "unable to calculate"),
        ("a range without end", "{{ range(0, 1, 0) }}", "step of 0"),
        ("a step of 0", "{{ 'abc'[::0] }}", "step size of 0"),
        ("a batch of 0", "{{ [1] | batch(0) }}", "count cannot be 0"),
        ("a split at nothing", "{{ 'a'.split('') }}", "nothing separates"),
        ("no character", "{{ '\\ud800' }}", "bad string escape"),
        ("not a date", "{{ strftime_now('%d') }}", "strftime_now is unknown"),
        ("a break without a loop", "{% break %}", "inside a loop"),
        ("a break out of a macro", "{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "inside a loop"),
        ("a long message", "{{ raise_exception('x\n' * 100000) }}", "refuses the conversation"),
        ("a message of several lines", "{{ raise_exception('a\n\u{1b}[31mb') }}", "refuses the conversation"),
        ("a list that is changed", "{% set x = [] %}{{ x.append(1) }}", "no method"),
    ];
    table.into_iter().map(|(name, template, says)| (name, template.to_owned(), says)).collect()
}

#[test]
fn hostile_templates_are_refused() {
    let _alone = alone();
    let cases: Vec<_> = [growing(), working(), nesting(), forbidden()].into_iter().flatten().collect();
    let mut names: Vec<_> = cases.iter().map(|(name, ..)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "each case has a name of its own");
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let chat = Chat::of([("system", "Be brief."), ("user", "Hi")]);
    let (mut slowest, mut largest, mut complaints) = ((Duration::ZERO, ""), (0, ""), Vec::new());
    for (name, template, says) in &cases {
        // What a template costs is the least that it cost: other threads can make a try slower, and none faster.
        let (mut least, mut most, mut line) = (Duration::MAX, 0, String::new());
        for _ in 0..3 {
            MEMORY.reset_peak_usage();
            let before = MEMORY.current_usage();
            let clock = Clock::of_process();
            let result = ChatTemplate::new(template).and_then(|template| template.render(&chat));
            least = least.min(clock.elapsed());
            most = most.max(MEMORY.peak_usage().saturating_sub(before));
            line = result.err().map_or("accepted".into(), |why| why.to_string());
            if least <= TIME {
                break;
            }
        }
        let one_line = !line.contains(char::is_control) && line.chars().count() < 1300;
        if least > TIME || most > ROOM || !line.contains(says) || !one_line {
            complaints.push(format!("{name}: {least:?}, {most} bytes, wanted {says:?}, got {line}"));
        }
        slowest = slowest.max((least, name));
        largest = largest.max((most, name));
    }
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), cases.len(), complaints.join("\n"));
    println!("{} refused; slowest {slowest:?}, largest in bytes {largest:?}", cases.len());
}

#[test]
fn damaged_templates_never_panic() {
    let _alone = alone();
    let seed = std::env::var("ATTENDANT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_129);
    println!("ATTENDANT_SEED={seed}");
    let chat = Chat::of([("system", "Be brief."), ("user", "Hi é"), ("assistant", "<b>")]);
    for template in TEMPLATES {
        ChatTemplate::new(template).unwrap().render(&chat).unwrap();
    }
    let mut draw = Draw(seed);
    let (mut taken, mut refused) = (0_u32, 0_u32);
    for round in 0..4000 {
        let mut template: Vec<char> = TEMPLATES[round % TEMPLATES.len()].chars().collect();
        for _ in 0..1 + draw.below(3) {
            let other: Vec<char> = TEMPLATES[draw.below(TEMPLATES.len())].chars().collect();
            let (from, at) = (draw.below(other.len()), draw.below(template.len()));
            let part = &other[from..(from + draw.below(12)).min(other.len())];
            let end = (at + draw.below(8)).min(template.len());
            template.splice(at..end, part.iter().copied());
        }
        let template: String = template.into_iter().collect();
        match ChatTemplate::new(&template).and_then(|template| template.render(&chat)) {
            Ok(_) => taken += 1,
            Err(why) => {
                refused += 1;
                let why = why.to_string();
                assert!(
                    !why.contains("cannot be used") && !why.contains(char::is_control),
                    "ATTENDANT_SEED={seed}: {template}: {why}"
                );
            }
        }
    }
    // How many are still templates depends on the seed: 168 to 185 with five of them.
    assert!(taken > 100 && refused > 2000, "{taken} taken, {refused} refused");
}
