//! Numbers written for people: the same everywhere a comparison is shown.

/// Stands where there is no number.
pub const MISSING: &str = "–";

/// A whole number with its thousands parted: `1,234,567`.
pub fn whole(value: f64) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0.0 && digits != "0" {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a unit prefix: `812k`, `1.23M`; below a thousand as it is.
pub fn compact(value: f64) -> String {
    let (scaled, prefix) = match value.abs() {
        size if size >= 999.5e6 => (value / 1e9, "G"),
        size if size >= 999.5e3 => (value / 1e6, "M"),
        size if size >= 999.5 => (value / 1e3, "k"),
        _ if value.is_finite() && value.fract() == 0.0 => return format!("{value}"),
        _ => (value, ""),
    };
    match scaled.abs() {
        size if !size.is_finite() => MISSING.to_owned(),
        size if size >= 99.95 => format!("{scaled:.0}{prefix}"),
        size if size >= 9.995 => format!("{scaled:.1}{prefix}"),
        _ => format!("{scaled:.2}{prefix}"),
    }
}

/// A round number, as on an axis: `5M`, `2.5M`, `500`.
pub fn round(value: f64) -> String {
    let text = compact(value);
    let digits = text.trim_end_matches(char::is_alphabetic);
    let prefix = &text[digits.len()..];
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{prefix}")
}

/// A speed or a duration, four digits or fewer where it matters: `12.3k`, `4,567`, `45.3`.
pub fn rate(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => MISSING.to_owned(),
        size if size >= 9_999.5 => compact(value),
        size if size >= 99.95 => whole(value),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Bytes, whole where they are whole: `1,152`, `1,152.5`.
pub fn bytes(value: f64) -> String {
    if value.fract() == 0.0 || !value.is_finite() {
        return whole(value);
    }
    let tenths = format!("{:.1}", value.abs().fract());
    match tenths.strip_prefix('0') {
        Some(decimals) => whole(value.trunc()) + decimals,
        None => whole(value),
    }
}

/// Nats per token: `1.5123`.
pub fn nats(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { MISSING.to_owned() }
}

/// A share of one as a percentage without its sign: `98.1`.
pub fn percent(value: f64) -> String {
    if value.is_finite() { format!("{:.1}", value * 100.0) } else { MISSING.to_owned() }
}

/// A ratio with its sign: `0.28×`, `12.4×`.
pub fn times(value: f64) -> String {
    match value {
        ratio if !ratio.is_finite() => MISSING.to_owned(),
        ratio if ratio >= 9.995 => format!("{ratio:.1}×"),
        ratio if ratio >= 0.0995 => format!("{ratio:.2}×"),
        ratio => format!("{ratio:.3}×"),
    }
}

/// A context length: `256`, `1k`, `16k` where `k` is 1,024 tokens.
pub fn context(tokens: usize) -> String {
    if tokens >= 1024 && tokens.is_multiple_of(1024) { format!("{}k", tokens / 1024) } else { whole(tokens as f64) }
}

/// A learning rate, without trailing zeros: `0.003`.
pub fn learning_rate(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { MISSING.to_owned() }
}

/// Small counts as words, for sentences.
pub fn word(count: usize) -> String {
    const WORDS: [&str; 13] =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    WORDS.get(count).map_or_else(|| whole(count as f64), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wholes_are_parted_in_thousands() {
        let shown: Vec<String> = [0.0, 7.0, 999.0, 1000.0, -1234.0, 1_234_567.4, -0.2].map(whole).into();
        assert_eq!(shown, ["0", "7", "999", "1,000", "-1,234", "1,234,567", "0"]);
    }

    #[test]
    fn compact_keeps_three_digits_across_its_steps() {
        let shown: Vec<String> =
            [12.0, 1.5, 999.0, 999.6, 1234.0, 45_678.0, 812_345.0, 999_600.0, 1.234e6, 2e9].map(compact).into();
        assert_eq!(shown, ["12", "1.50", "999", "1.00k", "1.23k", "45.7k", "812k", "1.00M", "1.23M", "2.00G"]);
    }

    #[test]
    fn round_numbers_lose_their_empty_decimals() {
        assert_eq!([0.0, 500.0, 2.5e6, 5e6, 10e6, 200e6].map(round), ["0", "500", "2.5M", "5M", "10M", "200M"]);
    }

    #[test]
    fn rates_narrow_as_they_grow() {
        let shown: Vec<String> = [0.5, 9.999, 45.32, 99.99, 4567.0, 9_999.4, 12_345.0].map(rate).into();
        assert_eq!(shown, ["0.50", "10.0", "45.3", "100", "4,567", "9,999", "12.3k"]);
    }

    #[test]
    fn bytes_show_a_fraction_only_where_there_is_one() {
        let shown: Vec<String> = [4096.0, 1152.5, 1152.98, 0.04, 0.0].map(bytes).into();
        assert_eq!(shown, ["4,096", "1,152.5", "1,153", "0.0", "0"]);
    }

    #[test]
    fn nothing_finite_is_a_dash_everywhere() {
        for show in [whole, compact, rate, bytes, nats, percent, times, learning_rate, round] {
            assert_eq!(show(f64::NAN), MISSING);
            assert_eq!(show(f64::INFINITY), MISSING);
        }
    }

    #[test]
    fn contexts_count_in_powers_of_two() {
        assert_eq!([256, 1000, 1024, 16384].map(context), ["256", "1,000", "1k", "16k"]);
    }
}
