//! People x secrets as tables: of a fleet how much each can read in each cluster, then cluster by cluster. Letters say it,
//! colours repeat it.

use std::collections::{BTreeMap, BTreeSet};

use super::markup::Html;
use super::sheet::{counted, folding, table, table_with};
use crate::cli::change;
use crate::model::PersonName;
use crate::ops::overview::{Access, Cell, Column, Overview, Row, Rows, Turn};

/// Up to so many clusters are open from the beginning.
pub const OPEN: usize = 3;

/// The section.
pub fn section(html: &mut Html, overview: &Overview) {
    let matrix = &overview.matrix;
    if matrix.clusters.is_empty() {
        return html.leaf("p", &[], "There is no cluster yet.");
    }
    key(html, overview.since);
    if let Some(since) = overview.since.filter(|_| !overview.changes.is_empty()) {
        let summary = format!("What the latest epoch changes against epoch {since}");
        folding(html, false, &summary, |html| changes(html, &overview.changes));
    }
    if matrix.clusters.len() > 1 {
        fleet(html, &matrix.people, &matrix.clusters);
    }
    for rows in &matrix.clusters {
        let retired = if rows.retired { ", retired" } else { "" };
        let summary = format!("{}: {}{retired}", rows.cluster, counted(rows.secrets.len(), "secret"));
        folding(html, matrix.clusters.len() <= OPEN, &summary, |html| cluster(html, &matrix.people, rows));
    }
}

/// Changes between epochs, one a line; those that weaken trust are marked.
pub fn changes(html: &mut Html, changes: &[crate::trust::difference::Change]) {
    html.element("ul", &[], |html| {
        for one in changes {
            html.element("li", &[], |html| {
                if one.is_weaker() {
                    html.leaf("span", &[("class", &"tag owed")], "weaker");
                    html.text(" ");
                }
                html.said(change::line(one));
            });
        }
    });
}

/// What the letters mean.
fn key(html: &mut Html, since: Option<u32>) {
    html.element("table", &[("class", &"key")], |html| {
        html.leaf("caption", &[("class", &"unseen")], "What the letters mean");
        html.element("tbody", &[], |html| {
            let mut row = |class: &str, mark: &str, meaning: &str| {
                html.element("tr", &[], |html| {
                    html.leaf("td", &[("class", &format!("cell {class}"))], mark);
                    html.leaf("td", &[], meaning);
                });
            };
            row("note", "R", "can read it now: it is sealed to them");
            row("bad", "K", "knows it: could read it before, and what is inside is in use; only a new key takes that back");
            row("owed", "W", "knows it, and the quorum decided to live with that for a time");
            if let Some(since) = since {
                row("gained", "+", &format!("gained since epoch {since} was drafted"));
                row("lost", "-", &format!("lost since epoch {since} was drafted"));
            }
        });
    });
    html.element("p", &[("class", &"quiet")], |html| {
        html.text("From the signed log. A file that lay in git's history without a record is found by ");
        html.code("kluis exposure PERSON");
        html.text(".");
    });
}

/// A row a cluster, a column a person: how much they can read and know, gained and lost.
fn fleet(html: &mut Html, people: &[Column], clusters: &[Rows]) {
    let names: Vec<&str> = ["Cluster"].into_iter().chain(people.iter().map(|one| one.person.as_str())).collect();
    table(html, "How much each can read", "matrix", &names, |html| {
        for rows in clusters {
            html.element("tr", &[], |html| {
                html.leaf("th", &[("scope", &"row")], &rows.cluster);
                for person in people {
                    let cells: Vec<&Cell> = rows.secrets.iter().filter_map(|row| row.cells.get(&person.person)).collect();
                    summary(html, &cells, rows.secrets.len());
                }
            });
        }
    });
}

fn summary(html: &mut Html, cells: &[&Cell], all: usize) {
    let count = |wanted: &dyn Fn(&Cell) -> bool| cells.iter().filter(|cell| wanted(cell)).count();
    let counts = [
        ("R", "can be read", count(&|cell| cell.access == Access::Reads)),
        ("K", "known", count(&|cell| cell.access == Access::CouldRead)),
        ("W", "known, waived", count(&|cell| cell.access == Access::Waived)),
        ("+", "gained", count(&|cell| cell.change == Some(Turn::Gained))),
        ("-", "lost", count(&|cell| cell.change == Some(Turn::Lost))),
    ];
    let class = match () {
        () if counts[1].2 > 0 => "cell bad",
        () if counts[2].2 > 0 => "cell owed",
        () if counts[0].2 > 0 => "cell note",
        () => "cell",
    };
    let there = counts.iter().filter(|(.., count)| *count > 0);
    let (marks, words): (Vec<String>, Vec<String>) =
        there.map(|(mark, word, count)| (format!("{mark}{count}"), format!("{count} of {all} {word}"))).unzip();
    mark(html, class, &marks.join(" "), &words.join(", "));
}

