//! Real Kubernetes and etcd on what kluis exports, on loopback: from an export alone a control plane comes up, everyone is
//! who they should be, and strangers are refused. The programs are pinned in `k8s/go.mod` and `etcd/go.mod`; `tests/run`
//! builds them.
//!
//! Each test makes a cluster with the kluis binary and starts processes of its own; guards end them, also when it fails.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test asks the system, writes scratch files and says where the logs are"
)]

mod adopted;
mod aggregation;
mod at_rest;
mod capi;
mod constraints;
mod control_plane;
mod controllers;
mod distributions;
mod emergency;
mod exports;
mod fleet;
mod identities;
mod imports;
mod kops;
mod kubeadm;
mod kubectl;
mod kubelet;
mod lint;
mod load;
mod members;
mod people;
mod process;
#[path = "../programs/mod.rs"]
mod programs;
mod rotation;
mod script;
mod strangers;
mod talos;
mod trust_bundle;
