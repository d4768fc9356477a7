//! The chain of epochs with who signed, and break-glass events.

use super::markup::Html;
use super::matrix::changes;
use super::sheet::{counted, folding, table};
use crate::ops::overview::{Deed, EpochLine, Event, Overview};

/// So many epochs are shown from the beginning.
const SHOWN: usize = 5;

/// The chain, the newest epoch first.
pub fn epochs(html: &mut Html, overview: &Overview) {
    if overview.epochs.is_empty() {
        return html.leaf("p", &[], "No epoch can be read.");
    }
    let (shown, older) = overview.epochs.split_at(overview.epochs.len().min(SHOWN));
    shown.iter().for_each(|epoch| write_epoch(html, epoch));
    if !older.is_empty() {
        let summary = format!("{} before", counted(older.len(), "epoch"));
        folding(html, false, &summary, |html| older.iter().for_each(|epoch| write_epoch(html, epoch)));
    }
}

fn write_epoch(html: &mut Html, epoch: &EpochLine) {
    html.element("h3", &[], |html| {
        html.text(format!("Epoch {} ", epoch.number));
        let class = match epoch.state {
            "latest" => "tag fine",
            "draft" => "tag owed",
            _ => "tag old",
        };
        html.leaf("span", &[("class", &class)], epoch.state);
    });
    html.element("dl", &[], |html| {
        let mut row = |name: &str, write: &dyn Fn(&mut Html)| {
            html.leaf("dt", &[], name);
            html.element("dd", &[], |html| write(html));
        };
        row("Signed by", &|html| html.text(names(&epoch.signed)));
        if !epoch.missing.is_empty() {
            row("Waits for", &|html| html.text(names(&epoch.missing)));
        }
        row("Because", &|html| html.said(&epoch.reason));
        row("Made", &|html| html.text(format!("{}, expires {}", epoch.created, epoch.expires)));
        row("Closes", &|html| html.text(counted(epoch.closed_records as usize, "record")));
        row("SHA-256", &|html| html.code(epoch.sha256));
    });
    match (epoch.number, epoch.changes.is_empty()) {
        (1, _) => html.leaf("p", &[], "It founds the repository."),
        (_, true) => html.leaf("p", &[], "It changes nothing but its date and what it closes."),
        (_, false) => changes(html, &epoch.changes),
    }
}

fn names<'a>(people: impl IntoIterator<Item = &'a crate::model::PersonName>) -> String {
    let names: Vec<&str> = people.into_iter().map(|name| name.as_str()).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Break-glass events, the newest first.
pub fn break_glass(html: &mut Html, overview: &Overview) {
    if overview.break_glass.is_empty() {
        return html.leaf("p", &[], "There never was any.");
    }
    let head = ["When", "Cluster", "What", "Because", "By", "Until", "Record"];
    table(html, "Break-glass events", "glass", &head, |html| {
        overview.break_glass.iter().for_each(|event| write_event(html, event));
    });
}

fn write_event(html: &mut Html, event: &Event) {
    html.element("tr", &[], |html| {
        html.leaf("td", &[("class", &"when")], event.time);
        html.leaf("td", &[], event.cluster.as_ref().map(ToString::to_string).unwrap_or_default());
        html.element("td", &[], |html| {
            let person = event.person.as_deref().unwrap_or("somebody");
            html.text(match event.deed {
                Deed::Issued => format!("{person} is system:masters "),
                Deed::Approved => format!("request of {person} approved "),
                Deed::Denied => format!("request of {person} denied "),
            });
            if event.live {
                html.leaf("span", &[("class", &"tag bad")], "live");
            }
            if !event.counts {
                html.leaf("span", &[("class", &"tag bad")], "void");
            }
        });
        html.element("td", &[], |html| html.said(&event.reason));
        html.element("td", &[], |html| {
            html.text(&event.by);
            let others = event.approved_by.iter().filter(|person| **person != event.by);
            let others: Vec<&str> = others.map(|person| person.as_str()).collect();
            if !others.is_empty() {
                html.text(format!("; approved by {}", others.join(", ")));
            }
        });
        html.leaf("td", &[("class", &"when")], event.not_after.map(|end| end.to_string()).unwrap_or_default());
        html.element("td", &[], |html| html.code(event.record.h16()));
    });
}
