//! A review as a comment in Markdown: one that a CI job makes once and then updates in place.

use std::io::{self, Write};

use super::super::change;
use super::super::forms::{inert, markdown_findings};
use super::{Page, fate, group_name, grouped, listed, names, short};
use crate::model::{Finding, Level};
use crate::ops::review::Access;

impl Page {
    pub(super) fn comment(&self, out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
        let review = &self.review;
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (errors, attention) = (count(Level::Error), count(Level::Attention));
        let verdict = match (errors, attention) {
            (0, 0) => "✅ nothing is wrong".to_owned(),
            (0, attention) => format!("⚠️ {attention} to look at"),
            (errors, _) => format!("❌ **{errors} wrong**"),
        };
        // A job that comments looks for this line, and replaces the comment that has it.
        writeln!(out, "<!-- kluis review -->\n### Who can read what, and who is trusted: {verdict}\n")?;
        if let Some(trust) = &review.trust {
            let state = match trust.draft {
                true => format!("is a **draft**; missing: {}", inert(&trust.missing.join("; "))),
                false => "has its signatures".to_owned(),
            };
            writeln!(out, "**Trust**: epoch {} {state}. Signed by {}.\n", trust.to, inert(&names(&trust.signed)))?;
            for one in &trust.changes {
                let mark = if one.is_weaker() { " **WEAKER**" } else { "" };
                writeln!(out, "-{mark} {}", inert(&change::line(one)))?;
            }
            writeln!(out)?;
        }
        if !review.access.is_empty() {
            writeln!(out, "| | who | gains | loses |\n|---|---|---|---|")?;
            for (label, Access { gains, loses }) in &review.access {
                let icon = if gains.is_empty() { "➖" } else { "➕" };
                let cell = |side| if listed(side).is_empty() { String::new() } else { inert(&listed(side)) };
                writeln!(out, "| {icon} | {} | {} | {} |", inert(label), cell(gains), cell(loses))?;
            }
            writeln!(out)?;
        }
        for certificate in &review.certificates {
            writeln!(out, "🔑 {}", inert(certificate.person.as_str()))?;
            certificate.changes.iter().try_for_each(|change| writeln!(out, "- {}", inert(change)))?;
            writeln!(out)?;
        }
        for open in review.exposed.iter().filter(|open| !open.live.is_empty()) {
            writeln!(out, "⚠️ **{} can still open {} secrets in use.** Sealing again takes none of them back.\n",
                inert(open.person.as_str()), open.live.len())?;
        }
        markdown_findings(out, findings)?;
        let detail = |out: &mut dyn Write, title: String, text: String| match text.is_empty() {
            true => Ok(()),
            false => writeln!(out, "\n<details><summary>{title}</summary>\n\n{text}\n</details>"),
        };
        let files = grouped(&review.secrets).into_iter().map(|(group, before, after)| {
            let record = if group[0].recorded { "" } else { " **no record**" };
            let (what, fate) = (inert(&group_name(&group)), fate(group[0]));
            format!("- {what} {fate}: {} → {}{record}\n", inert(&before), inert(&after))
        });
        detail(out, format!("{} sealed files", review.secrets.len()), files.collect())?;
        let issued = review.issued.iter().map(|one| {
            let (path, subject, by) = (inert(&one.path), inert(&one.subject), inert(one.by.as_str()));
            format!("- {path} {subject} until {} by {by}\n", one.not_after)
        });
        detail(out, format!("{} certificates issued", review.issued.len()), issued.collect())?;
        let configs = review.configs.iter().map(|config| {
            let state = if config.recorded { "applied" } else { "**not applied yet**" };
            format!("- {} {state}: {}\n", inert(config.cluster.as_str()), inert(&config.changes.join("; ")))
        });
        detail(out, format!("{} cluster.toml", review.configs.len()), configs.collect())?;
        let others = review.others.iter().map(|path| format!("- {}\n", inert(path)));
        detail(out, format!("{} other files that kluis manages", review.others.len()), others.collect())?;
        let records = review.records.iter().map(|record| {
            let words = std::iter::once(record.command.clone()).chain(record.says.iter().cloned());
            let reason = if record.reason.is_empty() { String::new() } else { format!(" — {}", inert(&record.reason)) };
            let text = words.collect::<Vec<_>>().join("; ");
            format!("- `{}` {}: {}{reason}\n", record.sha256.h16(), inert(record.actor.as_str()), inert(&text))
        });
        detail(out, format!("{} records", review.records.len()), records.collect())?;
        let (base, head) = (short(review.base.id.as_ref()), short(review.head.id.as_ref()));
        let version = env!("CARGO_PKG_VERSION");
        writeln!(out, "\n<sub>{}; base{base}, head{head}; kluis {version}</sub>", self.verdict_words())
    }
}
