//! The report as its reader gets it: well formed, complete in itself, saying what the data says and nothing it was tricked into.

mod synthetic;

use attendant_lab::comparison::{Comparison, Measured};
use attendant_lab::report::html;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::Value;

/// The page with what stands inside `<style>` and `<script>` taken out: html does not read that as markup, xml would.
fn markup_of(page: &str) -> String {
    let mut markup = page.replacen("<!doctype html>", "", 1);
    for element in ["style", "script"] {
        let (open, close) = (format!("<{element}"), format!("</{element}>"));
        let mut rest = markup.as_str();
        let mut kept = String::new();
        while let Some(start) = rest.find(&open) {
            let content = start + rest[start..].find('>').unwrap() + 1;
            let end = content + rest[content..].find(&close).unwrap();
            kept.push_str(&rest[..content]);
            rest = &rest[end..];
            kept.push_str(&close);
            rest = &rest[close.len()..];
        }
        kept.push_str(rest);
        markup = kept;
    }
    markup
}

/// Every event of the page as xml; a page that is not well formed fails here.
fn events(name: &str, markup: &str) -> Vec<Event<'static>> {
    let mut reader = Reader::from_str(markup);
    reader.config_mut().check_end_names = true;
    let mut events = Vec::new();
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{name} at byte {}: {error}", reader.error_position())) {
            Event::Eof => return events,
            event => events.push(event.into_owned()),
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.attributes().map(Result::unwrap).find(|attribute| attribute.key.as_ref() == name)?;
    Some(attribute.normalized_value(XmlVersion::Implicit1_0).unwrap().into_owned())
}

fn starts<'a>(events: &'a [Event<'static>]) -> impl Iterator<Item = &'a BytesStart<'static>> {
    events.iter().filter_map(|event| match event {
        Event::Start(element) | Event::Empty(element) => Some(element),
        _ => None,
    })
}

fn embedded(page: &str) -> Value {
    let open = "<script type=\"application/json\" id=\"comparison\">";
    let start = page.find(open).unwrap() + open.len();
    let end = start + page[start..].find("</script>").unwrap();
    serde_json::from_str(&page[start..end]).unwrap()
}

#[test]
fn every_page_is_well_formed_with_unique_ids_that_references_meet() {
    for (name, comparison) in synthetic::all() {
        let page = html(&comparison).unwrap();
        let events = events(name, &markup_of(&page));
        let mut ids: Vec<String> = starts(&events).filter_map(|element| attribute(element, "id")).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "{name}: an id occurs twice");
        for labels in starts(&events).filter_map(|element| attribute(element, "aria-labelledby")) {
            for label in labels.split(' ') {
                assert!(ids.iter().any(|id| id == label), "{name}: nothing is called {label}");
            }
        }
        for clip in starts(&events).filter_map(|element| attribute(element, "clip-path")) {
            let clip = clip.trim_start_matches("url(#").trim_end_matches(')');
            assert!(ids.iter().any(|id| id == clip), "{name}: nothing is called {clip}");
        }
    }
}

#[test]
fn no_drawing_holds_a_coordinate_that_is_no_number() {
    for (name, comparison) in synthetic::all() {
        let page = html(&comparison).unwrap();
        let markup = markup_of(&page);
        let events = events(name, &markup);
        for element in starts(&events) {
            for geometry in ["x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "width", "height", "points", "d", "viewBox"] {
                let value = attribute(element, geometry).unwrap_or_default();
                assert!(!value.contains("NaN") && !value.contains("inf"), "{name}: {geometry}=\"{value}\"");
            }
        }
        assert!(!markup.contains("NaN"), "{name}: NaN is shown to the reader");
    }
}

#[test]
fn the_page_asks_for_nothing_from_outside() {
    for (name, comparison) in synthetic::all() {
        let page = html(&comparison).unwrap();
        let events = events(name, &markup_of(&page));
        for element in starts(&events) {
            let tag = element.name().as_ref().to_owned();
            assert!(!["link", "img", "iframe", "object", "embed", "base", "a"].contains(&tag.as_str()), "{name}: <{tag}>");
            for outward in ["src", "href", "xlink:href", "action", "style"] {
                assert_eq!(attribute(element, outward), None, "{name}: {outward} on <{tag}>");
            }
        }
        let style = &page[page.find("<style>").unwrap()..page.find("</style>").unwrap()];
        assert!(!style.contains("url(") && !style.contains("@import"));
    }
}

#[test]
fn hostile_names_stay_text() {
    let comparison = synthetic::hostile();
    let page = html(&comparison).unwrap();
    assert_eq!(page.matches("</script>").count(), 2, "the data's and the page's own script end, nothing else does");
    assert_eq!(page.matches("<script").count(), 2);
    for event in events("hostile", &markup_of(&page)) {
        if let Event::Start(element) | Event::Empty(element) = event {
            for attribute in element.attributes().map(Result::unwrap) {
                let key = attribute.key.as_ref().to_owned();
                assert!(!key.starts_with("on"), "{key} became an attribute");
            }
            assert_ne!(element.name().as_ref(), "", "the cache formula became markup");
        }
    }
    assert_eq!(embedded(&page)["text"], Value::from(comparison.text));
    assert_eq!(embedded(&page)["mechanisms"][3]["name"], Value::from(comparison.mechanisms[3].name.clone()));
}

#[test]
fn the_embedded_json_is_the_comparison_and_makes_the_same_page() {
    for (name, comparison) in synthetic::all() {
        let page = html(&comparison).unwrap();
        let read = Comparison::from_json(&embedded(&page).to_string()).unwrap();
        assert_eq!(html(&read).unwrap(), page, "{name}");
    }
}

