//! Findings in the forms that other programs show: Markdown for a comment, SARIF 2.1.0 for code scanning, annotations
//! for a CI job's log. All from the values that the human and the JSON form have.
//!
//! Attack (T78, T75): names, reasons and user ids come from files that anybody may propose. In Markdown they could be
//! links, mentions, images or HTML, in a job's log commands to the runner. So no character of theirs is ever markup
//! here: whatever is no letter, digit or harmless mark becomes a numeric entity inside a code element, where hosts
//! make no links and mentions, or is percent-encoded.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::model::{Code, Finding, Level, displayed};

/// Text from a file, inert in Markdown and HTML.
pub fn inert(text: &str) -> String {
    let mut code = String::from("<code>");
    for c in displayed(text).chars() {
        if c.is_ascii_alphanumeric() || " /,-()=+;".contains(c) {
            code.push(c);
        } else {
            code.push_str(&format!("&#{};", u32::from(c)));
        }
    }
    code.push_str("</code>");
    code
}

/// Of findings that differ in their path alone, this many are written out.
pub const SHOWN_ALIKE: usize = 3;

/// Findings that say the same, the gravest first: the same level, code, reason and remedy.
pub fn alike(findings: &[Finding]) -> Vec<Vec<&Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    let same = |a: &Finding, b: &Finding| (a.level, a.code, &a.why, &a.fix) == (b.level, b.code, &b.why, &b.fix);
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by_key(|finding| finding.level);
    let mut places: BTreeMap<(Level, Code, &str), Vec<usize>> = BTreeMap::new();
    for finding in findings {
        let known = places.entry((finding.level, finding.code, &finding.why)).or_default();
        match known.iter().find(|group| same(groups[**group][0], finding)) {
            Some(group) => groups[*group].push(finding),
            None => {
                known.push(groups.len());
                groups.push(vec![finding]);
            }
        }
    }
    groups
}

fn icon(level: Level) -> &'static str {
    match level {
        Level::Error => "❌",
        Level::Attention => "⚠️",
        Level::Note => "ℹ️",
    }
}

/// Findings as a Markdown list, the gravest first; those that say the same of many files are cut short, since hosts
/// refuse long comments.
pub fn markdown_findings(out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
    for group in alike(findings) {
        for finding in group.iter().take(SHOWN_ALIKE) {
            let path = finding.path.as_ref().map(|path| format!("{}: ", inert(path))).unwrap_or_default();
            write!(out, "- {} `{}` {path}{}", icon(finding.level), finding.code, inert(&finding.why))?;
            match &finding.fix {
                Some(fix) => writeln!(out, " — {}", inert(&fix.to_string()))?,
                None => writeln!(out)?,
            }
        }
        if group.len() > SHOWN_ALIKE {
            writeln!(out, "- and {} more like these", group.len() - SHOWN_ALIKE)?;
        }
    }
    Ok(())
}

/// Findings of any command as a comment.
pub fn markdown(out: &mut dyn Write, command: &str, exit: u8, findings: &[Finding]) -> io::Result<()> {
    writeln!(out, "<!-- kluis {command} -->")?;
    let verdict = match exit {
        0 => "nothing is wrong",
        3 => "**invalid**",
        4 => "**not known to be the right repository**",
        5 => "valid, and something is owed",
        _ => "**failed**",
    };
    writeln!(out, "### kluis {command}: {verdict}\n")?;
    markdown_findings(out, findings)
}

/// Findings as one SARIF log.
pub fn sarif(out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
    let level = |level: Level| match level {
        Level::Error => "error",
        Level::Attention => "warning",
        Level::Note => "note",
    };
    let mut codes: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
    codes.sort();
    codes.dedup();
    let rules: Vec<Value> = codes.iter().map(|code| rule(*code)).collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let fix = finding.fix.as_ref().map(|fix| format!(" (help: {fix})")).unwrap_or_default();
            // A result wants a place; what concerns no one file is shown at the folder of the trust.
            let uri = uri(finding.path.as_deref().unwrap_or("trust"));
            json!({
                "ruleId": finding.code,
                "level": level(finding.level),
                "message": { "text": displayed(&format!("{}{fix}", finding.why)) },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri } } }],
            })
        })
        .collect();
    let driver = json!({ "name": "kluis", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results }],
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

/// What SARIF says of a code; of a rule of lint, with its text.
fn rule(code: Code) -> Value {
    match crate::lint::rule(code.as_str()) {
        None => json!({ "id": code, "name": code }),
        Some(rule) => json!({
            "id": code,
            "name": code,
            "shortDescription": { "text": rule.title },
            "fullDescription": { "text": format!("{}: {}", rule.title, rule.why) },
            "help": { "text": format!("{}\nSource: {}", rule.remedy, rule.source) },
        }),
    }
}

/// A path as a relative URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"/._-~".contains(&c);
    path.bytes().map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}

/// Findings as annotations of a CI job, one a line (GitHub's and Forgejo's workflow commands).
pub fn annotations(out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
    for finding in findings {
        let word = match finding.level {
            Level::Error => "error",
            Level::Attention => "warning",
            Level::Note => "notice",
        };
        let fix = finding.fix.as_ref().map(|fix| format!(" (help: {fix})")).unwrap_or_default();
        let message = encoded(&displayed(&format!("{}{fix}", finding.why)), "%\r\n");
        let file = finding.path.as_ref().map(|path| format!("file={},", encoded(&displayed(path), "%\r\n:,")));
        writeln!(out, "::{word} {}title={}::{message}", file.unwrap_or_default(), finding.code)?;
    }
    Ok(())
}

fn encoded(text: &str, special: &str) -> String {
    text.chars().map(|c| if special.contains(c) { format!("%{:02X}", u32::from(c)) } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "[x](javascript:a) <img src=x onerror=y> @everyone `#1` ![i](http://e/) |a|\n::error::b\u{202e}";

    #[test]
    fn hostile_text_is_inert_in_every_form() {
        let finding = Finding::new(Code::BadName, HOSTILE).at(HOSTILE);
        let mut text = Vec::new();
        markdown(&mut text, "verify", 3, std::slice::from_ref(&finding)).unwrap();
        let text = String::from_utf8(text).unwrap();
        for markup in ["[x]", "](", "<img", "@every", "|a|", "::error", "\u{202e}", "http:"] {
            assert!(!text.contains(markup), "{markup} in {text}");
        }
        assert_eq!(text.lines().count(), 4, "{text}");
        let mut text = Vec::new();
        annotations(&mut text, std::slice::from_ref(&finding)).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        // The properties end where the message begins; a runner looks for commands at the beginning of lines alone.
        let (properties, _) = text[2..].split_once("::").unwrap();
        assert!(text.starts_with("::error file=") && properties.ends_with("title=bad-name"), "{text}");
        let mut text = Vec::new();
        sarif(&mut text, std::slice::from_ref(&finding)).unwrap();
        let log: Value = serde_json::from_slice(&text).unwrap();
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert!(place.as_str().unwrap().starts_with("%5Bx%5D%28javascript%3A"), "{place}");
    }
}
