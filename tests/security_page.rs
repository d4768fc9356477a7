//! docs/SECURITY.md names, for every threat, the tests that stage it; and they are there.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const THREATS: std::ops::RangeInclusive<u32> = 1..=83;

/// A row of the threat tables: its numbers, and its tests as file and name.
struct Row {
    threats: Vec<u32>,
    tests: BTreeSet<(String, String)>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let threats: Option<Vec<u32>> = cells[0].split(", ").map(|id| id.strip_prefix('T')?.parse().ok()).collect();
        let threats = threats?;
        assert_eq!(cells.len(), 4, "{line}");
        let named = cells[3].split("<br>").map(|test| {
            let test = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            let (file, name) = test.and_then(|test| test.split_once(": ")).unwrap_or_else(|| panic!("no test: {line}"));
            (file.to_owned(), name.to_owned())
        });
        Some(Row { threats, tests: named.collect() })
    };
    page.lines().filter(|line| line.starts_with("| T")).filter_map(row).collect()
}

/// The names of the functions in a file that are tests.
fn tests_of(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let (mut found, mut marked) = (BTreeSet::new(), false);
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            found.insert(rest.split('(').next().unwrap().to_owned());
            marked = false;
        }
    }
    found
}

/// The numbers with which the name of a test begins: 66 and 71 of `t66_t71_what_is_too_large`.
fn numbers(name: &str) -> Vec<u32> {
    name.split('_').map_while(|part| part.strip_prefix('t')?.parse().ok()).collect()
}

#[test]
fn every_threat_stands_once_on_the_page() {
    let found: Vec<u32> = rows().into_iter().flat_map(|row| row.threats).collect();
    for threat in THREATS {
        assert_eq!(found.iter().filter(|found| **found == threat).count(), 1, "T{threat}");
    }
    assert_eq!(found.len(), THREATS.count(), "a threat that there is not: {found:?}");
}

#[test]
fn every_test_that_the_page_names_is_a_test() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, name) in rows().into_iter().flat_map(|row| row.tests) {
        let there = files.entry(file.clone()).or_insert_with(|| tests_of(&root().join("tests").join(&file)));
        assert!(there.contains(&name), "tests/{file} has no test {name}");
    }
    assert!(!files.is_empty());
}

#[test]
fn every_threat_has_a_test_of_its_number() {
    for row in rows() {
        let staged: BTreeSet<u32> = row.tests.iter().flat_map(|(_, name)| numbers(name)).collect();
        for threat in row.threats {
            assert!(staged.contains(&threat), "no test on its row stages T{threat}");
        }
    }
}

#[test]
fn every_test_with_a_number_is_named_on_that_row() {
    let rows = rows();
    let listing = fs::read_dir(root().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = listing.filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();
    let mut seen = 0;
    for path in files {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        for name in tests_of(&path) {
            for threat in numbers(&name) {
                let row = rows.iter().find(|row| row.threats.contains(&threat));
                let named = row.is_some_and(|row| row.tests.contains(&(file.clone(), name.clone())));
                assert!(named, "docs/SECURITY.md: the row of T{threat} does not name `{file}: {name}`");
                seen += 1;
            }
        }
    }
    assert!(seen >= rows.len());
}
