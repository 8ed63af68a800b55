//! Columns of text, and lines that are broken where a terminal ends.

/// Rows as lines: the first `left` columns aligned left, the others right, two spaces before and between them.
pub(super) fn columns(rows: &[Vec<String>], left: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line += "  ";
            let space = " ".repeat(widths[column] - cell.chars().count());
            line += &if column < left { format!("{cell}{space}") } else { format!("{space}{cell}") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// A paragraph in lines of at most `width` columns: the first after `first`, the others indented as far.
pub(super) fn wrapped(first: &str, text: &str, width: usize) -> String {
    let indent = " ".repeat(first.chars().count());
    let (mut out, mut line, mut begun) = (String::new(), first.to_owned(), false);
    for word in text.split(' ') {
        if begun && line.chars().count() + 1 + word.chars().count() > width {
            out += line.trim_end();
            out.push('\n');
            (line, begun) = (indent.clone(), false);
        }
        if begun {
            line.push(' ');
        }
        line += word;
        begun = true;
    }
    out + line.trim_end() + "\n"
}

/// Bytes in three digits and the largest unit that leaves a whole: `180 MiB`.
pub(super) fn memory(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        _ if value.fract() == 0.0 || value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits() {
        let shown: Vec<String> = [0.0, 1023.0, 1536.0, 188_743_680.0, 1.6e12].map(memory).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.50 KiB", "180 MiB", "1.46 TiB"]);
    }

    #[test]
    fn lines_end_where_the_terminal_does() {
        assert_eq!(wrapped("  ab  ", "one two three", 14), "  ab  one two\n      three\n");
        assert_eq!(wrapped("  ", "alongword and", 5), "  alongword\n  and\n");
    }

    #[test]
    fn numbers_stand_under_one_another() {
        let rows = [vec!["a".to_owned(), "1".into()], vec!["bcd".into(), "20".into()]];
        assert_eq!(columns(&rows, 1), "  a     1\n  bcd  20\n");
    }
}
