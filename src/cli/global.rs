//! Flags that every command understands.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::env::Rng;
use crate::model::{ClusterName, PersonName, Remedy, Time};
use crate::ops::{Failure, Repository, Session, Settings};
use crate::trust::Epoch;
use crate::trust::anchor::PinLine;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Human,
    /// One JSON object (docs/FORMAT.md, Reports).
    Json,
    /// A comment in Markdown; hostile names in it are inert.
    Markdown,
    /// A SARIF 2.1.0 log of the findings.
    Sarif,
    /// Annotations of a CI job, one a line.
    Github,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Flags that every command understands.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The repository, or any folder in it
    #[arg(
        short = 'C',
        long = "directory",
        value_name = "DIR",
        global = true,
        overrides_with = "directory",
        default_value = ".",
        hide_default_value = true
    )]
    directory: PathBuf,
    /// Cluster to work on (repeatable)
    #[arg(short = 'c', long = "cluster", value_name = "NAME", global = true)]
    clusters: Vec<ClusterName>,
    /// Work on every cluster
    #[arg(long, global = true, conflicts_with = "clusters")]
    all_clusters: bool,
    /// How to write the answer
    #[arg(
        short = 'o',
        long,
        value_enum,
        value_name = "FORMAT",
        global = true,
        default_value = "human",
        hide_default_value = true
    )]
    output: Output,
    /// Act as this person
    #[arg(long = "as", value_name = "PERSON", global = true)]
    actor: Option<PersonName>,
    /// Use this OpenPGP secret-key file instead of gpg-agent
    #[arg(long, value_name = "FILE", global = true)]
    identity: Option<PathBuf>,
    /// Read the passphrase of the secret key from this file descriptor
    #[arg(long, value_name = "N", global = true)]
    passphrase_fd: Option<u32>,
    /// Show what would be done, and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Answer every question with yes
    #[arg(short = 'y', long, global = true)]
    yes: bool,
    /// Write and stage, but leave the commit to you
    #[arg(long, global = true)]
    no_commit: bool,
    /// Judge expiry as of this time (read-only commands)
    #[arg(long, value_name = "TIME", global = true)]
    at: Option<Time>,
    /// Anchor to this pin line instead of this machine's pins
    #[arg(long, value_name = "LINE", global = true)]
    pin: Option<String>,
    /// Go on though the epoch has expired or the log is silent
    #[arg(long, global = true)]
    accept_stale: bool,
    /// Colour the answer
    #[arg(long, value_enum, value_name = "WHEN", global = true, default_value = "auto", hide_default_value = true)]
    color: Color,
}

impl Global {
    /// How to write the answer.
    pub fn output(&self) -> Output {
        self.output
    }

    /// Whether to colour. `NO_COLOR` and a pipe say no, unless `--color always`.
    pub fn paint(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => crate::env::wants_color(),
        }
    }

    /// The repository's folder.
    pub fn dir(&self) -> &std::path::Path {
        &self.directory
    }

    /// The person of `--as`.
    pub fn actor(&self) -> Option<&PersonName> {
        self.actor.as_ref()
    }

    /// Whether the secret keys come from a file, so that no gpg-agent is used.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Refuses `--at` for commands that write: nothing that signs, issues or seals has a pretended time.
    pub fn refuse_at(&self) -> Result<(), Failure> {
        match self.at {
            Some(_) => Err(Failure::usage("--at is for commands that only read; this one signs with the real time")),
            None => Ok(()),
        }
    }

    /// Starts a session.
    pub fn session(&self, machine: super::Machine, rng: Rng) -> Result<Session, Failure> {
        let line = self.pin.clone().or_else(crate::env::pin_line);
        let pin = match line {
            Some(line) => Some(PinLine::parse(line.trim()).ok_or_else(|| {
                Failure::usage("the pin is no line like kluis-pin:REPO:EPOCH:HASH")
                    .help(Remedy::Kluis("trust pin".to_owned()))
            })?),
            None => None,
        };
        let settings = Settings {
            dir: self.directory.clone(),
            actor: self.actor.clone(),
            identity: self.identity.clone(),
            passphrase_fd: self.passphrase_fd,
            pin,
            yes: self.yes,
            dry_run: self.dry_run,
            no_commit: self.no_commit,
            accept_stale: self.accept_stale,
            strict: false,
            state: machine.state,
        };
        let progress = super::report::progress(self.output);
        Ok(Session {
            settings,
            now: self.at.unwrap_or(machine.now),
            rng,
            terminal: machine.terminal,
            notes: Vec::new(),
            progress,
        })
    }

    /// The clusters to work on: those of `-c`, all with `--all-clusters`, or the only one there is. Fails
    /// where a name is unknown or none is given and there are several.
    pub fn clusters(&self, repository: &Repository) -> Result<Vec<ClusterName>, Failure> {
        self.clusters_of(repository.epoch()?)
    }

    fn clusters_of(&self, epoch: &Epoch) -> Result<Vec<ClusterName>, Failure> {
        let known: Vec<ClusterName> = epoch.clusters.keys().cloned().collect();
        if let Some(unknown) = self.clusters.iter().find(|name| !known.contains(name)) {
            return Err(Failure::usage(format!("there is no cluster {unknown}")).help(Remedy::ClusterList));
        }
        match (self.clusters.as_slice(), known.as_slice()) {
            ([], _) if self.all_clusters => Ok(known),
            ([], [only]) => Ok(vec![only.clone()]),
            ([], []) => Err(Failure::usage("there is no cluster yet").help(Remedy::Kluis(
                "cluster new NAME --endpoint https://api.example.org:6443 --kubernetes 1.36".to_owned(),
            ))),
            ([], _) => Err(Failure::usage("there are several clusters: say which with -c NAME, or --all-clusters")
                .help(Remedy::ClusterList)),
            (named, _) => Ok(named.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect()),
        }
    }

    /// The clusters to look at: those of `-c`, else all. Looking needs no one cluster.
    pub fn clusters_or_all(&self, repository: &Repository) -> Result<Vec<ClusterName>, Failure> {
        match self.clusters.is_empty() {
            true => Ok(repository.epoch()?.clusters.keys().cloned().collect()),
            false => self.clusters(repository),
        }
    }

    /// The one cluster to work on.
    pub fn one_cluster(&self, repository: &Repository) -> Result<ClusterName, Failure> {
        self.one_cluster_of(repository.epoch()?)
    }

    /// As `one_cluster`, where the epoch alone is known.
    pub fn one_cluster_of(&self, epoch: &Epoch) -> Result<ClusterName, Failure> {
        match self.clusters_of(epoch)?.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(Failure::usage("this works on one cluster: say which with -c NAME").help(Remedy::ClusterList)),
        }
    }

    /// Whether clusters are named, one by one or all.
    pub fn names_clusters(&self) -> bool {
        self.all_clusters || !self.clusters.is_empty()
    }

    /// Names given with `-c`, unchecked; empty where none is.
    pub fn named_clusters(&self) -> &[ClusterName] {
        &self.clusters
    }
}
