//! Charts, made here as SVG: bars in layers for what came, a line for what lies. Words stand beside the drawing in HTML, so that
//! they keep their size while it takes the width there is.

use maud::{Markup, html};

use super::show::number;

/// Names that have a colour of their own; more are drawn as one.
pub const COLOURS: usize = 7;

/// One layer of bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer<'a> {
    pub name: &'a str,
    /// The number of its colour; `None`: that of all others.
    pub colour: Option<usize>,
    pub values: Vec<u64>,
}

/// What stands around a drawing.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    pub id: &'a str,
    pub title: &'a str,
    /// What the title is followed by, such as `each 5 min`.
    pub note: &'a str,
    /// The time of each part: `14:05`.
    pub times: &'a [String],
}

/// Bars in layers, first at the bottom.
pub fn bars(around: Around<'_>, layers: &[Layer<'_>]) -> Markup {
    let parts = around.times.len();
    let sums: Vec<u64> =
        (0..parts).map(|part| layers.iter().filter_map(|layer| layer.values.get(part)).sum()).collect();
    let (total, most) = (sums.iter().sum::<u64>(), sums.iter().copied().max().unwrap_or(0));
    let top = round_up(most);
    let mut below = vec![0u64; parts];
    let paths: Vec<(String, String)> = layers
        .iter()
        .map(|layer| {
            let path = bar_path(&layer.values, &below, top);
            for (sum, value) in below.iter_mut().zip(&layer.values) {
                *sum += value;
            }
            (colour(layer.colour), path)
        })
        .collect();
    let titles = (0..parts).map(|part| {
        let named = layers.iter().filter_map(|layer| Some((layer.name, *layer.values.get(part)?)));
        let named: Vec<_> = named.filter(|(_, value)| *value > 0).map(|(n, v)| format!("{n} {}", number(v))).collect();
        let what = if named.is_empty() { "0".to_owned() } else { named.join("\n") };
        format!("{}\n{what}", around.times[part])
    });
    let said = format!("{}, {}: {} altogether, {} at most", around.title, around.note, number(total), number(most));
    figure(
        around,
        &number(total),
        &number(top),
        &said,
        html! {
            @for (class, path) in &paths { path class={ "bar " (class) } d=(path) {} }
            (hover(titles.collect()))
        },
    )
}

/// A line over an area; a part of which nothing is known is a gap.
pub fn line(around: Around<'_>, values: &[Option<u64>], say: impl Fn(u64) -> String) -> Markup {
    let most = values.iter().flatten().copied().max().unwrap_or(0);
    let last = values.iter().rev().flatten().next().copied();
    let top = round_up(most);
    let (area, stroke) = line_paths(values, top);
    let titles = around
        .times
        .iter()
        .zip(values)
        .map(|(time, value)| format!("{time}\n{}", value.map_or_else(|| "not known".to_owned(), &say)));
    let now = last.map_or_else(|| "\u{2013}".to_owned(), &say);
    let said = format!("{}: {now} now, {} at most", around.title, say(most));
    let top_text = say(top);
    figure(
        around,
        &now,
        &top_text,
        &said,
        html! {
            path.area d=(area) {}
            path.line d=(stroke) vector-effect="non-scaling-stroke" {}
            (hover(titles.collect()))
        },
    )
}

fn figure(around: Around<'_>, figure: &str, top: &str, said: &str, drawing: Markup) -> Markup {
    let Around { id, title, note, times } = around;
    let parts = times.len().max(1);
    let of = |part: usize| times.get(part).map_or("", String::as_str);
    html! {
        figure.chart id=(id) {
            figcaption { span.name { (title) } " " span.muted { (note) } strong { (figure) } }
            div.plot {
                span.top aria-hidden="true" { (top) }
                svg viewBox={ "0 0 " (parts) " 100" } preserveAspectRatio="none" role="img" aria-label=(said) {
                    path.grid d={ "M0 .5H" (parts) "M0 50H" (parts) "M0 99.5H" (parts) } vector-effect="non-scaling-stroke" {}
                    (drawing)
                }
            }
            div.times aria-hidden="true" { span { (of(0)) } span { (of(parts / 2)) } span { "now" } }
        }
    }
}