/// The number that a cell shows, its separators and unit prefix undone.
fn number(text: &str) -> f64 {
    let text = text.replace(',', "");
    let digits = text.trim_end_matches(char::is_alphabetic);
    let scale = match &text[digits.len()..] {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        other => panic!("{other} is no prefix"),
    };
    digits.parse::<f64>().unwrap_or_else(|_| panic!("{text} is no number")) * scale
}

/// Body cells of the table of figures: the json pointer, the figure, and the half interval beside it.
fn figures(name: &str, page: &str) -> Vec<(Option<String>, String, Option<String>)> {
    let markup = markup_of(page);
    let table = &markup[markup.find("<table class=\"figures\">").unwrap()..];
    let table = &table[table.find("<tbody>").unwrap()..table.find("</tbody>").unwrap()];
    let mut cells = Vec::new();
    let (mut pointer, mut texts, mut inside) = (None, Vec::new(), false);
    for event in events(name, &format!("{table}</tbody>")) {
        match event {
            Event::Start(element) if element.name().as_ref() == "td" => (pointer, texts, inside) = (None, Vec::new(), true),
            Event::Start(element) if inside => pointer = pointer.or(attribute(&element, "data-json")),
            Event::Text(text) if inside => texts.push(text.trim().to_owned()),
            Event::End(element) if element.name().as_ref() == "td" => {
                let mut shown = texts.drain(..).filter(|text| !text.is_empty());
                let figure = shown.next().unwrap();
                cells.push((pointer.take(), figure, shown.next().map(|spread| spread.trim_start_matches('±').to_owned())));
                inside = false;
            }
            _ => {}
        }
    }
    cells
}

#[test]
fn every_figure_of_the_table_is_one_of_the_json() {
    for (name, comparison) in synthetic::all() {
        let page = html(&comparison).unwrap();
        let json = embedded(&page);
        let figures = figures(name, &page);
        assert!(comparison.mechanisms.is_empty() || figures.len() >= 5 * comparison.mechanisms.len(), "{name}");
        for (pointer, figure, spread) in figures {
            if !figure.contains(|letter: char| letter.is_ascii_digit()) {
                assert_eq!(spread, None, "{name}: {figure}");
                continue;
            }
            let pointer = pointer.unwrap_or_else(|| panic!("{name}: {figure} comes from nowhere"));
            // Recall is shown in percent to one decimal, loss to four; the others to three digits or more.
            let recall = pointer.contains("/recall/");
            let scale = if recall { 100.0 } else { 1.0 };
            let want = json.pointer(&pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name}: no {pointer}")) * scale;
            let got = number(&figure);
            assert!((got - want).abs() <= 0.005 * want.abs(), "{name} {pointer}: {figure} for {want}");
            if let Some(spread) = spread {
                let end = |end: &str| json.pointer(&pointer.replace("mean", end)).and_then(Value::as_f64).unwrap() * scale;
                let (low, high) = (end("low"), end("high"));
                let rounding = if recall { 0.0501 } else { 0.0000501 };
                assert!((number(&spread) - (high - low) / 2.0).abs() <= rounding, "{name} {pointer}: ±{spread}");
                assert!((got - want).abs() <= rounding, "{name} {pointer}: {figure} for {want}");
            }
        }
    }
}

#[test]
fn a_figure_changed_in_the_data_changes_in_the_table() {
    let original = synthetic::four();
    let before = figures("before", &html(&original).unwrap());
    let changes: [fn(&mut Comparison); 6] = [
        |comparison| comparison.mechanisms[2].parameters = 77_700_000,
        |comparison| {
            comparison.mechanisms[2].loss = Measured { mean: 7.7777, low: Some(7.7), high: Some(7.9), values: vec![7.7777; 3] }
        },
        |comparison| comparison.mechanisms[2].cache_bytes_per_token = 7_777.0,
        |comparison| comparison.mechanisms[2].decode[1].tokens_per_second = 7_777.0,
        |comparison| comparison.mechanisms[2].training_tokens_per_second = 77.7,
        |comparison| comparison.mechanisms[2].cpu_seconds = 77.7,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut changed = original.clone();
        change(&mut changed);
        let after = figures("after", &html(&changed).unwrap());
        let differ: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert_eq!(differ.len(), 1, "change {index}: {differ:?}");
        assert!(differ[0].1.1.contains("77"), "change {index}: {differ:?}");
    }
}

#[test]
fn every_heading_cell_says_what_it_heads() {
    for (name, comparison) in synthetic::all() {
        let page = html(&comparison).unwrap();
        let events = events(name, &markup_of(&page));
        for heading in starts(&events).filter(|element| element.name().as_ref() == "th") {
            assert!(attribute(heading, "scope").is_some(), "{name}: a heading cell without scope");
        }
        let drawings = starts(&events).filter(|element| attribute(element, "role").as_deref() == Some("img"));
        assert!(drawings.map(|drawing| attribute(drawing, "aria-labelledby")).all(|label| label.is_some()), "{name}");
    }
}

#[test]
fn charts_that_have_no_data_are_left_out() {
    let chart = |page: &str, name: &str| page.contains(&format!("<title id=\"{name}-title\">"));
    let page = html(&synthetic::four()).unwrap();
    assert!(["curves", "ends", "quality", "cache", "decode", "recalled"].iter().all(|name| chart(&page, name)));
    let page = html(&synthetic::one_seed()).unwrap();
    assert!(!chart(&page, "recalled") && chart(&page, "decode"));
    let page = html(&synthetic::nothing()).unwrap();
    assert!(["curves", "ends", "quality", "cache", "decode", "recalled"].iter().all(|name| !chart(&page, name)));
}
