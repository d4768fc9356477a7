//! `cluster`, `cert` and `reseal`, run in process on repositories founded by hand: what they write verifies, and
//! what they refuse leaves no trace.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;

use ground::Ground;
use kluis::env::Terminal;
use kluis::model::{ClusterName, PersonName, Place};
use kluis::trust::current::Vouch;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11,cp-1.example.org:control-plane,etcd --node w-1=10.0.0.21:worker --yes";

fn with_cluster(names: &[&str]) -> Ground {
    let ground = Ground::new(names, 1, 1);
    ground.run("alice", NEW).ends(0);
    ground
}

fn person(name: &str) -> PersonName {
    PersonName::parse(name).unwrap()
}

fn prod() -> ClusterName {
    ClusterName::parse("prod").unwrap()
}

/// A keyholder and issuer joins by an epoch.
fn joins(ground: &Ground, name: &str) {
    ground.epoch(&["alice"], |epoch| {
        let cluster = epoch.clusters.get_mut(&prod()).unwrap();
        cluster.keyholders.insert(person(name));
        cluster.issuers.insert(person(name));
    });
}

#[test]
fn a_new_cluster_is_valid_and_one_commit_with_two_signatures() {
    let ground = Ground::new(&["alice"], 1, 1);
    let before = ground.git("rev-list --count HEAD");
    let answered = ground.run("alice", &format!("{NEW} -o json")).ends(0);
    let data = &answered.json()["data"];
    assert_eq!(data["missing_signatures"], serde_json::json!([]));
    assert_eq!(data["nodes"][0]["certificates"].as_array().unwrap().len(), 12);
    assert_eq!(ground.errors(), [""; 0]);
    let count = |text: String| text.trim().parse::<u32>().unwrap();
    assert_eq!(count(ground.git("rev-list --count HEAD")), count(before) + 1);
    let signatures = ground.git("show --name-only --format= HEAD");
    assert_eq!(signatures.lines().filter(|path| path.ends_with(".sig")).count(), 2, "{signatures}");
    assert!(ground.git("status --porcelain").is_empty());
    let verified = ground.verified();
    let cluster = &verified.chain.latest().unwrap().epoch.clusters[&prod()];
    assert!(cluster.groups[&person("alice")].contains("kluis:admins"));
    assert_eq!(verified.log.records.len(), 1);
    assert_eq!(verified.log.records[0].record.phase.len(), 5);
    for facts in verified.authorities.values() {
        assert!(facts.subject.ends_with("-ca-g1"), "{}", facts.subject);
    }
}

#[test]
fn what_a_new_cluster_seals_opens_with_its_bundle_and_its_authorities() {
    let ground = with_cluster(&["alice"]);
    ground.run("alice", "open -c prod ca.kubernetes --yes").ends(0).says("BEGIN PRIVATE KEY");
    ground.run("alice", "open -c prod encryption --yes").ends(0).says("KLUIS SYMMETRIC KEY");
    ground.run("alice", "open -c prod node.cp-1/apiserver --yes").ends(0).says("BEGIN PRIVATE KEY");
}

#[test]
fn a_dry_run_makes_nothing() {
    let ground = Ground::new(&["alice"], 1, 1);
    let before = ground.tree();
    let answered = ground.run("alice", &format!("{NEW} --super-admin --dry-run -o json")).ends(0);
    let paths = answered.json()["data"]["paths"].as_array().unwrap().len();
    // cluster.toml, CA certificates, sa.pub, sealed keysets, leaves, bundles, break-glass
    assert_eq!(paths, 1 + 3 + 1 + 5 + 14 + 2 + 1);
    assert!(ground.tree() == before);
    assert!(!ground.state("alice").join("keys").exists());
}

#[test]
fn it_asks_first_and_no_means_no() {
    let ground = Ground::new(&["alice"], 1, 1);
    let before = ground.tree();
    let words = NEW.replace(" --yes", "");
    ground.run_with("alice", &words, Terminal::scripted(["n"])).ends(130);
    ground.run("alice", &words).ends(2).says("--yes");
    assert!(ground.tree() == before);
    ground.run_with("alice", &words, Terminal::scripted(["y"])).ends(0);
}