/// What the pointer rests on is told by the browser itself.
fn hover(titles: Vec<String>) -> Markup {
    html! {
        g.hover {
            @for (part, title) in titles.iter().enumerate() {
                rect x=(part) y="0" width="1" height="100" { title { (title) } }
            }
        }
    }
}

pub fn legend(names: &[(String, Option<usize>)]) -> Markup {
    html! {
        ul.legend {
            @for (name, of) in names {
                li { span class={ "swatch " (colour(*of)) } aria-hidden="true" {} (name) }
            }
        }
    }
}

pub fn colour(number: Option<usize>) -> String {
    number.map_or_else(|| "cx".to_owned(), |number| format!("c{}", number % COLOURS))
}

/// Where the scale ends: 1, 2 or 5 and zeros.
fn round_up(most: u64) -> u64 {
    let mut step = 1u64;
    loop {
        for of in [1, 2, 5] {
            let top = step.saturating_mul(of);
            if top >= most {
                return top;
            }
        }
        step = step.saturating_mul(10);
    }
}

fn share(value: u64, top: u64) -> f64 {
    100.0 * value as f64 / top.max(1) as f64
}

fn bar_path(values: &[u64], below: &[u64], top: u64) -> String {
    let mut path = String::new();
    for (part, (value, below)) in values.iter().zip(below).enumerate() {
        if *value > 0 {
            // What is there is seen, however little it is.
            let height = share(*value, top).max(1.0);
            let y = 100.0 - share(*below, top) - height;
            path.push_str(&format!("M{:.2} {y:.2}h.84v{height:.2}h-.84z", part as f64 + 0.08));
        }
    }
    path
}

/// The area's path, and the line's.
fn line_paths(values: &[Option<u64>], top: u64) -> (String, String) {
    let (mut area, mut stroke) = (String::new(), String::new());
    let mut parts = values.iter().enumerate().peekable();
    while parts.peek().is_some() {
        let run: Vec<(usize, u64)> =
            std::iter::from_fn(|| parts.next_if(|(_, v)| v.is_some()).and_then(|(n, v)| Some((n, (*v)?)))).collect();
        if let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) {
            let mut line = String::new();
            for (part, value) in &run {
                let y = 99.5 - share(*value, top) * 0.985;
                // A step from the part's begin to its end, so that one part alone is seen too.
                line.push_str(&format!("{}{part} {y:.2}H{}", if line.is_empty() { "M" } else { "L" }, part + 1));
            }
            area.push_str(&format!("{line}L{} 100L{first} 100z", last + 1));
            stroke.push_str(&line);
        }
        while parts.next_if(|(_, value)| value.is_none()).is_some() {}
    }
    (area, stroke)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        for (most, top) in [(0, 1), (1, 1), (3, 5), (11, 20), (5001, 10_000)] {
            assert_eq!(round_up(most), top);
        }
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }

    #[test]
    fn layers_stand_on_each_other() {
        assert_eq!(bar_path(&[0, 5], &[0, 5], 10), "M1.08 0.00h.84v50.00h-.84z");
        assert_eq!(bar_path(&[0, 5], &[0, 0], 10), "M1.08 50.00h.84v50.00h-.84z");
    }

    #[test]
    fn what_is_not_known_is_a_gap_in_the_line() {
        let (area, line) = line_paths(&[None, Some(0), Some(10), None, Some(5)], 10);
        assert_eq!(line, "M1 99.50H2L2 1.00H3M4 50.25H5");
        assert_eq!(area.matches('z').count(), 2);
    }

    #[test]
    fn names_and_times_are_text() {
        let times = vec!["14:00".to_owned()];
        let around = Around { id: "d", title: "Delivered", note: "each 5 min", times: &times };
        let layers = [Layer { name: "<script>alert(1)</script>", colour: Some(0), values: vec![3] }];
        let text = bars(around, &layers).into_string();
        assert!(text.contains("14:00\n&lt;script&gt;alert(1)&lt;/script&gt; 3"), "{text}");
        assert!(!text.contains("<script"), "{text}");
        assert!(!text.contains("style="), "the policy forbids inline styles: {text}");
    }
}
