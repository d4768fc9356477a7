//! Every rule of `kluis lint` on certificates that openssl made: one that breaks it is found, and the good one beside it is
//! not. The good ones are a whole PKI of kubeadm's layout, in which nothing is found at all.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops")]

mod authorities;
mod files;
mod keys;
mod leaves;
mod pki;
mod pkilint;
mod repository;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kluis::model::Level;
use pki::Pki;

/// What `rule` finds once `change` has made one thing worse; what it brings along is named too, so that nothing else is
/// found.
#[track_caller]
pub fn breaks(rules: &[&str], change: impl FnOnce(&Pki)) {
    breaks_with("", rules, change);
}

/// The same, with words for the command.
#[track_caller]
pub fn breaks_with(words: &str, rules: &[&str], change: impl FnOnce(&Pki)) {
    let pki = Pki::good();
    change(&pki);
    let wanted: BTreeSet<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
    assert_eq!(pki.found(words), wanted);
}

#[test]
fn nothing_is_found_in_a_good_pki() {
    let pki = Pki::good();
    let (exit, out) = pki.run("", &[&pki.root()]);
    assert_eq!(exit, 0, "{out}");
    assert_eq!(pki.found(""), BTreeSet::new(), "{out}");
    assert!(out.contains("\"certificates\": 21"), "{out}");
}

/// Rules that stand in a test of this folder, by its text: a rule without one is no rule.
#[test]
fn every_rule_has_a_certificate_that_breaks_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lint");
    let texts = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let all: String = texts.collect();
    let untested: Vec<&str> = kluis::lint::rules()
        .iter()
        .map(|rule| rule.id)
        .filter(|id| ["error", "attention", "note"].iter().all(|level| !all.contains(&format!("\"{id} {level}\""))))
        .collect();
    assert_eq!(untested, Vec::<&str>::new());
}

const MARK: &str = "<!-- made from the rules: KLUIS_UPDATE_DOCS=1 cargo test --test lint -->\n";

/// The second half of docs/LINT.md.
fn tables() -> String {
    let word = |level: Level| match level {
        Level::Error => "error",
        Level::Attention => "attention",
        Level::Note => "note",
    };
    let mut text = String::new();
    for (letters, title) in [
        ("CA", "CAs and trust bundles"),
        ("KY", "Keys, signatures and serial numbers"),
        ("LF", "Leaves"),
        ("KC", "Kubeconfigs"),
        ("LY", "Layouts"),
        ("RT", "Order in a rotation"),
        ("EN", "Encryption at rest"),
        ("RD", "Reading"),
    ] {
        writeln!(text, "\n### {title}\n\n| rule | weighs | what is wrong | why | source | what to do |").unwrap();
        text.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for rule in kluis::lint::rules().into_iter().filter(|rule| rule.id.starts_with(letters)) {
            let weight = match rule.imported {
                Some(imported) => format!("{}, {}", word(rule.severity), word(imported)),
                None => word(rule.severity).to_owned(),
            };
            let kluis::lint::Rule { id, title, why, source, remedy, .. } = rule;
            writeln!(text, "| `{id}` | {weight} | {title} | {why} | {source} | {remedy} |").unwrap();
        }
    }
    text.push_str("\n## Left out\n\nWhat no look at files decides:\n\n| id | who decides it, or why nobody does |\n| --- | --- |\n");
    for (id, why) in kluis::lint::LEFT_OUT {
        writeln!(text, "| {id} | {why} |").unwrap();
    }
    text
}

#[test]
fn the_page_has_every_rule() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/LINT.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (head, written) = page.split_once(MARK).expect("the mark in docs/LINT.md");
    if std::env::var_os("KLUIS_UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{MARK}{}", tables())).unwrap();
        return;
    }
    assert!(written == tables(), "docs/LINT.md is not the rules: KLUIS_UPDATE_DOCS=1 cargo test --test lint");
}
