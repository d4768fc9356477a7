//! Clusters: making one (`new`), bringing certificates in line with cluster.toml (`apply`), and looking (`view`).

pub mod apply;
pub mod new;
pub mod template;
pub mod view;
