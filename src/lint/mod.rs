//! Rules over certificates, keys, kubeconfigs and layouts (docs/LINT.md): public facts in, findings out. Each rule is one
//! entry of the list of its subject. Pure: no disk, no clock, and no type in which a private key could come here.

mod authorities;
mod bundles;
mod encryption;
mod identities;
mod keys;
mod kubeconfigs;
mod layouts;
mod leaves;
mod names;
mod recognise;
mod subject;

use serde::Serialize;

pub use recognise::{Layout, What, role_of};
pub use subject::{Access, Certificate, Content, Encrypted, File, Known, Policy, Provider, Role, Scene};

use crate::model::{Code, Finding, Level, Remedy};

/// A rule.
#[derive(Serialize)]
pub struct Rule {
    /// Its id, stable: `CA001`.
    pub id: &'static str,
    /// What is wrong, as a clause.
    pub title: &'static str,
    /// What happens then.
    pub why: &'static str,
    /// Where that stands: a standard, a program's source, or what was tried.
    pub source: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// How much it weighs.
    pub severity: Level,
    /// How much it weighs in a PKI that others made, where that is less.
    pub imported: Option<Level>,
    /// What it looks at.
    #[serde(skip)]
    pub check: Check,
}

/// What a rule looks at.
pub enum Check {
    /// Each certificate by itself, the same one once.
    Certificate(fn(&Certificate, &Scene) -> Option<Hit>),
    /// Each file by itself.
    File(fn(&File, &Scene) -> Option<Hit>),
    /// All files of a place.
    Scene(fn(&Scene, &mut Hits)),
    /// Several places at once; whether they are nodes of one cluster.
    Scenes(fn(&[Scene], bool, &mut Hits)),
}

/// That a rule is broken, and how.
pub struct Hit {
    why: String,
    level: Option<Level>,
}

impl Hit {
    /// At another weight than the rule's.
    #[must_use]
    fn weighing(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }
}

/// A hit, as a clause.
fn hit(why: impl Into<String>) -> Hit {
    Hit { why: why.into(), level: None }
}

/// A hit if it is so.
fn when(wrong: bool, why: impl Into<String>) -> Option<Hit> {
    wrong.then(|| hit(why))
}

/// Where a rule is broken.
pub enum At {
    /// In this file, by its number.
    File(usize),
    /// At this path below the place, where no file is.
    Missing(String),
}

/// Hits of one rule.
#[derive(Default)]
pub struct Hits {
    /// The place that is looked at.
    scene: usize,
    found: Vec<(usize, At, Hit)>,
}

impl Hits {
    /// In the file of this number.
    fn file(&mut self, file: usize, hit: Hit) {
        self.found.push((self.scene, At::File(file), hit));
    }

    /// At this certificate.
    fn certificate(&mut self, certificate: &Certificate, mut hit: Hit) {
        hit.why.insert_str(0, &certificate.label);
        self.file(certificate.file, hit);
    }

    /// At a path where no file is.
    fn missing(&mut self, place: impl Into<String>, hit: Hit) {
        self.found.push((self.scene, At::Missing(place.into()), hit));
    }
}

/// The rules, by their subject.
const LISTS: &[&[Rule]] = &[
    authorities::RULES,
    bundles::RULES,
    keys::RULES,
    leaves::RULES,
    names::RULES,
    identities::RULES,
    kubeconfigs::RULES,
    layouts::RULES,
    encryption::RULES,
];

/// All rules, by their ids.
pub fn rules() -> Vec<&'static Rule> {
    let mut rules: Vec<&Rule> = LISTS.iter().copied().flatten().collect();
    rules.sort_by_key(|rule| rule.id);
    rules
}

/// The rule of this id.
pub fn rule(id: &str) -> Option<&'static Rule> {
    LISTS.iter().copied().flatten().find(|rule| rule.id == id)
}

