//! `lint`: rules over certificates, keys, kubeconfigs and layouts: of the repository, or of any files that are named. The
//! rules are `lint`'s; here is where they are looked for (`files`), read (`reading`), and what the epoch waives
//! (`waivers`).

mod files;
mod reading;
mod repository;
mod waivers;

use std::path::PathBuf;

use serde::Serialize;

use super::failure::Failure;
use super::session::{Repository, Session};
use crate::lint::{self, Rule, Scene};
use crate::model::{ClusterName, Finding, Level, Remedy};

/// What is looked for.
pub struct Wanted {
    /// The rules; all if empty.
    pub rules: Vec<&'static Rule>,
    /// Whether oddities of others weigh less.
    pub imported: bool,
    /// Whether the folders are nodes of one cluster.
    pub nodes: bool,
    /// Whether CA keys are meant to be elsewhere.
    pub external_ca: bool,
}

/// What was looked at; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Linted {
    /// How many files.
    pub files: usize,
    /// How many certificates, each place of the same one counted.
    pub certificates: usize,
    /// How many findings are errors.
    pub errors: usize,
    /// How many want attention.
    pub attention: usize,
    /// How many are notes.
    pub notes: usize,
    /// How many the epoch waives.
    pub waived: usize,
}

/// The rule of each id. Fails where there is none.
pub fn chosen(ids: &[String]) -> Result<Vec<&'static Rule>, Failure> {
    let find = |id: &String| {
        let unknown = || Failure::usage(format!("there is no rule {id}")).help(Remedy::Kluis("lint --list".to_owned()));
        lint::rule(&id.to_ascii_uppercase()).ok_or_else(unknown)
    };
    ids.iter().map(find).collect()
}

/// Judges clusters of the repository.
pub fn repository(
    session: &Session,
    repository: &Repository,
    clusters: &[ClusterName],
    wanted: &Wanted,
) -> Result<(Linted, Vec<Finding>), Failure> {
    let scenes = clusters.iter().map(|name| repository::scene(repository, name, session.now));
    let scenes = scenes.collect::<Result<Vec<Scene>, Failure>>()?;
    let (mut linted, mut findings) = judge(scenes, wanted);
    linted.waived = waivers::apply(&mut findings, repository.epoch()?, session.now);
    linted.count(&findings);
    Ok((linted, findings))
}

/// Judges what is about to be adopted as a cluster, by the rules for what others made.
pub(super) fn adopted(
    of: (&ClusterName, &crate::model::ClusterConfig),
    files: &[(crate::model::Place, crate::lint::What, Vec<u8>)],
    max_break_glass: crate::model::Span,
    now: crate::model::Time,
) -> Vec<Finding> {
    let wanted = Wanted { rules: Vec::new(), imported: true, nodes: false, external_ca: true };
    judge(vec![repository::adopted(of, files, max_break_glass, now)], &wanted).1
}

/// Judges files and folders.
pub fn paths(session: &Session, paths: &[PathBuf], wanted: &Wanted) -> Result<(Linted, Vec<Finding>), Failure> {
    let mut scenes = files::scenes(paths, session.now)?;
    for scene in &mut scenes {
        scene.known.external_ca = wanted.external_ca;
    }
    let (mut linted, findings) = judge(scenes, wanted);
    linted.count(&findings);
    Ok((linted, findings))
}

fn judge(mut scenes: Vec<Scene>, wanted: &Wanted) -> (Linted, Vec<Finding>) {
    for scene in &mut scenes {
        scene.imported |= wanted.imported;
        scene.arrange();
    }
    let is_wanted = |rule: &Rule| wanted.rules.is_empty() || wanted.rules.iter().any(|one| one.id == rule.id);
    let findings = lint::judge(&scenes, wanted.nodes, &is_wanted);
    let linted = Linted {
        files: scenes.iter().map(|scene| scene.files.len()).sum(),
        certificates: scenes.iter().map(|scene| scene.certificates.len()).sum(),
        errors: 0,
        attention: 0,
        notes: 0,
        waived: 0,
    };
    (linted, findings)
}

impl Linted {
    fn count(&mut self, findings: &[Finding]) {
        let of = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
        (self.errors, self.attention, self.notes) = (of(Level::Error), of(Level::Attention), of(Level::Note));
    }
}
