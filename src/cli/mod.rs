//! The command line: grammar, dispatch and rendering. The only layer that knows clap and prints. One file a
//! command: its words and flags, a call into `ops`, and how its answer reads.

mod change;
mod forms;
mod global;
mod report;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser as _};

pub use global::{Global, Output};
pub use report::{Answer, Report};

use crate::env::{Rng, Terminal};
use crate::model::Time;
use crate::ops::{Failure, Session};

/// kluis keeps the public key infrastructure of Kubernetes clusters in a git repository.
#[derive(Debug, clap::Parser)]
#[command(
    name = "kluis",
    version,
    about = "The PKI of Kubernetes clusters in git: sealed to OpenPGP keys, every change signed, offline",
    long_about = None,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 fine, 1 failed, 2 usage, 3 invalid, 4 anchor, 5 attention, 6 no usable OpenPGP key, 130 interrupted"
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Declares the commands: one line a command, `variant module "doc"`.
macro_rules! commands {
    ($($variant:ident $module:ident,)*) => {
        $(mod $module;)*

        #[derive(Debug, clap::Subcommand)]
        enum Command {
            $($variant($module::Args),)*
        }

        impl Command {
            fn run(&self, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
                match self { $(Self::$variant(args) => $module::run(args, global, session),)* }
            }

            fn name(&self) -> String {
                match self { $(Self::$variant(args) => $module::name(args),)* }
            }
        }
    };
}

commands! {
    Init init,
    Status status,
    Report page,
    Verify verify,
    Review review,
    Doctor doctor,
    Person person,
    Trust trust,
    Adopt adopt,
    Audit audit,
    Exposure exposure,
    Lint lint,
    Cluster cluster,
    Cert cert,
    Request request,
    Kubeconfig kubeconfig,
    Credential credential,
    Rotate rotate,
    Reseal reseal,
    Open open,
    Export export,
    Textconv textconv,
    Completions completions,
    Man man,
    Demo demo,
}

impl Command {
    /// Whether it works on the clusters of `-c`.
    fn takes_clusters(&self) -> bool {
        match self {
            Self::Trust(args) => trust::takes_clusters(args),
            Self::Lint(args) => lint::takes_clusters(args),
            other => matches!(
                other,
                Self::Status(_)
                    | Self::Report(_)
                    | Self::Audit(_)
                    | Self::Doctor(_)
                    | Self::Cluster(_)
                    | Self::Cert(_)
                    | Self::Request(_)
                    | Self::Kubeconfig(_)
                    | Self::Credential(_)
                    | Self::Rotate(_)
                    | Self::Reseal(_)
                    | Self::Open(_)
                    | Self::Export(_)
            ),
        }
    }

    /// Whether it never asks gpg-agent for anything.
    fn is_keyless(&self) -> bool {
        matches!(
            self,
            Self::Status(_)
                | Self::Report(_)
                | Self::Verify(_)
                | Self::Review(_)
                | Self::Audit(_)
                | Self::Exposure(_)
                | Self::Lint(_)
                | Self::Textconv(_)
                | Self::Completions(_)
                | Self::Man(_)
                | Self::Demo(_)
        )
    }
}

/// The grammar, for completions, man pages and the command reference.
pub fn grammar() -> clap::Command {
    Cli::command()
}

/// The words of `args` that name a command, as far as there is one: for errors of the grammar.
fn words_of(args: &[OsString]) -> String {
    let (mut grammar, mut words) = (grammar(), Vec::new());
    for arg in args.iter().skip(1).filter_map(|arg| arg.to_str()) {
        if let Some(below) = grammar.find_subcommand(arg) {
            words.push(arg.to_owned());
            grammar = below.clone();
        }
    }
    words.join(" ")
}

/// What a run gets from the machine, besides its words and streams.
pub struct Machine {
    /// The time.
    pub now: Time,
    /// The terminal.
    pub terminal: Terminal,
    /// Where pins and own keys lie; `None` for the user's state folder.
    pub state: Option<PathBuf>,
}

/// Runs one command line: `args` without the program's name. Prints the answer to `out`, the rest to `err`,
/// and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, machine: Machine, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let args: Vec<OsString> = std::iter::once("kluis".into()).chain(args).collect();
    let wants_json = report::wants_json(&args);
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return report::grammar_error(&error, &words_of(&args), wants_json, out, err),
    };
    let name = cli.command.name();
    // Before the first byte of a stranger's repository is parsed, where no agent can be started any more.
    if cli.command.is_keyless() || cli.global.has_identity() {
        crate::env::forbid_network();
    }
    let mut session = match cli.global.session(machine, Rng::system()) {
        Ok(session) => session,
        Err(failure) => {
            return report::failure(&name, cli.global.output(), &failure, &[], cli.global.paint(), out, err);
        }
    };
    if !cli.command.takes_clusters() && cli.global.names_clusters() {
        session.notes.push(format!("{name} is about the whole repository: -c and --all-clusters are left aside"));
    }
    match cli.command.run(&cli.global, &mut session) {
        Ok(answer) => report::answer(&name, &cli.global, &answer, &session.notes, out, err),
        Err(failure) => {
            let failure = failure.with_help(&name);
            report::failure(&name, cli.global.output(), &failure, &session.notes, cli.global.paint(), out, err)
        }
    }
}
