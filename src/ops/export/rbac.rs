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
    let former = former(repository, cluster, &groups);
    let known = |role: &str| groups.iter().chain(&former).any(|group| split_group(group).0 == role);
    if let Some(unknown) = roles.keys().find(|role| !known(role)) {
        let what = format!("nobody may ask for the group {unknown} on {cluster}; it is named without its generation");
        return Err(Failure::usage(what).help(Remedy::PersonList));
    }
    let made = manifests(&config.kubernetes, (&groups, &former), roles)?;
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

/// Groups that people could ask for under an epoch that counted, and nobody can now in any generation.
fn former(repository: &Repository, cluster: &ClusterName, groups: &[String]) -> Vec<String> {
    let chain = &repository.verified.chain;
    let latest = chain.latest().map_or(0, |latest| latest.epoch.number);
    let epochs = chain.all().iter().filter(|epoch| epoch.epoch.number <= latest);
    let mut former: Vec<String> = epochs
        .filter_map(|epoch| epoch.epoch.clusters.get(cluster))
        .flat_map(|cluster| cluster.groups.values().flatten())
        .filter(|group| !groups.iter().any(|now| split_group(now).0 == split_group(group).0))
        .cloned()
        .collect();
    former.sort();
    former.dedup();
    former
}