#[test]
fn a_threshold_of_two_leaves_a_draft_that_counts_once_signed() {
    let ground = Ground::new(&["alice", "bob"], 2, 1);
    let words = format!("{NEW} --keyholder alice --keyholder bob --issuer alice -o json");
    let answered = ground.run("alice", &words).ends(0);
    assert_eq!(answered.json()["data"]["missing_signatures"], serde_json::json!(["bob"]));
    assert!(ground.verified().is_only_unsigned_draft());
    // A second one goes into the same draft, with a record of its own that saw the first.
    ground.run("alice", &NEW.replace("prod", "stage")).ends(0).says("bob must run kluis trust sign");
    ground.sign_draft("bob");
    assert_eq!(ground.errors(), [""; 0]);
    assert_eq!(ground.verified().chain.latest().unwrap().epoch.clusters.len(), 2);
    ground.run("bob", "open -c prod ca.etcd --yes").ends(0);
}

#[test]
fn who_can_be_no_keyholder_is_refused_before_anything_is_made() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.epoch(&["alice"], |epoch| {
        epoch.persons.get_mut(&person("bob")).unwrap().role = kluis::trust::TrustRole::Recovery;
    });
    let before = ground.tree();
    ground.run("alice", &format!("{NEW} --keyholder alice --keyholder bob")).ends(3).says("recovery");
    ground.run("alice", &format!("{NEW} --keyholder alice --keyholder carol")).ends(3).says("no epoch lists");
    ground.run("alice", &format!("{NEW} --issuer bob")).ends(3);
    assert!(ground.tree() == before);
}

#[test]
fn the_maker_is_keyholder_and_issuer_at_first() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", &format!("{NEW} --keyholder bob")).ends(2).says("--keyholder");
    ground.run("alice", &format!("{NEW} --issuer bob")).ends(2).says("--issuer");
}

#[test]
fn a_name_is_taken_for_ever() {
    let ground = with_cluster(&["alice"]);
    ground.run("alice", NEW).ends(2).says("already");
}

#[test]
fn a_cluster_comes_from_a_file_too() {
    let ground = Ground::new(&["alice"], 1, 1);
    let file = ground.dir.path().join("prod.toml");
    let text = "# mine\ndistribution = \"kubeadm\"\nkubernetes = \"1.35\"\nendpoint = \"https://10.0.0.1:6443\"\n\
                name_constraints = true\n[[node]]\nname = \"cp-1\"\nroles = [\"control-plane\", \"etcd\"]\n\
                addresses = [\"10.0.0.1\"]\n";
    std::fs::write(&file, text).unwrap();
    ground.run("alice", &format!("cluster new prod --from {} --yes", file.display())).ends(0);
    assert_eq!(ground.read("clusters/prod/cluster.toml"), text);
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("alice", "cert show cp-1/apiserver-kubelet-client").ends(0).says("O=kubeadm:cluster-admins");
    std::fs::write(&file, "kubernets = \"1.35\"\n").unwrap();
    let words = format!("cluster new other --from {} --yes", file.display());
    ground.run("alice", &words).ends(2).says("did you mean kubernetes");
}

