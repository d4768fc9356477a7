//! What is wrong or owed, and what is under way: findings with what mends them, rotations, requests that wait.

use super::markup::Html;
use super::sheet::{counted, folding, table};
use crate::cli::forms::{SHOWN_ALIKE, alike};
use crate::model::{Finding, Level};
use crate::ops::overview::Overview;
use crate::ops::rotate::ClusterRotation;

/// Findings, the gravest first; those that say the same of many files together.
pub fn findings(html: &mut Html, findings: &[Finding]) {
    if findings.is_empty() {
        return html.leaf("p", &[], "Nothing.");
    }
    html.element("ul", &[], |html| {
        for group in alike(findings) {
            html.element("li", &[], |html| finding(html, &group));
        }
    });
}

/// One finding, or several that say the same: `group` has at least one.
fn finding(html: &mut Html, group: &[&Finding]) {
    let first = group[0];
    let (class, word) = match first.level {
        Level::Error => ("tag bad", "error"),
        Level::Attention => ("tag owed", "owed"),
        Level::Note => ("tag note", "note"),
    };
    html.leaf("span", &[("class", &class)], word);
    html.text(" ");
    html.code(first.code);
    html.text(" ");
    html.said(&first.why);
    let paths: Vec<&String> = group.iter().filter_map(|finding| finding.path.as_ref()).collect();
    let (shown, more) = paths.split_at(paths.len().min(SHOWN_ALIKE));
    list(html, shown);
    if !more.is_empty() {
        folding(html, false, &format!("{} more like these", more.len()), |html| list(html, more));
    }
    if let Some(fix) = &first.fix {
        html.element("p", &[], |html| {
            html.text("Mended by ");
            html.code(fix);
        });
    }
}

fn list(html: &mut Html, paths: &[&String]) {
    if !paths.is_empty() {
        html.element("ul", &[], |html| {
            paths.iter().for_each(|path| html.element("li", &[], |html| html.said(path)));
        });
    }
}

/// Rotations and requests.
pub fn under_way(html: &mut Html, overview: &Overview) {
    let requests: Vec<_> =
        overview.status.clusters.iter().flat_map(|cluster| cluster.requests.iter().map(move |one| (cluster, one))).collect();
    if overview.rotations.is_empty() && requests.is_empty() {
        return html.leaf("p", &[], "No rotation is under way, and no request waits.");
    }
    for rotation in &overview.rotations {
        write_rotation(html, rotation);
    }
    if requests.is_empty() {
        return;
    }
    html.leaf("h3", &[], "Requests that wait");
    let head = ["Cluster", "Who asks", "For", "Groups", "Because", "Approved by", "Until"];
    table(html, "Requests that wait", "requests", &head, |html| {
        for (cluster, one) in requests {
            html.element("tr", &[], |html| {
                html.leaf("th", &[("scope", &"row")], &cluster.name);
                html.leaf("td", &[], &one.person);
                html.leaf("td", &[], &one.profile);
                html.element("td", &[], |html| html.said(one.groups.iter().cloned().collect::<Vec<_>>().join(", ")));
                html.element("td", &[], |html| html.said(&one.reason));
                let approved: Vec<&str> = one.approved_by.iter().map(|person| person.as_str()).collect();
                let of = format!("{} ({} of {})", approved.join(", "), approved.len(), one.needed);
                html.leaf("td", &[], of.trim_start());
                html.leaf("td", &[("class", &"when")], one.expires);
            });
        }
    });
}

fn write_rotation(html: &mut Html, rotation: &ClusterRotation) {
    html.leaf("h3", &[], format!("Rotation of {}", rotation.cluster));
    let label = format!("Rotation of {}", rotation.cluster);
    table(html, &label, "rotation", &["Keyset", "Phase", "Generations", "Since"], |html| {
        for keyset in rotation.keysets.iter().filter(|keyset| keyset.is_under_way()) {
            let states = keyset.states.iter().map(|(generation, state)| format!("{generation} {state}"));
            html.element("tr", &[], |html| {
                html.leaf("th", &[("scope", &"row")], keyset.keyset);
                html.leaf("td", &[], keyset.phase.as_str());
                html.leaf("td", &[], states.collect::<Vec<_>>().join(", "));
                html.leaf("td", &[("class", &"when")], keyset.since.map(|since| since.to_string()).unwrap_or_default());
            });
        }
    });
    if let Some(next) = &rotation.next {
        html.element("p", &[], |html| {
            if !rotation.nodes.is_empty() {
                html.text(format!("Something is to be done on {}. ", counted(rotation.nodes.len(), "node")));
            }
            html.text("Next: ");
            html.code(format!("kluis {next}"));
        });
    }
}
