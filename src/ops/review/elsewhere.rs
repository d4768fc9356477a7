//! What no signature vouches for and can still hurt: files that run code, decide who reviews, or change bytes on the way.
//! A review says so loudly, since nothing else here would (T22, T23, T70).

use serde::Serialize;

use super::material::{Elsewhere, Material};

/// Files and folders that define what CI runs, by prefix of the path.
const CI: &[&str] = &[
    ".github/workflows/",
    ".github/actions/",
    ".gitlab-ci",
    ".gitlab/ci",
    ".forgejo/workflows/",
    ".gitea/workflows/",
    ".circleci/",
    ".buildkite/",
    ".tekton/",
    ".woodpecker",
    ".drone.",
    ".travis.yml",
    ".ci/",
    "Jenkinsfile",
    "azure-pipelines",
    "bitbucket-pipelines.yml",
];

/// File names that are run by some program that people use.
const RUN: &[&str] = &[
    "Makefile",
    "makefile",
    "GNUmakefile",
    "justfile",
    "Justfile",
    "Taskfile.yml",
    "Dockerfile",
    "Containerfile",
    "package.json",
    "build.rs",
    "flake.nix",
    "shell.nix",
    "default.nix",
    ".envrc",
    "Tiltfile",
    "Vagrantfile",
    "Rakefile",
];

/// Endings of scripts.
const SCRIPTS: &[&str] =
    &[".sh", ".bash", ".zsh", ".py", ".rb", ".pl", ".js", ".ts", ".ps1", ".bat", ".cmd", ".tf", ".lua", ".php"];

/// Why nobody can vouch for a change of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// It defines what CI runs: `verify` may not run any more, or with another pin.
    Ci,
    /// It decides who has to review.
    Reviewers,
    /// It changes how git treats files, or what it runs.
    Git,
    /// It is what clusters and certificates are made from.
    Template,
    /// It can run code on somebody's machine.
    Code,
    /// It leads elsewhere: a link or another repository.
    Link,
}

impl Risk {
    /// Why it matters, as a clause.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ci => "it defines what CI runs, and could leave verifying out",
            Self::Reviewers => "it decides who has to review",
            Self::Git => "it changes how git treats files, or what git runs",
            Self::Template => "it is a template that new clusters are made from",
            Self::Code => "it can run code on the machine of whoever uses it",
            Self::Link => "it leads elsewhere: a link or another repository",
        }
    }

    fn of(file: &Elsewhere) -> Option<Self> {
        let path = file.path.as_str();
        let name = path.rsplit('/').next().unwrap_or(path);
        let hooks = [".githooks/", ".husky/", ".pre-commit", "lefthook", "hooks/"];
        match () {
            () if CI.iter().any(|prefix| path.starts_with(prefix)) => Some(Self::Ci),
            () if name == "CODEOWNERS" || name == "MAINTAINERS" => Some(Self::Reviewers),
            () if [".gitattributes", ".gitmodules", ".gitconfig", ".lfsconfig"].contains(&name)
                || hooks.iter().any(|prefix| path.starts_with(prefix)) =>
            {
                Some(Self::Git)
            }
            () if path.starts_with("templates/") => Some(Self::Template),
            () if file.is_link => Some(Self::Link),
            () if file.executable || RUN.contains(&name) || SCRIPTS.iter().any(|ending| name.ends_with(ending)) => {
                Some(Self::Code)
            }
            () => None,
        }
    }
}

/// A path that is outside what is vouched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotVouched {
    /// The path.
    pub path: String,
    /// Whether it is gone.
    pub removed: bool,
    /// Why it matters.
    pub risk: Risk,
}

/// The paths that matter, and how many others differ outside the managed trees.
pub fn not_vouched(material: &Material) -> (Vec<NotVouched>, usize) {
    let risky = material.elsewhere.iter().filter_map(|file| {
        Risk::of(file).map(|risk| NotVouched { path: file.path.clone(), removed: file.removed, risk })
    });
    let risky: Vec<NotVouched> = risky.collect();
    let others = material.elsewhere.len() - risky.len();
    (risky, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risk(path: &str) -> Option<Risk> {
        let file =
            Elsewhere { path: path.to_owned(), removed: false, executable: false, is_link: false, secret: false };
        Risk::of(&file)
    }

    #[test]
    fn what_can_run_or_decide_is_told_from_prose() {
        for (path, expected) in [
            (".github/workflows/kluis.yml", Some(Risk::Ci)),
            (".gitlab-ci.yml", Some(Risk::Ci)),
            (".forgejo/workflows/x.yaml", Some(Risk::Ci)),
            (".github/CODEOWNERS", Some(Risk::Reviewers)),
            ("CODEOWNERS", Some(Risk::Reviewers)),
            (".gitattributes", Some(Risk::Git)),
            ("docs/.gitattributes", Some(Risk::Git)),
            (".githooks/pre-commit", Some(Risk::Git)),
            ("templates/cluster.toml", Some(Risk::Template)),
            ("scripts/deploy.sh", Some(Risk::Code)),
            ("Makefile", Some(Risk::Code)),
            ("README.md", None),
            ("docs/guide.md", None),
        ] {
            assert_eq!(risk(path), expected, "{path}");
        }
        let tool =
            Elsewhere { path: "bin/tool".to_owned(), removed: false, executable: true, is_link: false, secret: false };
        assert_eq!(Risk::of(&tool), Some(Risk::Code));
    }
}
