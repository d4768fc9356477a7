//! Every certificate that was issued, by cluster; those that have ended stay folded. The script's search looks at all.

use std::collections::BTreeMap;

use super::markup::Html;
use super::matrix::OPEN;
use super::sheet::{counted, folding, table};
use crate::model::ClusterName;
use crate::ops::cert::view::CertLine;

/// The section.
pub fn section(html: &mut Html, certificates: &[CertLine]) {
    if certificates.is_empty() {
        return html.leaf("p", &[], "None was ever issued.");
    }
    // Shown by the script alone: without it there is nothing that searches.
    html.element("form", &[("id", &"search"), ("role", &"search"), ("hidden", &"")], |html| {
        html.leaf("label", &[("for", &"wanted")], "Search: name, profile, group, serial number, SHA-256");
        html.void("input", &[("id", &"wanted"), ("type", &"search"), ("autocomplete", &"off"), ("spellcheck", &"false")]);
        html.element("output", &[("for", &"wanted"), ("aria-live", &"polite")], |_| {});
    });
    let mut clusters: BTreeMap<&ClusterName, Vec<&CertLine>> = BTreeMap::new();
    for line in certificates {
        clusters.entry(&line.cluster).or_default().push(line);
    }
    for (cluster, lines) in &clusters {
        let (ended, live): (Vec<&CertLine>, Vec<&CertLine>) = lines.iter().partition(|line| line.state == "expired");
        let summary = format!("{cluster}: {} that live, {} ended", counted(live.len(), "certificate"), ended.len());
        folding(html, clusters.len() <= OPEN, &summary, |html| {
            rows(html, &format!("Certificates of {cluster}"), &live);
            if !ended.is_empty() {
                html.element("details", &[("class", &"expired")], |html| {
                    html.leaf("summary", &[], format!("{} that ended", counted(ended.len(), "certificate")));
                    rows(html, &format!("Ended certificates of {cluster}"), &ended);
                });
            }
        });
    }
}

fn rows(html: &mut Html, label: &str, lines: &[&CertLine]) {
    let head = ["Owner", "Profile", "Subject", "From", "Until", "State", "Serial number", "SHA-256"];
    table(html, label, "certificates", &head, |html| {
        for line in lines {
            // Whole, so that what an audit log names is found; eyes get by with the first digits.
            let sha256 = line.sha256.to_string();
            html.element("tr", &[("data-find", &sha256)], |html| {
                html.leaf("th", &[("scope", &"row")], format!("{} {}", line.kind, line.owner));
                html.leaf("td", &[], line.profile);
                html.element("td", &[], |html| html.said(&line.subject));
                html.leaf("td", &[("class", &"when")], line.not_before);
                html.leaf("td", &[("class", &"when")], line.not_after);
                html.leaf("td", &[], line.state);
                html.element("td", &[], |html| html.code(&line.serial));
                html.element("td", &[], |html| html.code(line.sha256.h16()));
            });
        }
    });
}