#[test]
fn rsa_keys_are_made_too() {
    let ground = Ground::new(&["alice"], 1, 1);
    let words = "cluster new prod --endpoint https://10.0.0.1:6443 --kubernetes 1.30 --algorithm rsa-2048 \
        --node w-1=10.0.0.2:worker --yes";
    ground.run("alice", words).ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_founders_break_glass_has_its_key_outside_the_repository() {
    let ground = Ground::new(&["alice"], 1, 1);
    let answered = ground.run("alice", &format!("{NEW} --super-admin -o json")).ends(0);
    let own = answered.json()["data"]["break_glass"].clone();
    assert_eq!(own["reason"], "first kubeadm init of prod");
    assert_eq!(own["not_after"], "2026-11-24T13:00:00Z");
    let key = own["key"].as_str().unwrap();
    assert!(key.starts_with(ground.state("alice").to_str().unwrap()) && std::path::Path::new(key).is_file());
    assert_eq!(ground.errors(), [""; 0]);
    let verified = ground.verified();
    assert_eq!(verified.log.records[0].record.reason, "first kubeadm init of prod");
    let out = ground.dir.path().join("out");
    ground.run("alice", &format!("export kubeadm -c prod --node cp-1 --out {}", out.display())).ends(0);
    let shown = std::fs::read_to_string(out.join("super-admin.conf")).unwrap();
    assert!(shown.contains("alice"), "{shown}");
}

#[test]
fn a_break_glass_threshold_of_two_is_not_gone_around() {
    let ground = Ground::new(&["alice", "bob"], 1, 2);
    let before = ground.tree();
    ground.run("alice", &format!("{NEW} --super-admin")).ends(3).says("takes 2 issuers");
    assert!(ground.tree() == before);
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "cert issue break-glass -c prod --reason fire").ends(3).says("takes 2 issuers");
}

#[test]
fn own_break_glass_is_issued_bounded_and_with_a_reason() {
    let ground = with_cluster(&["alice"]);
    ground.run("alice", "cert issue break-glass -c prod").ends(2).says("--reason");
    ground.run("alice", "cert issue break-glass -c prod --reason fire --lifetime 9h").ends(3).says("at most 8h");
    let answered = ground.run("alice", "cert issue break-glass -c prod --reason etcd_fire --lifetime 2h").ends(0);
    answered.says("system:masters").says("2026-11-24T14:00:00Z");
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("alice", "cert show alice/break-glass").ends(0).says("CN=alice,O=system:masters").says("etcd fire");
}

#[test]
fn what_can_not_be_committed_leaves_no_key_behind() {
    let ground = with_cluster(&["alice"]);
    let before = ground.tree();
    ground.git("checkout -q --detach");
    ground.run("alice", "cert issue break-glass -c prod --reason fire").ends(1);
    ground.run("alice", "cert issue --node w-1").ends(1);
    ground.run("alice", &format!("{} --super-admin", NEW.replace("prod", "stage"))).ends(1);
    assert!(ground.tree() == before);
    let keys = ground.state("alice").join("keys");
    assert!(!keys.exists() || std::fs::read_dir(keys).unwrap().next().is_none());
}

