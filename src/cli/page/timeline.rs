//! The timeline as drawings: a bar for what lives, a mark for what ends; the same as a list for who sees none.

use super::markup::{Attributes, Html};
use super::matrix::OPEN;
use super::sheet::{counted, folding, scrolling, table};
use crate::model::{Span, Time};
use crate::ops::ends::EndKind;
use crate::ops::overview::{Bar, Chart, Mark, Timeline};

/// Of the drawing, in its own units.
const WIDTH: f64 = 960.0;
/// Where names end and time begins.
const LEFT: f64 = 215.0;
const RIGHT: f64 = 950.0;
/// The scale above the rows.
const TOP: f64 = 28.0;
const ROW: f64 = 24.0;
/// A mark's number stands beside it where the one before leaves this much room.
const APART: f64 = 26.0;
/// About how wide a letter is.
const LETTER: f64 = 6.6;

/// The section.
pub fn section(html: &mut Html, timeline: &Timeline, now: Time) {
    html.leaf("h3", &[], "Trust");
    chart(html, timeline, &timeline.trust, now);
    for one in &timeline.clusters {
        let name = name(one);
        let summary = match one.marks.iter().find(|mark| mark.at > now) {
            Some(mark) => format!("{name}: {} on {}", ending(mark), day(mark.at)),
            None => format!("{name}: nothing ends before {}", day(timeline.to)),
        };
        folding(html, timeline.clusters.len() <= OPEN, &summary, |html| chart(html, timeline, one, now));
    }
}

fn day(time: Time) -> String {
    time.to_string()[..10].to_owned()
}

fn name(chart: &Chart) -> String {
    chart.cluster.as_ref().map_or("trust".to_owned(), ToString::to_string)
}

/// `2 certificates end`.
fn ending(mark: &Mark) -> String {
    let noun = match mark.kind {
        EndKind::Epoch => "epoch",
        EndKind::Key => "OpenPGP key",
        EndKind::Authority => "CA certificate",
        EndKind::Certificate => "certificate",
    };
    format!("{} end{}", counted(mark.count, noun), if mark.count == 1 { "s" } else { "" })
}

/// Where times lie.
struct Scale {
    from: Time,
    to: Time,
}