/// A cell: short for eyes, whole for who has it read aloud.
fn mark(html: &mut Html, class: &str, mark: &str, words: &str) {
    html.element("td", &[("class", &class)], |html| {
        html.leaf("span", &[("aria-hidden", &"true")], mark);
        html.leaf("span", &[("class", &"unseen")], if words.is_empty() { "nothing" } else { words });
    });
}

/// One cluster: its people as columns, its secrets as rows. Nodes whose keys the same people have are one row.
fn cluster(html: &mut Html, people: &[Column], rows: &Rows) {
    let concerned: BTreeSet<&PersonName> = rows
        .secrets
        .iter()
        .flat_map(|row| row.cells.keys())
        .chain(&rows.keyholders)
        .chain(&rows.issuers)
        .collect();
    let columns: Vec<&Column> = people.iter().filter(|one| concerned.contains(&one.person)).collect();
    let head = |html: &mut Html| {
        html.leaf("th", &[("scope", &"col")], "Secret");
        for column in &columns {
            html.element("th", &[("scope", &"col")], |html| {
                html.text(format!("{} ", column.person));
                html.leaf("small", &[], parts(column, rows));
            });
        }
    };
    table_with(html, &format!("Who can read the secrets of {}", rows.cluster), "matrix", head, |html| {
        for row in rows.secrets.iter().filter(|row| !row.node) {
            let state = row.state.map(|state| format!(" {state}")).unwrap_or_default();
            write_row(html, &columns, row, |html| {
                html.text(&row.secret);
                html.leaf("small", &[], state);
            });
        }
        for nodes in alike(&rows.secrets) {
            write_row(html, &columns, nodes[0], |html| match nodes.as_slice() {
                [one] => html.text(&one.secret),
                several => folding(html, false, &counted(several.len(), "node"), |html| {
                    html.text(several.iter().map(|row| row.secret.as_str()).collect::<Vec<_>>().join(", "));
                }),
            });
        }
    });
    if columns.len() < people.len() {
        html.leaf("p", &[("class", &"quiet")], "Whoever is not named here has nothing to do with these.");
    }
}

/// The nodes' bundles, grouped by who has to do with them and how, in the order of the first of each group; no group is empty.
fn alike(secrets: &[Row]) -> Vec<Vec<&Row>> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in secrets.iter().filter(|row| row.node) {
        match groups.iter_mut().find(|group| group[0].cells == row.cells) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// `root, keyholder, issuer`, or `gone: left`.
fn parts(column: &Column, rows: &Rows) -> String {
    let role = match (column.role, &column.left) {
        (Some(role), _) => role.to_string(),
        (None, Some(left)) => format!("gone: {}", left.reason),
        (None, None) => "gone".to_owned(),
    };
    let has = |part: &BTreeSet<PersonName>, word| part.contains(&column.person).then_some(word);
    let parts = [Some(role.as_str()), has(&rows.keyholders, "keyholder"), has(&rows.issuers, "issuer")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn write_row(html: &mut Html, columns: &[&Column], row: &Row, name: impl FnOnce(&mut Html)) {
    html.element("tr", &[], |html| {
        html.element("th", &[("scope", &"row")], name);
        for column in columns {
            write_cell(html, &row.cells, &column.person);
        }
    });
}

fn write_cell(html: &mut Html, cells: &BTreeMap<PersonName, Cell>, person: &PersonName) {
    let Some(cell) = cells.get(person) else { return mark(html, "cell", "", "") };
    let (letter, color, mut words) = match cell.access {
        Access::Reads => ("R", "note", "can read it".to_owned()),
        Access::CouldRead => ("K", "bad", "knows it".to_owned()),
        Access::Waived => ("W", "owed", "knows it, waived".to_owned()),
        Access::Nothing => ("", "", "out of use".to_owned()),
    };
    if let Some(until) = cell.waived_until {
        words += &format!(" until {until}");
    }
    let (sign, class) = match cell.change {
        Some(Turn::Gained) => ("+", "gained"),
        Some(Turn::Lost) => ("-", "lost"),
        None => ("", ""),
    };
    if !class.is_empty() {
        words += &format!(", {class}");
    }
    mark(html, format!("cell {color} {class}").trim_end(), &format!("{letter}{sign}"), &words);
}