#[test]
fn an_expired_epoch_asks_for_a_decision_that_goes_on_record() {
    let mut ground = with_cluster(&["alice"]);
    ground.now = kluis::model::Time::parse("2027-11-25T00:00:00Z").unwrap();
    let before = ground.tree();
    ground.run("alice", "cert issue --node w-1").ends(3).says("--accept-stale");
    assert!(ground.tree() == before);
    ground.run("alice", "cert issue --node w-1 --accept-stale").ends(0);
    let verified = ground.verified();
    assert_eq!(verified.log.records.last().unwrap().record.accepted, ["epoch-expired", "stale"]);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn one_certificate_opens_the_bundle_and_all_of_a_node_do_not() {
    let ground = with_cluster(&["alice"]);
    let one = ground.run("alice", "cert issue apiserver --node cp-1 -o json").ends(0);
    assert_eq!(one.json()["data"]["opened"], serde_json::json!(["ca.kubernetes.g1", "node.cp-1"]));
    let all = ground.run("alice", "cert issue --node w-1 -o json").ends(0);
    assert_eq!(all.json()["data"]["opened"], serde_json::json!(["ca.kubernetes.g1"]));
    assert_eq!(ground.errors(), [""; 0]);
    let verified = ground.verified();
    let place = Place::parse("clusters/prod/sealed/node.cp-1.asc").unwrap();
    let Vouch::Sealed(entry) = &verified.current.paths[&place].vouch else { panic!("it is sealed") };
    assert_eq!((entry.revision, entry.public.len()), (2, 12));
    ground.run("alice", "cert list --all").ends(0).says("replaced");
    ground.run("alice", "open -c prod node.cp-1/etcd-server --yes").ends(0);
}

#[test]
fn what_can_not_be_issued_is_refused_with_what_there_is() {
    let ground = with_cluster(&["alice", "bob"]);
    let before = ground.tree();
    ground.run("alice", "cert issue --node x").ends(2).says("cp-1, w-1");
    ground.run("alice", "cert issue apiserver --node w-1").ends(2).says("kubelet-client");
    ground.run("bob", "cert issue client").ends(3).says("person update bob --issuer prod");
    ground.run("alice", "cert issue client --group developers").ends(3).says("may not have the group developers");
    ground.run("alice", "cert issue apiserver").ends(2).says("--node");
    ground.run("alice", "cert issue --node w-1 --reason why").ends(2);
    ground.run("bob", "cert issue --node w-1").ends(3).says("person update bob --issuer prod");
    ground.run("alice", "cert issue --node w-1 --at 2026-11-24T12:00:00Z").ends(2);
    assert!(ground.tree() == before);
}

#[test]
fn apply_does_nothing_where_nothing_is_asked_for() {
    let ground = with_cluster(&["alice"]);
    let before = ground.tree();
    ground.run("alice", "cluster apply -c prod").ends(0).says("nothing to do");
    assert!(ground.tree() == before);
}

#[test]
fn apply_brings_an_edited_description_about() {
    let ground = with_cluster(&["alice"]);
    let config = "clusters/prod/cluster.toml";
    ground.edit(config, |text| {
        let more = "\n[[node]]\nname = \"w-2\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.22\"]\n";
        text.replace("extra_sans = []", "extra_sans = [\"api.internal\"]") + more
    });
    let dry = ground.run("alice", "cluster apply -c prod --dry-run").ends(0);
    dry.says("apiserver.crt  (+api.internal)").says("w-2/kubelet-client.crt").says("open    node.cp-1");
    assert!(ground.git("status --porcelain").starts_with(" M clusters/prod/cluster.toml"));
    ground.run("alice", "cluster apply -c prod").ends(2).says("--yes");
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    assert!(ground.git("status --porcelain").is_empty());
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("alice", "cert show cp-1/apiserver").ends(0).says("api.internal");
    ground.run("alice", "cluster apply -c prod").ends(0).says("nothing to do");
    assert_eq!(ground.verified().log.records.len(), 2);
}

#[test]
fn apply_takes_an_edit_back_to_a_description_of_before() {
    let ground = with_cluster(&["alice"]);
    let config = "clusters/prod/cluster.toml";
    let before = ground.read(config);
    let node = "\n[[node]]\nname = \"w-2\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.22\"]\n";
    ground.edit(config, |text| text + node);
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    // To whoever looks on it is a rollback; to whoever applies it, an edit.
    ground.edit(config, |_| before.clone());
    assert!(ground.errors().iter().any(|error| error.starts_with("superseded")), "{:?}", ground.errors());
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    assert_eq!(ground.read(config), before);
    assert!(!ground.repo().join("clusters/prod/certs/node/w-2").exists());
    // A sealed file that was put back is never an edit.
    let sealed = "clusters/prod/sealed/node.w-1.asc";
    let older = ground.read(sealed);
    ground.run("alice", "cert issue -c prod --node w-1").ends(0);
    ground.edit(sealed, |_| older);
    ground.edit(config, |text| text + node);
    ground.run("alice", "cluster apply -c prod --yes").ends(3).says("superseded");
}

#[test]
fn apply_removes_what_belongs_to_no_node_any_more() {
    let ground = with_cluster(&["alice"]);
    ground.edit("clusters/prod/cluster.toml", |text| {
        let at = text.find("\n[[node]]\nname = \"w-1\"").unwrap();
        text[..at].replace("[\"control-plane\", \"etcd\"]", "[\"control-plane\"]")
    });
    ground.run("alice", "cluster apply -c prod --yes").ends(0).says("w-1 is gone").says("no such role");
    assert_eq!(ground.errors(), [""; 0]);
    assert!(!ground.repo().join("clusters/prod/sealed/node.w-1.asc").exists());
    assert!(!ground.repo().join("clusters/prod/certs/node/cp-1/etcd-server.crt").exists());
    ground.run("alice", "open -c prod node.cp-1/etcd-server --yes").ends(2);
}

#[test]
fn apply_takes_the_group_away_when_the_version_crosses_1_36() {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", &NEW.replace("1.36", "1.35")).ends(0);
    ground.edit("clusters/prod/cluster.toml", |text| text.replace("\"1.35\"", "\"1.36\""));
    ground.run("alice", "cluster apply -c prod --yes").ends(0).says("-O=kubeadm:cluster-admins");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn another_endpoint_drafts_an_epoch_and_issues_in_the_same_record() {
    let ground = with_cluster(&["alice"]);
    ground.edit("clusters/prod/cluster.toml", |text| text.replace("api.prod.example.org", "api2.prod.example.org"));
    ground.run("alice", "cluster apply -c prod --yes").ends(0).says("epoch 3 counts");
    assert_eq!(ground.errors(), [""; 0]);
    let verified = ground.verified();
    let api = &verified.chain.latest().unwrap().epoch.clusters[&prod()].api;
    assert_eq!(api, "https://api2.prod.example.org:6443");
    assert_eq!(verified.log.records.len(), 2);
}

#[test]
fn apply_refuses_a_description_that_does_not_parse_and_other_edits() {
    let ground = with_cluster(&["alice"]);
    ground.edit("clusters/prod/cluster.toml", |text| text.replace("dns_domain", "dns_domian"));
    ground.run("alice", "cluster apply -c prod --yes").ends(3).says("did you mean dns_domain");
    ground.git("checkout -q clusters/prod/cluster.toml");
    ground.edit("clusters/prod/certs/node/w-1/kubelet-client.crt", |text| text.replace('A', "B"));
    ground.run("alice", "cluster apply -c prod --yes").ends(3);
}

#[test]
fn reseal_lets_a_newcomer_in_and_a_leaver_out() {
    let ground = with_cluster(&["alice", "bob"]);
    ground.run("alice", "reseal").ends(0).says("nothing to do");
    joins(&ground, "bob");
    assert!(ground.owed().contains(&"missing-recipient".to_owned()));
    ground.run("bob", "open -c prod ca.etcd --yes").ends(6);
    // Who can't open it can't seal it again, and is told who can.
    ground.run("bob", "reseal").ends(6).says("alice can reseal it");
    let before = ground.tree();
    ground.run("alice", "reseal --dry-run").ends(0).says("Would seal 7 files");
    assert!(ground.tree() == before);
    ground.run("alice", "reseal").ends(0).says("Sealed 7 files again").says("now also to bob");
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
    ground.run("bob", "open -c prod ca.etcd --yes").ends(0);
    ground.epoch(&["alice"], |epoch| {
        let cluster = epoch.clusters.get_mut(&prod()).unwrap();
        cluster.keyholders.remove(&person("alice"));
    });
    ground.run("bob", "reseal -c prod").ends(0).says("no longer to alice");
    ground.run("alice", "open -c prod ca.etcd --yes").ends(6);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn reseal_is_for_issuers_and_leaves_other_clusters_alone_unless_named() {
    let ground = with_cluster(&["alice", "bob"]);
    ground.epoch(&["alice"], |epoch| {
        epoch.clusters.get_mut(&prod()).unwrap().keyholders.insert(person("bob"));
    });
    ground.run("bob", "reseal -c prod").ends(3).says("no issuer");
    ground.run("bob", "reseal").ends(0).says("left to others");
}

#[test]
fn reseal_settles_what_two_branches_sealed_apart() {
    let ground = with_cluster(&["alice", "bob"]);
    joins(&ground, "bob");
    ground.git("branch other");
    ground.run("alice", "reseal").ends(0);
    ground.git("checkout -q other");
    ground.run("alice", "reseal").ends(0);
    ground.git("-c user.name=t -c user.email=t@t merge -q -X ours main");
    assert!(ground.errors().iter().all(|error| error.starts_with("conflicting-generations")), "{:?}", ground.errors());
    assert!(!ground.errors().is_empty());
    ground.run("alice", "reseal").ends(3).says("kluis reseal --choose -c prod");
    ground.run("alice", "reseal --choose").ends(0).says("Sealed 7 files again");
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
}

#[test]
fn nothing_is_sealed_to_a_key_that_has_expired() {
    let mut ground = with_cluster(&["alice", "bob"]);
    joins(&ground, "bob");
    ground.now = kluis::model::Time::parse("2028-12-01T00:00:00Z").unwrap();
    let before = ground.tree();
    ground.run("alice", "reseal").ends(3).says("nothing is sealed to it");
    assert!(ground.tree() == before);
}

#[test]
fn lists_and_pages_say_what_there_is() {
    let ground = with_cluster(&["alice"]);
    ground.run("alice", "cluster list").ends(0).says("prod").says("2 nodes");
    ground.run("alice", "cluster show prod").ends(0).says("kluis:admins").says("issuing").says("apiserver");
    let page = ground.run("alice", "cluster show -c prod -o json").ends(0).json();
    assert_eq!(page["data"]["keysets"].as_array().unwrap().len(), 5);
    assert_eq!(page["data"]["sealed"].as_array().unwrap().len(), 7);
    let list = ground.run("alice", "cert list -o json").ends(0).json();
    assert_eq!(list["data"]["certificates"].as_array().unwrap().len(), 14);
    let path = "clusters/prod/certs/node/cp-1/apiserver.crt";
    let one = ground.run("alice", &format!("cert show {path} -o json")).ends(0).json();
    assert_eq!(one["data"]["path"], path);
    assert!(one["data"]["sans"].as_array().unwrap().contains(&"10.96.0.1".into()));
    ground.run("alice", "cert show x/apiserver").ends(2).says("cert list");
    ground.run("alice", "cluster show x").ends(2);
}

#[test]
fn a_control_plane_node_has_an_address_that_its_export_can_use() {
    let ground = Ground::new(&["alice"], 1, 1);
    let new = "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 --yes";
    ground.run("alice", &format!("{new} --node cp-1=:control-plane,etcd")).ends(2).says("neither an IP address");
    let named = format!("{new} --node cp-1=cp-1.example.org:control-plane,etcd");
    ground.run("alice", &named).ends(2).says("has no IP address but loopback");
    assert!(!ground.repo().join("clusters").exists());
}

#[test]
fn an_export_says_which_certificates_have_ended() {
    let mut ground = with_cluster(&["alice"]);
    ground.now = ground.now.plus(kluis::model::Span::days(340));
    let out = ground.dir.path().join("late");
    let said = ground.run("alice", &format!("export kubeadm -c prod --node cp-1 --out {}", out.display())).ends(0);
    said.says("end within 30 days").says("kluis cert issue -c prod --node cp-1");
}

#[test]
fn a_retired_cluster_takes_nothing_owes_nothing_and_says_before_what_lives_on() {
    let ground = with_cluster(&["alice", "bob"]);
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground.run("alice", "cert issue client -c prod --lifetime 30d").ends(0);
    ground.run("bob", "person remove alice --reason left --yes").ends(0);
    ground.run("bob", "reseal").ends(0);
    let owed = |code: &str| ground.owed().iter().filter(|owed| *owed == code).count();
    assert!(owed("exposure-open") > 0 && owed("excess-cert") > 0, "{:?}", ground.owed());

    for (words, says) in [
        ("cluster retire", "say which cluster"),
        ("cluster retire prod -c prod --yes", "say which cluster"),
        ("cluster retire test --yes", "there is no cluster test"),
        ("cluster retire prod --revive --yes", "is in use already"),
        ("cluster retire prod --yes --reason", "--reason"),
        ("cluster retire prod", "debts will be owed no more"),
    ] {
        let before = ground.git("rev-parse HEAD");
        let answered = ground.run("bob", words).ends(2);
        assert!(format!("{}{}", answered.out, answered.err).contains(says), "{words}: {}", answered.err);
        assert_eq!(ground.git("rev-parse HEAD"), before);
    }
    ground.run("bob", "cluster retire prod --dry-run").ends(0).says("cluster prod is retired");
    let retired = ground.run("bob", "cluster retire prod --reason switched-off --yes").ends(0);
    retired.says("WEAKER  cluster prod is retired").says("takes its certificates until").says("alice");
    assert_eq!(ground.errors(), [""; 0]);
    assert_eq!(ground.owed(), [""; 0]);
    ground.run("bob", "cluster list").ends(0).says("retired");
    ground.run("bob", "cert issue apiserver -c prod --node cp-1").ends(3).says("is retired");
    ground.run("bob", "rotate start -c prod --yes").ends(0).says("it is retired");

    // What was hidden by it is back with it.
    ground.run("bob", "cluster retire prod --revive --yes").ends(0).says("is in use again");
    assert!(owed("exposure-open") > 0 && owed("excess-cert") > 0, "{:?}", ground.owed());
    ground.run("bob", "cert issue apiserver -c prod --node cp-1").ends(0);
}

#[test]
fn what_is_printed_for_a_whole_cluster_opens_nothing_and_takes_its_own_flags_alone() {
    let ground = with_cluster(&["alice", "bob"]);
    // bob is no keyholder.
    ground.run("bob", "export kubeadm-config -c prod").ends(0).says("kind: ClusterConfiguration");
    ground.run("bob", "export kubeadm-config -c prod --node cp-1 --with-ca-keys").ends(0).says("ca-signing.crt");
    ground.run("bob", "export trust-bundle -c prod").ends(0).says("name: kluis-prod-kubernetes\n");
    ground.run("bob", "export trust-bundle -c prod --keyset etcd").ends(0).says("name: kluis-prod-etcd\n");
    for (words, exit, says) in [
        ("kubeadm-config -c prod --all-nodes", 2, "takes --node and --with-ca-keys alone"),
        ("kubeadm-config -c prod --keyset etcd", 2, "takes --node and --with-ca-keys alone"),
        ("kubeadm-config -c prod --out ../out", 2, "goes to stdout"),
        ("kubeadm-config -c prod --node nobody", 2, "has no node nobody"),
        ("kubeadm-config -c prod --node w-1", 3, "runs no control plane"),
        ("trust-bundle -c prod --node cp-1", 2, "takes --keyset alone"),
        ("trust-bundle -c prod --with-ca-keys", 2, "takes --keyset alone"),
        ("trust-bundle -c prod --keyset service-account", 2, "has no CA service-account"),
    ] {
        ground.run("bob", &format!("export {words}")).ends(exit).says(says).says("help: ");
    }
    ground.edit("clusters/prod/cluster.toml", |text| text.replace("\"1.36\"", "\"1.26\""));
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    ground.run("bob", "export trust-bundle -c prod").ends(3).says("it came with 1.27");
}

#[test]
fn beside_a_draft_what_is_owed_is_said_before_retiring_too() {
    let ground = with_cluster(&["alice", "bob", "carol"]);
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground.run("bob", "person remove alice --reason left --yes").ends(0);
    ground.run("bob", "trust set threshold.trust 2").ends(0);
    assert!(
        ground.errors().iter().any(|error| error.starts_with("new-threshold")),
        "it waits for carol: {:?}",
        ground.errors()
    );
    let head = ground.git("rev-parse HEAD");
    ground.run("bob", "cluster retire prod").ends(2).says("debts will be owed no more");
    assert_eq!((ground.git("rev-parse HEAD"), ground.git("status --porcelain")), (head, String::new()));
}
