//! A repository whose story is known, with hostile texts wherever a stranger can put one: the ground on which the page of
//! `report` is looked at, as text and in a browser.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use kluis::model::{PersonName, Span};

use super::ground::Ground;

/// What would be markup, an attribute, a script, a direction or a comment if anything took it for one.
pub const HOSTILE: &str = "</bdi></script><script>document.title='owned'</script><img src=x onerror=document.title='owned'> \
    \"onfocus=alert(1) autofocus <!-- &lt; אבג 'x'";

const NODES: &str = "--node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --node w-2=10.0.0.22:worker";

/// By epoch: 1 is founded by alice, bob and carol; 2 has the cluster prod, alice's; 3 lets bob read it, 4 carol, 5 carol no
/// more; 6 has the cluster lab, alice's. Each was sealed to whom it names. Then two issuers grant bob a break-glass
/// certificate, the rotation of prod's etcd begins with epoch 7, and a hostile epoch 8 comes after all of it.
pub fn ground() -> Ground {
    let mut ground = Ground::new(&["alice", "bob", "carol"], 1, 2);
    let mut step = |who: &str, words: &str| {
        ground.now = ground.now.plus(Span::days(1));
        ground.run(who, words).ends(0);
    };
    let new = |name: &str| {
        format!("cluster new {name} --endpoint https://api.{name}.example.org:6443 --kubernetes 1.36 {NODES} --yes")
    };
    step("alice", &new("prod"));
    step("alice", "person update bob --keyholder prod --issuer prod");
    step("alice", "reseal");
    step("alice", "person update carol --keyholder prod");
    step("alice", "reseal");
    step("alice", "person update carol --no-keyholder prod");
    step("alice", "reseal");
    step("alice", &new("lab"));
    let words = format!("request new -c prod --break-glass --reason {}", HOSTILE.replace(' ', "_"));
    step("bob", &words);
    let requests = ground.run("bob", "request list -o json").json();
    let hash = requests["data"]["requests"][0]["request"].as_str().unwrap()[..16].to_owned();
    for who in ["bob", "alice"] {
        ground.run(who, &format!("request approve {hash} --yes")).ends(0);
    }
    ground.run("alice", "rotate start etcd -c prod --yes").ends(0);
    ground.now = ground.now.plus(Span::minutes(1));
    ground.epoch(&["alice", "bob", "carol"], |epoch| {
        epoch.created = epoch.created.plus(Span::days(20));
        epoch.reason = HOSTILE.to_owned();
        let until = epoch.created.plus(Span::days(900));
        epoch.waived.push(kluis::trust::Waived {
            cluster: kluis::model::ClusterName::parse("prod").unwrap(),
            what: "exposure:erin".to_owned(),
            until,
            reason: HOSTILE.to_owned(),
        });
        let developers = ["developers".to_owned()].into();
        let prod = epoch.clusters.values_mut().find(|cluster| cluster.issuers.len() == 2).unwrap();
        prod.groups.insert(PersonName::parse("carol").unwrap(), developers);
    });
    ground.now = ground.now.plus(Span::days(20));
    ground
}
