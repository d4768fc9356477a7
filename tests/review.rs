//! `review`: what a reviewer sees of a change, and what ends a pipeline, on repositories with real keys and git.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use ground::Ground;
use kluis::model::{ClusterName, PersonName};
use seat::*;
use serde_json::{Value, json};

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";
const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

/// A cluster of alice's, tagged `base`; bob is a root without a part in it.
fn founded() -> Ground {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.git("tag base");
    ground
}

fn review(ground: &Ground, words: &str, exit: u8) -> Value {
    ground.run("alice", &format!("review {words} -o json")).ends(exit).json()
}

fn commit(ground: &Ground, message: &str) {
    ground.git("add -A");
    ground.git(&format!("-c user.name=t -c user.email=t@t commit -q -m {message}"));
}

/// The codes of findings that are no notes.
fn grave(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|finding| finding["level"] != "note").map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn grave_of(report: &Value) -> Vec<String> {
    grave(report).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_colleague_who_gains_access_is_shown_by_name_cluster_and_secret() {
    let ground = founded();
    ground.run("alice", "person update bob --keyholder prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    let report = review(&ground, "base..HEAD", 0);
    let data = &report["data"];
    let gains = data["access"]["bob"]["gains"]["prod"].as_array().unwrap();
    assert_eq!(gains.len(), 7, "{data:#}");
    assert!(gains.contains(&json!("ca.kubernetes.g1")) && gains.contains(&json!("node.w-1")));
    assert_eq!(data["access"]["alice"], Value::Null);
    assert_eq!((&data["trust"]["from"], &data["trust"]["to"]), (&json!(2), &json!(3)));
    let granted = &data["trust"]["changes"][0];
    assert_eq!((&granted["what"], &granted["weaker"]), (&json!("granted"), &json!(true)));
    assert!(data["secrets"].as_array().unwrap().iter().all(|secret| secret["recorded"] == true), "{data:#}");
    assert_eq!(grave(&report), ["weaker"]);
    let text = ground.run("alice", "review base..HEAD").ends(0).says("+ bob  gains  prod:").out;
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    println!("{text}");
    ground.run("alice", "review base..HEAD --fail-on access-gained").ends(3);
    ground.run("alice", "review base..HEAD --fail-on weaker").ends(3);
    ground.run("alice", "review base..HEAD --fail-on not-vouched").ends(0);
}

#[test]
fn who_leaves_can_open_what_they_could_and_the_review_says_so() {
    let ground = founded();
    ground.run("alice", "person update bob --keyholder prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground.git("tag joined");
    ground.run("alice", "person remove bob --reason left --yes").ends(0);
    ground.run("alice", "reseal").ends(0);
    let report = review(&ground, "joined..HEAD", 0);
    let data = &report["data"];
    assert_eq!(data["exposed"][0]["person"], "bob");
    assert_eq!(data["exposed"][0]["live"].as_array().unwrap().len(), 7);
    assert_eq!(data["access"]["bob"]["loses"]["prod"].as_array().unwrap().len(), 7);
    assert!(grave(&report).contains(&"exposure-open"), "{report:#}");
    println!("{}", ground.run("alice", "review joined..HEAD").out);
    println!("{}", ground.run("alice", "review joined..HEAD -o markdown").out);
}

#[test]
fn a_draft_names_whose_signatures_are_missing_and_what_it_would_make_void() {
    let ground = Ground::new(&["alice", "bob", "carol"], 2, 1);
    ground.run("alice", NEW).ends(0);
    ground.sign_draft("bob");
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.sign_draft("bob");
    ground.run("alice", "reseal").ends(0);
    ground.git("tag base");
    // Bob issues on a branch of his; the draft that removes him does not know of it.
    ground.git("checkout -q -b bobs");
    ground.run("bob", "cert issue -c prod --node w-1 --yes").ends(0);
    ground.git("checkout -q -b removal base");
    ground.run("alice", "person remove bob --reason left --yes").ends(0);
    let report = review(&ground, "base..HEAD", 0);
    let trust = &report["data"]["trust"];
    assert_eq!((&trust["draft"], &trust["signed"]), (&json!(true), &json!(["alice"])));
    assert_eq!(trust["missing"], json!(["1 more of the epoch before: bob, carol", "1 more of this epoch: carol"]));
    assert!(codes(&report).contains(&"threshold"), "{report:#}");
    println!("{}", ground.run("alice", "review base..HEAD").out);
    ground.run("alice", "review base..HEAD --fail-on threshold").ends(3);
    ground.git("-c user.name=t -c user.email=t@t merge -q --no-edit bobs");
    let merged = review(&ground, "base..HEAD", 0);
    let trust = &merged["data"]["trust"];
    assert_eq!(trust["not_closed"].as_array().unwrap().len(), 1, "{trust:#}");
    assert_eq!(trust["would_void"].as_object().unwrap().len(), 1, "{trust:#}");
    assert!(grave(&merged).contains(&"would-void"), "{merged:#}");
    assert_eq!(merged["data"]["issued"][0]["by"], "bob");
}

#[test]
fn a_swapped_secret_is_wrong_whoever_it_is_sealed_to() {
    let ground = founded();
    let other = ground.read("clusters/prod/sealed/ca.etcd.g1.asc");
    ground.edit(CA, |_| other);
    let work_tree = review(&ground, "", 3);
    assert_eq!(grave(&work_tree), ["ciphertext-hash"]);
    commit(&ground, "swap");
    let report = review(&ground, "base..HEAD", 3);
    assert_eq!(grave(&report), ["ciphertext-hash"]);
    assert_eq!(report["data"]["secrets"][0]["recorded"], false);
    // The next change is not blamed for what was wrong before.
    std::fs::write(ground.repo().join("README.md"), "x").unwrap();
    commit(&ground, "prose");
    let next = review(&ground, "HEAD", 0);
    assert_eq!((&next["data"]["known"], &next["data"]["other_files"]), (&json!(2), &json!(1)), "{next:#}");
}

#[test]
fn what_nobody_vouches_for_is_said_loudly() {
    let ground = founded();
    for (path, text) in [
        (".github/workflows/ci.yml", "run: true"),
        (".gitattributes", "* text=auto"),
        ("CODEOWNERS", "* @mallory"),
        ("templates/cluster.toml", "# x"),
        ("deploy.sh", "true"),
        ("notes.md", "prose"),
    ] {
        let path = ground.repo().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let uncommitted = review(&ground, "", 0);
    commit(&ground, "elsewhere");
    let report = review(&ground, "HEAD", 0);
    for report in [&uncommitted, &report] {
        assert_eq!(grave(report), ["not-vouched"; 5], "{report:#}");
        let risks = report["data"]["not_vouched"].as_array().unwrap().iter().map(|file| file["risk"].as_str().unwrap());
        assert_eq!(risks.collect::<Vec<_>>(), ["git", "ci", "reviewers", "code", "template"]);
        assert_eq!(report["data"]["other_files"], 1);
    }
    std::fs::write(ground.repo().join("notes.md"), format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n", "A".repeat(64)))
        .unwrap();
    assert_eq!(grave(&review(&ground, "", 3)), ["secret-material"]);
}

#[test]
fn what_changed_inside_a_key_is_shown_and_user_ids_are_text() {
    let ground = founded();
    // The same certificate with another expiry, and a user id that looks like markup.
    let secret = std::fs::read(&ground.person("bob").key).unwrap();
    let renewed = renewed(&secret);
    let file = ground.dir.path().join("renewed.asc");
    std::fs::write(&file, renewed).unwrap();
    ground.run("bob", &format!("person update bob --pgp {}", file.display())).ends(0);
    let report = review(&ground, "base..HEAD", 0);
    let changes = report["data"]["certificates"][0]["changes"].to_string();
    assert!(changes.contains("~ ") && changes.contains(" -> encrypts, until 2027-03-04"), "{changes}");
    assert!(changes.contains("+ says") && changes.contains("\\u{1b}"), "{changes}");
    let text = ground.run("alice", "review base..HEAD -o markdown").ends(0).out;
    for markup in ["<img", "@everyone", "](http", "\u{1b}"] {
        assert!(!text.contains(markup), "{markup} in {text}");
    }
}

/// The certificate of a secret key whose subkeys expire, and one more user id.
fn renewed(secret: &[u8]) -> Vec<u8> {
    use sequoia_openpgp as sq;
    use sq::cert::amalgamation::ValidateAmalgamation as _;
    use sq::parse::Parse as _;
    use sq::serialize::SerializeInto as _;
    let policy = sq::policy::StandardPolicy::new();
    let cert = sq::Cert::from_bytes(secret).unwrap();
    let at = cert.primary_key().key().creation_time() + std::time::Duration::from_secs(1800);
    let mut signer = cert.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
    let mut packets: Vec<sq::Packet> = Vec::new();
    for key in cert.keys().subkeys() {
        let subkey = key.key().clone().parts_into_public();
        // The binding made anew, with an end: what else it says stays.
        let binding = key.with_policy(&policy, at).unwrap().binding_signature().clone();
        let builder = sq::packet::signature::SignatureBuilder::from(binding)
            .set_key_validity_period(Some(std::time::Duration::from_secs(100 * 86400)))
            .unwrap();
        let builder = builder.set_signature_creation_time(at).unwrap();
        packets.push(subkey.bind(&mut signer, &cert, builder).unwrap().into());
    }
    let user = sq::packet::UserID::from("<img src=x> @everyone [a](http://e/) \u{1b}[31m");
    let binding = sq::packet::signature::SignatureBuilder::new(sq::types::SignatureType::PositiveCertification)
        .set_signature_creation_time(at)
        .unwrap();
    let signature = user.bind(&mut signer, &cert, binding).unwrap();
    packets.push(user.into());
    packets.push(signature.into());
    cert.insert_packets(packets).unwrap().0.strip_secret_key_material().armored().to_vec().unwrap()
}

#[test]
fn a_new_node_is_shown_with_what_it_gets_and_an_unapplied_edit_is_called_so() {
    let ground = founded();
    ground.edit("clusters/prod/cluster.toml", |text| {
        format!("{text}\n[[node]]\nname = \"w-2\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.22\"]\n")
    });
    let edited = review(&ground, "", 3);
    assert_eq!(edited["data"]["configs"][0]["recorded"], false);
    assert_eq!(
        edited["data"]["configs"][0]["changes"],
        json!(["node w-2 joins as worker at 10.0.0.22: 2 certificates"])
    );
    assert_eq!(grave(&edited), ["config-hash"]);
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    let report = review(&ground, "base..HEAD", 0);
    assert_eq!(report["data"]["configs"][0]["recorded"], true);
    assert_eq!(report["data"]["issued"].as_array().unwrap().len(), 2);
    assert_eq!(report["data"]["access"]["alice"]["gains"]["prod"], json!(["node.w-2"]));
    println!("{}", ground.run("alice", "review base..HEAD").out);
}

#[test]
fn the_base_may_have_gone_on_and_only_the_change_is_shown() {
    let ground = founded();
    ground.git("checkout -q -b feature");
    ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    ground.git("checkout -q -b trunk base");
    ground.run("alice", "trust set expires 100d").ends(0);
    let report = review(&ground, "trunk..feature", 0);
    assert_eq!(report["data"]["trust"], Value::Null, "{report:#}");
    assert!(report["data"]["notes"][0].as_str().unwrap().contains("went on since they parted"), "{report:#}");
    assert_eq!(grave(&report), [""; 0]);
}

#[test]
fn a_large_repository_is_judged_by_what_differs_and_says_so() {
    let ground = founded();
    for number in 0..260 {
        let dir = ground.repo().join(format!("clusters/filler-{number}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cluster.toml"), "x").unwrap();
    }
    commit(&ground, "many");
    ground.git("tag many");
    ground.git("checkout -q -b work base");
    ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    ground.git("-c user.name=t -c user.email=t@t merge -q --no-edit many");
    let report = review(&ground, "many..HEAD", 0);
    assert_eq!((&report["data"]["whole"], grave(&report)), (&json!(false), vec![]), "{report:#}");
    assert_eq!(report["data"]["secrets"][0]["recorded"], true);
    ground.git("checkout -q -b bad");
    ground.edit(CA, |text| text.replacen("-----\n", "-----\nComment: x\n", 1));
    let log = ground.git("ls-files trust/log");
    let record = log.lines().find(|path| path.ends_with(".toml")).unwrap().to_owned();
    std::fs::remove_file(ground.repo().join(&record)).unwrap();
    commit(&ground, "bad");
    let bad = review(&ground, "work..bad", 3);
    let grave = grave(&bad);
    assert!(grave.contains(&"ciphertext-hash") && grave.contains(&"removed-in-range"), "{bad:#}");
    assert_eq!(review(&ground, "work..bad --full", 3)["data"]["whole"], true);
    // Files that say nothing of themselves: each must be what the epoch or a record of the change says.
    let swapped = |path: &str, by: &str, code: &str| {
        ground.git("checkout -q -f work");
        ground.git("checkout -q -B swap");
        std::fs::create_dir_all(ground.repo().join(path).parent().unwrap()).unwrap();
        match by {
            "" => std::fs::remove_file(ground.repo().join(path)).unwrap(),
            by => drop(std::fs::copy(ground.repo().join(by), ground.repo().join(path)).unwrap()),
        }
        commit(&ground, "swap");
        let report = review(&ground, "work..swap", 3);
        assert!(grave_of(&report).contains(&code.to_owned()), "{path}: {report:#}");
        assert!(!ground.run("alice", "review work..swap").out.contains("Nothing that kluis manages"), "{path}");
    };
    let leaf = "clusters/prod/certs/node/w-1/kubelet-client.crt";
    let (ca, other) = ("clusters/prod/ca/kubernetes.g1.crt", "clusters/prod/ca/etcd.g1.crt");
    swapped(ca, other, "ca-hash");
    swapped(ca, "", "missing-file");
    swapped("clusters/prod/sa/g1.pub", ca, "ca-hash");
    swapped(leaf, other, "leaf-hash");
    swapped(leaf, "", "missing-file");
    swapped("clusters/prod/certs/node/w-9/kubelet-client.crt", leaf, "unlogged-cert");
    swapped("clusters/prod/cluster.toml", "clusters/filler-1/cluster.toml", "config-hash");
}

#[test]
fn other_forms_have_the_same_findings() {
    let ground = founded();
    ground.edit(CA, |text| text.replacen('A', "B", 1));
    let sarif: Value = serde_json::from_str(&ground.run("alice", "review -o sarif").ends(3).out).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "ciphertext-hash");
    let github = ground.run("alice", "review -o github").ends(3).out;
    assert!(github.starts_with(&format!("::error file={CA},title=ciphertext-hash::")), "{github}");
    let verify = ground.run("alice", "verify -o github").ends(3).out;
    assert!(verify.contains(&format!("::error file={CA},title=ciphertext-hash::")), "{verify}");
    ground.run("alice", "status -o markdown").ends(3).says("### kluis status: **invalid**");
    ground.git("checkout -q -- clusters");
    ground.run("alice", "trust pin -o sarif").ends(2).says("no list of findings");
    ground.run("alice", "review nowhere..HEAD -o markdown").ends(2);
}

#[test]
fn a_draft_gives_a_strangers_key_no_name() {
    let mut ground = founded();
    // Mallory drafts an epoch in which a key of hers is bob's, and seals a copy of a node's bundle to it.
    newcomer(&mut ground, "mallory");
    let theirs = ground.person("mallory").certificate.clone();
    let listed = ground.person("mallory").listed(ground.now);
    let key = listed.encrypt[0].clone();
    ground.people.retain(|one| one.name.as_str() != "bob");
    ground.people.iter_mut().for_each(|one| {
        if one.name.as_str() == "mallory" {
            one.name = PersonName::parse("bob").unwrap();
        }
    });
    ground.epoch(&[], |epoch| {
        epoch.persons.insert(PersonName::parse("bob").unwrap(), listed);
        let prod = ClusterName::parse("prod").unwrap();
        epoch.clusters.get_mut(&prod).unwrap().keyholders.insert(PersonName::parse("bob").unwrap());
    });
    let plaintext = kluis::secret::Secret::new(b"x".to_vec());
    let sealed = kluis::openpgp::encrypt(&plaintext, &[(&theirs, &key)]).unwrap();
    std::fs::write(ground.repo().join("clusters/prod/sealed/node.w-1.asc"), sealed).unwrap();
    commit(&ground, "mallory");
    let report = review(&ground, "base..HEAD", 3);
    let access = report["data"]["access"].as_object().unwrap();
    let unknown = format!("UNKNOWN-{}", key.key_id());
    assert!(access.contains_key(&unknown) && !access.contains_key("bob"), "{access:#?}");
    assert_eq!(report["data"]["secrets"][0]["recorded"], false);
}

#[test]
fn a_repository_that_is_founded_anew_names_nobody() {
    let ground = founded();
    let other = founded();
    for folder in ["trust", "pubkeys", "clusters"] {
        std::fs::remove_dir_all(ground.repo().join(folder)).unwrap();
        let mut copy = std::process::Command::new("cp");
        assert!(copy.arg("-r").arg(other.repo().join(folder)).arg(ground.repo()).status().unwrap().success());
    }
    commit(&ground, "anew");
    // The same names, the same cluster, other keys: signed all over, by people whom the base does not know.
    let report = review(&ground, "base..HEAD", 3);
    assert!(grave(&report).contains(&"changed-in-range"), "{report:#}");
    let gains: Vec<&String> = report["data"]["access"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, access)| !access["gains"].as_object().unwrap().is_empty())
        .map(|(label, _)| label)
        .collect();
    assert!(!gains.is_empty() && gains.iter().all(|label| label.starts_with("UNKNOWN-")), "{gains:?}");
    assert!(!report["data"]["others"].as_array().unwrap().is_empty(), "{report:#}");
}