impl Scale {
    /// Whole seconds of a few years are exact as `f64`.
    fn x(&self, time: Time) -> f64 {
        let part = time.since(self.from) as f64 / self.to.since(self.from).max(1) as f64;
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

fn chart(html: &mut Html, timeline: &Timeline, chart: &Chart, now: Time) {
    let kinds = [EndKind::Epoch, EndKind::Key, EndKind::Authority, EndKind::Certificate];
    let kinds: Vec<EndKind> =
        kinds.into_iter().filter(|kind| chart.marks.iter().any(|mark| mark.kind == *kind)).collect();
    let scale = Scale { from: timeline.from, to: timeline.to };
    let mut bottom = TOP;
    (0..chart.bars.len() + kinds.len()).for_each(|_| bottom += ROW);
    let label = format!("Timeline of {}", name(chart));
    let view = format!("0 0 {WIDTH} {}", bottom + 8.0);
    scrolling(html, &label, |html| {
        let said = format!("{label}; the list below says the same");
        html.element("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &said)], |html| {
            axis(html, &scale, now, bottom);
            let mut y = TOP;
            for one in &chart.bars {
                bar(html, &scale, one, y);
                y += ROW;
            }
            for kind in kinds {
                marks(html, &scale, chart.marks.iter().filter(|mark| mark.kind == kind), y);
                y += ROW;
            }
        });
    });
    list(html, chart);
}

fn axis(html: &mut Html, scale: &Scale, now: Time, bottom: f64) {
    for (quarter, time) in quarters(scale.from, scale.to) {
        let x = at(scale.x(time));
        html.element("line", &[("class", &"grid"), ("x1", &x), ("x2", &x), ("y1", &TOP), ("y2", &bottom)], |_| {});
        html.leaf("text", &[("class", &"quiet"), ("x", &x), ("y", &"11")], quarter);
    }
    let x = at(scale.x(now));
    html.element("line", &[("class", &"now"), ("x1", &x), ("x2", &x), ("y1", &"14"), ("y2", &bottom)], |_| {});
    html.leaf("text", &[("x", &at(scale.x(now) + 4.0)), ("y", &"24")], "now");
}

/// Every third month between two times, with its first second.
fn quarters(from: Time, to: Time) -> Vec<(String, Time)> {
    let first = from.calendar().year();
    let all = (first..=to.calendar().year()).flat_map(|year| [1, 4, 7, 10].map(|month| format!("{year:04}-{month:02}")));
    let dated = all.filter_map(|month| Some((month.clone(), Time::parse(&format!("{month}-01T00:00:00Z"))?)));
    dated.filter(|(_, time)| (from..to.minus(Span::days(30))).contains(time)).collect()
}

fn at(x: f64) -> String {
    format!("{x:.1}")
}

fn bar(html: &mut Html, scale: &Scale, bar: &Bar, y: f64) {
    html.leaf("text", &[("x", &"0"), ("y", &(y + 16.0))], &bar.name);
    if let Some(end) = bar.not_after {
        let end = format!("to {}", &end.to_string()[..7]);
        html.leaf("text", &[("class", &"quiet"), ("x", &(LEFT - 70.0)), ("y", &(y + 16.0))], end);
    }
    for stretch in &bar.stretches {
        let (left, right) = (scale.x(stretch.from), stretch.to.map_or(RIGHT, |to| scale.x(to)));
        if stretch.to.is_some_and(|to| to < scale.from) || stretch.from > scale.to {
            continue;
        }
        // What is over at once is still to be seen.
        let width = (right - left).max(3.0);
        let (x, wide, top) = (at(left), at(width), y + 3.0);
        let place: Attributes<'_> =
            &[("class", &stretch.state), ("x", &x), ("y", &top), ("width", &wide), ("height", &(ROW - 6.0))];
        html.element("rect", place, |html| {
            let until = stretch.to.map(|to| format!(" until {to}")).unwrap_or_default();
            html.leaf("title", &[], format!("{} {} since {}{until}", bar.name, stretch.state, stretch.from));
        });
        let word = stretch.state.replace('-', " ");
        let needed = word.len() as f64 * LETTER + 8.0;
        if width >= needed {
            html.leaf("text", &[("class", &stretch.state), ("x", &at(left + 4.0)), ("y", &(y + 16.0))], word);
        }
    }
}

fn marks<'a>(html: &mut Html, scale: &Scale, marks: impl Iterator<Item = &'a Mark>, y: f64) {
    let mut last = f64::MIN;
    for (index, mark) in marks.enumerate() {
        if index == 0 {
            let noun = match mark.kind {
                EndKind::Epoch => "epoch ends",
                EndKind::Key => "OpenPGP keys end",
                EndKind::Authority => "CA certificates end",
                EndKind::Certificate => "nodes' certificates end",
            };
            html.leaf("text", &[("x", &"0"), ("y", &(y + 16.0))], noun);
        }
        let x = scale.x(mark.at);
        let place: Attributes<'_> =
            &[("class", &"mark"), ("x", &at(x - 1.5)), ("y", &(y + 5.0)), ("width", &"3"), ("height", &"14")];
        html.element("rect", place, |html| {
            html.leaf("title", &[], format!("{}: {}, {}", mark.at, ending(mark), mark.what));
        });
        if mark.count > 1 && x - last >= APART {
            html.leaf("text", &[("x", &at(x + 4.0)), ("y", &(y + 16.0))], mark.count);
            last = x;
        }
    }
}

/// The same in words.
fn list(html: &mut Html, chart: &Chart) {
    folding(html, false, &format!("{} as a list", name(chart)), |html| {
        let label = format!("Timeline of {} as a list", name(chart));
        table(html, &label, "list", &["From", "Until", "What"], |html| {
            for (bar, stretch) in chart.bars.iter().flat_map(|bar| bar.stretches.iter().map(move |one| (bar, one))) {
                html.element("tr", &[], |html| {
                    html.leaf("td", &[("class", &"when")], stretch.from);
                    html.leaf("td", &[("class", &"when")], stretch.to.map(|to| to.to_string()).unwrap_or_default());
                    html.leaf("td", &[], format!("{} {}", bar.name, stretch.state.replace('-', " ")));
                });
            }
            for mark in &chart.marks {
                html.element("tr", &[], |html| {
                    html.leaf("td", &[], "");
                    html.leaf("td", &[("class", &"when")], mark.at);
                    html.element("td", &[], |html| {
                        html.text(format!("{}: ", ending(mark)));
                        html.said(&mark.what);
                    });
                });
            }
        });
    });
}
