//! `export rbac`: what the groups of people may do in a cluster, as manifests. Holds no secret and opens none.

use serde::Serialize;

use super::super::failure::Failure;
use super::super::session::{Repository, Session};
use crate::export::rbac::{Roles, manifests};
use crate::model::{ClusterName, Remedy, split_group};

/// The manifests of a cluster; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Rbac {
    /// The cluster.
    pub cluster: ClusterName,
    /// The manifests, in the order in which they are written.
    pub manifests: Vec<ManifestText>,
}

/// One manifest.
#[derive(Debug, Serialize)]
pub struct ManifestText {
    /// The group without its generation, or the user, that is bound.
    pub subject: String,
    /// The ClusterRole.
    pub role: String,
    /// The namespace, if not the whole cluster.
    pub namespace: Option<String>,
    /// The YAML.
    pub content: String,
}

/// The manifests of `cluster`, its groups bound to what `roles` says. Refuses a role for a group that nobody may ask
/// for: a binding that waits for a group is an access that nobody reviewed.
pub fn rbac(
    session: &mut Session,
    repository: &Repository,
    cluster: &ClusterName,
    roles: &Roles,
) -> Result<Rbac, Failure> {
    let config = super::super::cert::config(repository, cluster)?;
    let groups: Vec<String> = repository.cluster(cluster)?.groups.values().flatten().cloned().collect();
    if let Some(unknown) = roles.keys().find(|role| !groups.iter().any(|group| split_group(group).0 == **role)) {
        let what = format!("nobody may ask for the group {unknown} on {cluster}; it is named without its generation");
        return Err(Failure::usage(what).help(Remedy::PersonList));
    }
    let made = manifests(&config.kubernetes, &groups, roles)?;
    for own in made.iter().filter(|manifest| manifest.own_role) {
        session.notes.push(format!(
            "group {} is bound to ClusterRole {}, which gives nothing until you write it; or choose one: --role {}=ROLE",
            own.subject, own.role, own.subject
        ));
    }
    let text = |content: &crate::secret::Secret| String::from_utf8_lossy(content.expose()).into_owned();
    let manifests = made.into_iter().map(|one| ManifestText {
        content: text(&one.content),
        subject: one.subject,
        role: one.role,
        namespace: one.namespace,
    });
    Ok(Rbac { cluster: cluster.clone(), manifests: manifests.collect() })
}
