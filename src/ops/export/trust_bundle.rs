//! `export trust-bundle`: what a cluster trusts, as an object for its pods. Holds no secret and opens none.

use serde::Serialize;

use super::super::cert::config;
use super::super::failure::Failure;
use super::super::session::Repository;
use crate::export::trust_bundle::{manifest, name};
use crate::model::{ClusterName, Keyset, Place, Remedy};
use crate::pki;

/// The manifest; `data` of the report.
#[derive(Debug, Serialize)]
pub struct TrustBundle {
    /// The cluster.
    pub cluster: ClusterName,
    /// The CA.
    pub keyset: Keyset,
    /// The name of the object.
    pub name: String,
    /// How many certificates are in it.
    pub certificates: usize,
    /// The YAML.
    pub content: String,
}

/// The manifest of what `cluster` trusts as its CA `keyset` in the current phase.
pub fn trust_bundle(repository: &Repository, cluster: &ClusterName, keyset: Keyset) -> Result<TrustBundle, Failure> {
    let config = config(repository, cluster)?;
    if !keyset.is_ca() || !repository.cluster(cluster)?.keysets.contains_key(&keyset) {
        let what = format!("cluster {cluster} has no CA {keyset}");
        return Err(Failure::usage(what).help(Remedy::Kluis(format!("cluster show {cluster}"))));
    }
    // By number, and not the one that issues first as everywhere else: nothing here depends on the order, and so the object
    // changes when who is trusted changes and at no other time.
    let mut generations = super::bundle(repository, cluster, keyset);
    generations.sort();
    let bytes = |place: Place| repository.verified.tree.bytes(&place.to_string()).unwrap_or_default();
    let places = generations.into_iter().map(|of| Place::Ca(cluster.clone(), keyset, of));
    let authorities = places.map(|place| pki::parse_pem(bytes(place), "CERTIFICATE")).collect::<Result<Vec<_>, _>>()?;
    let content = manifest(cluster, keyset, &config.kubernetes, &authorities)?;
    let certificates = authorities.len();
    Ok(TrustBundle { cluster: cluster.clone(), keyset, name: name(cluster, keyset), certificates, content })
}
