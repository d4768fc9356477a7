//! Clusters: making one (`new`), bringing certificates in line with cluster.toml (`apply`), retiring one (`retire`), and
//! looking (`view`).

pub mod apply;
pub mod import;
mod making;
pub mod new;
pub mod retire;
pub mod template;
pub mod view;

pub(super) use making::{new_authority, own_certificate};
