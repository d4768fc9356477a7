//! `.gitattributes`: keeps git from changing the bytes of managed files (T70).

/// What is said about each managed tree: no line-end conversion, no filter programs, no `$Id$`, no re-encoding,
/// and no text merge, which could only produce bytes that nobody signed.
const BYTES: &str = "-text -filter -ident -working-tree-encoding merge=binary";

/// What git shows of sealed files and certificates: what `kluis textconv` says, where the user's configuration names
/// it as the driver `kluis`; else git's own diff.
const DIFF: &str = "diff=kluis";

/// In the order in which they are written. People write cluster.toml, so two edits of it are merged like any text; the
/// result is one that no record vouches for until `cluster apply` was run, and `verify` says so.
const LINES: [(&str, &str); 7] = [
    ("trust/**", BYTES),
    ("pubkeys/**", BYTES),
    ("clusters/**", BYTES),
    ("clusters/*/cluster.toml", "merge=text"),
    ("clusters/**/*.asc", DIFF),
    ("clusters/**/*.crt", DIFF),
    ("pubkeys/**/*.asc", DIFF),
];

/// The attributes of ours that a later line could turn round.
const TOUCHED: [&str; 8] = ["text", "filter", "ident", "working-tree-encoding", "merge", "binary", "eol", "crlf"];

/// `existing` (empty if there is no file) with the lines that are missing at its end; `None` if none is.
///
/// In `.gitattributes` the last line that matches wins, so a line of ours counts as there only if no later line
/// touches the same attributes, whatever its pattern: a second line of ours is harmless, a lost one is not.
pub fn with_attributes(existing: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(existing);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let missing: Vec<(&str, &str)> = LINES
        .into_iter()
        .filter(|(pattern, attributes)| {
            let is_ours = |line: &[&str]| {
                line.split_first().is_some_and(|(first, rest)| first == pattern && rest.join(" ") == *attributes)
            };
            let after = lines.iter().rposition(|line| is_ours(line)).map(|at| &lines[at + 1..]);
            after.is_none_or(|after| after.iter().any(|line| overrides(line)))
        })
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut new = existing.to_vec();
    if !new.is_empty() && !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    for (pattern, attributes) in missing {
        new.extend_from_slice(format!("{pattern} {attributes}\n").as_bytes());
    }
    Some(new)
}

/// Whether a line could change, for a managed file, what a line of ours before it says.
fn overrides(line: &[&str]) -> bool {
    let Some((pattern, attributes)) = line.split_first() else { return false };
    let ours = |line: &(&str, &str)| line.0 == *pattern && line.1 == attributes.join(" ");
    if pattern.starts_with('#') || LINES.iter().any(ours) {
        return false;
    }
    attributes.iter().any(|attribute| {
        let name = attribute.trim_start_matches(['-', '!']).split('=').next().unwrap_or(attribute);
        TOUCHED.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(existing: &str) -> String {
        String::from_utf8(with_attributes(existing.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn missing_lines_are_appended_once() {
        let new = once("*.md text");
        assert!(new.starts_with("*.md text\ntrust/** -text -filter -ident -working-tree-encoding merge=binary\n"));
        assert_eq!(new.lines().count(), 8);
        assert_eq!(with_attributes(new.as_bytes()), None);
        assert_eq!(once("").lines().count(), 7);
    }

    #[test]
    fn one_missing_line_is_added_alone() {
        let two: String = once("").lines().take(6).map(|line| format!("{line}\n")).collect();
        assert_eq!(once(&two), once(""));
    }

    #[test]
    fn a_later_line_that_turns_ours_round_is_answered() {
        let new = once(&format!("{}*.asc text eol=crlf\n", once("")));
        assert_eq!(new.lines().count(), 15);
        assert_eq!(with_attributes(new.as_bytes()), None);
        let harmless = format!("{}*.asc diff=kluis\n# text\n", once(""));
        assert_eq!(with_attributes(harmless.as_bytes()), None);
    }

    #[test]
    fn git_reads_the_lines_as_meant() {
        let scratch = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init(scratch.path()).unwrap();
        std::fs::write(scratch.path().join(".gitattributes"), once("* text=auto eol=crlf ident\n")).unwrap();
        let flags = git2::AttrCheckFlags::default();
        for path in ["trust/epoch/0001.toml", "pubkeys/a.asc", "clusters/prod/sealed/sa.g1.asc"] {
            for name in ["text", "filter", "ident", "working-tree-encoding"] {
                let value = repo.get_attr(path.as_ref(), name, flags).unwrap();
                assert!(matches!(git2::AttrValue::from_string(value), git2::AttrValue::False), "{path} {name}");
            }
            assert_eq!(repo.get_attr(path.as_ref(), "merge", flags).unwrap(), Some("binary"));
        }
        let attribute = |path: &str, name| repo.get_attr(path.as_ref(), name, flags).unwrap().map(str::to_owned);
        assert_eq!(attribute("clusters/prod/cluster.toml", "merge").as_deref(), Some("text"));
        for path in ["clusters/p/sealed/sa.g1.asc", "clusters/p/ca/etcd.g1.crt", "pubkeys/a.asc", "pubkeys/old/0.asc"] {
            assert_eq!(attribute(path, "diff").as_deref(), Some("kluis"), "{path}");
        }
        assert_eq!(attribute("trust/epoch/0001.toml", "diff"), None);
    }
}
