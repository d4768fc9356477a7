//! `credential`: kubectl's exec plugin. Owns the words and the form of the answer, which kubectl alone reads; checking and
//! opening belong to `ops::credential`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Answer, Global, Report};
use crate::export::merge::EXEC_API;
use crate::model::Profile;
use crate::ops::credential::{Credential, Standing, check_exec_info};
use crate::ops::{Failure, Session};

/// Hand kubectl your certificate and its key, opened for this call
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis credential -c prod | jq -r .status.expirationTimestamp
  kluis credential -c prod --break-glass

kubectl runs it: `kluis kubeconfig` writes the entry that says so. The answer is an ExecCredential of
client.authentication.k8s.io/v1 with the key in it, so a terminal is no place for it (--yes shows it all the same).
It checks the epochs and this one certificate, and not the log; `kluis kubeconfig` and `kluis verify` check everything.")]
pub struct Args {
    /// The certificate for system:masters instead of the usual one
    #[arg(long)]
    break_glass: bool,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "credential".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    global.refuse_at()?;
    if global.output() != super::Output::Human {
        return Err(Failure::usage("the answer is JSON for kubectl already; leave -o out"));
    }
    if session.settings.dry_run {
        return Err(Failure::usage("credential changes nothing; leave --dry-run out"));
    }
    check_exec_info(crate::env::exec_info().as_deref(), EXEC_API)?;
    if session.terminal.shows_answer() && !session.settings.yes {
        let what = "the key would be shown on this screen: kubectl runs this, and you need not; repeat with --yes to see it";
        return Err(Failure::usage(what));
    }
    let standing = Standing::open(session, global.named_clusters().first())?;
    let cluster = global.one_cluster_of(&standing.epoch)?;
    let profile = if args.break_glass { Profile::BreakGlass } else { Profile::Client };
    Ok(Answer::fine(standing.credential(session, &cluster, profile)?))
}

/// client.authentication.k8s.io/v1, `ExecCredential`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential<'a> {
    api_version: &'a str,
    kind: &'a str,
    status: Status<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    expiration_timestamp: String,
    client_certificate_data: &'a str,
    client_key_data: &'a str,
}

impl Report for Credential {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(io::Error::other);
        let credential = ExecCredential {
            api_version: EXEC_API,
            kind: "ExecCredential",
            status: Status {
                expiration_timestamp: self.not_after.to_string(),
                client_certificate_data: text(&self.certificate)?,
                client_key_data: text(self.key.expose())?,
            },
        };
        // One buffer of the right size, wiped: each line end becomes two characters.
        let mut bytes = Zeroizing::new(Vec::with_capacity(512 + 2 * (self.certificate.len() + self.key.len())));
        serde_json::to_writer(&mut *bytes, &credential)?;
        bytes.push(b'\n');
        out.write_all(&bytes)
    }

    fn data(&self) -> Value {
        Value::Null
    }

    fn is_raw(&self) -> bool {
        true
    }
}
