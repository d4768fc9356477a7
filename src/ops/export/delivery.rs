//! To whom an export is sealed: the key that the signed cluster.toml names for the node, or one that is given.

use super::super::failure::Failure;
use super::super::session::Session;
use super::Subject;
use crate::model::{ClusterConfig, ClusterName, NodeName, Remedy};
use crate::seal::delivery::{self, DeliveryFault, Recipient};

/// What `--seal-to` says.
pub enum SealTo {
    /// The node's key, as cluster.toml has it.
    Node,
    /// These texts: a recipient a line.
    Given(Vec<String>),
}

/// The recipients for `subject`. Says whose keys they are, so that somebody compares them.
///
/// Attack: whoever sits on the way to a node answers `ssh-keyscan` with a key of their own, and reads the export. cluster.toml is
/// vouched for by a record, so where it names a key for the node, that is the one, and another is refused; where it names none,
/// the fingerprint is shown, and that nobody vouches for it.
pub fn recipients(
    session: &mut Session,
    cluster: &ClusterName,
    config: &ClusterConfig,
    subject: &Subject,
    to: &SealTo,
) -> Result<Vec<Recipient>, Failure> {
    let own = match subject {
        Subject::Node(name) => of_node(cluster, config, name)?,
        Subject::Keyset(_) | Subject::Cluster => None,
        Subject::AllNodes => {
            let what = "an export of every node is for no one node's key: seal one node at a time, or say --tar";
            return Err(Failure::usage(what));
        }
    };
    let help = || Remedy::Kluis("export --help".to_owned());
    let found = match (to, own) {
        (SealTo::Node, Some(own)) => {
            session.notes.push(format!("sealed to {}, which cluster.toml names", own.fingerprint()));
            vec![own]
        }
        (SealTo::Node, None) => {
            let what = "cluster.toml names no seal_to for it: set it there, or say --seal-to RECIPIENT";
            return Err(Failure::usage(what).help(Remedy::ClusterApply(cluster.clone())));
        }
        (SealTo::Given(texts), own) => {
            let found = Recipient::parse_all(&texts.join("\n"))
                .map_err(|error| Failure::usage(error.to_string()).help(help()))?;
            if let Some(own) = own
                && !found.iter().all(|one| one.is(&own))
            {
                let what = format!(
                    "cluster.toml names {} for it, and what was given has another key: it may be of somebody on the way to \
                     the node; say --seal-to node, or change cluster.toml",
                    own.fingerprint()
                );
                return Err(Failure::refused(what).help(Remedy::ClusterApply(cluster.clone())));
            }
            let keys = found.iter().map(Recipient::fingerprint).collect::<Vec<_>>().join(", ");
            session
                .notes
                .push(format!("sealed to {keys}, as given: nobody vouches for it, so compare it with the node's own"));
            found
        }
    };
    // A plugin that is not there is found before a key is opened.
    delivery::plugins(&found)?;
    if let Some(first) = found.first() {
        let what = format!("to open it, as root: age -d -i {} FILE | tar -x -C DIR", first.identity());
        session.notes.push(what);
    }
    Ok(found)
}

fn of_node(cluster: &ClusterName, config: &ClusterConfig, name: &NodeName) -> Result<Option<Recipient>, Failure> {
    let text = config.node(name).and_then(|node| node.seal_to.as_deref());
    let unusable = |error: DeliveryFault| {
        Failure::refused(error.to_string())
            .at(&format!("clusters/{cluster}/cluster.toml"))
            .help(Remedy::ClusterApply(cluster.clone()))
    };
    text.map(Recipient::parse).transpose().map_err(unusable)
}
