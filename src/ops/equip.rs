//! `init --ci` and `init --hook`: files around a repository of kluis that make others look at it: a CI workflow, a
//! fragment that says who reviews, a hook that refuses private keys. None of them decides about trust.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::failure::Failure;
use super::plan::{self, Written};
use super::session::Session;
use crate::disk::Folder;
use crate::model::{Remedy, displayed};
use crate::repo::{ChangeSet, WorkTree, with_attributes};

/// A git host whose CI is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// GitHub, and what runs its workflows.
    Github,
    /// GitLab.
    Gitlab,
    /// Forgejo, and Gitea.
    Forgejo,
}

/// What belongs to one host: where its workflow lies, the workflow, where code owners lie, and the fragment for them.
struct Parts {
    path: &'static str,
    workflow: &'static str,
    owners: &'static str,
    fragment: &'static str,
}

impl Host {
    fn parts(self) -> Parts {
        match self {
            Self::Github => Parts {
                path: ".github/workflows/kluis.yml",
                workflow: include_str!("templates/ci/github.yml"),
                owners: ".github/CODEOWNERS",
                fragment: include_str!("templates/ci/github.owners"),
            },
            Self::Gitlab => Parts {
                path: ".gitlab/ci/kluis.yml",
                workflow: include_str!("templates/ci/gitlab.yml"),
                owners: ".gitlab/CODEOWNERS",
                fragment: include_str!("templates/ci/gitlab.owners"),
            },
            Self::Forgejo => Parts {
                path: ".forgejo/workflows/kluis.yml",
                workflow: include_str!("templates/ci/forgejo.yml"),
                // The first place where both Forgejo and Gitea look; what stands in it are regular expressions.
                owners: "CODEOWNERS",
                fragment: include_str!("templates/ci/forgejo.owners"),
            },
        }
    }
}

const HOOK: &str = include_str!("templates/pre-commit");

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// A workflow for this host.
    pub ci: Option<Host>,
    /// Whom the fragment of code owners names: `@org/team`, `@person`, an e-mail address.
    pub owners: Vec<String>,
    /// The pre-commit hook, in this clone.
    pub hook: bool,
}

/// What was written; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Equipped {
    /// The host whose CI verifies now.
    pub ci: Option<Host>,
    /// Where the hook lies, if one was written.
    pub hook: Option<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Adds the files to `changes`, for a commit that also founds the repository. What is there already stays as it is,
/// with a note.
pub fn add(session: &mut Session, work: &WorkTree, wanted: &Wanted, changes: &mut ChangeSet) -> Result<(), Failure> {
    let Some(host) = wanted.ci else { return Ok(()) };
    let Parts { path, workflow, owners, fragment } = host.parts();
    match crate::disk::read_capped(&work.root().join(path), 1 << 20)? {
        None => drop(changes.writes.insert(path.to_owned(), workflow.as_bytes().to_vec())),
        Some(there) if there == workflow.as_bytes() => {}
        Some(_) => session.notes.push(format!("{path} is there already and was left as it is")),
    }
    let existing = crate::disk::read_capped(&work.root().join(owners), 1 << 20)?.unwrap_or_default();
    if String::from_utf8_lossy(&existing).contains("trust/") {
        session.notes.push(format!("{owners} names trust/ already and was left as it is"));
        return Ok(());
    }
    let named = !wanted.owners.is_empty();
    if !named {
        session.notes.push(format!("{owners} has a fragment that is commented out: --owners names who reviews"));
    }
    let who = if named { wanted.owners.join(" ") } else { "@your/team".to_owned() };
    let rules = fragment.replace("OWNERS", &who);
    // An owner whom nobody knows makes hosts refuse the whole file.
    let line = |line: &str| if named || line.starts_with('#') { format!("{line}\n") } else { format!("# {line}\n") };
    let mut text = existing;
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend(rules.lines().map(line).collect::<String>().into_bytes());
    changes.writes.insert(owners.to_owned(), text);
    Ok(())
}

/// Writes what is wanted around a repository that is there, with one commit.
pub fn equip(session: &mut Session, wanted: &Wanted) -> Result<Equipped, Failure> {
    let work = WorkTree::open(&session.settings.dir)?;
    if let Some(what) = work.recover()? {
        session.notes.push(what);
    }
    let hook = check_hook(&work, wanted)?;
    let mut changes = ChangeSet::default();
    add(session, &work, wanted, &mut changes)?;
    // A repository of an older kluis may lack lines that this one writes.
    let attributes = crate::disk::read_capped(&work.root().join(".gitattributes"), 1 << 20)?.unwrap_or_default();
    if let Some(attributes) = with_attributes(&attributes) {
        changes.writes.insert(".gitattributes".to_owned(), attributes);
    }
    let mut equipped = Equipped { ci: wanted.ci, hook: None, written: Written::default() };
    equipped.written.dry_run = session.settings.dry_run;
    equipped.written.paths = changes.writes.keys().cloned().collect();
    if !changes.writes.is_empty() && !session.settings.dry_run {
        work.check_writable(&BTreeSet::new())?;
        let message = plan::message("Let CI verify and review with kluis", "", &equipped.written);
        equipped.written.commit = plan::commit(session, &work, &changes, message)?;
    }
    equipped.hook = hook.map(|hook| hook.write(session.settings.dry_run)).transpose()?;
    Ok(equipped)
}

/// The pre-commit hook of this clone: where it lies, and whether it has to be written. `None` if none is wanted. One that
/// is somebody's is never replaced: refused, before anything else is written.
pub fn check_hook(work: &WorkTree, wanted: &Wanted) -> Result<Option<Hook>, Failure> {
    if !wanted.hook {
        return Ok(None);
    }
    let path = work.hooks().join("pre-commit");
    let missing = match crate::disk::read_capped(&path, 1 << 20)? {
        None => true,
        Some(there) if there == HOOK.as_bytes() => false,
        Some(_) => {
            let shown = displayed(&path.display().to_string());
            let what = format!("{shown} is there already: add the line `kluis verify --staged || exit` to it yourself");
            return Err(Failure::refused(what).help(Remedy::Kluis("verify --staged".to_owned())));
        }
    };
    Ok(Some(Hook { path, missing }))
}

/// The pre-commit hook of a clone.
pub struct Hook {
    path: PathBuf,
    missing: bool,
}

impl Hook {
    /// Writes it if it is not there; returns its path.
    pub fn write(&self, dry_run: bool) -> Result<String, Failure> {
        if let (true, false, Some(folder)) = (self.missing, dry_run, self.path.parent()) {
            if let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) {
                Folder::open(parent)?.make_sub(name, 0o755)?;
            }
            crate::disk::write_atomic(&self.path, HOOK.as_bytes(), 0o755)?;
        }
        Ok(displayed(&self.path.display().to_string()))
    }
}
