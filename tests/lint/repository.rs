//! The repository's own certificates, and what the quorum waives.

#[path = "../ground/mod.rs"]
mod ground;

use std::collections::BTreeSet;

use ground::Ground;
use kluis::model::{ClusterName, Span};
use kluis::trust::Waived;

const NEW: &str = "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 \
                   --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";

fn found(ground: &Ground, words: &str) -> BTreeSet<String> {
    let report = ground.run("alice", &format!("lint {words} -o json")).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| format!("{} {} {}", text(&f["code"]), text(&f["level"]), text(&f["path"]))).collect()
}

fn edit(ground: &Ground, from: &str, to: &str) {
    ground.edit("clusters/prod/cluster.toml", |text| {
        assert!(text.contains(from), "{text}");
        text.replacen(from, to, 1)
    });
}

#[test]
fn what_kluis_issues_has_no_finding() {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "cert issue client -c prod --lifetime 8h").ends(0);
    ground.run("alice", "cert issue break-glass -c prod --reason drill --lifetime 1h").ends(0);
    let linted = ground.run("alice", "lint").ends(0);
    assert!(linted.out.contains(" 0 errors, 0 want attention, 0 notes"), "{}", linted.out);
}

#[test]
fn a_node_that_got_another_address_is_found_and_the_fix_mends_it() {
    let mut ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    edit(&ground, "10.0.0.11", "10.0.0.12");
    // Certificates stay while the file alone is vouched for: cluster apply would mend it at once.
    ground.run("alice", "lint").ends(3).says("config-hash");
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    assert_eq!(found(&ground, ""), BTreeSet::new());
    ground.now = ground.now.plus(Span::days(300));
    let soon = found(&ground, "-c prod --rule LF012");
    assert!(soon.contains("LF012 attention clusters/prod/certs/node/cp-1/apiserver.crt"), "{soon:?}");
    ground.run("alice", "lint -c prod --accept-stale").says("help: kluis cert issue -c prod --node cp-1");
}

#[test]
fn a_waived_finding_is_a_note_until_it_ends() {
    let mut ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.now = ground.now.plus(Span::days(300));
    let path = "clusters/prod/certs/node/w-1/kubelet-client.crt";
    let until = ground.now.plus(Span::days(10));
    let waived = |what: String| Waived {
        cluster: ClusterName::parse("prod").unwrap(),
        what,
        until,
        reason: "replaced next week".to_owned(),
    };
    assert!(found(&ground, "").contains(&format!("LF012 attention {path}")));
    ground.epoch(&["alice"], |epoch| {
        epoch.waived = vec![waived(format!("lint:LF012:{path}")), waived(format!("lint:KY001:{path}"))]
    });
    let after = found(&ground, "");
    assert!(after.contains(&format!("LF012 note {path}")), "{after:?}");
    assert!(after.contains("LF012 attention clusters/prod/certs/node/w-1/kubelet-serving.crt"), "{after:?}");
    ground.run("alice", "lint").ends(5).says("(waived until ").says(": replaced next week)").says("1 of them waived");
    ground.now = until;
    assert!(found(&ground, "").contains(&format!("LF012 attention {path}")));
}

/// CA024: a leaf that a rotation left behind.
#[test]
fn a_leaf_of_a_distrusted_generation_is_found() {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "cert issue client -c prod --lifetime 8h").ends(0);
    for step in ["start", "trust", "promote", "distrust"] {
        let gates = "--confirm nodes-have-bundle --confirm clients-have-bundle --confirm nodes-have-leaves --confirm clients-moved";
        let gates = if step == "start" { "" } else { gates };
        ground.run("alice", &format!("rotate {step} kubernetes -c prod --yes {gates}")).ends(0);
    }
    let found = found(&ground, "");
    let wanted = "CA024 error clusters/prod/certs/person/alice/client.crt";
    assert!(found.contains(wanted), "{found:?}");
    assert_eq!(found.iter().filter(|one| one.starts_with("CA024 error")).count(), 1, "{found:?}");
}

#[test]
fn a_waiver_is_drafted_signed_by_the_quorum_and_then_counts() {
    let mut ground = Ground::new(&["alice", "bob"], 2, 1);
    ground.run("alice", NEW).ends(0);
    ground.sign_draft("bob");
    ground.now = ground.now.plus(Span::days(300));
    let path = "clusters/prod/certs/node/w-1/kubelet-client.crt";
    let waive =
        format!("trust waive lint:LF012:{path} -c prod --until 2027-10-10T00:00:00Z --reason replaced_next_week");
    ground.run("alice", &waive).ends(0).says("lives with lint:LF012");
    ground.run("bob", "trust sign --yes").ends(0);
    assert!(found(&ground, "").contains(&format!("LF012 note {path}")));
    for bad in [
        format!("trust waive lint:XX001:{path} -c prod --until 2027-10-10T00:00:00Z --reason x"),
        "trust waive lint:LF012 -c prod --until 2027-10-10T00:00:00Z --reason x".to_owned(),
        format!("trust waive lint:LF012:{path} -c prod --until 2026-10-10T00:00:00Z --reason x"),
        format!("trust waive lint:LF012:{path} -c prod --until 2027-10-10T00:00:00Z --reason _"),
        format!("trust waive lint:LF012:{path} -c nowhere --until 2027-10-10T00:00:00Z --reason x"),
    ] {
        ground.run("alice", &bad).ends(2);
    }
}
