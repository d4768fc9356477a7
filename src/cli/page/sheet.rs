//! The page from top to bottom: verdict, what it is about, then one section after the other.

use super::markup::{Attributes, Html, document};
use super::{certificates, debts, matrix, timeline, trust};
use crate::model::{Finding, Level};
use crate::ops::overview::{Overview, count};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Every section: its anchor and what it is called.
const SECTIONS: [(&str, &str); 7] = [
    ("debts", "What is wrong or owed"),
    ("under-way", "Under way"),
    ("people", "Who can read what"),
    ("timeline", "Timeline"),
    ("epochs", "Chain of epochs"),
    ("certificates", "Certificates"),
    ("break-glass", "Break-glass"),
];

/// The whole page.
pub fn page(overview: &Overview, findings: &[Finding], exit: u8) -> String {
    let repo = overview.status.repo.map(|repo| repo.to_string()).unwrap_or_default();
    let title = format!("kluis report {} {}", repo.get(..8).unwrap_or_default(), overview.at);
    document(&title, STYLE, SCRIPT, |html| {
        html.element("header", &[], |html| head(html, overview, findings, exit));
        html.element("nav", &[("aria-label", &"Sections")], |html| {
            for (anchor, name) in SECTIONS {
                html.leaf("a", &[("href", &format!("#{anchor}"))], name);
                html.text(" ");
            }
        });
        html.element("main", &[], |html| {
            for (anchor, name) in SECTIONS {
                let heading = format!("{anchor}-heading");
                html.element("section", &[("id", &anchor), ("aria-labelledby", &heading)], |html| {
                    html.leaf("h2", &[("id", &heading)], name);
                    section(html, anchor, overview, findings);
                });
            }
        });
        html.element("footer", &[], |html| {
            html.element("p", &[], |html| {
                html.text(format!("Made by kluis {} from the repository alone. ", env!("CARGO_PKG_VERSION")));
                html.text("The same data: ");
                html.code("kluis report -o json");
            });
        });
    })
}

fn section(html: &mut Html, anchor: &str, overview: &Overview, findings: &[Finding]) {
    let is_from_log = !matches!(anchor, "debts" | "epochs");
    if is_from_log && !overview.judged {
        return html.leaf("p", &[("class", &"verdict bad")], "Nobody can say: see what is wrong above.");
    }
    match anchor {
        "debts" => debts::findings(html, findings),
        "under-way" => debts::under_way(html, overview),
        "people" => matrix::section(html, overview),
        "timeline" => timeline::section(html, &overview.timeline, overview.at),
        "epochs" => trust::epochs(html, overview),
        "certificates" => certificates::section(html, &overview.certificates),
        _ => trust::break_glass(html, overview),
    }
}

/// What is said of the whole, as loudly as it is bad.
fn verdict(exit: u8) -> (&'static str, &'static str, &'static str) {
    match exit {
        0 => ("fine", "valid", "everything here is vouched for, and nothing is owed."),
        5 => ("owed", "valid, and something is owed", "everything here is vouched for."),
        4 => (
            "bad",
            "NOT KNOWN TO BE THE RIGHT REPOSITORY",
            "nothing outside it says that it is yours, or what does contradicts it. Do not rely on this page.",
        ),
        _ => ("bad", "INVALID", "files are not what people signed. Do not rely on this page before it is mended."),
    }
}

fn head(html: &mut Html, overview: &Overview, findings: &[Finding], exit: u8) {
    let status = &overview.status;
    html.leaf("h1", &[], "Keys and certificates");
    let (class, word, meaning) = verdict(exit);
    html.element("p", &[("class", &format!("verdict {class}"))], |html| {
        html.leaf("strong", &[], word);
        html.text(": ");
        html.text(meaning);
    });
    if let Some(draft) = &status.draft {
        let missing = crate::ops::names(&draft.missing);
        html.element("p", &[("class", &"verdict note")], |html| {
            html.text(format!("Epoch {} is a draft that waits for a signature of {missing}. ", draft.number));
            html.text("It does not count yet: this is how things are without it.");
        });
    }
    html.element("dl", &[], |html| {
        let mut row = |name: &str, write: &dyn Fn(&mut Html)| {
            html.leaf("dt", &[], name);
            html.element("dd", &[], |html| write(html));
        };
        row("As of", &|html| html.text(overview.at));
        if let Some(repo) = &status.repo {
            row("Repository", &|html| html.code(repo));
        }
        match &status.epoch {
            Some(epoch) => row("Epoch", &|html| {
                html.text(format!("{}, made {}, expires {}; ", epoch.number, epoch.created, epoch.expires));
                html.text(format!("{} of {} persons sign the next", epoch.threshold, epoch.persons));
            }),
            None => row("Epoch", &|html| html.text("none is valid")),
        }
        if let Some(pin) = &overview.pin {
            row("Pin line", &|html| html.code(pin));
        }
        row("Has", &|html| {
            let counts = [(status.clusters.len(), "cluster"), (status.records, "record"), (overview.files, "file")];
            html.text(counts.map(|(count, noun)| counted(count, noun)).join(", "));
        });
        row("Findings", &|html| {
            let [errors, owed, notes] = [Level::Error, Level::Attention, Level::Note].map(|level| count(findings, level));
            html.text(format!("{}, {owed} owed, {}", counted(errors, "error"), counted(notes, "note")));
        });
    });
}

/// `1 record`, `2 records`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A table in a box that scrolls sideways, by keys too, where the screen is narrow.
pub fn table(html: &mut Html, label: &str, class: &str, head: &[&str], rows: impl FnOnce(&mut Html)) {
    let names = |html: &mut Html| head.iter().for_each(|name| html.leaf("th", &[("scope", &"col")], name));
    table_with(html, label, class, names, rows);
}

/// As `table`, where the heads of columns are more than a name.
pub fn table_with(
    html: &mut Html,
    label: &str,
    class: &str,
    head: impl FnOnce(&mut Html),
    rows: impl FnOnce(&mut Html),
) {
    scrolling(html, label, |html| {
        html.element("table", &[("class", &class)], |html| {
            html.element("thead", &[], |html| html.element("tr", &[], head));
            html.element("tbody", &[], rows);
        });
    });
}

/// A box that scrolls sideways, by keys too.
pub fn scrolling(html: &mut Html, label: &str, content: impl FnOnce(&mut Html)) {
    let box_of: Attributes<'_> =
        &[("class", &"scroll"), ("role", &"region"), ("aria-label", &label), ("tabindex", &"0")];
    html.element("div", box_of, content);
}

/// Something that folds; `is_open`: it is unfolded from the beginning.
pub fn folding(html: &mut Html, is_open: bool, summary: &str, content: impl FnOnce(&mut Html)) {
    let open: Attributes<'_> = if is_open { &[("open", &"")] } else { &[] };
    html.element("details", open, |html| {
        html.leaf("summary", &[], summary);
        content(html);
    });
}