/// Rules of kubernetes-pki G that no look at files can decide, with the reason.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("CA027", "Talos' own list of algorithms: there is no layout of Talos yet"),
    ("CA029", "what k3s' rotate-ca accepts depends on the CA that the server has now"),
    ("CA030", "kops' numbers of keypairs: there is no layout of kops"),
    ("KY013", "which service-account key was the former one is known to `kluis rotate`, which keeps it"),
    ("KC006", "that a node's files are the recorded ones is `kluis rotate check`"),
    ("LY006", "Talos' secrets bundle: there is no layout of Talos yet"),
    ("RT001", "`kluis rotate` passes no gate that nobody confirmed, and the confirmation is on record"),
    ("RT003", "caBundles of webhooks and APIServices are objects of the running cluster"),
    ("RT004", "cluster-info is an object of the running cluster"),
    ("RT005", "how long tokens live is a flag of the running API server"),
    ("RT006", "extension-apiserver-authentication is an object of the running cluster"),
    ("RT007", "what reached which node when is the business of `kluis rotate status` and `rotate check`"),
    ("EN005", "what is encrypted with an old key is known to etcd and to its snapshots"),
    ("ST001", "`kluis verify` judges recipients, `kluis doctor --confirm` opens what is sealed"),
    ("ST002", "`kluis verify`: key-expiring, bad-key, single-key"),
    ("ST003", "`kluis audit --k8s-audit FILE`: unknown-credential"),
    ("ST004", "`kluis exposure PERSON`: exposure-open"),
];

/// Judges places by the rules that are wanted. `nodes` says that they are nodes of one cluster.
pub fn judge(scenes: &[Scene], nodes: bool, wanted: &dyn Fn(&Rule) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules().into_iter().filter(|rule| wanted(rule)) {
        let mut hits = Hits::default();
        if let Check::Scenes(check) = rule.check {
            check(scenes, nodes, &mut hits);
        }
        for (index, scene) in scenes.iter().enumerate() {
            hits.scene = index;
            look(rule, scene, &mut hits);
        }
        findings.extend(hits.found.into_iter().map(|(index, at, hit)| finding(rule, &scenes[index], &at, hit)));
    }
    sort(&mut findings);
    findings
}

/// The gravest first, then by path.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (a.level, &a.path, a.code, &a.why).cmp(&(b.level, &b.path, b.code, &b.why)));
}

fn look(rule: &Rule, scene: &Scene, hits: &mut Hits) {
    match rule.check {
        Check::Certificate(check) => {
            for certificate in scene.certificates.iter().filter(|certificate| !certificate.repeated) {
                if let Some(hit) = check(certificate, scene) {
                    hits.certificate(certificate, hit);
                }
            }
        }
        Check::File(check) => {
            for (index, file) in scene.files.iter().enumerate() {
                if let Some(hit) = check(file, scene) {
                    hits.file(index, hit);
                }
            }
        }
        Check::Scene(check) => check(scene, hits),
        Check::Scenes(_) => {}
    }
}

fn finding(rule: &'static Rule, scene: &Scene, at: &At, hit: Hit) -> Finding {
    let level = hit.level.unwrap_or(rule.severity);
    let level = match rule.imported {
        Some(imported) if scene.imported => level.max(imported),
        _ => level,
    };
    let (path, fix) = match at {
        At::File(index) => (scene.files[*index].path.clone(), scene.files[*index].fix.clone()),
        At::Missing(place) => (format!("{}/{place}", scene.root), None),
    };
    let fix = fix.unwrap_or_else(|| Remedy::Kluis(format!("lint --list --rule {}", rule.id)));
    let finding = Finding::new(Code::Rule(rule.id), hit.why).level(level).at(path).fix(fix);
    match &scene.cluster {
        Some(cluster) => finding.in_cluster(cluster),
        None => Finding { cluster: None, ..finding },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_says_what_why_from_where_and_what_to_do() {
        let mut before = "";
        for rule in rules() {
            assert!(before < rule.id, "{} stands twice", rule.id);
            before = rule.id;
            for text in [rule.title, rule.why, rule.source, rule.remedy] {
                assert!(text.len() > 3 && !text.contains('|') && !text.contains('\n'), "{}: {text}", rule.id);
            }
            assert!(rule.imported.is_none_or(|level| level > rule.severity), "{}: imported weighs less", rule.id);
        }
        assert!(LEFT_OUT.iter().all(|(id, _)| rule(id).is_none()));
    }
}
